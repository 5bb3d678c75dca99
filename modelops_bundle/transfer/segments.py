"""Which bytes of a content are here, which are still to come, and who brings them.

Ranges are half-open: `start` is the first byte, `stop` the one after the last. Nothing here locks; owners do.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator

Range = tuple[int, int]

SEGMENT = 8 * 1024 * 1024
"""Most bytes one of several connections is sent for: short enough for hashing to follow closely, long enough for the
round trip between two requests not to matter."""
SMALLEST = 4 * 1024 * 1024
"""Least bytes in a segment while there are many left, and what is left of one that is worth halving."""


class Spans:
    """A set of bytes, as few ranges as possible."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges: list[Range] = []
        self.total = 0
        for start, stop in ranges:
            self.add(start, stop)

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    @property
    def prefix(self) -> int:
        """How many bytes are there without a gap from the beginning on."""
        first = self._ranges[:1]
        return first[0][1] if first and first[0][0] == 0 else 0

    def add(self, start: int, stop: int) -> None:
        """Add a range, which may overlap what is there."""
        if start >= stop:
            return
        apart = []
        for one in self._ranges:
            if one[1] < start or stop < one[0]:
                apart.append(one)
            else:
                start, stop = min(start, one[0]), max(stop, one[1])
        insort(apart, (start, stop))
        self._ranges = apart
        self.total = sum(b - a for a, b in apart)

    def gaps(self, size: int) -> Iterator[Range]:
        """The ranges below `size` that are not there, in order."""
        at = 0
        for start, stop in self._ranges:
            if at < start:
                yield at, start
            at = stop
        if at < size:
            yield at, size


class Lease:
    """A range that somebody is bringing: bytes before `at` have come, the connection was asked for those up to
    `reach`, of which the ones from `stop` on have been given to others.
    """

    __slots__ = ("at", "reach", "stop")

    def __init__(self, at: int, stop: int) -> None:
        self.at = at
        self.stop = self.reach = stop

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return self.stop - self.at


class Segments:
    """Hands out what is still to come, in order, so that hashing can follow from the front.

    :param size: bytes of the whole content.
    :param here: what is here already.
    """

    def __init__(self, size: int, here: Spans) -> None:
        self.size = size
        self._free: list[Range] = list(here.gaps(size))
        self._leases: list[Lease] = []

    @property
    def leased(self) -> int:
        """How many leases are out."""
        return len(self._leases)

    def take(self, among: int = 1) -> Lease | None:
        """The next range to bring; None when the others need no help with what is left.

        :param among: how many share the work; alone one gets all that is missing in a row.
        """
        if not self._free:
            self._split()
        if not self._free:
            return None
        start, stop = self._free.pop(0)
        if among > 1:
            left = stop - start + sum(b - a for a, b in self._free)
            cut = start + max(SMALLEST, min(SEGMENT, left // (2 * among)))
            if cut < stop:
                self._free.insert(0, (cut, stop))
                stop = cut
        lease = Lease(start, stop)
        self._leases.append(lease)
        return lease

    def _split(self) -> None:
        longest = max(self._leases, key=lambda lease: lease.left, default=None)
        if longest is not None and longest.left >= SMALLEST:
            cut = longest.at + min(SEGMENT, longest.left // 2)
            self._free.append((cut, longest.stop))
            longest.stop = cut

    def claim(self, lease: Lease, amount: int) -> Range:
        """The range that the next `amount` bytes fill; shorter where the rest was given to others."""
        start = lease.at
        lease.at = min(lease.stop, start + amount)
        return start, lease.at

    def end(self, lease: Lease) -> None:
        """Take a lease back, with what has not come."""
        self._leases.remove(lease)
        if lease.left:
            insort(self._free, (lease.at, lease.stop))
        for other in self._leases:
            # A connection that was asked for more than it still had to bring simply goes on.
            while self._free and other.stop < other.reach and (rest := self._next_to(other)) is not None:
                self._free.remove(rest)
                other.stop = min(rest[1], other.reach)
                if other.stop < rest[1]:
                    insort(self._free, (other.stop, rest[1]))

    def _next_to(self, lease: Lease) -> Range | None:
        return next((one for one in self._free if one[0] == lease.stop), None)
