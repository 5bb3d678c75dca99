"""Where chunks may be: found by digest, and believed only when they were read."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from random import Random

import pytest
from blake3 import blake3

from modelops_bundle.errors import DiskError
from modelops_bundle.model.chunkmap import ChunkPack, Recipe
from modelops_bundle.transfer import seeds as module
from modelops_bundle.transfer.seeds import Held, Seeds, Source
from tests.support.chunked import CHUNKER, cut, delta, listed, plain
from tests.support.things import blob

DATA = Random(0).randbytes(10_500)
CHUNKS = cut(DATA)
DIGESTS = [blake3(chunk).digest() for chunk in CHUNKS]


def source(path: Path, chunks: list[bytes] = CHUNKS, data: bytes | None = None) -> Source:
    """A file, and what is said of it."""
    path.write_bytes(b"".join(chunks) if data is None else data)
    return Source.of_list(listed(chunks), lambda: os.open(path, os.O_RDONLY))


def test_every_chunk_is_found_where_it_is(tmp_path: Path) -> None:
    with Seeds([source(tmp_path / "a")]) as seeds:
        assert [seeds.find(digest) for digest in DIGESTS] == [Held(0, 1000 * n, len(c)) for n, c in enumerate(CHUNKS)]
        assert [seeds.read(digest, len(chunk)) for digest, chunk in zip(DIGESTS, CHUNKS, strict=True)] == CHUNKS
        assert len(seeds) == 11


def test_nothing_is_found_of_what_nobody_has(tmp_path: Path) -> None:
    with Seeds([source(tmp_path / "a")]) as seeds:
        assert seeds.find(b"\0" * 32) is None
        assert seeds.read(blake3(b"else").digest(), 4) is None
    assert Seeds().find(DIGESTS[0]) is None


def test_a_digest_that_only_begins_the_same_is_another_one(tmp_path: Path) -> None:
    with Seeds([source(tmp_path / "a")]) as seeds:
        assert seeds.find(DIGESTS[3][:31] + bytes([DIGESTS[3][31] ^ 1])) is None


def test_a_chunk_that_changed_is_not_there(tmp_path: Path) -> None:
    changed = bytearray(DATA)
    changed[3456] ^= 1
    with Seeds([source(tmp_path / "a", data=bytes(changed))]) as seeds:
        read = [seeds.read(digest, len(chunk)) for digest, chunk in zip(DIGESTS, CHUNKS, strict=True)]
    assert read == [*CHUNKS[:3], None, *CHUNKS[4:]]


def test_the_next_source_has_what_the_first_lost(tmp_path: Path) -> None:
    wrong = source(tmp_path / "a", data=bytes(len(DATA)))
    with Seeds([wrong]) as seeds:
        seeds.add([source(tmp_path / "b")])
        assert [held.source for held in seeds.places(DIGESTS[2])] == [0, 1]
        assert seeds.read(DIGESTS[2], 1000) == CHUNKS[2]


@pytest.mark.parametrize("error", [FileNotFoundError(), DiskError("no")])
def test_a_source_that_cannot_be_opened_has_nothing(tmp_path: Path, error: Exception) -> None:
    asked: list[int] = []

    def opened() -> int:
        asked.append(1)
        raise error

    with Seeds([Source.of_list(listed(CHUNKS), opened), source(tmp_path / "b")]) as seeds:
        assert seeds.read(DIGESTS[0], 1000) == CHUNKS[0]
        assert seeds.read(DIGESTS[1], 1000) == CHUNKS[1]
    assert asked == [1]


def test_a_file_that_is_shorter_lacks_its_end(tmp_path: Path) -> None:
    with Seeds([source(tmp_path / "a", data=DATA[:10_499])]) as seeds:
        assert seeds.read(DIGESTS[10], 500) is None
        assert seeds.read(DIGESTS[9], 1000) == CHUNKS[9]


def test_another_size_than_is_wanted_is_never_read(tmp_path: Path) -> None:
    with Seeds([source(tmp_path / "a")]) as seeds:
        assert seeds.read(DIGESTS[0], 999) is None


def test_everything_opened_is_closed(tmp_path: Path) -> None:
    opened: list[int] = []
    path = tmp_path / "a"
    path.write_bytes(DATA)

    def opener() -> int:
        opened.append(os.open(path, os.O_RDONLY))
        return opened[-1]

    with Seeds([Source.of_list(listed(CHUNKS), opener)]) as seeds:
        seeds.read(DIGESTS[0], 1000)
        seeds.read(DIGESTS[1], 1000)
    assert len(opened) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_the_chunks_of_a_file_are_those_of_its_recipe(tmp_path: Path) -> None:
    path = tmp_path / "a"
    order = [5, 6, 7, 1, 0, 10]
    path.write_bytes(b"".join(CHUNKS[n] for n in order))
    pack = ChunkPack(blob(DATA), listed(CHUNKS))
    recipe = Recipe(CHUNKER, ((0, 5, 3), (0, 1, 1), (0, 0, 1), (0, 10, 1)), (pack,))
    with Seeds([Source.of_recipe(recipe, lambda: os.open(path, os.O_RDONLY))]) as seeds:
        assert [seeds.read(DIGESTS[n], len(CHUNKS[n])) for n in order] == [CHUNKS[n] for n in order]
        assert seeds.find(DIGESTS[2]) is None


def test_what_is_stored_otherwise_in_a_pack_is_left_out(tmp_path: Path) -> None:
    """Its bytes are not those of the digest; those stored as they are count, at the offsets that they really have."""
    base = plain({"w": [b"z" * 1000]})
    text = [b"a" * 3000, CHUNKS[0], b"b" * 3000, CHUNKS[1]]
    encoded = delta({"w": [b"z" * 1000, *text]}, base, codec="zstd")
    pack = next(pack for pack in encoded.chunks.packs if pack.chunks.codecs is not None)
    path = tmp_path / "pack"
    path.write_bytes(encoded.blobs[pack.blob.digest])
    with Seeds([Source.of_list(pack.chunks, lambda: os.open(path, os.O_RDONLY))]) as seeds:
        assert seeds.find(blake3(text[0]).digest()) is None
        assert seeds.find(blake3(text[2]).digest()) is None
        assert seeds.read(blake3(text[1]).digest(), 1000) == CHUNKS[0]
        assert seeds.read(blake3(text[3]).digest(), 1000) == CHUNKS[1]


def test_of_many_sources_all_count_and_few_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OPEN", 3)
    many = [[Random(n).randbytes(100)] for n in range(300)]
    path, opened = tmp_path / "all", list[int]()
    path.write_bytes(b"".join(each[0] for each in many))

    def opener() -> int:
        opened.append(os.open(path, os.O_RDONLY))
        return opened[-1]

    def is_open(descriptor: int) -> bool:
        try:
            return os.fstat(descriptor).st_ino == path.stat().st_ino
        except OSError:
            return False

    with Seeds() as seeds:
        for number, each in enumerate(many):
            # Each is in the file behind those before it.
            before = listed([b"".join(one[0] for one in many[:number])] if number else []).sizes
            sizes = array("I", [*before, 100])
            digests = bytes(32) * len(before) + blake3(each[0]).digest()
            seeds.add([Source(sizes, digests, opener)])
        assert [seeds.read(blake3(each[0]).digest(), 100) for each in many] == [each[0] for each in many]
        assert sum(map(is_open, set(opened))) == 3
        assert seeds.read(blake3(many[0][0]).digest(), 100) == many[0][0]
        assert len(opened) == 301
    assert not any(map(is_open, set(opened)))


def test_a_chunk_that_is_everywhere_is_looked_for_at_few_places(tmp_path: Path) -> None:
    zeros = [bytes(100)] * 5000
    with Seeds([source(tmp_path / "a", zeros, data=b"?" * 500_000)]) as seeds:
        digest = blake3(bytes(100)).digest()
        assert len(list(seeds.places(digest))) < 100
        assert seeds.read(digest, 100) is None


def test_digests_that_are_made_to_look_alike_are_passed_over(tmp_path: Path) -> None:
    alike = b"".join(DIGESTS[0][:5] + number.to_bytes(27, "big") for number in range(5000))
    with Seeds([Source(array("I", [1000] * 5000), alike, lambda: -1), source(tmp_path / "a")]) as seeds:
        assert list(seeds.places(DIGESTS[0])) == []
        assert seeds.read(DIGESTS[1], 1000) == CHUNKS[1]
