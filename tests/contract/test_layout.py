from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import BundleError, Corrupt, Interrupted, NotFound, UnsafePath, Unsupported
from modelops_bundle.events import Run
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import ABSENT, ANYTHING
from modelops_bundle.stores.layout import LOCK, LayoutStore
from modelops_bundle.testing.store_contract import BLOB, StoreContract, describe, make_manifest, put, read


class TestLayoutStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LayoutStore:
        return LayoutStore(tmp_path / "layout", create=True)

    @pytest.fixture
    def another(self, store: LayoutStore) -> LayoutStore:
        return LayoutStore(store.root, create=True)


# --- a directory that others write to as well


@pytest.fixture
def layout(tmp_path: Path) -> LayoutStore:
    return LayoutStore(tmp_path / "layout", create=True)


def index(layout: LayoutStore) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((layout.root / "index.json").read_bytes())
    return value


def change_index(layout: LayoutStore, change: Callable[[dict[str, Any]], None]) -> None:
    value = index(layout)
    change(value)
    (layout.root / "index.json").write_text(json.dumps(value))


def tagged(layout: LayoutStore, name: str, content: bytes = b"layer") -> Descriptor:
    what, data = make_manifest(layout, content)
    layout.tag(name, what, data, ANYTHING)
    return what


def test_nothing_is_made_before_the_first_write(layout: LayoutStore) -> None:
    assert layout.resolve("v1") is None
    assert layout.tags() == []
    assert layout.untag("v1", describe(b""))
    assert not layout.root.exists()


def test_an_empty_place_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        LayoutStore(tmp_path)
    with pytest.raises(NotFound):
        LayoutStore(tmp_path / "absent")


def test_the_files_are_those_of_the_specification(layout: LayoutStore) -> None:
    what = tagged(layout, "v1")
    assert json.loads((layout.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert (layout.root / "blobs" / "sha256" / what.digest.hex).stat().st_size == what.size
    assert index(layout) == {
        "schemaVersion": 2,
        "mediaType": media.OCI_INDEX,
        "manifests": [{**what.to_json(), "annotations": {media.REF_NAME: "v1"}}],
    }


def test_manifests_stay_listed_without_a_name(layout: LayoutStore) -> None:
    first, data = make_manifest(layout, b"one")
    layout.put(first, [data])
    assert index(layout)["manifests"] == [first.to_json()]
    layout.tag("v1", first, data, ABSENT)
    assert len(index(layout)["manifests"]) == 1
    tagged(layout, "v1", b"two")
    assert first.to_json() in index(layout)["manifests"]
    assert len(index(layout)["manifests"]) == 2


def test_what_others_wrote_stays(layout: LayoutStore) -> None:
    what = tagged(layout, "v1")
    (layout.root / "README").write_text("mine")
    foreign = {
        **what.to_json(),
        "annotations": {media.REF_NAME: "docker.io/library/x:v9", "x": "y"},
        "platform": {"os": "z"},
    }

    def change(value: dict[str, Any]) -> None:
        value["annotations"] = {"theirs": "kept"}
        value["manifests"].append(foreign)

    change_index(layout, change)
    assert layout.tags() == ["v1"]
    tagged(layout, "v2")
    assert layout.untag("v1", what)
    assert index(layout)["annotations"] == {"theirs": "kept"}
    assert foreign in index(layout)["manifests"]
    assert (layout.root / "README").read_text() == "mine"


def test_of_two_equal_names_the_last_counts(layout: LayoutStore) -> None:
    first, second = tagged(layout, "v1", b"one"), tagged(layout, "v2", b"two")

    def change(value: dict[str, Any]) -> None:
        for entry in value["manifests"]:
            entry.setdefault("annotations", {})[media.REF_NAME] = "same"

    change_index(layout, change)
    assert layout.tags() == ["same"]
    assert layout.resolve("same") == second
    assert layout.untag("same", second)
    assert layout.resolve("same") is None
    assert layout.resolve(str(first.digest)) == first


def test_a_manifest_nobody_listed_is_found_by_digest(layout: LayoutStore) -> None:
    what, data = make_manifest(layout, b"one")
    layout.put(Descriptor(BLOB, what.digest, what.size), [data])
    assert index(layout)["manifests"] == []
    assert layout.resolve(str(what.digest)) == what


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_links_are_refused(layout: LayoutStore, tmp_path: Path, where: str) -> None:
    what = tagged(layout, "v1")
    blob = layout.root / "blobs" / "sha256" / what.digest.hex
    target = tmp_path / "secret" if where == "outside" else layout.root / "blobs" / "sha256" / "other"
    target.write_bytes(blob.read_bytes())
    blob.unlink()
    blob.symlink_to(target)
    for use in (
        lambda: layout.has(what),
        lambda: read(layout, what),
        lambda: layout.resolve("v1"),
        lambda: layout.resolve(str(what.digest), data=True),
    ):
        with pytest.raises(UnsafePath, match="symbolic link"):
            use()


def test_only_regular_files_are_content(layout: LayoutStore) -> None:
    what = put(layout, b"x")
    blob = layout.root / "blobs" / "sha256" / what.digest.hex
    blob.unlink()
    os.mkfifo(blob)
    assert not layout.has(what)
    with pytest.raises(UnsafePath, match="regular"):
        read(layout, what)


def test_damage_is_an_error_not_an_absence(layout: LayoutStore) -> None:
    what = tagged(layout, "v1")
    blob = layout.root / "blobs" / "sha256" / what.digest.hex
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"?")
    with pytest.raises(Corrupt, match="other bytes"):
        layout.resolve("v1", data=True)
    blob.write_bytes(whole + b" ")
    with pytest.raises(Corrupt):
        read(layout, what)
    blob.unlink()
    with pytest.raises(Corrupt, match="lacks it"):
        layout.resolve("v1")
    with pytest.raises(BundleError):
        layout.resolve("v1", data=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"manifests": 7}', '{"manifests": [7]}', '{"a": 1, "a": 2}'])
def test_a_damaged_index_is_an_error_and_is_not_replaced(layout: LayoutStore, text: str) -> None:
    what, data = make_manifest(layout, b"x")
    (layout.root / "index.json").write_text(text)
    for use in (lambda: layout.resolve("v1"), layout.tags, lambda: layout.tag("v1", what, data, ANYTHING)):
        with pytest.raises(Corrupt):
            use()
    assert (layout.root / "index.json").read_text() == text


@pytest.mark.parametrize(
    ("text", "kind"), [('{"imageLayoutVersion": "2.0.0"}', Unsupported), ("{}", Unsupported), ("{", Corrupt)]
)
def test_other_versions_are_refused(layout: LayoutStore, text: str, kind: type[BundleError]) -> None:
    put(layout, b"x")
    (layout.root / "oci-layout").write_text(text)
    with pytest.raises(kind):
        LayoutStore(layout.root, create=True)


def test_reading_needs_no_right_to_write(layout: LayoutStore) -> None:
    what = tagged(layout, "v1")
    (layout.root / LOCK).unlink()
    reader = LayoutStore(layout.root)
    assert reader.resolve("v1", data=True) is not None
    assert read(reader, what)
    assert not (layout.root / LOCK).exists()


def test_a_cancelled_run_stops(layout: LayoutStore) -> None:
    run = Run()
    stopping = LayoutStore(layout.root, create=True, run=run)
    run.cancel()
    with pytest.raises(Interrupted):
        put(stopping, b"x")
    assert not stopping.has(describe(b"x"))


def test_processes_lose_no_tag(layout: LayoutStore) -> None:
    what = tagged(layout, "v0")
    code = (
        "import sys; from pathlib import Path; from modelops_bundle.stores.layout import LayoutStore;"
        "from modelops_bundle.model.ports import ABSENT; store = LayoutStore(Path(sys.argv[1]));"
        "what = store.resolve('v0', data=True);"
        "[store.tag(f'{sys.argv[2]}-{n}', what, what.data, ABSENT) for n in range(20)]"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(layout.root), name]) for name in "abc"]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert len(layout.tags()) == 61
    assert layout.resolve("c-19") == what


# --- peers read what we write, and the reverse


def run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_oras_reads_our_layout(layout: LayoutStore, tmp_path: Path, peer: Callable[[str], str]) -> None:
    oras = peer("oras")
    what = tagged(layout, "v1")
    bare, data = make_manifest(layout, b"untagged")
    layout.put(bare, [data])
    assert run(oras, "repo", "tags", "--oci-layout", layout.root).split() == ["v1"]
    assert Digest.of(run(oras, "manifest", "fetch", "--oci-layout", f"{layout.root}:v1").encode()) == what.digest
    assert run(oras, "manifest", "fetch", "--oci-layout", f"{layout.root}@{bare.digest}").encode() == data
    run(oras, "cp", "--from-oci-layout", f"{layout.root}:v1", "--to-oci-layout", f"{tmp_path / 'copy'}:v1")
    assert LayoutStore(tmp_path / "copy").resolve("v1") == what


def test_we_read_what_oras_wrote_and_both_go_on(
    layout: LayoutStore, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    oras = peer("oras")
    put(layout, b"x")
    (tmp_path / "file").write_text("content")
    for tag in ("theirs", "again"):
        run(oras, "push", "--disable-path-validation", "--oci-layout", f"{layout.root}:{tag}", tmp_path / "file")
    theirs = layout.resolve("theirs", data=True)
    assert theirs is not None and theirs.data is not None
    layer = Descriptor.from_json(json.loads(theirs.data)["layers"][0])
    assert read(layout, layer) == b"content"
    ours = tagged(layout, "ours")
    assert list(layout.tags()) == ["again", "ours", "theirs"]
    run(oras, "tag", "--oci-layout", f"{layout.root}:ours", "renamed")
    assert layout.resolve("renamed") == ours
    assert list(layout.tags()) == ["again", "ours", "renamed", "theirs"]


def test_crane_reads_our_layout(layout: LayoutStore, repo: str, peer: Callable[[str], str]) -> None:
    crane = peer("crane")
    what = tagged(layout, "v1")
    run(crane, "push", "--insecure", layout.root, f"{repo}:v1")
    assert run(crane, "digest", "--insecure", f"{repo}:v1").strip() == str(what.digest)


def test_skopeo_reads_our_layout(layout: LayoutStore, tmp_path: Path, peer: Callable[[str], str]) -> None:
    skopeo = peer("skopeo")
    what = tagged(layout, "v1")
    tagged(layout, "v2", b"other")
    run(skopeo, "--insecure-policy", "copy", f"oci:{layout.root}:v1", f"oci:{tmp_path / 'copy'}:v1")
    assert LayoutStore(tmp_path / "copy").resolve("v1") == what
