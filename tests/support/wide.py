"""A far store that can be asked for several parts at a time, and what its host does wrong on order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelops_bundle.errors import Unavailable
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks
from modelops_bundle.transfer.hosts import Host, Hosts


class WideStore:
    """Serves `data` in pieces, by part or from a position on; notes what was asked for and how many bytes went out.

    :param ranges: False sends the whole whatever was asked for.
    :param room: connections that it takes at a time; those beyond are refused.
    """

    host = "wide"

    def __init__(self, data: bytes, *, piece: int = 1000, ranges: bool = True, room: int = 1000) -> None:
        self.data = data
        self.piece = piece
        self.ranges = ranges
        self.room = room
        self.asked: list[tuple[int, int]] = []
        self.sent = 0
        self.open_now = 0
        self.most = 0
        self.before_piece: Callable[[int], None] = lambda _at: None
        """Called with the position of each piece before it goes out; may raise."""
        self._lock = threading.Lock()

    def has(self, what: Descriptor) -> bool:
        return True

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        with self._connected():
            self.asked.append((start, what.size if stop is None else stop))
            if not self.ranges:
                self.sent += start
            yield self._pieces(start, what.size if stop is None else stop)

    @contextmanager
    def part(self, what: Descriptor, start: int, stop: int, hindered: Callable[[], None]) -> Iterator[Chunks | None]:
        attempts = 0
        while self.open_now >= self.room:
            hindered()
            attempts += 1
            if attempts == 3:
                raise Unavailable("busy")
        with self._connected():
            self.asked.append((start, stop))
            whole = (start, stop) == (0, what.size)
            yield self._pieces(start, stop) if self.ranges or whole else None

    @contextmanager
    def _connected(self) -> Iterator[None]:
        with self._lock:
            self.open_now += 1
            self.most = max(self.most, self.open_now)
        try:
            yield
        finally:
            with self._lock:
                self.open_now -= 1

    def _pieces(self, start: int, stop: int) -> Chunks:
        stop = min(stop, len(self.data))
        for at in range(start, stop, self.piece):
            self.before_piece(at)
            piece = self.data[at : min(stop, at + self.piece)]
            with self._lock:
                self.sent += len(piece)
            yield piece


class EagerHost(Host):
    """Worth `room` connections from the beginning on, fewer after each refusal."""

    def __init__(self, room: int) -> None:
        super().__init__(lambda: 0.0)
        self._limit = room

    def received(self, amount: int, waited: float) -> None:
        """Decides nothing."""


class EagerHosts(Hosts):
    """One such host, whatever it is called."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.host = EagerHost(room)

    def get(self, name: str) -> Host:
        assert name
        return self.host
