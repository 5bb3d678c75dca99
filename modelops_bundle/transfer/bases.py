"""The chunks that others are stored as differences to: from a directory beside, or from the store that holds them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import BundleError, Corrupt, Unsupported
from modelops_bundle.model.chunkmap import ChunkPack
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks, Parts, Reader
from modelops_bundle.transfer.chunks import SPAN, decoded, matches

_NEAR = 8
"""Chunks."""


class Bases:
    """The bytes of chunks that a store holds: from a directory beside it where that has them, else by ranges.

    :param packs: what the numbers of packs stand for.
    """

    def __init__(self, packs: Sequence[ChunkPack], store: Reader) -> None:
        self._packs, self._store = packs, store
        self._tree: Tree | None = None
        self._at: dict[tuple[int, int], tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._offsets: dict[int, list[int]] = {}
        self._last: tuple[int, int] | None = None
        self._ahead: dict[tuple[int, int], bytes] = {}

    def beside(self, tree: Tree) -> None:
        """Look into this directory first."""
        self._tree = tree

    def at(self, place: tuple[int, int], path: str, start: int) -> None:
        """A chunk may be found there."""
        self._at.setdefault(place, (path, start))

    def __call__(self, pack: int, number: int) -> bytes:
        found = self._local(pack, number)
        return found if found is not None else self._remote(pack, number)

    def _local(self, pack: int, number: int) -> bytes | None:
        place = self._at.get((pack, number))
        if self._tree is None or place is None:
            return None
        chunks = self._packs[pack].chunks
        with suppress(BundleError):
            data = _read_at(self._tree, place[0], place[1], chunks.sizes[number])
            if matches(data, chunks.digest(number)):
                return data
        return None

    def _remote(self, pack: int, number: int) -> bytes:
        with self._lock:
            stored = self._ahead.pop((pack, number), None)
            if stored is None:
                stored = self._bring(pack, number)
            self._last = pack, number
        return decoded(self._packs[pack], number, stored, self)

    def _bring(self, pack: int, number: int) -> bytes:
        """A chunk, and where chunks are asked for in order those behind it."""
        blob, chunks = self._packs[pack]
        if pack not in self._offsets:
            self._offsets[pack] = chunks.offsets()
        offsets, first, stop = self._offsets[pack], self._offsets[pack][number], number + 1
        if self._follows(pack, number):
            while stop < len(chunks) and offsets[stop + 1] - first <= SPAN and (pack, stop) not in self._ahead:
                stop += 1
        with self._opened(blob, first, offsets[stop]) as pieces:
            if pieces is None:
                raise Unsupported(
                    "this registry sends whole blobs where a part is asked for: differences would fetch all of it often",
                    hint="name a directory that holds the version: --xor-base DIR",
                )
            data = b"".join(pieces)
        if len(data) != offsets[stop] - first:
            raise Corrupt(f"{blob.digest} ended early", digest=str(blob.digest))
        for at in range(number + 1, stop):
            self._ahead[pack, at] = data[offsets[at] - first : offsets[at + 1] - first]
        self._forget()
        return data[: offsets[number + 1] - first]

    def _opened(self, blob: Descriptor, start: int, stop: int) -> AbstractContextManager[Chunks | None]:
        if isinstance(self._store, Parts):
            return self._store.part(blob, start, stop, lambda: None)
        return self._store.open(blob, start, stop)

    def _follows(self, pack: int, number: int) -> bool:
        """Whether those who ask go through the pack: several at a time, so not quite in order."""
        return self._last is not None and self._last[0] == pack and abs(number - self._last[1]) <= _NEAR

    def _forget(self) -> None:
        """What came first and nobody asked for goes first."""
        size = sum(map(len, self._ahead.values()))
        while size > 2 * SPAN:
            size -= len(self._ahead.pop(next(iter(self._ahead))))


def _read_at(tree: Tree, path: str, start: int, size: int) -> bytes:
    descriptor = tree.open_read(path)
    try:
        with translated(f"read {path}"):
            return os.pread(descriptor, size, start)
    finally:
        os.close(descriptor)
