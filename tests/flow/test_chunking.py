"""Chunk lists of large files: left behind by every command that hashes them, and found where none was left."""

from __future__ import annotations

import json
import os
import shutil
from array import array
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random

import pytest
from blake3 import blake3

from modelops_bundle.errors import Corrupt, Interrupted, WorkspaceChanged
from modelops_bundle.events import Advanced, Event, Finished, ItemStarted, Limits, Run, Started
from modelops_bundle.formats import cuts
from modelops_bundle.model.chunkmap import ChunkList
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations.chunking import Lists, chunk_lists, is_likely
from modelops_bundle.operations.local_state import entries_at, keys_at
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace import chunks
from modelops_bundle.workspace.project import Project
from tests.support import chunked
from tests.support.bundle import FOLDER, Bundle

LOW = 300_000
"""Bytes from which files are cut here."""
FAST = "fastcdc2020/16k"
TENSORS = "safetensors/1m"


@pytest.fixture(autouse=True)
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "SMALLEST", LOW)


def safetensors(data: bytes) -> bytes:
    """A file of one tensor of bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


CSV, MODEL = Random(1).randbytes(LOW + 777), safetensors(Random(2).randbytes(3 << 20))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with two files that are cut and two that are not; nothing is hashed yet."""
    files = {"rows.csv": CSV, "m.safetensors": MODEL, "rows.csv.gz": CSV[::-1], "small.bin": CSV[: LOW - 1]}
    return Bundle.create(tmp_path / "a", None, files)


def kept(bundle: Bundle) -> set[str]:
    """The digests whose chunk lists are kept."""
    folder = bundle.root / FOLDER / "chunks"
    return set(os.listdir(folder)) if folder.exists() else set()


def forget(bundle: Bundle) -> None:
    shutil.rmtree(bundle.root / FOLDER / "chunks", ignore_errors=True)


def both() -> set[str]:
    return {Digest.of(CSV).hex, Digest.of(MODEL).hex}


class Look:
    """A session on a bundle and its tree as it is now."""

    def __init__(self, bundle: Bundle, jobs: int = 4) -> None:
        self.events: list[Event] = []
        self.run = Run(self.events.append, Limits(jobs=jobs))
        self.session = Session(Project(bundle.root), self.run, cwd=bundle.root)
        self.paths = sorted(path for path in bundle.tree() if bundle.path(path).is_file())
        self.here: Snapshot = entries_at(self.session, self.paths)
        self.keys = {path: tuple(key) for path, key in keys_at(self.session, self.paths).items()}
        self.events.clear()

    def lists(self) -> Lists:
        return chunk_lists(self.session, self.here, self.keys, self.paths)


@pytest.fixture
def look(bundle: Bundle) -> Iterator[Look]:
    """What is at hand when nothing was kept."""
    found = Look(bundle)
    forget(bundle)
    yield found
    found.session.close()


def of(data: bytes, listed: ChunkList) -> bool:
    """Whether a list is that of `data`."""
    digests = [blake3(data[at:end]).digest() for at, end in pairwise(listed.offsets())]
    return sum(listed.sizes) == len(data) and listed.digests == b"".join(digests)


# --- left behind -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("status",), ("push",), ("push", "--dry-run")])
def test_whoever_hashes_a_large_file_leaves_its_list(bundle: Bundle, words: tuple[str, ...]) -> None:
    forget(bundle)
    (bundle.root / FOLDER / "index").unlink(missing_ok=True)
    bundle.run(*words)
    assert kept(bundle) == both()


def test_a_pull_leaves_those_of_files_that_it_finds(bundle: Bundle, tmp_path: Path) -> None:
    bundle.push()
    other = Bundle.create(tmp_path / "b", f"layout:{bundle.root / FOLDER / 'store'}")
    other.write({"rows.csv": CSV})
    other.run("pull")
    assert Digest.of(CSV).hex in kept(other)


def test_a_clone_that_cannot_be_written_to_is_looked_at_all_the_same(bundle: Bundle) -> None:
    forget(bundle)
    (bundle.root / FOLDER / "index").unlink(missing_ok=True)
    (bundle.root / FOLDER / "chunks").write_text("in the way")
    assert set(bundle.changes()) == {"rows.csv", "m.safetensors", "rows.csv.gz", "small.bin"}


def test_a_pull_keeps_what_the_version_says_as_its_word(tmp_path: Path) -> None:
    place = f"layout:{tmp_path / 'store'}:v1"
    chunked.publish(place, chunked.plain({"rows.csv": chunked.cut(CSV, 50_000), "small.txt": b"small"}))
    bundle = Bundle.clone(place, tmp_path / "b")
    cache = Session(Project(bundle.root), Run(), cwd=bundle.root).chunks
    assert cache.get(Digest.of(CSV)) is None
    assert cache.get(Digest.of(CSV), told=True) == (chunked.CHUNKER, chunked.listed(chunked.cut(CSV, 50_000)))
    assert kept(bundle) == {Digest.of(CSV).hex}


MODULES = ("blake3", "pyfastcdc", "modelops_bundle.formats.cuts", "modelops_bundle.formats.chunker")
LOADED = f"""
import atexit, sys
atexit.register(lambda: print("loaded", *(name for name in {MODULES!r} if name in sys.modules), file=sys.stderr))
"""


@pytest.mark.parametrize(("size", "expected"), [(1 << 20, set()), (64 << 20, set(MODULES))])
def test_only_a_large_file_loads_what_cuts_it(tmp_path: Path, size: int, expected: set[str]) -> None:
    """The real size: mostly a hole, which is one chunk again and again."""
    bundle = Bundle.create(tmp_path / "a", None, {"config.json": "{}"})
    with open(bundle.path("large.bin"), "wb") as file:
        file.write(CSV)
        file.truncate(size)
    bundle.run("add", ".")
    done = bundle.spawn("status", before=LOADED)
    [line] = [line for line in done.err.splitlines() if line.startswith("loaded")]
    assert set(line.split()[1:]) == expected
    assert len(kept(bundle)) == bool(expected)


# --- asked for -------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_not_read_again(bundle: Bundle) -> None:
    look = Look(bundle)
    found = look.lists()
    assert look.events == []
    assert {digest.hex: name for digest, (name, _) in found.items()} == {
        Digest.of(CSV).hex: FAST,
        Digest.of(MODEL).hex: TENSORS,
    }
    assert of(CSV, found[Digest.of(CSV)][1])
    assert of(MODEL, found[Digest.of(MODEL)][1])


@pytest.mark.parametrize("jobs", [1, 4])
def test_what_is_not_kept_is_read_once_and_kept(bundle: Bundle, jobs: int) -> None:
    expected = Look(bundle).lists()
    forget(bundle)
    look = Look(bundle, jobs)
    forget(bundle)
    assert look.lists() == expected
    assert kept(bundle) == both()
    look.events.clear()
    assert look.lists() == expected
    assert look.events == []


def test_events_tell_the_whole_story(look: Look) -> None:
    look.lists()
    sizes = {"rows.csv": len(CSV), "m.safetensors": len(MODEL)}
    assert look.events[0] == Started("chunk", 2, sum(sizes.values()))
    started = {event for event in look.events if isinstance(event, ItemStarted)}
    assert started == {ItemStarted(path, path, size) for path, size in sizes.items()}
    moved = [event for event in look.events if isinstance(event, Advanced)]
    assert sum(event.amount for event in moved) == len(CSV) + len(MODEL)
    assert {event for event in look.events if isinstance(event, Finished)} == {
        Finished("rows.csv", "copied"),
        Finished("m.safetensors", "copied"),
    }


def test_the_same_content_is_read_once(bundle: Bundle) -> None:
    shutil.copy(bundle.path("rows.csv"), bundle.path("again.csv"))
    look = Look(bundle)
    forget(bundle)
    look.lists()
    assert look.events[0] == Started("chunk", 2, len(CSV) + len(MODEL))


def test_a_name_that_says_compressed_has_no_list_whatever_is_kept(bundle: Bundle) -> None:
    Look(bundle).lists()
    bundle.path("rows.csv").rename(bundle.path("rows.zst"))
    assert {digest.hex for digest in Look(bundle).lists()} == {Digest.of(MODEL).hex}


def test_a_damaged_list_is_made_again(bundle: Bundle) -> None:
    look = Look(bundle)
    expected = look.lists()
    path = bundle.root / FOLDER / "chunks" / Digest.of(CSV).hex
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert look.lists() == expected
    assert look.events[0] == Started("chunk", 1, len(CSV))
    assert path.read_bytes() == data


def test_somebodys_word_is_compared_with_the_file(bundle: Bundle, look: Look) -> None:
    lie = ChunkList(chunks.array("I", [len(CSV)]), bytes(32))
    look.session.chunks.put(Digest.of(CSV), FAST, lie, told=True)
    assert of(CSV, look.lists()[Digest.of(CSV)][1])


# --- what may happen meanwhile ---------------------------------------------------------------------------------------


def test_a_file_that_changed_is_not_listed(bundle: Bundle, look: Look) -> None:
    bundle.write({"rows.csv": CSV[::-1]})
    with pytest.raises(WorkspaceChanged, match=r"rows\.csv changed since it was hashed"):
        look.lists()
    assert not kept(bundle) & {Digest.of(CSV).hex, Digest.of(CSV[::-1]).hex}


def test_a_file_that_changes_while_it_is_read_is_not_listed(
    bundle: Bundle, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(event: Event) -> None:
        if isinstance(event, Advanced) and event.key == "m.safetensors":
            os.utime(bundle.path("m.safetensors"), ns=(1, 1))

    object.__setattr__(look.run, "emit", watch)
    with pytest.raises(WorkspaceChanged, match=r"m\.safetensors"):
        look.lists()
    assert Digest.of(MODEL).hex not in kept(bundle)


def test_other_bytes_under_the_same_stamps_are_found(bundle: Bundle, look: Look) -> None:
    """As a disk does it that forgets: the digest is of bytes that are there no more."""
    wrong = {path: entry if path != "rows.csv" else look.here["m.safetensors"] for path, entry in look.here.items()}
    wrong["rows.csv"] = type(wrong["rows.csv"])("file", Digest.of(b"?"), len(CSV), False, "data")
    look.here = Snapshot(wrong)
    with pytest.raises(Corrupt, match=r"rows\.csv holds other bytes"):
        look.lists()
    assert Digest.of(b"?").hex not in kept(bundle)


def test_it_can_be_cancelled(look: Look) -> None:
    look.run.cancel()
    with pytest.raises(Interrupted):
        look.lists()


def test_a_list_that_cannot_be_kept_is_given_all_the_same(bundle: Bundle, look: Look) -> None:
    (bundle.root / FOLDER / "chunks").write_text("in the way")
    assert of(CSV, look.lists()[Digest.of(CSV)][1])


# --- the word of others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["nothing", "digests", "chunker", "cuts", "size"])
def test_what_others_say_of_a_file_is_looked_at(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", LOW)
    plan = cuts.chunker_for("m.safetensors", len(MODEL), lambda at, count: MODEL[at : at + count], smallest=LOW)
    assert plan is not None
    assert plan.sizes is not None
    sizes, edges = plan.sizes, [0, *accumulate(plan.sizes)]
    digests = b"".join(blake3(MODEL[start:stop]).digest() for start, stop in pairwise(edges))
    if wrong == "digests":
        digests = digests[32:] + digests[:32]
    if wrong in ("cuts", "size"):
        sizes = array("I", [sizes[0] + 1, sizes[1] - (wrong == "cuts"), *sizes[2:]])
    name = FAST if wrong == "chunker" else plan.chunker
    told = name, ChunkList(sizes, digests)
    believed = is_likely("m.safetensors", len(MODEL), told, lambda _path, at, count: MODEL[at : at + count])
    assert believed is (wrong == "nothing")
