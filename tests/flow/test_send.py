"""Large new files: hashed while they are sent."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from blake3 import blake3

from modelops_bundle.api.bundle import Bundle as Api
from modelops_bundle.errors import WorkspaceChanged
from modelops_bundle.events import Advanced, Event, Run, Started
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations.push import OPEN
from modelops_bundle.stores import learned, registries
from modelops_bundle.workspace import chunks
from tests.support.bundle import FOLDER, Bundle, Result
from tests.support.registry_process import Registry

LARGE = os.urandom(OPEN + 12_345)


def hashed(done: Result) -> int:
    """The bytes that were hashed before anything was sent. Young small files are, again and again."""
    phases = [event for event in done.events if event["event"] == "started" and event["phase"] == "hash"]
    return sum(phase["size"] for phase in phases)


def push(bundle: Bundle) -> Result:
    return bundle.run("--json", "--progress", "json", "push")


@pytest.fixture
def bundle(tmp_path: Path, remote: str) -> Bundle:
    made = Bundle.create(tmp_path / "a", remote, {"config.json": "{}\n"})
    made.push()
    made.write({"large.bin": LARGE})
    made.run("add", ".")
    return made


def test_it_is_read_once_and_the_tree_is_right(bundle: Bundle, remote: str, tmp_path: Path) -> None:
    done = push(bundle)
    assert hashed(done) < 100
    assert done.json["sent_bytes"] >= len(LARGE)
    assert bundle.json("ls", "--json", ":latest")["files"]["large.bin"]["digest"] == str(Digest.of(LARGE))
    assert Bundle.clone(remote, tmp_path / "b").tree() == bundle.tree()
    assert bundle.changes() == {}


def test_its_digest_is_known_afterwards(bundle: Bundle) -> None:
    push(bundle)
    stamp = bundle.path("large.bin").stat()
    bundle.write({"config.json": "{ }\n"})
    again = push(bundle)
    assert bundle.path("large.bin").stat().st_mtime_ns == stamp.st_mtime_ns
    assert hashed(again) <= len(LARGE) + 100
    assert again.json["sent_bytes"] < 10_000


@pytest.mark.parametrize("word", ["--dry-run", "--plan-out=plan.json"])
def test_a_plan_that_is_shown_names_every_digest(bundle: Bundle, word: str) -> None:
    shown = bundle.json("push", word)
    assert shown["digest"].startswith("sha256:")
    assert push(bundle).json["digest"] == shown["digest"]


def test_a_file_that_may_be_there_is_hashed_first(bundle: Bundle) -> None:
    push(bundle)
    bundle.path("large.bin").rename(bundle.path("moved.bin"))
    bundle.run("add", "moved.bin")
    done = push(bundle)
    assert hashed(done) >= len(LARGE)
    assert done.json["sent_bytes"] < 10_000


def test_an_executable_is_hashed_for_its_pack(bundle: Bundle, remote: str, tmp_path: Path) -> None:
    bundle.path("large.bin").rename(bundle.path("tool"))
    bundle.path("tool").chmod(0o755)
    bundle.run("add", "tool")
    assert hashed(push(bundle)) >= len(LARGE)
    assert Bundle.clone(remote, tmp_path / "b").tree() == bundle.tree()


def test_a_change_while_it_is_sent_is_refused(bundle: Bundle) -> None:
    before = bundle.json("inspect")["digest"]
    path = bundle.path("large.bin")
    sending: list[Event] = []

    def watch(event: Event) -> None:
        if isinstance(event, Started) and event.phase == "upload":
            sending.append(event)
        if sending and isinstance(event, Advanced):
            with open(path, "r+b") as file:
                file.write(os.urandom(100))

    with pytest.raises(WorkspaceChanged):
        Api.open(bundle.root, Run(watch)).push()
    assert sending
    assert bundle.json("inspect")["digest"] == before
    assert push(bundle).json["digest"] != before
    assert bundle.changes() == {}


def test_a_push_killed_after_it_sends_it_no_more(bundle: Bundle) -> None:
    bundle.killed_at("open files sent", "push")
    done = push(bundle)
    assert done.json["sent_bytes"] < 10_000
    assert bundle.changes() == {}


def test_several_are_sent_side_by_side(bundle: Bundle, remote: str, tmp_path: Path) -> None:
    bundle.write({f"{number}.bin": os.urandom(OPEN + number) for number in range(1, 4)})
    bundle.run("add", ".")
    done = push(bundle)
    assert done.json["sent_bytes"] >= 4 * OPEN
    assert Bundle.clone(remote, tmp_path / "b").tree() == bundle.tree()


def test_another_repository_of_the_registry_takes_them_over(registry: Registry, tmp_path: Path) -> None:
    first, second = (f"{registry.host}/team/{name}-{os.urandom(4).hex()}" for name in ("first", "second"))
    bundle = Bundle.create(tmp_path / "a", first, {"large.bin": LARGE, "small.txt": "small\n"})
    bundle.push()
    bundle.run("remote", "add", "other", second)
    done = bundle.json("push", "other:latest")
    assert done["sent_bytes"] < len(LARGE)
    assert Bundle.clone(second, tmp_path / "b").tree() == bundle.tree()


def test_large_new_files_that_must_be_packed_are_hashed_first(
    repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned.Learned, "profile", lambda *_: registries.Profile("few", "a test", layers=130))
    files = {f"data/{number}.dat": os.urandom(OPEN + number) for number in range(4)}
    bundle = Bundle.create(tmp_path / "a", repo, files)
    assert hashed(push(bundle)) >= 4 * OPEN
    assert Bundle.clone(repo, tmp_path / "b").tree() == bundle.tree()


def test_its_chunk_list_is_made_while_it_is_sent(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "SMALLEST", OPEN)
    assert hashed(push(bundle)) < 100
    found = chunks.ChunkCache(bundle.root / FOLDER / "chunks").get(Digest.of(LARGE))
    assert found is not None
    name, listed = found
    assert name == "fastcdc2020/16k"
    digests = [blake3(LARGE[at:end]).digest() for at, end in pairwise(listed.offsets())]
    assert sum(listed.sizes) == len(LARGE)
    assert listed.digests == b"".join(digests)


def test_a_failure_to_cut_it_does_not_stop_the_push(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "SMALLEST", OPEN)
    monkeypatch.setitem(sys.modules, "pyfastcdc", None)
    push(bundle)
    assert bundle.changes() == {}
    assert not (bundle.root / FOLDER / "chunks").exists()
