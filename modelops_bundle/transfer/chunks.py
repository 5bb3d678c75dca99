"""Chunks on their way out of chunk packs: decoded, and looked at, each by itself (facts: delta §3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.chunkmap import CODECS, FIRST_XOR, ChunkPack, Piece, Recipe
from modelops_bundle.model.ports import Chunks, Reader

GAP = 128 * 1024
"""Bytes that are cheaper received for nothing than left out by another request."""
SPAN = 16 * 1024 * 1024
"""Most bytes that one request asks for."""

Base = Callable[[int, int], bytes]
"""The bytes of a chunk that another is a difference to, by the number of its pack and its own."""


def matches(data: bytes | memoryview, digest: bytes) -> bool:
    """Whether a chunk is `data`, by its BLAKE3 digest."""
    from blake3 import blake3  # noqa: PLC0415  only files of chunks need it

    return blake3(data).digest() == digest


def decoded(pack: ChunkPack, number: int, stored: bytes | memoryview, base: Base) -> bytes:
    """The bytes of chunk `number` of `pack`, which is `stored` there.

    :param base: brings the bytes of its base where it is a difference.
    :raises Corrupt: they are others.
    """
    chunks = pack.chunks
    codec = chunks.codec(number)
    if codec == 0:
        data = bytes(stored)
    else:
        from modelops_bundle.formats import codec as codecs  # noqa: PLC0415  zstandard with it

        other = base(*chunks.bases[number]) if codec >= FIRST_XOR else None
        data = codecs.decode(stored, CODECS[codec], chunks.sizes[number], other)
    if not matches(data, chunks.digest(number)):
        raise Corrupt(
            f"a chunk of {pack.blob.digest} is not what its list says",
            hint="nothing was replaced; the stored copy or the way to it is damaged",
            digest=str(pack.blob.digest),
        )
    return data


@contextmanager
def reading(store: Reader, recipe: Recipe, start: int, stop: int) -> Iterator[Chunks]:
    """The bytes `start` to `stop` (exclusive) of a file that is made of chunks; each chunk is verified.

    :raises Corrupt: a pack holds other bytes. :raises NotFound: a pack is not there.
    """
    yield _pieces(store, recipe, start, stop)


def _pieces(store: Reader, recipe: Recipe, start: int, stop: int) -> Iterator[bytes]:
    offsets: dict[int, list[int]] = {}

    def place(pack: int, number: int) -> tuple[int, int]:
        if pack not in offsets:
            offsets[pack] = recipe.packs[pack].chunks.offsets()
        return offsets[pack][number], offsets[pack][number + 1]

    def base(pack: int, number: int) -> bytes:
        first, last = place(pack, number)
        with store.open(recipe.packs[pack].blob, first, last) as chunks:
            return decoded(recipe.packs[pack], number, b"".join(chunks), base)

    for run in _runs(recipe, start, stop, place):
        first, last = place(run[0].pack, run[0].number)[0], place(run[-1].pack, run[-1].number)[1]
        pack = recipe.packs[run[0].pack]
        with store.open(pack.blob, first, last) as chunks:
            stored = memoryview(b"".join(chunks))
        if len(stored) != last - first:
            raise Corrupt(f"{pack.blob.digest} ended early", digest=str(pack.blob.digest))
        for piece in run:
            at, end = place(piece.pack, piece.number)
            data = decoded(pack, piece.number, stored[at - first : end - first], base)
            yield data[max(0, start - piece.start) : max(0, stop - piece.start)]


def _runs(recipe: Recipe, start: int, stop: int, place: Callable[[int, int], tuple[int, int]]) -> Iterator[list[Piece]]:
    """The chunks that hold those bytes, in runs that one request brings."""
    run: list[Piece] = []
    for piece in recipe.pieces():
        if piece.start + piece.size <= start:
            continue
        if piece.start >= stop:
            break
        if run:
            goes_on = (piece.pack, piece.number) == (run[-1].pack, run[-1].number + 1)
            if not goes_on or place(piece.pack, piece.number)[1] - place(run[0].pack, run[0].number)[0] > SPAN:
                yield run
                run = []
        run.append(piece)
    if run:
        yield run
