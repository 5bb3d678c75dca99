"""Files put together of chunks: from what is there, what is here, and the rest; never wrong, never twice."""

from __future__ import annotations

import hashlib
import os
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt, DiskError, DiskFull, NotFound
from modelops_bundle.events import Run, observe_checkpoints
from modelops_bundle.model.chunkmap import ChunkList, ChunkPack, Recipe
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Reader
from modelops_bundle.transfer import assemble as module
from modelops_bundle.transfer.assemble import Brought, Wanted, assemble
from modelops_bundle.transfer.hosts import Host
from modelops_bundle.transfer.ranges import NoRanges, Room
from modelops_bundle.transfer.seeds import Seeds, Source
from tests.support.chunked import CHUNKER, Version, cut, delta, listed, plain
from tests.support.things import blob
from tests.unit.transfer.test_ranges import Far

KIB = 1024
OLD = Random(1).randbytes(100 * KIB)
OLD_CHUNKS = cut(OLD, KIB)
NEW_CHUNKS = [bytes(reversed(chunk)) if n in (10, 11, 70) else chunk for n, chunk in enumerate(OLD_CHUNKS)]
NEW = b"".join(NEW_CHUNKS)
V1 = plain({"w": OLD_CHUNKS})
V2 = plain({"w": NEW_CHUNKS})


class Place:
    """A folder to assemble in, and a store."""

    def __init__(self, folder: Path, version: Version = V2, *, ranges: bool = True) -> None:
        self.folder = folder
        self.version = version
        self.far = Far(version, ranges=ranges)
        self.host = Host()
        self.lanes = threading.Semaphore(4)
        self.room = Room()
        self.staged: dict[Descriptor, Path] = {}
        self.told = 0
        self.path = folder / "it.assembly"

    def reader(self, pack: Descriptor) -> tuple[Reader, Host | None]:
        if pack in self.staged:
            return Far(self.version), None
        return self.far, self.host

    def distrust(self, pack: Descriptor, reader: Reader) -> bool:
        return False

    def stage(self, pack: Descriptor) -> int:
        self.staged[pack] = self.folder / pack.digest.hex
        return pack.size

    def progress(self, amount: int) -> None:
        self.told += amount

    def seed(self, chunks: list[bytes] | None = None, data: bytes | None = None, name: str = "old") -> Source:
        chunks = OLD_CHUNKS if chunks is None else chunks
        path = self.folder / name
        path.write_bytes(b"".join(chunks) if data is None else data)
        return Source.of_list(listed(chunks), lambda: os.open(path, os.O_RDONLY))

    def assemble(self, *sources: Source, recipe: Recipe | None = None, run: Run | None = None) -> Brought:
        entry = self.version.artifact.snapshot["w"]
        self.told = 0
        with Seeds(sources) as seeds:
            return assemble(
                self.path, entry.content, recipe or self.version.recipe("w"), seeds, self, run or Run(), self.progress
            )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_only_what_changed_comes(place: Place) -> None:
    assert place.assemble(place.seed()) == Brought(61 * KIB, 97 * KIB)
    assert place.path.read_bytes() == NEW
    # Near each other: between them lies less than another request costs.
    assert place.far.asked == [(10 * KIB, 71 * KIB)]
    assert place.told == len(NEW)


def test_nothing_comes_when_all_is_here(place: Place) -> None:
    assert place.assemble(place.seed(NEW_CHUNKS)) == Brought(0, len(NEW))
    assert place.far.asked == []
    assert place.path.read_bytes() == NEW


def test_all_comes_when_nothing_is_here(place: Place) -> None:
    assert place.assemble() == Brought(len(NEW), 0)
    assert place.far.asked == [(0, len(NEW))]
    assert place.path.read_bytes() == NEW


def test_a_seed_that_changed_by_one_byte_is_not_believed(place: Place) -> None:
    changed = bytearray(OLD)
    changed[50 * KIB] ^= 1
    brought = place.assemble(place.seed(data=bytes(changed)))
    assert place.path.read_bytes() == NEW
    assert place.far.asked == [(10 * KIB, 71 * KIB), (50 * KIB, 51 * KIB)]
    assert brought == Brought(62 * KIB, 96 * KIB)


def test_a_seed_that_is_gone_is_made_up_for(place: Place) -> None:
    source = place.seed()
    (place.folder / "old").unlink()
    assert place.assemble(source).reused == 0
    assert place.path.read_bytes() == NEW


def test_chunks_at_other_places_are_found(tmp_path: Path) -> None:
    order = list(reversed(range(100)))
    turned = plain({"w": [OLD_CHUNKS[n] for n in order]})
    place = Place(tmp_path, turned)
    assert place.assemble(place.seed()) == Brought(0, len(OLD))
    assert place.path.read_bytes() == b"".join(OLD_CHUNKS[n] for n in order)


def test_the_same_chunk_is_brought_once(tmp_path: Path) -> None:
    place = Place(tmp_path, plain({"w": [b"a" * KIB, *OLD_CHUNKS, b"a" * KIB, b"a" * KIB]}))
    seed = place.seed()
    assert place.assemble(seed) == Brought(KIB, 102 * KIB)
    assert place.path.read_bytes() == b"a" * KIB + OLD + b"a" * 2 * KIB


# --- going on --------------------------------------------------------------------------------------------------------


@contextmanager
def observed(observer: Callable[[str], None]) -> Iterator[None]:
    """Checkpoints are told to `observer` meanwhile."""
    stop = observe_checkpoints(observer)
    try:
        yield
    finally:
        stop()


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("after", [0, 1, 50, 97, 98, 99])
def test_a_killed_run_brings_no_chunk_twice(place: Place, after: int) -> None:
    seen: list[str] = []

    def strike(name: str) -> None:
        if name == "chunk written":
            seen.append(name)
            if len(seen) > after:
                raise Killed

    with observed(strike), pytest.raises(Killed):
        place.assemble(place.seed())
    assert not place.path.exists() or place.path.stat().st_size == len(NEW)
    written = len(seen) - 1
    seen.clear()
    with observed(seen.append):
        place.assemble(place.seed())
    assert place.path.read_bytes() == NEW
    # Two threads write: one more may be in place than was told.
    assert 99 - written <= seen.count("chunk written") + 1 <= 102 - written


def test_what_came_is_not_asked_for_again(place: Place) -> None:
    place.assemble()
    place.far.asked.clear()
    assert place.assemble() == Brought(0, len(NEW))
    assert place.far.asked == []


def test_holes_are_not_read_and_wrong_bytes_are_replaced(place: Place) -> None:
    with place.path.open("wb") as file:
        file.truncate(len(NEW))
        file.seek(20 * KIB)
        file.write(NEW[20 * KIB : 30 * KIB])
        file.seek(40 * KIB)
        file.write(bytes(range(256)) * 16)
    brought = place.assemble()
    assert place.path.read_bytes() == NEW
    assert brought.reused == 10 * KIB


def test_a_file_of_another_length_is_begun_anew(place: Place) -> None:
    place.path.write_bytes(NEW[:-1])
    assert place.assemble() == Brought(len(NEW), 0)
    assert place.path.read_bytes() == NEW


def test_zeros_are_a_chunk_as_any_other(tmp_path: Path) -> None:
    place = Place(tmp_path, plain({"w": [bytes(KIB), OLD_CHUNKS[0], bytes(64 * KIB)]}))
    place.assemble()
    assert place.path.read_bytes() == bytes(KIB) + OLD_CHUNKS[0] + bytes(64 * KIB)


def test_where_nothing_tells_of_holes_all_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.assemble()
    place.far.asked.clear()
    monkeypatch.delattr(os, "SEEK_DATA")
    assert place.assemble() == Brought(0, len(NEW))


# --- copies that share blocks ----------------------------------------------------------------------------------------


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A file system that can: what this one does by copying."""
    shared: list[int] = []

    def reflink(source: int, out: int) -> bool:
        shared.append(source)
        os.pwrite(out, os.pread(source, 1 << 30, 0), 0)
        return True

    monkeypatch.setattr(module, "reflink", reflink)
    return shared


def test_blocks_are_shared_first_and_only_differences_written(place: Place, sharing: list[int]) -> None:
    written: list[str] = []
    with observed(written.append):
        assert place.assemble(place.seed()) == Brought(61 * KIB, 97 * KIB)
    assert len(sharing) == 1
    assert written.count("chunk written") == 3
    assert place.path.read_bytes() == NEW


@pytest.mark.parametrize("length", [30 * KIB, 50 * KIB, 99 * KIB, 150 * KIB])
def test_a_shared_file_of_another_length_is_cut(tmp_path: Path, sharing: list[int], length: int) -> None:
    old = (OLD_CHUNKS + cut(Random(3).randbytes(60 * KIB), KIB))[: length // KIB]
    place = Place(tmp_path)
    place.assemble(place.seed(old))
    assert len(sharing) == 1
    assert place.path.read_bytes() == NEW


def test_a_file_with_little_in_its_place_is_not_shared(place: Place, sharing: list[int]) -> None:
    place.assemble(place.seed(OLD_CHUNKS[:20]))
    assert sharing == []
    assert place.path.read_bytes() == NEW


def test_a_file_with_nothing_in_its_place_is_not_shared(tmp_path: Path, sharing: list[int]) -> None:
    place = Place(tmp_path, plain({"w": [b"?" * 7, *OLD_CHUNKS]}))
    place.assemble(place.seed())
    assert sharing == []
    assert place.path.read_bytes() == b"?" * 7 + OLD


# --- packs -----------------------------------------------------------------------------------------------------------

DELTA = delta({"w": NEW_CHUNKS}, V1, codec="zstd")
CLOSE_CHUNKS = [bytes([chunk[0] ^ 1]) + chunk[1:] if n in (10, 11, 70) else chunk for n, chunk in enumerate(OLD_CHUNKS)]
XOR = {new: old for new, old in zip(CLOSE_CHUNKS, OLD_CHUNKS, strict=True) if new != old}
DIFFERENCE = delta({"w": CLOSE_CHUNKS}, V1, codec="xor+bp2+zstd", xor=XOR)
assert len(DIFFERENCE.chunks.packs[-1].chunks.bases) == 3


@pytest.mark.parametrize("version", [DELTA, DIFFERENCE], ids=["pack", "difference"])
@pytest.mark.parametrize("seeded", [True, False])
def test_a_delta_version_is_put_together(tmp_path: Path, version: Version, seeded: bool) -> None:
    place = Place(tmp_path, version)
    brought = place.assemble(*([place.seed()] if seeded else []))
    assert place.path.read_bytes() == b"".join(CLOSE_CHUNKS if version is DIFFERENCE else NEW_CHUNKS)
    pack = version.chunks.packs[-1].blob.size
    # What differences are to may come once more, when most of its pack comes for other chunks.
    bases = 61 * KIB if version is DIFFERENCE else 0
    assert brought.received == (pack if seeded else pack + len(OLD) + bases)


@pytest.mark.parametrize("version", [DELTA, DIFFERENCE], ids=["pack", "difference"])
def test_a_host_without_ranges_sends_each_pack_once(tmp_path: Path, version: Version) -> None:
    place = Place(tmp_path, version, ranges=False)
    place.assemble()
    assert place.path.read_bytes() == b"".join(CLOSE_CHUNKS if version is DIFFERENCE else NEW_CHUNKS)
    sizes = sorted(pack.blob.size for pack in version.chunks.packs)
    asked = [stop - start for start, stop in place.far.asked] + [pack.size for pack in place.staged]
    assert sorted(set(asked)) == sizes
    assert all(start == 0 for start, _ in place.far.asked)


def test_packs_that_do_not_stay_here_are_no_reason_to_go_on_for_ever(tmp_path: Path) -> None:
    place = Place(tmp_path, DELTA, ranges=False)
    place.stage = lambda pack: pack.size  # type: ignore[method-assign]
    # Some of the pack is here, and its host gives no part of it.
    with pytest.raises(DiskError, match="go away"):
        place.assemble(place.seed(), place.seed(NEW_CHUNKS[10:12], name="new"))


def test_a_host_without_ranges_gives_plain_files_whole(tmp_path: Path) -> None:
    place = Place(tmp_path, ranges=False)
    with pytest.raises(NoRanges):
        place.assemble(place.seed())
    assert place.staged == {}


# --- lies ------------------------------------------------------------------------------------------------------------


def test_chunks_that_make_another_file_are_corrupt_and_not_kept(place: Place) -> None:
    """Every chunk is what the list says, and the list is not of this file."""
    swapped = [NEW_CHUNKS[1], NEW_CHUNKS[0], *NEW_CHUNKS[2:]]
    place.far.blobs[blob(NEW).digest] = b"".join(swapped)
    recipe = Recipe(CHUNKER, ((0, 0, 100),), (ChunkPack(blob(NEW), listed(swapped)),))
    with pytest.raises(Corrupt, match="the chunks that it is said to be made of"):
        place.assemble(recipe=recipe)
    assert not place.path.exists()


def test_a_damaged_pack_is_corrupt_and_what_is_good_is_kept(place: Place) -> None:
    place.far.spoil = lambda start, data: data[: 50 * KIB - start] + bytes(max(0, len(data) - 50 * KIB + start))
    with pytest.raises(Corrupt):
        place.assemble()
    place.far.spoil = lambda _start, data: data
    assert place.assemble().reused == 50 * KIB
    assert place.path.read_bytes() == NEW


def test_a_pack_that_is_gone_is_not_found(place: Place) -> None:
    place.far.blobs.clear()
    with pytest.raises(NotFound):
        place.assemble(place.seed())


def test_a_full_disk_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_at", full)
    with pytest.raises(DiskFull):
        place.assemble(place.seed())


def test_columns_name_what_is_missing() -> None:
    wanted = Wanted(DELTA.recipe("w"))
    with Seeds([Source.of_list(listed(OLD_CHUNKS), lambda: -1)]) as seeds:
        here, away = wanted.missing(seeds)
    assert list(away) == [10, 11, 70]
    assert (wanted.size(here), wanted.size(away)) == (97 * KIB, 3 * KIB)
    assert len(wanted) == 100


# --- whatever was edited ---------------------------------------------------------------------------------------------

EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "change"]), st.integers(0, 60), st.binary(min_size=1, max_size=40)),
    max_size=8,
)


def edited(chunks: list[bytes], edits: list[tuple[str, int, bytes]]) -> list[bytes]:
    made = list(chunks)
    for kind, at, data in edits:
        at %= len(made) + 1
        if kind == "insert":
            made.insert(at, data)
        elif at < len(made) and kind == "change":
            made[at] = data
        elif at < len(made) and len(made) > 1:
            del made[at]
    return made


@given(edits=EDITS, codec=st.sampled_from(["plain", "none", "zstd", "bp2+zstd"]), lost=st.sets(st.integers(0, 39)))
def test_any_edit_is_rebuilt_exactly(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, int, bytes]], codec: str, lost: set[int]
) -> None:
    old = cut(Random(9).randbytes(2000), 50)
    new = edited(old, edits)
    base = plain({"w": old})
    version = plain({"w": new}) if codec == "plain" else delta({"w": new}, base, codec=codec)
    place = Place(tmp_path_factory.mktemp("edit"), version)
    spoiled = b"".join(bytes(len(chunk)) if n in lost else chunk for n, chunk in enumerate(old))
    brought = place.assemble(place.seed(old, spoiled))
    assert hashlib.sha256(place.path.read_bytes()).hexdigest() == version.artifact.snapshot["w"].digest.hex
    assert brought.reused <= len(b"".join(new))
    assert place.told == len(b"".join(new))


@pytest.mark.parametrize("count", [11, 13])
def test_a_list_of_another_size_is_corrupt(tmp_path: Path, count: int) -> None:
    """Also where it begins as the file does: a saved plan may come from anybody."""
    chunks = cut(Random(4).randbytes(13 * 100), 100)
    place = Place(tmp_path, plain({"w": chunks[:12]}))
    pack = ChunkPack(blob(b"".join(chunks)), listed(chunks))
    with pytest.raises(Corrupt, match=f"have {count * 100} bytes"):
        place.assemble(recipe=Recipe(CHUNKER, ((0, 0, count),), (pack,)))


@given(
    order=st.permutations(range(12)),
    sizes=st.lists(st.integers(1, 300), min_size=12, max_size=12),
    wrong=st.sets(st.integers(0, 11), max_size=3),
)
def test_no_list_makes_another_file(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], sizes: list[int], wrong: set[int]
) -> None:
    """Whatever a list says of a pack: the file is right, or there is none."""
    chunks = cut(Random(4).randbytes(12 * 100), 100)
    version = plain({"w": chunks})
    place = Place(tmp_path_factory.mktemp("lie"), version)
    said = listed([bytes([n]) * sizes[n] if n in wrong else chunks[n] for n in range(12)])
    segments = tuple((0, n, 1) for n in order)
    recipe = Recipe(CHUNKER, segments, (ChunkPack(blob(b"".join(chunks)), said),))
    right = order == list(range(12)) and not wrong
    try:
        place.assemble(place.seed(chunks), recipe=recipe)
    except Corrupt:
        assert not right
    else:
        assert place.path.read_bytes() == b"".join(chunks)


def two_sizes() -> tuple[bytes, Descriptor, Recipe]:
    """A list that calls the first half of a chunk by the name of all of it."""
    first, other, rest = NEW_CHUNKS[0], NEW_CHUNKS[1], NEW_CHUNKS[1][:512]
    data = first + other + rest
    digests = listed([first, other, other]).digests
    pack = ChunkPack(blob(data + b"."), ChunkList(array("I", [KIB, KIB, 512]), digests))
    return data, blob(data), Recipe(CHUNKER, ((0, 0, 3),), (pack,))


def test_a_chunk_of_two_sizes_is_never_more_than_its_place(tmp_path: Path) -> None:
    """The longer one was written to both places, the last of them beyond the end of the file."""
    data, what, recipe = two_sizes()
    place = Place(tmp_path)
    place.far.blobs[recipe.packs[0].blob.digest] = data + b"."
    with Seeds() as seeds, pytest.raises(Corrupt):
        assemble(place.path, what, recipe, seeds, place, Run(), place.progress)
    assert place.path.stat().st_size == what.size


def test_a_file_that_grew_meanwhile_does_not_get_its_name(place: Place) -> None:
    def grow(name: str) -> None:
        if name == "chunk written":
            with place.path.open("ab") as file:
                file.write(b"more")

    with observed(grow), pytest.raises(DiskError, match="another program"):
        place.assemble()
