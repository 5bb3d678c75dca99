"""materialize: the files of a delta version out of what another tool pulled."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.model import media
from modelops_bundle.model.chunkmap import CODECS
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.pointer import is_pointer
from tests.support.bundle import KILL, Bundle, call, spawn, tree
from tests.support.chunked import Version, cut, delta, plain
from tests.support.deltas import STEP, edited, near, pulled, weights
from tests.support.oci import dumps

OLD = weights(1, 20 * STEP + 800)
NEW = edited(OLD, 3, 4, 11)
FILES = {"weights/model.safetensors": NEW, "config.json": b"{}\n"}
PATH = "weights/model.safetensors"


@pytest.fixture
def version() -> Version:
    return delta({**FILES, PATH: cut(NEW)}, plain({PATH: cut(OLD)}), codec="bp2+zstd")


@pytest.fixture
def place(version: Version, tmp_path: Path) -> Path:
    """What `oras pull` leaves."""
    return pulled(version, tmp_path / "model")


def files(root: Path) -> dict[str, bytes]:
    return {path: node.content for path, node in tree(root).items() if not path.startswith(".bundle/")}


def listing(root: Path) -> dict[str, bytes]:
    return {path: node.content for path, node in tree(root).items()}


def refused(code: int, *words: str) -> dict[str, object]:
    return call("--json", "materialize", *words, expect=code).error


def index_of(root: Path) -> dict[str, Any]:
    value = json.loads((root / ".bundle/index.json").read_bytes())
    assert isinstance(value, dict)
    return value


def test_the_files_are_put_together(place: Path) -> None:
    assert is_pointer((place / PATH).read_bytes())
    done = call("--json", "materialize", str(place)).json
    assert (done["rebuilt"], done["already"], done["size"]) == ([PATH], [], len(NEW))
    assert files(place) == FILES
    assert (place / ".bundle/packs" / Digest.of(OLD).hex).exists()
    call("verify", str(place))


def test_again_nothing_is_to_be_done(place: Path) -> None:
    call("materialize", str(place))
    before = (place / PATH).stat()
    done = call("--json", "materialize", str(place)).json
    assert (done["rebuilt"], done["already"]) == ([], [PATH])
    assert (place / PATH).stat() == before
    assert "Nothing to do: 1 file verified" in call("materialize", str(place)).out


def test_the_directory_is_by_default_this_one(place: Path) -> None:
    call("-C", str(place), "materialize")
    assert files(place) == FILES


def test_a_dry_run_changes_nothing(place: Path) -> None:
    before = listing(place)
    done = call("--json", "materialize", str(place), "--dry-run", "--remove-packs").json
    assert (done["rebuilt"], done["removed_packs"], done["dry_run"]) == ([PATH], 2, True)
    assert listing(place) == before
    assert "Would put together 1 file" in call("materialize", "-n", str(place)).out


def test_packs_are_removed_when_that_is_asked_for(place: Path) -> None:
    done = call("--json", "materialize", str(place), "--remove-packs").json
    assert done["removed_packs"] == 2
    assert not (place / ".bundle/packs").exists()
    assert call("--json", "materialize", str(place)).json["already"] == [PATH]
    call("verify", str(place))


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_and_differences(tmp_path: Path, codec: str) -> None:
    changed = near(OLD)
    wanted = {"a.bin": changed, "b.bin": OLD[: 3 * STEP] + changed[5 * STEP :]}
    xor = dict(zip(cut(changed), cut(OLD), strict=True)) if codec.startswith("xor") else {}
    made = delta({path: cut(data) for path, data in wanted.items()}, plain({"a.bin": cut(OLD)}), codec=codec, xor=xor)
    place = pulled(made, tmp_path / "model")
    call("materialize", str(place))
    assert files(place) == wanted


def test_lists_in_the_index_of_an_earlier_version(tmp_path: Path) -> None:
    first = plain({"a.bin": cut(OLD)})
    made = delta({"a.bin": cut(NEW)}, first, borrow=True)
    assert made.chunks.earlier
    place = pulled(made, tmp_path / "model")
    call("materialize", str(place))
    assert files(place) == {"a.bin": NEW}
    name = f".bundle/indexes/{Digest.of(first.artifact.index).hex}.json"
    (place / "a.bin").unlink()
    (place / name).write_bytes(b"{}")
    assert "damaged" in str(refused(9, str(place))["message"])
    (place / name).unlink()
    assert name in str(refused(6, str(place))["message"])


def test_a_pack_that_is_a_file_of_the_version(tmp_path: Path) -> None:
    made = delta({"new.bin": cut(NEW), "renamed.bin": OLD}, plain({"a.bin": cut(OLD)}))
    place = pulled(made, tmp_path / "model")
    assert not (place / ".bundle/packs" / Digest.of(OLD).hex).exists()
    call("materialize", str(place))
    assert files(place) == {"new.bin": NEW, "renamed.bin": OLD}


def test_an_executable_is_one_again(tmp_path: Path) -> None:
    place = pulled(delta({"a.bin": cut(NEW)}, plain({"a.bin": cut(OLD)})), tmp_path / "model")
    index = index_of(place)
    index["files"][0]["mode"] = "0755"
    (place / ".bundle/index.json").write_bytes(dumps(index))
    call("materialize", str(place))
    assert os.access(place / "a.bin", os.X_OK)


@pytest.mark.parametrize("what", ["edit", "same size", "link", "other pointer"])
def test_other_things_at_the_path_stay(place: Path, tmp_path: Path, what: str) -> None:
    path = place / PATH
    pointer = path.read_bytes()
    path.unlink()
    (tmp_path / "outside").write_bytes(b"mine")
    if what == "link":
        path.symlink_to(tmp_path / "outside")
    else:
        path.write_bytes(
            {"edit": b"mine", "same size": OLD, "other pointer": pointer.replace(b"size 2", b"size 3")}[what]
        )
    before = listing(place)
    assert refused(4, str(place))["facts"] == {"paths": [PATH]}
    assert listing(place) == before
    call("materialize", str(place), "--overwrite")
    assert files(place) == FILES
    assert not path.is_symlink()
    assert (tmp_path / "outside").read_bytes() == b"mine"


def test_a_directory_at_the_path_stays_in_any_case(place: Path) -> None:
    (place / PATH).unlink()
    (place / PATH / "mine").mkdir(parents=True)
    for words in ([], ["--overwrite"]):
        assert refused(4, str(place), *words)["facts"] == {"paths": [PATH]}


def test_a_link_above_the_path_is_not_followed(place: Path, tmp_path: Path) -> None:
    (place / "weights").rename(tmp_path / "outside")
    (place / "weights").symlink_to(tmp_path / "outside")
    before = tree(tmp_path / "outside")
    for words in ([], ["--overwrite"]):
        assert refused(4, str(place), *words)["facts"] == {"paths": ["weights"]}
    assert tree(tmp_path / "outside") == before


def test_an_absent_path_is_made(place: Path) -> None:
    (place / PATH).unlink()
    (place / "weights").rmdir()
    call("materialize", str(place))
    assert files(place) == FILES


def test_a_missing_pack_is_named_with_its_file(place: Path) -> None:
    pack = place / ".bundle/packs" / Digest.of(OLD).hex
    pack.unlink()
    before = listing(place)
    error = refused(6, str(place))
    assert error["facts"] == {"pack": str(Digest.of(OLD)), "path": PATH}
    assert listing(place) == before
    pack.write_bytes(OLD[:-1])
    refused(6, str(place))


def test_a_damaged_pack_makes_no_file(place: Path) -> None:
    pack = place / ".bundle/packs" / Digest.of(OLD).hex
    pack.write_bytes(bytes([OLD[0] ^ 1]) + OLD[1:])
    before = listing(place)
    error = refused(9, str(place))
    assert PATH in str(error["message"])
    assert listing(place) == before


def test_chunks_that_make_another_file_make_none(place: Path) -> None:
    index = index_of(place)
    index["files"][1]["segments"][0], index["files"][1]["segments"][2] = [0, 5, 3], [0, 0, 6]
    (place / ".bundle/index.json").write_bytes(dumps(index))
    before = listing(place)
    refused(9, str(place))
    assert listing(place) == before


Index = dict[str, Any]

LIES: dict[str, Callable[[Index], object]] = {
    "path": lambda index: index["files"][1].update(path="../outside"),
    "reserved": lambda index: index["files"][1].update(path=".git/hooks/pre-commit"),
    "link": lambda index: index["files"].append({"kind": "link", "path": "x", "target": "../../outside"}),
    "below a file": lambda index: index["files"][1].update(path="config.json/x"),
    "twice": lambda index: index["files"].append(dict(index["files"][1])),
    "size": lambda index: index["files"][1].update(size=1 << 60),
    "segments": lambda index: index["files"][1].update(segments=[[0, 0, 4_000_000]]),
    "pack": lambda index: index["files"][1].update(segments=[[7, 0, 1]]),
    "no blob": lambda index: index["chunks"]["packs"][0].update(blob=99),
    "no chunks": lambda index: index.pop("chunks"),
    "blobs": lambda index: index.update(blobs=["../../etc/passwd"]),
    "version": lambda index: index.update(schemaVersion=2),
    "codecs": lambda index: index["chunks"].update(codecs=5),
}


@pytest.mark.parametrize("what", LIES)
def test_an_index_that_lies_is_refused_whole(place: Path, what: str) -> None:
    index = index_of(place)
    LIES[what](index)
    (place / ".bundle/index.json").write_bytes(dumps(index))
    before = listing(place.parent)
    refused(10 if what in ("version", "codecs") else 9, str(place))
    assert listing(place.parent) == before


def test_more_than_the_disk_holds_is_refused_before_the_first_write(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same chunk again and again: a small index, an enormous file."""
    index = index_of(place)
    packs = index["chunks"]["packs"]
    assert isinstance(packs, list)
    index["files"][1]["segments"] = [[0, 0, 20]] * 50_000
    index["files"][1]["size"] = 50_000 * 20 * STEP
    rows = index["files"]
    assert isinstance(rows, list)
    row = rows.pop(1)
    rows += [{**row, "path": f"z{number}"} for number in range(3)]
    (place / ".bundle/index.json").write_bytes(dumps(index))
    before = listing(place)
    monkeypatch.setattr("modelops_bundle.operations.materialize.free_bytes", lambda _: 2 << 30)
    refused(11, str(place))
    assert listing(place) == before


def test_a_full_disk_is_told_before_the_first_write(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelops_bundle.operations.materialize.free_bytes", lambda _: len(NEW) - 1)
    before = listing(place)
    assert refused(11, str(place))["code"] == "disk-full"
    assert listing(place) == before


def test_a_plain_version_needs_nothing(tmp_path: Path) -> None:
    place = pulled(plain({"a.bin": cut(OLD)}), tmp_path / "model")
    done = call("--json", "materialize", str(place)).json
    assert (done["rebuilt"], done["already"]) == ([], [])
    assert "every file of" in call("materialize", str(place)).out


def test_a_directory_without_an_index(tmp_path: Path) -> None:
    refused(6, str(tmp_path))
    refused(6, str(tmp_path / "absent"))
    (tmp_path / "file").touch()
    refused(6, str(tmp_path / "file"))


def test_a_bundle_of_ours_needs_nothing_but_where_pointers_are(tmp_path: Path, place: Path) -> None:
    made = Bundle.create(tmp_path / "a", None, {"a.txt": "a\n"})
    assert made.json("materialize")["rebuilt"] == []
    made.write({PATH: (place / PATH).read_bytes()})
    (made.root / ".modelops-bundle/tracked").write_text(f"a.txt\n{PATH}\n")
    assert made.refused(4, "materialize")["facts"] == {"paths": [PATH]}


def test_one_that_was_killed_is_followed_by_one_that_does_the_rest(tmp_path: Path) -> None:
    wanted = {f"{number}.bin": edited(NEW, number) for number in range(4)}
    made = delta({path: cut(data) for path, data in wanted.items()}, plain({"a.bin": cut(OLD)}))
    place = pulled(made, tmp_path / "model")
    for step in ("written beside", "placed"):
        spawn("--jobs", "1", "materialize", str(place), expect=-9, before=KILL.format(step=step))
        for name, data in files(place).items():
            assert name.startswith(".~bundle-") or is_pointer(data) or data == wanted[name]
    call("materialize", str(place))
    assert files(place) == wanted


def test_two_at_once_do_not_meet(place: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (place / ".bundle/index.json").open("rb") as index:
        fcntl.flock(index, fcntl.LOCK_EX)
        assert refused(4, str(place))["code"] == "locked"
    call("materialize", str(place))


def test_progress_is_told(place: Path) -> None:
    events = call("--progress", "json", "materialize", str(place)).events
    assert [event["phase"] for event in events if event["event"] == "started"] == ["materialize"]
    assert sum(event["amount"] for event in events if event["event"] == "advanced") == len(NEW)


def test_what_stands_at_a_pointers_path_is_replaced_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes there between the look and the end: theirs stays."""
    from modelops_bundle import events

    stop = events.observe_checkpoints(
        lambda name: (place / PATH).write_bytes(b"mine") and None if name == "written beside" else None
    )
    try:
        assert refused(5, str(place))["code"] == "workspace-changed"
    finally:
        stop()
    assert (place / PATH).read_bytes() == b"mine"
    assert not list(place.rglob(".~bundle-*"))


def test_the_layers_of_a_delta_version_are_the_files_that_are_read(version: Version) -> None:
    titles = {layer.annotations[media.TITLE] for layer in version.artifact.manifest.layers}
    assert f".bundle/packs/{Digest.of(OLD).hex}" in titles
