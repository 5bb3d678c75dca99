"""Weight files on either side of a comparison: their headers, and digests of runs of their bytes.

Where a version says which chunks a file is made of, those digests cost nothing; else bytes are read where they are near
(the tree) or few (files too small for chunks).
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import WorkspaceChanged
from modelops_bundle.events import Run
from modelops_bundle.formats.tensors import Read, Tensor
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.chunkmap import DIGEST_SIZE, ChunkList, Recipe
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Reader
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.operations.tensors import Weights, stored, weights_in
from modelops_bundle.transfer.unpack import reading
from modelops_bundle.transfer.verify import verified

_BLOCK = 1024 * 1024

Span = tuple[int, int]
"""Bytes of a tensor, counted from its first one: start, and how many. One that reaches beyond a tensor begins below 0."""


class Cuts(NamedTuple):
    """The chunks of a file: where each begins, with the end of the file, and their digests one after another."""

    starts: Sequence[int]
    digests: bytes

    @classmethod
    def listed(cls, chunks: ChunkList) -> Cuts:
        """Those of a list that is all of the file."""
        return cls(list(accumulate(chunks.sizes, initial=0)), chunks.digests)

    @classmethod
    def of(cls, recipe: Recipe) -> Cuts:
        """Those that a version says the file is made of."""
        sizes: list[int] = []
        digests = bytearray()
        for pack, first, count in recipe.segments:
            chunks = recipe.packs[pack].chunks
            sizes += chunks.sizes[first : first + count]
            digests += chunks.digests[first * DIGEST_SIZE : (first + count) * DIGEST_SIZE]
        return cls(list(accumulate(sizes, initial=0)), bytes(digests))

    def within(self, tensor: Tensor) -> dict[Span, bytes]:
        """The digests of the chunks that hold bytes of a tensor."""
        found: dict[Span, bytes] = {}
        first = bisect_right(self.starts, tensor.start) - 1
        for at in range(first, bisect_left(self.starts, tensor.stop)):
            span = (self.starts[at] - tensor.start, self.starts[at + 1] - self.starts[at])
            found[span] = self.digests[at * DIGEST_SIZE : (at + 1) * DIGEST_SIZE]
        return found


class WeightFile:
    """A file of tensors on one side.

    :param head: the digest of everything before the first tensor. :param cuts: its chunks, where they are known.
    :param read: the bytes from an offset to another; None when they are too many to bring.
    :param why: what to say when tensors cannot be compared for its sake.
    """

    def __init__(
        self,
        weights: Weights,
        head: bytes,
        cuts: Cuts | None,
        read: Callable[[int, int], Iterable[bytes]] | None,
        why: str,
    ) -> None:
        self.weights = weights
        self.head = head
        self.cuts = cuts
        self.why = why
        self._read = read

    @property
    def readable(self) -> bool:
        """Whether `hashed` works."""
        return self._read is not None

    def known(self, tensor: Tensor) -> dict[Span, bytes]:
        """Digests of parts of a tensor that nobody has to compute; empty without a chunk list."""
        return self.cuts.within(tensor) if self.cuts is not None else {}

    def hashed(self, tensor: Tensor, spans: Iterable[Span]) -> dict[Span, bytes]:
        """The digests of these parts of a tensor, those that reach beyond the file left out."""
        from blake3 import blake3

        assert self._read is not None
        found: dict[Span, bytes] = {}
        for start, size in spans:
            first = tensor.start + start
            if first >= 0 and first + size <= self.weights.size:
                hasher = blake3()
                for block in self._read(first, first + size):
                    hasher.update(block)
                found[start, size] = hasher.digest()
        return found


class Slot:
    """Holds the last small file that was brought of one side: a few tens of megabytes, however many files there are."""

    def __init__(self, store: Reader) -> None:
        self.store = store
        self._held: tuple[Digest, bytes] | None = None

    def bytes_of(self, entry: Entry, place: Place) -> bytes:
        """The verified bytes of a file. :raises Corrupt: they are others."""
        if self._held is None or self._held[0] != entry.digest:
            self._held = None
            with reading(self.store, place, entry.size) as chunks:
                self._held = (entry.digest, b"".join(verified(entry.content, chunks)))
        return self._held[1]


def stored_file(slot: Slot, path: str, entry: Entry, place: Place, *, smallest: int, name: str) -> WeightFile:
    """A file of a stored version.

    :param smallest: bytes from which on files are not brought. :param name: of the version.
    """
    read = stored(slot.store, place, entry.size)
    weights = weights_in(path, entry, read)
    # What can be read is read: a list is what somebody says.
    is_small = entry.size < smallest
    cuts = Cuts.of(place.recipe) if place.recipe is not None and not is_small else None
    why = f"{path} is cut otherwise in {name}" if cuts is not None else f"{path} has no chunk list in {name}"

    def whole(start: int, stop: int) -> Iterator[bytes]:
        yield slot.bytes_of(entry, place)[start:stop]

    return WeightFile(weights, _head(weights, read), cuts, whole if is_small else None, why)


def tree_file(tree: Tree, path: str, entry: Entry, key: StatKey, run: Run, cuts: Cuts | None = None) -> WeightFile:
    """A file of the working tree.

    :param key: of the state that `entry` describes; reading another one raises `WorkspaceChanged`.
    """

    def blocks(start: int, stop: int) -> Iterator[bytes]:
        descriptor = tree.open_read(path)
        try:
            with translated(f"read {path}"):
                for at in range(start, stop, _BLOCK):
                    run.check()
                    yield os.pread(descriptor, min(_BLOCK, stop - at), at)
                if StatKey.of(os.fstat(descriptor)) != key:
                    raise WorkspaceChanged(f"{path} changed while it was read", hint="run again", path=path)
        finally:
            os.close(descriptor)

    def read(at: int, size: int) -> bytes:
        return b"".join(blocks(at, min(at + size, entry.size)))

    weights = weights_in(path, entry, read)
    return WeightFile(weights, _head(weights, read), cuts, blocks, "")


def _head(weights: Weights, read: Read) -> bytes:
    from blake3 import blake3

    return blake3(read(0, weights.header.size)).digest() if weights.header is not None else b""
