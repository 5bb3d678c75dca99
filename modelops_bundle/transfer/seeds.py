"""Where on this machine chunks may be that a download would bring: files whose chunk lists are known (facts: delta §4).

Nothing of it is believed: a chunk is what its digest says when it is read, or it is not there.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import NamedTuple, Self

from modelops_bundle.errors import BundleError
from modelops_bundle.model.chunkmap import DIGEST_SIZE, ChunkList, Recipe
from modelops_bundle.transfer.chunks import matches

MOST_OPEN = 128
"""Files that are open at a time: those that were read last."""
_MOST_CHUNKS = 1 << 24
_MOST_PLACES = 64
"""Places looked at for one chunk: a file of nothing but zeros has a million, and so has a list that somebody made up."""
_PREFIX = 5
"""Bytes of a digest in a key; the number of its chunk is in the other three."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that may hold chunks.

    :param sizes: bytes of each chunk, in order. :param digests: BLAKE3 of each, 32 bytes one after another.
    :param open: opens it for reading; the descriptor is closed by whoever asked.
    :param room: the bytes that each takes in the file; those that take others than it has are stored otherwise, and
        left out.
    """

    sizes: array[int]
    digests: bytes = field(repr=False)
    open: Callable[[], int]
    room: array[int] | None = None

    @classmethod
    def of_list(cls, chunks: ChunkList, opened: Callable[[], int]) -> Self:
        """A blob with its chunk list: those of its chunks that are stored as they are."""
        if chunks.codecs is None:
            return cls(chunks.sizes, chunks.digests, opened)
        # A chunk that is encoded into as many bytes as it has would be read in vain, and no harm done.
        return cls(chunks.sizes, chunks.digests, opened, chunks.room)

    @classmethod
    def of_recipe(cls, recipe: Recipe, opened: Callable[[], int]) -> Self:
        """A file that is, as far as anybody knows, what `recipe` makes."""
        sizes, digests = array("I"), bytearray()
        for pack, first, count in recipe.segments:
            chunks = recipe.packs[pack].chunks
            sizes.extend(chunks.sizes[first : first + count])
            digests += chunks.digests[first * DIGEST_SIZE : (first + count) * DIGEST_SIZE]
        return cls(sizes, bytes(digests), opened)


class Held(NamedTuple):
    """Where a chunk may be: the number of the source, the first byte in it, and its size in bytes."""

    source: int
    offset: int
    size: int


class Seeds:
    """The files of one operation that may hold chunks. Thread-safe; a context manager that closes what was opened."""

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self._lock = threading.Lock()
        self._sources: list[Source] = []
        self._offsets: list[array[int]] = []
        self._firsts: list[int] = []
        """The number of each source's first chunk."""
        self._total = 0
        self._keys: tuple[array[int], ...] = ()
        """Per chunk the beginning of its digest and its number, sorted: eight bytes each, for half a million of them.
        A few runs of them, each shorter than the one before: a file that is added does not have all sorted again.
        """
        self._open: dict[int, int] = {}
        """The descriptor of each source that is open, the longest unused first."""
        self._gone: set[int] = set()
        self._users: Counter[int] = Counter()
        self.add(sources)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def __len__(self) -> int:
        return self._total

    def add(self, sources: Iterable[Source]) -> None:
        """Look into these as well, after those before them."""
        # Some are made while they are asked for, and that takes a while.
        new, keys = list(sources), list[int]()
        with self._lock:
            for source in new:
                count = len(source.sizes)
                if self._total + count > _MOST_CHUNKS:
                    break
                keys += _keys(source, self._total)
                self._sources.append(source)
                room = source.sizes if source.room is None else source.room
                self._offsets.append(array("Q", accumulate(room, initial=0)))
                self._firsts.append(self._total)
                self._total += count
            runs = list(self._keys)
            while keys and runs and len(runs[-1]) <= len(keys):
                keys += runs.pop()
            self._keys = (*runs, array("Q", sorted(keys))) if keys else self._keys

    def find(self, digest: bytes) -> Held | None:
        """Where a chunk may be first, None when nobody says that it is here."""
        return next(self.places(digest), None)

    def places(self, digest: bytes) -> Iterator[Held]:
        """Where a chunk may be, the first few dozen places."""
        sources = self._sources
        for number in islice(self._numbers(digest), _MOST_PLACES):
            owner = bisect_right(self._firsts, number) - 1
            number -= self._firsts[owner]
            source = sources[owner]
            if source.digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE] == digest:
                yield Held(owner, self._offsets[owner][number], source.sizes[number])

    def _numbers(self, digest: bytes) -> Iterator[int]:
        """The chunks whose digests begin as this one."""
        prefix = int.from_bytes(digest[:_PREFIX], "big")
        for keys in self._keys:
            for at in range(bisect_left(keys, prefix << 24), len(keys)):
                if keys[at] >> 24 != prefix:
                    break
                yield keys[at] & 0xFFFFFF

    def read(self, digest: bytes, size: int) -> bytes | None:
        """The chunk of `size` bytes, verified; None when no source has it after all."""
        for held in self.places(digest):
            if held.size != size:
                continue
            with self._opened(held.source) as descriptor, suppress(OSError):
                data = os.pread(descriptor, size, held.offset) if descriptor is not None else b""
                if len(data) == size and matches(data, digest):
                    return data
        return None

    def descriptor(self, source: int) -> int | None:
        """A source, open until many others were; None when it is gone."""
        with self._opened(source) as descriptor:
            return descriptor

    @contextmanager
    def _opened(self, source: int) -> Iterator[int | None]:
        with self._lock:
            descriptor = self._open.pop(source, None)
            if descriptor is None and source not in self._gone:
                self._gone.add(source)
                with suppress(OSError, BundleError):
                    descriptor = self._sources[source].open()
                    self._gone.discard(source)
            if descriptor is not None:
                self._open[source] = descriptor
            self._users[source] += 1
            self._close_some()
        try:
            yield descriptor
        finally:
            with self._lock:
                self._users[source] -= 1

    def _close_some(self) -> None:
        """Close what nobody reads from, as long as too many are open."""
        if len(self._open) > MOST_OPEN:
            for idle in [each for each in self._open if not self._users[each]][: len(self._open) - MOST_OPEN]:
                os.close(self._open.pop(idle))


def _keys(source: Source, first: int) -> Iterator[int]:
    digests, room = source.digests, source.room
    for number, size in enumerate(source.sizes):
        if room is None or room[number] == size:
            at = number * DIGEST_SIZE
            yield int.from_bytes(digests[at : at + _PREFIX], "big") << 24 | (first + number)
