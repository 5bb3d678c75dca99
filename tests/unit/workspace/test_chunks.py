"""Chunk lists that are kept: believed whole or not at all, and made while a file is hashed."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from modelops_bundle.disk.hashing import hash_file
from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import DiskError
from modelops_bundle.events import Run
from modelops_bundle.formats import chunker, cuts
from modelops_bundle.model.chunkmap import DIGEST_SIZE, ChunkList
from modelops_bundle.model.digest import Digest
from modelops_bundle.workspace import chunks
from modelops_bundle.workspace.chunks import ChunkCache

ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")
FAST = "fastcdc2020/16k"
SMALL = 300_000
"""Bytes from which files are cut here."""


def made_up(count: int, seed: bytes = b"") -> ChunkList:
    sizes = array("I", [1000 + number for number in range(count)])
    return ChunkList(sizes, b"".join(hashlib.sha256(seed + b"%d" % number).digest() for number in range(count)))


@pytest.fixture
def cache(tmp_path: Path) -> ChunkCache:
    return ChunkCache(tmp_path / "chunks")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with Tree(tmp_path) as opened:
        yield opened


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are cut too."""
    monkeypatch.setattr(chunks, "SMALLEST", SMALL)


# --- keeping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 50_000])
def test_what_was_put_is_found_by_another_process(tmp_path: Path, cache: ChunkCache, count: int) -> None:
    cache.put(ONE, FAST, made_up(count))
    assert ChunkCache(tmp_path / "chunks").get(ONE) == (FAST, made_up(count))
    assert cache.get(OTHER) is None


def test_a_chunk_takes_36_bytes(tmp_path: Path, cache: ChunkCache) -> None:
    cache.put(ONE, FAST, made_up(1000))
    assert (tmp_path / "chunks" / ONE.hex).stat().st_size < 36 * 1000 + 150


def test_the_later_list_of_the_same_content_counts(cache: ChunkCache) -> None:
    cache.put(ONE, FAST, made_up(3))
    cache.put(ONE, "gguf/1m", made_up(3))
    assert cache.get(ONE) == ("gguf/1m", made_up(3))


def test_a_list_that_is_there_is_not_written_again(tmp_path: Path, cache: ChunkCache) -> None:
    cache.put(ONE, FAST, made_up(3))
    before = (tmp_path / "chunks" / ONE.hex).stat().st_ino
    cache.put(ONE, FAST, made_up(3))
    assert (tmp_path / "chunks" / ONE.hex).stat().st_ino == before


def test_somebodys_word_counts_only_where_that_is_said(cache: ChunkCache) -> None:
    cache.put(ONE, FAST, made_up(3), told=True)
    assert cache.get(ONE) is None
    assert cache.get(ONE, told=True) == (FAST, made_up(3))


def test_somebodys_word_does_not_replace_what_was_found_here(cache: ChunkCache) -> None:
    cache.put(ONE, FAST, made_up(3))
    cache.put(ONE, FAST, made_up(3, b"other"), told=True)
    assert cache.get(ONE) == cache.get(ONE, told=True) == (FAST, made_up(3))


@pytest.mark.parametrize("seed", [b"", b"other"])
def test_what_is_found_here_replaces_somebodys_word(cache: ChunkCache, seed: bytes) -> None:
    cache.put(ONE, FAST, made_up(3, seed), told=True)
    cache.put(ONE, FAST, made_up(3))
    assert cache.get(ONE) == (FAST, made_up(3))


@pytest.mark.parametrize(
    "encoded",
    [
        ChunkList(made_up(2).sizes, made_up(2).digests, codecs=b"\0\1"),
        ChunkList(made_up(2).sizes, made_up(2).digests, made_up(2).sizes),
    ],
)
def test_a_list_of_encoded_chunks_is_none_of_a_file(cache: ChunkCache, encoded: ChunkList) -> None:
    cache.put(ONE, FAST, encoded)
    assert cache.get(ONE) is None


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 8, 9, 11, 12, 14, 17, 40, 60, 100, 1000, -33, -32, -1])
def test_a_flipped_bit_makes_it_absent_and_the_next_list_is_kept(tmp_path: Path, cache: ChunkCache, at: int) -> None:
    path = tmp_path / "chunks" / ONE.hex
    cache.put(ONE, FAST, made_up(30))
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert cache.get(ONE, told=True) is None
    cache.put(ONE, FAST, made_up(30))
    assert cache.get(ONE) == (FAST, made_up(30))


@pytest.mark.parametrize("length", [0, 1, 10, 40, 60, 100, 1000])
def test_a_cut_one_is_absent(tmp_path: Path, cache: ChunkCache, length: int) -> None:
    path = tmp_path / "chunks" / ONE.hex
    cache.put(ONE, FAST, made_up(30))
    path.write_bytes(path.read_bytes()[:length])
    assert cache.get(ONE) is None


def test_one_of_other_content_is_absent(tmp_path: Path, cache: ChunkCache) -> None:
    cache.put(OTHER, FAST, made_up(30))
    (tmp_path / "chunks" / OTHER.hex).rename(tmp_path / "chunks" / ONE.hex)
    assert cache.get(ONE) is None


@pytest.mark.parametrize("count", [29, 31, 0, 1 << 31])
def test_columns_of_another_length_are_absent_whoever_sealed_them(
    tmp_path: Path, cache: ChunkCache, count: int
) -> None:
    path = tmp_path / "chunks" / ONE.hex
    cache.put(ONE, FAST, made_up(30))
    data = path.read_bytes()
    header = chunks._HEADER.pack(0, len(FAST), count, bytes.fromhex(ONE.hex))
    start = len(chunks._MAGIC)
    body = data[:start] + header + data[start + len(header) : -32]
    path.write_bytes(body + hashlib.sha256(body).digest())
    assert cache.get(ONE) is None


@pytest.mark.parametrize("what", ["directory", "link", "pipe"])
def test_what_is_no_file_is_absent(tmp_path: Path, cache: ChunkCache, what: str) -> None:
    path = tmp_path / "chunks" / ONE.hex
    path.parent.mkdir()
    {"directory": os.mkdir, "link": lambda at: os.symlink("elsewhere", at), "pipe": os.mkfifo}[what](path)
    assert cache.get(ONE) is None
    cache.put(ONE, FAST, made_up(3))
    assert cache.get(ONE) == (None if what == "directory" else (FAST, made_up(3)))


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = ChunkCache(tmp_path / "file")
    cache.put(ONE, FAST, made_up(3))
    assert cache.get(ONE) is None


# --- the bound -------------------------------------------------------------------------------------------------------


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def aged(folder: Path, ages: dict[Digest, int]) -> None:
    for digest, age in ages.items():
        os.utime(folder / digest.hex, ns=(0, 10**18 - age))


def test_the_longest_unused_go(tmp_path: Path) -> None:
    folder = tmp_path / "chunks"
    digests = [Digest.of(b"%d" % number) for number in range(4)]
    cache = ChunkCache(folder, most=3 * 3800)
    for digest in digests[:3]:
        cache.put(digest, FAST, made_up(100))
    aged(folder, {digests[0]: 30, digests[1]: 20, digests[2]: 10})
    assert cache.get(digests[0]) is not None  # used now: the next to go is another
    cache.put(digests[3], FAST, made_up(100))
    assert names(folder) == {digests[0].hex, digests[2].hex, digests[3].hex}


def test_the_one_just_put_stays_however_large(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path / "chunks", most=100)
    cache.put(ONE, FAST, made_up(100))
    cache.put(OTHER, FAST, made_up(100))
    assert names(tmp_path / "chunks") == {OTHER.hex}


def test_a_directory_among_them_is_nobodys_business(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path / "chunks", most=100)
    (tmp_path / "chunks" / "directory").mkdir(parents=True)
    cache.put(ONE, FAST, made_up(100))
    os.utime(tmp_path / "chunks" / ONE.hex, ns=(0, 0))
    cache.put(OTHER, FAST, made_up(100))
    assert names(tmp_path / "chunks") == {OTHER.hex, "directory"}


def test_what_another_command_is_writing_stays(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path / "chunks", most=100)
    (tmp_path / "chunks").mkdir()
    (tmp_path / "chunks" / ".~bundle-0123").write_bytes(b"x" * 200)
    cache.put(ONE, FAST, made_up(100))
    assert names(tmp_path / "chunks") == {ONE.hex, ".~bundle-0123"}


# --- made while a file is hashed -------------------------------------------------------------------------------------


def test_small_is_what_the_chunker_calls_so() -> None:
    assert chunks.SMALLEST == cuts.SMALLEST


@pytest.mark.usefixtures("low")
@pytest.mark.parametrize("size", [SMALL, SMALL + 1, 3_000_000])
def test_a_large_file_leaves_its_list_with_its_digest(tree: Tree, tmp_path: Path, cache: ChunkCache, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f.csv").write_bytes(data)
    found = hash_file(tree, "f.csv", Run(), lambda _: None, watch=cache.watch)
    kept = cache.get(found.digest)
    assert kept is not None
    name, listed = kept
    assert name == FAST
    assert sum(listed.sizes) == size
    ends = listed.offsets()
    assert listed.digests == b"".join(
        blake3(data[at : at + n]).digest() for at, n in zip(ends, listed.sizes, strict=False)
    )
    assert len(listed.digests) == DIGEST_SIZE * len(listed)


@pytest.mark.usefixtures("low")
@pytest.mark.parametrize(("name", "size"), [("f", SMALL - 1), ("f.gz", SMALL)])
def test_others_leave_none(tree: Tree, tmp_path: Path, cache: ChunkCache, name: str, size: int) -> None:
    (tmp_path / name).write_bytes(os.urandom(size))
    hash_file(tree, name, Run(), lambda _: None, watch=cache.watch)
    assert not (tmp_path / "chunks").exists()


@pytest.mark.usefixtures("low")
def test_a_file_that_changed_while_it_was_read_leaves_the_list_of_what_it_is(
    tree: Tree, tmp_path: Path, cache: ChunkCache
) -> None:
    old, new, told = os.urandom(SMALL), os.urandom(SMALL + 1000), list[int]()
    (tmp_path / "f").write_bytes(old)

    def progress(count: int) -> None:
        if not told:
            (tmp_path / "f").write_bytes(new)
        told.append(count)

    assert hash_file(tree, "f", Run(), progress, watch=cache.watch).digest == Digest.of(new)
    found = cache.get(Digest.of(new))
    assert found is not None
    assert found[1].digest(0) == blake3(new[: found[1].sizes[0]]).digest()
    assert names(tmp_path / "chunks") == {Digest.of(new).hex}


@pytest.mark.usefixtures("low")
@pytest.mark.parametrize("error", [DiskError("no"), RecursionError, struct.error])
@pytest.mark.parametrize("where", ["chunker_for", "feed", "finish", "import"])
def test_a_failure_to_cut_is_no_failure_to_hash(
    tree: Tree, tmp_path: Path, cache: ChunkCache, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    if where == "import":
        monkeypatch.setitem(sys.modules, "pyfastcdc", None)
    else:
        monkeypatch.setattr(cuts if where == "chunker_for" else chunker.Chunker, where, fail)
    data = os.urandom(SMALL)
    (tmp_path / "f").write_bytes(data)
    assert hash_file(tree, "f", Run(), lambda _: None, watch=cache.watch).digest == Digest.of(data)
    assert cache.get(Digest.of(data)) is None


@pytest.mark.usefixtures("low")
def test_a_failure_to_keep_it_is_no_failure_to_hash(tree: Tree, tmp_path: Path) -> None:
    data = os.urandom(SMALL)
    (tmp_path / "f").write_bytes(data)
    nowhere = ChunkCache(tmp_path / "f")
    assert hash_file(tree, "f", Run(), lambda _: None, watch=nowhere.watch).digest == Digest.of(data)


@pytest.mark.usefixtures("low")
def test_bytes_left_out_leave_no_list(tmp_path: Path, cache: ChunkCache) -> None:
    data = os.urandom(SMALL)
    listing = cache.watch("f", SMALL, lambda start, count: data[start : start + count])
    assert listing is not None
    listing.feed(data[:-1])
    assert listing.finish(Digest.of(data)) is None
    assert not (tmp_path / "chunks").exists()


def test_nothing_is_loaded_for_small_files(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * SMALL)
    script = f"""
import sys
from pathlib import Path
from modelops_bundle.disk.hashing import hash_file
from modelops_bundle.disk.tree import Tree
from modelops_bundle.events import Run
from modelops_bundle.workspace.chunks import ChunkCache
with Tree(Path({str(tmp_path)!r})) as tree:
    hash_file(tree, "f", Run(), lambda _: None, watch=ChunkCache(Path("nowhere")).watch)
print(*sorted({{"blake3", "pyfastcdc", "modelops_bundle.formats", "modelops_bundle.model.chunkmap"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
