"""Chunk lists, and how files are put together from chunks: the part of the index that delta storage and delta pulls
go by (docs/format.md, "Chunk maps"; facts: delta §3).

A chunk pack is a blob and a list of the chunks in it, one after another; a file that is a blob of its own is one too.
"""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from operator import ne
from typing import Any, NamedTuple

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.model import canonical
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest

CODECS = ("none", "zstd", "bp2+zstd", "bp4+zstd", "xor+bp2+zstd", "xor+bp4+zstd")
"""How a chunk is stored, by number."""
FIRST_XOR = 4
"""The number of the first codec that needs the bytes of another chunk."""
CHUNKERS = frozenset(
    "safetensors/1m gguf/1m zip/1m fastcdc2020/16k fastcdc2020/64k fastcdc2020/256k fastcdc2020/1m".split()
)
MAX_CHUNK = 16 * 1024 * 1024
"""Most bytes of a chunk, before it is encoded."""
MOST_STORED = MAX_CHUNK + (MAX_CHUNK >> 8) + 128
"""Most bytes that a chunk takes in a blob: encoding lengthens nothing by more than zstd's own bound."""
MOST_CHUNKS = 4_194_304
"""Most chunks in a blob, and in a file."""
MOST_IN_ALL = 4 * MOST_CHUNKS
"""Most chunks in all blobs of a version, and in all its files."""
MOST_EARLIER = 8
"""Most indexes of earlier versions that one takes chunk lists from."""
MAX_INDEX = 256 * 1024 * 1024
"""Most bytes of a bundle index."""
DIGEST_SIZE = 32
"""Bytes of a BLAKE3 digest."""

Segment = tuple[int, int, int]
"""A run of chunks: the number of the pack, of the first chunk, and how many."""


@dataclass(frozen=True, slots=True)
class ChunkList:
    """The chunks of a blob, in order, as columns.

    :param sizes: bytes of each before it was encoded.
    :param digests: BLAKE3 of those bytes, 32 each.
    :param stored: bytes of each in the blob; None where that is its size.
    :param codecs: the number of each one's codec; None where nothing is encoded.
    :param bases: for those that are stored as a difference: the pack and number of the chunk it is to.
    """

    sizes: array[int]
    digests: bytes
    stored: array[int] | None = None
    codecs: bytes | None = None
    bases: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sizes)

    def digest(self, number: int) -> bytes:
        """The digest of a chunk."""
        return self.digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]

    def codec(self, number: int) -> int:
        """The number of a chunk's codec."""
        return self.codecs[number] if self.codecs is not None else 0

    @property
    def room(self) -> array[int]:
        """Bytes of each chunk in the blob."""
        return self.sizes if self.stored is None else self.stored

    def offsets(self) -> list[int]:
        """Where each chunk begins in the blob, and the size of the blob."""
        return list(accumulate(self.room, initial=0))

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `list_from_json` reads back."""
        value: dict[str, Any] = {"raw": _column(self.sizes), "digests": base64.b64encode(self.digests).decode()}
        if self.stored is not None:
            value["stored"] = _column(self.stored)
        if self.codecs is not None:
            kinds = set(self.codecs)
            value["codec"] = self.codecs[0] if len(kinds) == 1 else base64.b64encode(self.codecs).decode()
        if self.bases:
            value["base"] = {str(number): list(base) for number, base in sorted(self.bases.items())}
        return value


def _column(numbers: array[int]) -> str:
    if sys.byteorder != "little":
        numbers = array("I", numbers)
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def _numbers(text: object, what: str) -> array[int]:
    data = _bytes(text, what)
    if len(data) % 4:
        raise Corrupt(f"the column {what!r} of a chunk list cannot be read")
    numbers = array("I", data)
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers


def _bytes(text: object, what: str) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Corrupt(f"the column {what!r} of a chunk list cannot be read") from error


def list_from_json(value: Mapping[str, Any], size: int | None) -> ChunkList:
    """Read what `ChunkList.to_json` made; the bases are looked at by `check_bases`.

    :param size: bytes of the blob; None where only the list says so.
    :raises Corrupt: it does not describe a blob of that size.
    """
    sizes, digests = _numbers(value.get("raw"), "raw"), _bytes(value.get("digests"), "digests")
    count = len(sizes)
    stored = _numbers(value["stored"], "stored") if "stored" in value else None
    codecs = _codecs(value["codec"], count) if "codec" in value else None
    if not 0 < count <= MOST_CHUNKS or len(digests) != count * DIGEST_SIZE:
        raise Corrupt("a chunk list has columns of different lengths, or too many chunks")
    if min(sizes) < 1 or max(sizes) > MAX_CHUNK:
        raise Corrupt(f"a chunk list has a chunk of {max(sizes)} bytes")
    room = sizes if stored is None else stored
    if len(room) != count or sum(room) != (sum(room) if size is None else size) or min(room) < 1:
        raise Corrupt("a chunk list does not describe the blob that it is of")
    found = ChunkList(sizes, digests, stored, codecs, _bases(value.get("base", {}), count))
    if not _is_possible(found) or _has_two_sizes(found):
        raise Corrupt("a chunk list describes a chunk in a way that cannot be true")
    return found


def _is_possible(found: ChunkList) -> bool:
    """Whether differences have bases, and nothing else has; what is not encoded has its size, the rest hardly more."""
    if found.codecs is None:
        return not found.bases and (found.stored is None or found.stored == found.sizes)
    if {number for number, codec in enumerate(found.codecs) if codec >= FIRST_XOR} != found.bases.keys():
        return False
    rows = zip(found.codecs, found.sizes, found.room, strict=True)
    # ZSTD_compressBound: what is longer would have a reader hold more than any chunk needs.
    return all(size == room or (codec and room <= size + (size >> 8) + 128) for codec, size, room in rows)


def _has_two_sizes(found: ChunkList) -> bool:
    """Whether one digest stands for chunks of two sizes; eight bytes of it are enough for all that nobody forged."""
    starts = array("Q", found.digests)[:: DIGEST_SIZE // 8]
    known = dict(zip(starts, found.sizes, strict=True))
    return len(known) < len(starts) and any(map(ne, map(known.__getitem__, starts), found.sizes))


def _codecs(value: object, count: int) -> bytes:
    codecs = bytes([value]) * count if type(value) is int and 0 <= value < 256 else _bytes(value, "codec")
    if len(codecs) != count:
        raise Corrupt("a chunk list has columns of different lengths")
    if count and max(codecs) >= len(CODECS):
        raise Unsupported(
            "a chunk is stored by a codec that this version does not know", hint="upgrade modelops-bundle"
        )
    return codecs


def _bases(value: object, count: int) -> dict[int, tuple[int, int]]:
    wrong = Corrupt("the bases of a chunk list cannot be read")
    if not isinstance(value, dict) or len(value) > count:
        raise wrong
    found: dict[int, tuple[int, int]] = {}
    for key, base in value.items():
        if not key.isascii() or not key.isdigit() or len(key) > 10 or not _are_counts(base, 2):
            raise wrong
        found[int(key)] = (base[0], base[1])
    return found


def _are_counts(value: object, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(n) is int and n >= 0 for n in value)


class ChunkPack(NamedTuple):
    """A blob, and the chunks that it is made of."""

    blob: Descriptor
    chunks: ChunkList


class Piece(NamedTuple):
    """A chunk at its place in a file: first byte, size in bytes, digest; the number of its pack, and its own in that."""

    start: int
    size: int
    digest: bytes
    pack: int
    number: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a file is put together.

    :param packs: those of the whole version; segments and bases count in them.
    """

    chunker: str
    segments: tuple[Segment, ...]
    packs: tuple[ChunkPack, ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(sum(self.packs[pack].chunks.sizes[first : first + count]) for pack, first, count in self.segments)

    @property
    def count(self) -> int:
        """How many chunks the file has."""
        return sum(count for _, _, count in self.segments)

    def pieces(self) -> Iterator[Piece]:
        """The chunks of the file in order."""
        at = 0
        for pack, first, count in self.segments:
            chunks = self.packs[pack].chunks
            for number in range(first, first + count):
                size = chunks.sizes[number]
                yield Piece(at, size, chunks.digest(number), pack, number)
                at += size

    def listed(self) -> ChunkList:
        """The chunks of the file itself, in order."""
        sizes, digests = array("I"), bytearray()
        for pack, first, count in self.segments:
            chunks = self.packs[pack].chunks
            sizes += chunks.sizes[first : first + count]
            digests += chunks.digests[first * DIGEST_SIZE : (first + count) * DIGEST_SIZE]
        return ChunkList(sizes, bytes(digests))

    def named(self) -> frozenset[int]:
        """The numbers of the packs that the file needs, those of bases too."""
        found = {pack for pack, _, _ in self.segments}
        for pack, first, count in self.segments:
            bases = self.packs[pack].chunks.bases
            if bases:
                found.update(bases[n][0] for n in range(first, first + count) if n in bases)
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Listed:
    """Where a chunk list stands: in the index of which version, as which pack's."""

    index: Descriptor
    number: int


@dataclass(frozen=True, slots=True)
class ChunkMap:
    """What an index says of chunks.

    :param packs: the blobs of which chunks are known.
    :param files: chunker and segments of each file that has some.
    :param earlier: the indexes of earlier versions that lists are taken from, by digest.
    :param borrowed: by the digest of a pack, where its list stands instead of in this index.
    """

    packs: tuple[ChunkPack, ...] = ()
    files: Mapping[str, Recipe] = field(default_factory=dict)
    earlier: Mapping[Digest, bytes] = field(default_factory=dict)
    borrowed: Mapping[Digest, Listed] = field(default_factory=dict)

    def to_json(self, blobs: Mapping[str, int]) -> dict[str, Any]:
        """What the index says.

        :param blobs: the number of each blob in it.
        """
        return {"hash": "blake3", "codecs": list(CODECS), "packs": [self._pack(pack, blobs) for pack in self.packs]}

    def _pack(self, pack: ChunkPack, blobs: Mapping[str, int]) -> dict[str, Any]:
        value: dict[str, Any] = {"blob": blobs[str(pack.blob.digest)]}
        listed = self.borrowed.get(pack.blob.digest)
        if listed is not None:
            return {**value, "list": [blobs[str(listed.index.digest)], listed.number]}
        return {**value, **pack.chunks.to_json()}


def is_whole(recipe: Recipe, digest: Digest) -> bool:
    """Whether the file with this digest is a blob of its own."""
    return len(recipe.segments) == 1 and recipe.packs[recipe.segments[0][0]].blob.digest == digest


def whole_files(files: Iterable[tuple[str, Descriptor, str, ChunkList]]) -> ChunkMap:
    """The map of files that are blobs of their own: path, content, chunker and chunks of each; their order is no matter."""
    listed = list(files)
    packs = {content.digest: ChunkPack(content, chunks) for _, content, _, chunks in listed}
    numbers = {digest: number for number, digest in enumerate(sorted(packs))}
    shared = tuple(packs[digest] for digest in numbers)
    return ChunkMap(
        shared,
        {
            path: Recipe(chunker, ((numbers[content.digest], 0, len(chunks)),), shared)
            for path, content, chunker, chunks in listed
        },
    )


def check_bases(packs: Sequence[ChunkPack]) -> None:
    """Look at what differences are to: whole chunks of the same size, so that reading never goes deeper.

    :raises Corrupt: something else.
    """
    for pack in packs:
        for number, (other, at) in pack.chunks.bases.items():
            if number >= len(pack.chunks) or other >= len(packs) or at >= len(packs[other].chunks):
                raise Corrupt("a chunk list names a base that is not there")
            base = packs[other].chunks
            if base.codec(at) >= FIRST_XOR or base.sizes[at] != pack.chunks.sizes[number]:
                raise Corrupt("a chunk list names a base that cannot be one")


def check_segments(value: object, packs: Sequence[ChunkPack]) -> tuple[Segment, ...]:
    """The segments in the row of a file.

    :raises Corrupt: they name what is not there, or too many chunks.
    """
    if not isinstance(value, list) or not all(_are_counts(segment, 3) for segment in value):
        raise Corrupt("the segments of a file in the bundle index cannot be read")
    total = 0
    for pack, first, count in value:
        if pack >= len(packs) or count < 1 or first + count > len(packs[pack].chunks):
            raise Corrupt("a file in the bundle index has a segment of chunks that are not there")
        total += count
    if total > MOST_CHUNKS:
        raise Corrupt(f"a file in the bundle index has {total} chunks")
    return tuple((pack, first, count) for pack, first, count in value)


def joined(pieces: Sequence[tuple[int, int]]) -> tuple[Segment, ...]:
    """Chunks as (pack, number), in the order of a file, as few segments as possible."""
    found: list[Segment] = []
    for pack, number in pieces:
        if found and found[-1][0] == pack and sum(found[-1][1:]) == number:
            found[-1] = (pack, found[-1][1], found[-1][2] + 1)
        else:
            found.append((pack, number, 1))
    return tuple(found)


class _Reader:
    """Reads the chunk lists of one index."""

    def __init__(self, blobs: Sequence[Descriptor], fetch: Callable[[Descriptor], bytes], sized: bool = True) -> None:
        self._blobs = blobs
        self._fetch = fetch
        self._sized = sized
        self._parsed: dict[Digest, Mapping[str, Any]] = {}
        self.earlier: dict[Digest, bytes] = {}
        self.borrowed: dict[Digest, Listed] = {}

    def pack(self, row: object) -> ChunkPack:
        number = row.get("blob") if isinstance(row, dict) else None
        if not isinstance(row, dict) or type(number) is not int or not 0 <= number < len(self._blobs):
            raise Corrupt("a chunk list of the bundle index names no blob")
        blob = self._blobs[number]
        literal = self._borrowed(row["list"], blob) if "list" in row else row
        chunks = list_from_json(literal, blob.size if self._sized else None)
        return ChunkPack(blob if self._sized else replace(blob, size=sum(chunks.room)), chunks)

    def _borrowed(self, place: object, blob: Descriptor) -> Mapping[str, Any]:
        if not _are_counts(place, 2) or not isinstance(place, list) or place[0] >= len(self._blobs):
            raise Corrupt("a borrowed chunk list of the bundle index cannot be read")
        index = self._blobs[place[0]]
        value = self._index(index)
        rows, blobs = value.get("chunks", {}).get("packs"), value.get("blobs")
        row = rows[place[1]] if isinstance(rows, list) and place[1] < len(rows) else None
        at = row.get("blob") if isinstance(row, dict) and not {"list", "base"} & row.keys() else None
        if (
            type(at) is not int
            or not isinstance(blobs, list)
            or not 0 <= at < len(blobs)
            or blobs[at] != str(blob.digest)
        ):
            raise Corrupt(f"the chunk list of {blob.digest} is not where the bundle index says")
        self.borrowed[blob.digest] = Listed(index, place[1])
        return row  # type: ignore[return-value]

    def _index(self, index: Descriptor) -> Mapping[str, Any]:
        if index.digest not in self._parsed:
            if len(self._parsed) == MOST_EARLIER:
                raise Corrupt(f"the bundle index takes chunk lists from more than {MOST_EARLIER} others")
            data = self._fetch(index)
            value = canonical.loads(data, "an earlier bundle index", limit=MAX_INDEX)
            if not isinstance(value.get("chunks", {}), dict):
                raise Corrupt("an earlier bundle index has chunk lists that cannot be read")
            self._parsed[index.digest], self.earlier[index.digest] = value, data
        return self._parsed[index.digest]


def read(
    value: object,
    blobs: Sequence[Descriptor],
    rows: Iterable[tuple[str, object]],
    fetch: Callable[[Descriptor], bytes],
    *,
    sized: bool = True,
) -> ChunkMap:
    """What an index says of chunks.

    :param value: its part ``chunks``. :param blobs: what its numbers of blobs stand for.
    :param rows: the rows of its files, by path. :param fetch: brings an earlier index, verified.
    :param sized: whether the sizes of `blobs` are known; else those are taken that their lists make.
    :raises Corrupt: it contradicts itself. :raises Unsupported: digests or codecs of a later version.
    """
    if not isinstance(value, dict) or not isinstance(value.get("packs"), list):
        raise Corrupt("the chunk lists of the bundle index cannot be read")
    # The numbers of codecs are those of this list: a later version may append to it.
    codecs = value.get("codecs")
    known = isinstance(codecs, list) and codecs[: len(CODECS)] == list(CODECS)
    if value.get("hash") != "blake3" or not known:
        raise Unsupported(
            "the bundle index has chunks of a kind that this version cannot read", hint="upgrade modelops-bundle"
        )
    reader, packs, count = _Reader(blobs, fetch, sized), dict[Digest, ChunkPack](), 0
    for row in value["packs"]:
        pack = reader.pack(row)
        # Borrowed lists cost the index a few bytes each: one of many chunks, again and again, would take any memory.
        if packs.setdefault(pack.blob.digest, pack) is not pack:
            raise Corrupt(f"the bundle index lists the chunks of {pack.blob.digest} twice")
        count += len(pack.chunks)
        if count > MOST_IN_ALL:
            raise Corrupt("the bundle index lists too many chunks")
    shared = tuple(packs.values())
    check_bases(shared)
    return ChunkMap(shared, _recipes(rows, shared), reader.earlier, reader.borrowed)


def _recipes(rows: Iterable[tuple[str, object]], packs: tuple[ChunkPack, ...]) -> dict[str, Recipe]:
    own = {str(pack.blob.digest): number for number, pack in enumerate(packs)}
    found: dict[str, Recipe] = {}
    count = 0
    for path, row in rows:
        if isinstance(row, dict) and "chunker" in row:
            found[path] = recipe = _recipe(row, packs, own)
            # Before anything is added up: a row of a few bytes may name millions of chunks.
            count += recipe.count
            if count > MOST_IN_ALL:
                raise Corrupt("the files in the bundle index have too many chunks")
            if recipe.size != row.get("size"):
                raise Corrupt("the chunks of a file in the bundle index do not make its size")
    return found


def _recipe(row: Mapping[str, Any], packs: tuple[ChunkPack, ...], own: Mapping[str, int]) -> Recipe:
    """:param own: the number of each pack by the digest of its blob."""
    chunker = row["chunker"]
    if not isinstance(chunker, str) or len(chunker) > 40:
        raise Corrupt("a file in the bundle index has a chunker without a name")
    if "segments" in row:
        return Recipe(chunker, check_segments(row["segments"], packs), packs)
    number = own.get(f"sha256:{row.get('sha256')}")
    if number is None:
        raise Corrupt("a file in the bundle index has no chunk list, and a chunker")
    return Recipe(chunker, ((number, 0, len(packs[number].chunks)),), packs)
