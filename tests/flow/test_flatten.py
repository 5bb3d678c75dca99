"""flatten: the plain version of one in delta storage, in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import DiskError
from modelops_bundle.events import observe_checkpoints
from modelops_bundle.formats import cuts
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations import flatten
from modelops_bundle.testing import actions
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.workspace import chunks
from tests.support import chunked
from tests.support.bundle import KILL, Bundle, call, spawn
from tests.support.clones import Pair
from tests.support.deltas import edited, near, weights
from tests.support.oci import Repository

OLD = Random(1).randbytes(1_000_000)
NEW = OLD[:400_000] + b"another middle" + OLD[450_000:]
PATH = "weights/model.bin"
SMALLEST = 500_000
SMALL = weights(1, 20_000)


@pytest.fixture(autouse=True)
def _small_files_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", SMALLEST)
    monkeypatch.setattr(chunks, "SMALLEST", SMALLEST)


LOW = f"""
from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import DiskError
from modelops_bundle.events import observe_checkpoints
from modelops_bundle.formats import cuts
from modelops_bundle.workspace import chunks
cuts.SMALLEST = chunks.SMALLEST = {SMALLEST}
"""


def changed(made: Bundle) -> str:
    """A bundle with v1 plain and v2 in delta storage; the digest of v2."""
    made.write({PATH: OLD, "other.bin": OLD[::-1], "config.json": "{}\n", "run.sh": "#!/bin/sh\n"})
    made.path("run.sh").chmod(0o755)
    made.path("link").symlink_to(PATH)
    made.path("empty").mkdir()
    made.run("add", ".")
    made.push("--tag", "v1")
    made.write({PATH: NEW})
    digest = made.push("--tag", "v2", "--delta", "--annotation", "org.example.note=kept")
    assert storage(made, ":v2") == "delta"
    return digest


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    """On a layout: what goes another way on a registry asks for `remote`."""
    return Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'hub'}")


def storage(made: Bundle, ref: str) -> str:
    return str(annotations(made, ref)["dev.modelops.bundle.storage"])


def annotations(made: Bundle, ref: str) -> dict[str, str]:
    found = made.json("inspect", "--manifest", ref)
    assert isinstance(found["annotations"], dict)
    return found["annotations"]


def digest_of(made: Bundle, ref: str) -> str:
    return str(made.json("inspect", ref)["digest"])


def test_the_digest_is_that_of_a_plain_push(remote: str, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", remote)
    before = changed(made)
    content = annotations(made, ":v2")["dev.modelops.bundle.content"]
    done = made.json("flatten", ":v2")
    assert (done["before"], done["files"], done["size"]) == (before, [PATH], len(NEW))
    assert (done["sent_blobs"], done["sent_bytes"], done["changed"]) == (1, len(NEW), True)
    assert digest_of(made, ":v2") == done["digest"]
    found = annotations(made, ":v2")
    assert (found["dev.modelops.bundle.storage"], found["org.example.note"]) == ("plain", "kept")
    assert found["dev.modelops.bundle.content"] == content
    plain = made.push("--tag", "v3", "--plain", "--annotation", "org.example.note=kept")
    assert plain == done["digest"]
    clone = Bundle.clone(f"{remote}:v2", tmp_path / "c")
    assert clone.tree() == made.tree()
    made.run("verify", ":v2", "--deep")


def test_another_tag_leaves_the_first(made: Bundle) -> None:
    before = changed(made)
    done = made.json("flatten", ":v2", "--tag", "release")
    assert (storage(made, ":v2"), storage(made, ":release")) == ("delta", "plain")
    assert digest_of(made, ":v2") == before
    assert made.json("flatten", ":v2", "--tag", "release")["digest"] == done["digest"], "a second time"


def test_a_digest_needs_a_tag(made: Bundle) -> None:
    before = changed(made)
    made.refused(2, "flatten", f"@{before}")
    assert made.json("flatten", f"@{before}", "--tag", "release")["changed"]


def test_a_plain_version_stays(made: Bundle) -> None:
    changed(made)
    before = digest_of(made, ":v1")
    done = made.json("flatten", ":v1", "--tag", "other")
    assert (done["changed"], done["digest"]) == (False, before)
    assert "is plain already" in made.run("flatten", ":v1").out
    assert {tag["tag"] for tag in made.json("tags")["tags"]} == {"v1", "v2"}


def test_a_dry_run_writes_nothing(made: Bundle) -> None:
    before = changed(made)
    done = made.json("flatten", ":v2", "--dry-run")
    assert (done["digest"], done["files"], done["size"], done["dry_run"]) == (None, [PATH], len(NEW), True)
    assert "Would write 1 file" in made.run("flatten", ":v2", "-n").out
    assert digest_of(made, ":v2") == before


def test_what_is_absent(made: Bundle) -> None:
    changed(made)
    made.refused(6, "flatten", ":absent")
    made.refused(2, "flatten", ":v2", "--tag", "_i.x.y.z")


def test_this_clone_goes_on_from_there(made: Bundle) -> None:
    changed(made)
    done = made.json("flatten", ":v2")
    assert made.json("pull", ":v2")["digest"] == done["digest"]
    assert made.changes(":v2") == {}
    made.write({"config.json": "2\n"})
    made.push("--tag", "v2")
    assert [entry["verb"] for entry in made.json("log")["log"]].count("flatten") == 1


def test_a_version_that_this_clone_has_not_seen_is_not_flattened_away(pair: Pair) -> None:
    changed(pair.a)
    pair.b.run("--yes", "pull", ":v1", "--overwrite")
    pair.b.write({PATH: OLD[:300_000] + b"b" + OLD[300_000:]})
    theirs = pair.b.push("--tag", "v2", "--delta", "--force")
    error = pair.a.refused(5, "flatten", ":v2")
    assert (error["code"], error["facts"]["found"]) == ("tag-moved", theirs)
    assert digest_of(pair.b, ":v2") == theirs
    assert pair.a.json("flatten", ":v2", "--expect", theirs)["changed"]


def test_a_clone_that_never_saw_the_tag_still_has_not(pair: Pair) -> None:
    changed(pair.a)
    pair.b.run("flatten", ":v2")
    pair.b.write({"config.json": "b\n"})
    assert pair.b.refused(5, "push", "--tag", "v2")["code"] == "tag-moved"


def test_another_tag_that_stands_for_something_else_stays(pair: Pair) -> None:
    changed(pair.a)
    pair.b.commit({"config.json": "b\n"}, "--tag", "release")
    assert pair.a.refused(5, "flatten", ":v2", "--tag", "release")["code"] == "tag-moved"
    pair.a.run("flatten", ":v2", "--tag", "release", "--force")
    assert storage(pair.a, ":release") == "plain"


@pytest.mark.registry
def test_outside_of_a_bundle(repo: str, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", repo)
    changed(made)
    done = call("-C", str(tmp_path), "--json", "flatten", f"{repo}:v2", "--tag", "release").json
    assert Repository(repo).digest("release") == done["digest"]
    assert call("-C", str(tmp_path), "--json", "flatten", f"{repo}:v2").json["digest"] == done["digest"]
    again = call("-C", str(tmp_path), "--json", "flatten", f"{repo}:v2").json
    assert not again["changed"]


def test_one_that_was_killed_sends_no_blob_again(fake: Fake, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", f"{fake.host}/m")
    before = changed(made)
    for step in ("file flattened", "manifest sent"):
        spawn("-C", str(made.root), "flatten", ":v2", expect=-9, before=LOW + KILL.format(step=step))
        assert digest_of(made, ":v2") == before
    done = made.json("flatten", ":v2")
    assert (done["sent_blobs"], done["existing_blobs"]) == (0, 1)
    assert done["digest"] == made.push("--tag", "v3", "--plain", "--annotation", "org.example.note=kept")


def small(wanted: Mapping[str, bytes], tmp_path: Path, codec: str = "bp2+zstd") -> str:
    """A layout with a delta version of files that no push would cut."""
    place = f"layout:{tmp_path / 'layout'}"
    base = chunked.plain({"old.bin": chunked.cut(SMALL)})
    xor = dict(zip(chunked.cut(wanted["a.bin"]), chunked.cut(SMALL), strict=True)) if "xor" in codec else {}
    version = chunked.delta({path: chunked.cut(data) for path, data in wanted.items()}, base, codec=codec, xor=xor)
    chunked.publish(f"{place}:v1", version)
    return place


@pytest.mark.parametrize("codec", ["none", "zstd", "xor+bp2+zstd"])
def test_small_files_of_chunks_and_differences(tmp_path: Path, codec: str) -> None:
    data = SMALL[:3000] + near(SMALL[3000:])
    place = small({"a.bin": data, "same.bin": data}, tmp_path, codec)
    done = call("--json", "flatten", f"{place}:v1").json
    assert (done["files"], done["sent_blobs"]) == (["a.bin", "same.bin"], 1)
    clone = Bundle.clone(f"{place}:v1", tmp_path / "c")
    assert clone.path("a.bin").read_bytes() == clone.path("same.bin").read_bytes() == data


def test_damaged_chunks_leave_the_tag(tmp_path: Path) -> None:
    place = small({"a.bin": edited(SMALL, 3, 7)}, tmp_path)
    before = call("--json", "inspect", f"{place}:v1").json["digest"]
    largest = max((tmp_path / "layout/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(data)
    assert call("--json", "flatten", f"{place}:v1", expect=9).error["code"] == "corrupt"
    assert call("--json", "inspect", f"{place}:v1").json["digest"] == before
    assert not (tmp_path / "layout/blobs/sha256" / Digest.of(edited(SMALL, 3, 7)).hex).exists()


def test_what_comes_damaged_leaves_the_tag(fake: Fake, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", f"{fake.host}/m")
    before = changed(made)
    old = Digest.of(OLD).hex
    fake.fault(lambda method, path: method == "GET" and old in path, actions.Corrupt(5_000), times=None)
    assert made.refused(9, "flatten", ":v2")["code"] == "corrupt"
    fake.heal()
    assert digest_of(made, ":v2") == before
    assert f"sha256:{Digest.of(NEW).hex}" not in fake.protocol.repository("m").blobs
    made.run("flatten", ":v2")


def test_nothing_of_a_file_is_kept_on_disk(fake: Fake, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", f"{fake.host}/m")
    changed(made)
    large: list[Path] = []

    def look(_name: str) -> None:
        large.extend(path for path in made.root.rglob("*") if path.is_file() and path.stat().st_size == len(NEW))

    made.path(PATH).unlink()
    stop = observe_checkpoints(look)
    try:
        made.run("flatten", ":v2", "--tag", "release")
    finally:
        stop()
    assert not large


@pytest.mark.parametrize("why", ["no room", "full meanwhile", "read-only"])
def test_where_no_file_can_wait_it_streams(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    made = Bundle.create(tmp_path / "a", remote)
    changed(made)
    if why == "no room":
        monkeypatch.setattr(flatten, "free_bytes", lambda _: 4 * len(NEW) - 1)
    elif why == "full meanwhile":
        monkeypatch.setattr(Spool, "write", lambda spool, _data: spool.close())
    else:
        monkeypatch.setattr(flatten, "Spool", _read_only)
    assert made.json("flatten", ":v2")["sent_blobs"] == 1
    made.run("verify", ":v2", "--deep")


def _read_only(_folder: Path) -> Spool:
    raise DiskError("read-only")
