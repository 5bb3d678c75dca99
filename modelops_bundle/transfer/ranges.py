"""Chunks out of packs on another machine: few requests for what is near each other, several at a time, each chunk
verified as it comes (facts: delta §4).

Only requests for one range each: servers answer those for several with the whole, or with an error (zot#3623).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from typing import NamedTuple, Protocol

from modelops_bundle.errors import BundleError, Corrupt, DiskError, NotFound
from modelops_bundle.events import Retrying, Run
from modelops_bundle.model.chunkmap import FIRST_XOR, ChunkList, ChunkPack
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks, Parts, Reader
from modelops_bundle.transfer.chunks import GAP, SPAN, decoded
from modelops_bundle.transfer.hosts import Host
from modelops_bundle.transfer.verify import mismatch

MOST_OF_IT = 0.75
"""Share of a pack from which on all of it is asked for."""
WHOLE = 64 * 1024 * 1024
"""Bytes of a pack that one request brings then."""
LANES = 8
"""Requests at a time for one file: what they bring is small, and most of their time is waiting."""

MEMORY = 128 * 1024 * 1024
"""Bytes that all chunks on their way take at a time, whatever their lists say of them."""

Numbers = Sequence[int]
Take = Callable[[int, int, bytes], None]
"""Is given the number of a pack, of a chunk in it, and the chunk's verified bytes."""


class NoRanges(Exception):
    """The host sends the whole, whatever is asked for."""


class _NotHere(Exception):
    """What was read on this machine is not there after all, or other bytes.

    :param error: what happened. :param final: there is no better place to take it from.
    """

    def __init__(self, error: BundleError, *, final: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.final = final


class Span(NamedTuple):
    """Bytes `start` to `stop` (exclusive) of a pack, for the chunks `numbers` in them."""

    pack: int
    start: int
    stop: int
    numbers: Numbers


class Room:
    """Memory of all that bring chunks together. Thread-safe.

    :param most: bytes; one that needs more gets them alone.
    """

    def __init__(self, most: int = MEMORY) -> None:
        self._most = most
        self._used = 0
        self._freed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until `amount` bytes are free, and have them meanwhile."""
        with self._freed:
            self._freed.wait_for(lambda: not self._used or self._used + amount <= self._most)
            self._used += amount
        try:
            yield
        finally:
            with self._freed:
                self._used -= amount
                self._freed.notify_all()


class Where(Protocol):
    """Where packs are.

    `lanes` are the connections of all that ask it together, `room` is their memory.
    """

    lanes: threading.Semaphore
    room: Room

    def reader(self, pack: Descriptor) -> tuple[Reader, Host | None]:
        """What brings a pack, and its host; None where that is this machine."""
        ...

    def distrust(self, pack: Descriptor, reader: Reader) -> bool:
        """Bring it from elsewhere than `reader`, which is on this machine; False when that has all of it, verified."""
        ...


def spans(
    pack: int,
    offsets: Sequence[int],
    numbers: Numbers,
    burden: Callable[[int], int] = lambda _number: 0,
) -> Iterator[Span]:
    """The requests that bring the chunks `numbers`, which are sorted, of a pack.

    :param offsets: where its chunks begin. :param burden: bytes that one takes in memory until the request is done.
    """
    wanted = sum(offsets[number + 1] - offsets[number] for number in numbers)
    most = wanted >= MOST_OF_IT * offsets[-1]
    gap, room = (offsets[-1], WHOLE) if most else (GAP, SPAN)
    run: list[int] = []
    start = stop = burdened = 0
    for number in numbers:
        first, last, more = offsets[number], offsets[number + 1], burden(number)
        if run and (first - stop > gap or last - start > room or burdened + more > SPAN):
            yield Span(pack, start, stop, run)
            run, burdened = [], 0
        start, stop, burdened = (start if run else first), last, burdened + more
        run.append(number)
    if run:
        yield Span(pack, start, stop, run)


class Ranges:
    """Brings chunks of packs.

    :param known: the bytes of a chunk that is on this machine, by its digest and size; None when it is not.
    :param holds: whether `known` is likely to have them.
    """

    def __init__(
        self,
        packs: Sequence[ChunkPack],
        where: Where,
        known: Callable[[bytes, int], bytes | None],
        holds: Callable[[bytes], bool],
        run: Run,
    ) -> None:
        self._packs = packs
        self._where = where
        self._known = known
        self._holds = holds
        self._run = run
        self._lock = threading.Lock()
        self._handing = threading.Lock()
        self._offsets: dict[int, list[int]] = {}
        self._failure: BaseException | None = None
        self.received = 0
        """Bytes that came over a network."""

    def fetch(self, wanted: Mapping[int, Numbers], take: Take) -> None:
        """Bring the chunks `wanted`, sorted numbers by pack, each to be given to `take` by one of several threads.

        :raises Corrupt: a chunk is another one, twice. :raises NotFound: a pack is not there.
        :raises NoRanges: the host has none; what came until then was taken.
        """
        self._failure = None
        waiting = self._spans(wanted)
        first = list(islice(waiting, 2))
        if len(first) < 2:
            for span in first:
                self._bring_held(span, take)
            return
        waiting = chain(first, waiting)
        most = min(LANES, max(1, self._run.limits.connections))
        with ThreadPoolExecutor(most) as pool:
            for _ in range(most):
                pool.submit(self._work, waiting, take)
        if self._failure is not None:
            raise self._failure

    def _spans(self, wanted: Mapping[int, Numbers]) -> Iterator[Span]:
        for pack, numbers in wanted.items():
            chunks = self._packs[pack].chunks

            def burden(number: int, chunks: ChunkList = chunks) -> int:
                return 0 if self._has_base(chunks, number) else chunks.sizes[number]

            yield from spans(pack, self._places(pack), numbers, burden)

    def _has_base(self, chunks: ChunkList, number: int) -> bool:
        """Whether nothing else is needed to decode a chunk than what is on this machine."""
        if chunks.codec(number) < FIRST_XOR:
            return True
        pack, base = chunks.bases[number]
        return self._holds(self._packs[pack].chunks.digest(base))

    def _places(self, pack: int) -> list[int]:
        with self._lock:
            if pack not in self._offsets:
                self._offsets[pack] = self._packs[pack].chunks.offsets()
            return self._offsets[pack]

    def _work(self, waiting: Iterator[Span], take: Take) -> None:
        """Bring one after another until none is left, or somebody failed."""
        try:
            while self._failure is None:
                with self._handing:
                    span = next(waiting, None)
                if span is None:
                    return
                self._bring_held(span, take)
        except BaseException as error:
            self._failure = self._failure or error
            raise

    # --- one request

    def _bring_held(self, span: Span, take: Take) -> None:
        # Nobody waits for memory who has a lane or memory already, so those who have them go on.
        with self._where.room.taken(self._memory(span)):
            if self._failure is None:
                self._bring(span, take)

    def _memory(self, span: Span) -> int:
        """Bytes that the chunks of a request take in memory at a time, at most."""
        chunks = self._packs[span.pack].chunks
        held = sum(chunks.sizes[number] for number in span.numbers if not self._has_base(chunks, number))
        return held + max(_needed(chunks, number) for number in span.numbers)

    def _bring(self, span: Span, take: Take) -> None:
        """Bring the chunks of one request; one that comes damaged is asked for once more."""
        rest, failed, blob = span, -1, self._packs[span.pack].blob
        while rest.numbers:
            brought = 0
            try:
                for number, data in self._decoded(rest, self._bases(rest)):
                    take(rest.pack, number, data)
                    brought += 1
                return
            except (_NotHere, Corrupt) as caught:
                number, error = rest.numbers[brought], caught.error if isinstance(caught, _NotHere) else caught
                # A place on this machine is left once; so this ends.
                if not isinstance(caught, _NotHere) or caught.final:
                    if number == failed:
                        raise error from None
                    failed = number
                self._run.emit(Retrying(str(blob.digest), 1, 0.0, error.message))
                start = self._places(span.pack)[number]
                rest = Span(span.pack, start, span.stop, rest.numbers[brought:])

    def _bases(self, span: Span) -> dict[tuple[int, int], bytes]:
        """The chunks that some of these are differences to, where nobody here has them."""
        chunks = self._packs[span.pack].chunks
        wanted: dict[int, set[int]] = {}
        for number in span.numbers:
            if not self._has_base(chunks, number):
                pack, base = chunks.bases[number]
                wanted.setdefault(pack, set()).add(base)
        found: dict[tuple[int, int], bytes] = {}
        for pack, numbers in wanted.items():
            for part in spans(pack, self._places(pack), sorted(numbers)):
                found.update(((pack, number), data) for number, data in self._decoded(part, {}))
        return found

    def _decoded(
        self, span: Span, bases: Mapping[tuple[int, int], bytes], *, within: bool = False
    ) -> Iterator[tuple[int, bytes]]:
        """The chunks of one request.

        :param within: while another request is under way, whose lane it shares: waiting for one could last for ever.
        """
        pack, offsets = self._packs[span.pack], self._places(span.pack)

        def base(other: int, number: int) -> bytes:
            data = bases.get((other, number))
            return data if data is not None else self._base(other, number)

        with self._opened(pack.blob, span.start, span.stop, within=within) as chunks:
            stream = _Stream(pack.blob, chunks, span.start)
            for number in span.numbers:
                stored = stream.bytes(offsets[number], offsets[number + 1])
                yield number, decoded(pack, number, stored, base)

    def _base(self, pack: int, number: int) -> bytes:
        """A chunk that was said to be here, or else from where all are."""
        chunks = self._packs[pack].chunks
        data = self._known(chunks.digest(number), chunks.sizes[number])
        if data is None:
            offsets = self._places(pack)
            span = Span(pack, offsets[number], offsets[number + 1], [number])
            data = next(self._decoded(span, {}, within=True))[1]
        return data

    @contextmanager
    def _opened(self, blob: Descriptor, start: int, stop: int, *, within: bool) -> Iterator[Chunks]:
        reader, host = self._where.reader(blob)
        if host is None:
            try:
                with reader.open(blob, start, stop) as chunks:
                    yield chunks
            except (Corrupt, NotFound, DiskError) as error:
                raise _NotHere(error, final=not self._where.distrust(blob, reader)) from error
            return
        with nullcontext() if within else self._where.lanes, self._asked(reader, host, blob, start, stop) as chunks:
            yield self._counted(chunks)

    @staticmethod
    @contextmanager
    def _asked(reader: Reader, host: Host, blob: Descriptor, start: int, stop: int) -> Iterator[Chunks]:
        if not isinstance(reader, Parts):
            with reader.open(blob, start, stop) as chunks:
                yield chunks
            return
        if not host.ranges and (start, stop) != (0, blob.size):
            raise NoRanges
        host.enter()
        try:
            with reader.part(blob, start, stop, host.hindered) as found:
                if found is None:
                    host.ranges = False
                    raise NoRanges
                yield found
        finally:
            host.leave()

    def _counted(self, chunks: Chunks) -> Chunks:
        for chunk in chunks:
            self._run.check()
            if self._failure is not None:
                raise self._failure
            with self._lock:
                self.received += len(chunk)
            yield chunk


def _needed(chunks: ChunkList, number: int) -> int:
    """Bytes in memory while a chunk is decoded: as it is stored, as it gets, and what comes between."""
    codec = chunks.codec(number)
    steps = 1 if codec == 0 else 2 if codec < FIRST_XOR else 4
    return chunks.room[number] + steps * chunks.sizes[number]


class _Stream:
    """Parts of a blob that comes in pieces, in order.

    :param at: the first byte that comes.
    """

    def __init__(self, blob: Descriptor, chunks: Chunks, at: int) -> None:
        self._blob = blob
        self._chunks = chunks
        self._at = at
        self._held = memoryview(b"")

    def bytes(self, start: int, stop: int) -> memoryview:
        """The bytes from `start`, which is not before the end of what was asked for last, to `stop`."""
        self._skip(start)
        if len(self._held) >= stop - start:
            return self._taken(stop - start)
        found = bytearray()
        while (left := stop - start - len(found)) > 0:
            self._fill()
            found += self._taken(min(left, len(self._held)))
        return memoryview(found)

    def _skip(self, start: int) -> None:
        while (ahead := start - self._at) > 0:
            self._fill()
            self._taken(min(ahead, len(self._held)))

    def _taken(self, count: int) -> memoryview:
        part, self._held = self._held[:count], self._held[count:]
        self._at += count
        return part

    def _fill(self) -> None:
        while not self._held:
            piece = next(self._chunks, None)
            if piece is None:
                raise mismatch(self._blob, f"it ends at byte {self._at}")
            self._held = memoryview(piece)
