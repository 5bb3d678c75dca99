"""Chunk lists and maps: what an index says, and everything that it cannot say."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt, NotFound, Unsupported
from modelops_bundle.model import chunkmap
from modelops_bundle.model.chunkmap import (
    CODECS,
    ChunkList,
    ChunkMap,
    ChunkPack,
    Piece,
    Recipe,
    check_segments,
    is_whole,
    joined,
    list_from_json,
)
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from tests.support import chunked

D = [bytes([n]) * 32 for n in range(8)]
PLAIN = ChunkList(array("I", [10, 20, 30]), D[0] + D[1] + D[2])
PACKED = ChunkList(array("I", [10, 20]), D[3] + D[4], array("I", [7, 20]), bytes([2, 0]))
XOR = ChunkList(array("I", [10, 20]), D[5] + D[6], array("I", [3, 9]), bytes([4, 1]), {0: (0, 0)})


def pack(chunks: ChunkList, name: bytes = b"") -> ChunkPack:
    return ChunkPack(Descriptor("x/y", Digest.of(name or chunks.digests), sum(chunks.room)), chunks)


def column(*numbers: int) -> str:
    return base64.b64encode(b"".join(number.to_bytes(4, "little") for number in numbers)).decode()


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [PLAIN, PACKED, XOR])
def test_a_list_reads_back(chunks: ChunkList) -> None:
    value = json.loads(json.dumps(chunks.to_json()))
    assert list_from_json(value, sum(chunks.room)) == chunks


def test_columns_are_little_endian_and_left_out_where_they_say_nothing() -> None:
    assert PLAIN.to_json() == {"raw": column(10, 20, 30), "digests": base64.b64encode(D[0] + D[1] + D[2]).decode()}
    packed = PACKED.to_json()
    assert packed["stored"] == column(7, 20)
    assert packed["codec"] == base64.b64encode(bytes([2, 0])).decode()
    assert ChunkList(array("I", [9]), D[0], array("I", [4]), bytes([2])).to_json()["codec"] == 2
    assert XOR.to_json()["base"] == {"0": [0, 0]}


def test_a_list_knows_its_chunks() -> None:
    assert (len(PACKED), PACKED.digest(1), PACKED.codec(0), PACKED.codec(1)) == (2, D[4], 2, 0)
    assert PACKED.offsets() == [0, 7, 27]
    assert PLAIN.offsets() == [0, 10, 30, 60]
    assert PLAIN.codec(2) == 0


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ({"raw": None}, 60),
        ({"raw": "!"}, 60),
        ({"raw": base64.b64encode(b"abc").decode()}, 60),
        ({"raw": column(10, 20)}, 60),
        ({"raw": column()}, 0),
        ({"raw": column(0, 30, 30)}, 60),
        ({"raw": column(10, 20, 2**24 + 1)}, 2**24 + 31),
        ({"digests": ""}, 60),
        ({"digests": base64.b64encode(D[0] * 4).decode()}, 60),
        ({}, 61),
        ({"stored": column(10, 20)}, 30),
        ({"stored": column(10, 20, 29)}, 59),
        ({"stored": column(0, 20, 30), "codec": 1}, 50),
        ({"stored": column(10, 20, 30 + 129), "codec": 1}, 30 + 159),
        ({"codec": base64.b64encode(b"\1\1").decode()}, 60),
        ({"codec": "?"}, 60),
        ({"codec": 4}, 60),
        ({"base": {"0": [0, 0]}}, 60),
        ({"base": []}, 60),
        ({"base": {"x": [0, 0]}, "codec": 4}, 60),
        ({"base": {"-1": [0, 0]}, "codec": 4}, 60),
        ({"base": {"0": [0]}, "codec": 4}, 60),
        ({"base": {"0": [0, -1]}, "codec": 4}, 60),
        ({"base": {"0": [0, True]}, "codec": 4}, 60),
        ({"base": {str(n): [0, 0] for n in range(4)}, "codec": 4}, 60),
        ({"base": {"0": [0, 0], "1": [0, 0], "9": [0, 0]}, "codec": 4}, 60),
    ],
)
def test_a_list_that_cannot_be_true_is_corrupt(change: dict[str, Any], size: int) -> None:
    with pytest.raises(Corrupt):
        list_from_json({**PLAIN.to_json(), **change}, size)


def test_a_digest_has_one_size() -> None:
    """The same chunk twice is nothing unusual; two chunks of one name are a lie."""
    twice = ChunkList(array("I", [10, 20, 10]), D[0] + D[1] + D[0])
    assert list_from_json(twice.to_json(), 40) == twice
    with pytest.raises(Corrupt):
        list_from_json({**twice.to_json(), "raw": column(10, 20, 11)}, 41)


@pytest.mark.parametrize("codec", [6, 255, base64.b64encode(b"\0\6\0").decode()])
def test_codecs_of_a_later_version_are_unsupported(codec: object) -> None:
    with pytest.raises(Unsupported):
        list_from_json({**PLAIN.to_json(), "codec": codec}, 60)


def test_a_chunk_takes_hardly_more_room_than_it_has_bytes() -> None:
    # Whoever reads it holds what is stored: four gigabytes for a chunk of ten bytes otherwise.
    value = {**PACKED.to_json(), "stored": column(10 + 129, 20)}
    with pytest.raises(Corrupt, match="cannot be true"):
        list_from_json(value, 159)


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_a_recipe_is_its_pieces() -> None:
    recipe = Recipe("c", ((1, 0, 1), (0, 1, 2), (1, 1, 1)), (pack(PLAIN), pack(PACKED)))
    assert recipe.size == 80
    assert recipe.count == 4
    assert list(recipe.pieces()) == [
        Piece(0, 10, D[3], 1, 0),
        Piece(10, 20, D[1], 0, 1),
        Piece(30, 30, D[2], 0, 2),
        Piece(60, 20, D[4], 1, 1),
    ]
    assert recipe.listed() == ChunkList(array("I", [10, 20, 30, 20]), D[3] + D[1] + D[2] + D[4])


def test_a_recipe_names_the_packs_of_bases_that_it_needs() -> None:
    packs = (pack(PLAIN), pack(PACKED), pack(XOR))
    assert Recipe("c", ((2, 0, 1),), packs).named() == {0, 2}
    assert Recipe("c", ((2, 1, 1),), packs).named() == {2}
    assert Recipe("c", ((1, 0, 2),), packs).named() == {1}


def test_a_whole_file_is_one_segment_of_its_own_blob() -> None:
    packs = (pack(PLAIN), pack(PACKED))
    assert is_whole(Recipe("c", ((0, 0, 3),), packs), packs[0].blob.digest)
    assert not is_whole(Recipe("c", ((0, 0, 3),), packs), packs[1].blob.digest)
    assert not is_whole(Recipe("c", ((0, 0, 1), (0, 1, 2)), packs), packs[0].blob.digest)


def test_neighbours_are_joined() -> None:
    assert joined([]) == ()
    assert joined([(0, 0), (0, 1), (1, 2), (0, 2), (0, 3), (0, 3)]) == ((0, 0, 2), (1, 2, 1), (0, 2, 2), (0, 3, 1))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [[0, 0]],
        [[0, 0, 0]],
        [[0, 0, 4]],
        [[0, 3, 1]],
        [[1, 0, 1]],
        [[0, -1, 1]],
        [[0, 0, 1.0]],
        [[0, 0, True]],
        ["000"],
    ],
)
def test_segments_of_what_is_not_there_are_corrupt(value: object) -> None:
    with pytest.raises(Corrupt):
        check_segments(value, (pack(PLAIN),))


def test_a_file_has_so_many_chunks_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunkmap, "MOST_CHUNKS", 4)
    assert check_segments([[0, 0, 3], [0, 0, 1]], (pack(PLAIN),)) == ((0, 0, 3), (0, 0, 1))
    with pytest.raises(Corrupt):
        check_segments([[0, 0, 3], [0, 0, 2]], (pack(PLAIN),))


@pytest.mark.parametrize("base", [(3, 0), (0, 3), (2, 0), (0, 1)])
def test_a_base_is_a_whole_chunk_of_the_same_size(base: tuple[int, int]) -> None:
    wrong = ChunkList(XOR.sizes, XOR.digests, XOR.stored, XOR.codecs, {0: base})
    chunkmap.check_bases((pack(PLAIN), pack(PACKED), pack(XOR)))
    with pytest.raises(Corrupt):
        chunkmap.check_bases((pack(PLAIN), pack(PACKED), pack(wrong)))


# --- maps ------------------------------------------------------------------------------------------------------------


def never(what: Descriptor) -> bytes:
    raise NotFound(f"nobody has {what.digest}")


FILES = {"m.bin": [b"a" * 1000, b"b" * 900], "n.bin": [b"c" * 500]}
FIRST = chunked.plain(FILES)
EDITED = {**FILES, "m.bin": [b"a" * 1000, b"B" * 900]}


def parts(version: chunked.Version) -> tuple[dict[str, Any], list[Descriptor], list[tuple[str, Any]]]:
    """What `read` is given for a version: its chunks, its blobs, its rows."""
    index = json.loads(version.artifact.index)
    layers = {str(layer.digest): layer for layer in version.artifact.manifest.layers}
    return index["chunks"], [layers[text] for text in index["blobs"]], [(row["path"], row) for row in index["files"]]


def read(version: chunked.Version, change: Callable[[dict[str, Any], list[Any]], object] | None = None) -> ChunkMap:
    chunks, blobs, rows = parts(version)
    if change is not None:
        change(chunks, rows)
    return chunkmap.read(chunks, blobs, rows, lambda what: version.blobs[what.digest])


@pytest.mark.parametrize("borrow", [False, True])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_map_reads_back(borrow: bool, codec: str) -> None:
    version = chunked.delta(EDITED, FIRST, codec=codec, borrow=borrow)
    found = read(version)
    assert [pack.chunks for pack in found.packs] == [pack.chunks for pack in version.chunks.packs]
    assert [pack.blob.digest for pack in found.packs] == [pack.blob.digest for pack in version.chunks.packs]
    assert {path: recipe.segments for path, recipe in found.files.items()} == {
        path: recipe.segments for path, recipe in version.chunks.files.items()
    }
    assert dict(found.earlier) == dict(version.chunks.earlier)
    assert {digest: at.number for digest, at in found.borrowed.items()} == {
        digest: at.number for digest, at in version.chunks.borrowed.items()
    }
    assert bool(found.borrowed) == borrow


def test_a_plain_file_needs_no_segments() -> None:
    found = read(FIRST)
    assert {path: is_whole(recipe, FIRST.artifact.snapshot[path].digest) for path, recipe in found.files.items()} == {
        "m.bin": True,
        "n.bin": True,
    }


def test_numbers_of_codecs_are_those_of_the_list_in_the_index() -> None:
    def later(chunks: dict[str, Any], _: object) -> None:
        chunks["codecs"] = [*CODECS, "lz77"]

    def other(chunks: dict[str, Any], _: object) -> None:
        chunks["codecs"] = [*reversed(CODECS)]

    def hashed(chunks: dict[str, Any], _: object) -> None:
        chunks["hash"] = "sha1"

    assert read(FIRST, later).packs == read(FIRST).packs
    for change in (other, hashed):
        with pytest.raises(Unsupported):
            read(FIRST, change)


def _twice(chunks: dict[str, Any], _: Any) -> None:
    chunks["packs"].append(chunks["packs"][0])


def _no_blob(chunks: dict[str, Any], _: Any) -> None:
    chunks["packs"][0]["blob"] = 99


def _no_row(chunks: dict[str, Any], _: Any) -> None:
    chunks["packs"][0] = "x"


def _true(chunks: dict[str, Any], _: Any) -> None:
    chunks["packs"][0]["blob"] = True


def _long_name(_: Any, rows: list[Any]) -> None:
    rows[0][1]["chunker"] = "x" * 41


def _other_size(_: Any, rows: list[Any]) -> None:
    rows[0][1]["size"] += 1


def _no_list(chunks: dict[str, Any], rows: list[Any]) -> None:
    rows[0][1]["sha256"] = "0" * 64


def _no_packs(chunks: dict[str, Any], _: Any) -> None:
    del chunks["packs"]


@pytest.mark.parametrize(
    "change", [_twice, _no_blob, _no_row, _true, _long_name, _other_size, _no_list, _no_packs], ids=lambda c: c.__name__
)
def test_a_map_that_contradicts_itself_is_corrupt(change: Callable[[Any, Any], None]) -> None:
    with pytest.raises(Corrupt):
        read(FIRST, change)


def test_chunks_that_are_no_object_are_corrupt() -> None:
    with pytest.raises(Corrupt):
        chunkmap.read([], [], [], never)


def test_all_lists_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunkmap, "MOST_IN_ALL", 2)
    with pytest.raises(Corrupt, match="too many"):
        read(FIRST)


# --- borrowed lists --------------------------------------------------------------------------------------------------


def borrowing() -> tuple[chunked.Version, dict[str, Any], list[Descriptor], list[tuple[str, Any]]]:
    version = chunked.delta(EDITED, FIRST, borrow=True)
    return version, *parts(version)


@pytest.mark.parametrize("place", [None, [], [0], [0, -1], [99, 0], [0, 99], "00", [0, 0, 0]])
def test_a_list_that_is_not_where_it_should_be_is_corrupt(place: object) -> None:
    version, chunks, blobs, rows = borrowing()
    row = next(row for row in chunks["packs"] if "list" in row)
    if place == [0, 99]:
        place = [row["list"][0], 99]
    row["list"] = place
    with pytest.raises(Corrupt):
        chunkmap.read(chunks, blobs, rows, lambda what: version.blobs[what.digest])


def _borrowed_there(index: dict[str, Any]) -> None:
    index["chunks"]["packs"][0] = {"blob": 0, "list": [0, 0]}


def _base_there(index: dict[str, Any]) -> None:
    index["chunks"]["packs"][0]["base"] = {}


def _other_blob(index: dict[str, Any]) -> None:
    index["blobs"] = index["blobs"][::-1]


def _no_blobs(index: dict[str, Any]) -> None:
    del index["blobs"]


def _no_chunks(index: dict[str, Any]) -> None:
    index["chunks"] = []


def _nothing(index: dict[str, Any]) -> None:
    del index["chunks"]


@pytest.mark.parametrize(
    "change", [_borrowed_there, _base_there, _other_blob, _no_blobs, _no_chunks, _nothing], ids=lambda c: c.__name__
)
def test_an_earlier_index_has_the_list_itself(change: Callable[[dict[str, Any]], None]) -> None:
    _, chunks, blobs, rows = borrowing()
    index = json.loads(FIRST.artifact.index)
    change(index)
    with pytest.raises(Corrupt):
        chunkmap.read(chunks, blobs, rows, lambda _: json.dumps(index).encode())


def test_an_earlier_index_is_read_once_and_only_so_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    version, chunks, blobs, rows = borrowing()
    asked: list[Digest] = []

    def fetch(what: Descriptor) -> bytes:
        asked.append(what.digest)
        return version.blobs[what.digest]

    assert len(chunkmap.read(chunks, blobs, rows, fetch).borrowed) == 2
    assert len(asked) == 1
    monkeypatch.setattr(chunkmap, "MOST_EARLIER", 0)
    with pytest.raises(Corrupt, match="more than 0"):
        chunkmap.read(chunks, blobs, rows, fetch)
