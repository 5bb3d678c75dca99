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
    packs = _Packs(store, recipe)
    for run in _runs(recipe, start, stop, packs.place):
        parts = packs.parts(run[0].pack, run[0].number, run[-1].number)
        for at, piece in enumerate(run):
            pack = recipe.packs[piece.pack]
            wanted = pack.chunks.bases.get(piece.number)
            if wanted is not None:
                packs.bring(_bases(recipe, run[at:], packs.place))
            data = decoded(pack, piece.number, parts[piece.number], packs.base)
            yield data[max(0, start - piece.start) : max(0, stop - piece.start)]


class _Packs:
    """The packs of a recipe, and those bases of differences that come next."""

    def __init__(self, store: Reader, recipe: Recipe) -> None:
        self._store = store
        self._packs = recipe.packs
        self._offsets: dict[int, list[int]] = {}
        self._held: dict[tuple[int, int], memoryview] = {}

    def place(self, pack: int, number: int) -> tuple[int, int]:
        """Where a chunk begins and ends in its pack."""
        if pack not in self._offsets:
            self._offsets[pack] = self._packs[pack].chunks.offsets()
        return self._offsets[pack][number], self._offsets[pack][number + 1]

    def parts(self, pack: int, first: int, last: int) -> dict[int, memoryview]:
        """The stored bytes of the chunks `first` to `last`, by one request."""
        start, stop = self.place(pack, first)[0], self.place(pack, last)[1]
        blob = self._packs[pack].blob
        with self._store.open(blob, start, stop) as chunks:
            stored = memoryview(b"".join(chunks))
        if len(stored) != stop - start:
            raise Corrupt(f"{blob.digest} ended early", digest=str(blob.digest))
        places = ((number, self.place(pack, number)) for number in range(first, last + 1))
        return {number: stored[at - start : end - start] for number, (at, end) in places}

    def bring(self, bases: tuple[int, int, int]) -> None:
        """Hold the chunks of a pack from the first number to the last, unless the first is held already."""
        pack, first, last = bases
        if (pack, first) not in self._held:
            # What was held before goes first: there is room for one such run.
            self._held = {}
            self._held = {(pack, number): part for number, part in self.parts(pack, first, last).items()}

    def base(self, pack: int, number: int) -> bytes:
        """A chunk that another one is a difference to."""
        return decoded(self._packs[pack], number, self._held[pack, number], self.base)


def _bases(recipe: Recipe, pieces: list[Piece], place: Callable[[int, int], tuple[int, int]]) -> tuple[int, int, int]:
    """The bases of the next differences, as far as they follow one another in their pack, and one request brings them."""
    found: list[tuple[int, int]] = []
    for piece in pieces:
        base = recipe.packs[piece.pack].chunks.bases.get(piece.number)
        if base is None or (found and base == found[-1]):
            continue
        if found and (base != (found[-1][0], found[-1][1] + 1) or place(*base)[1] - place(*found[0])[0] > SPAN):
            break
        found.append(base)
    return found[0][0], found[0][1], found[-1][1]


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
