"""How many connections a host is worth: one to begin with, more while they bring more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MOST = 16
"""Connections to one host, whatever they bring, unless the caller says otherwise."""
_FIRST = 4
"""Connections to try when one is slow."""
_SAMPLE = 0.5
"""Seconds over which the speed of the first connection is measured."""
_WINDOW = 0.25
"""Seconds over which that of more is."""
_FAST = 100e6
"""Bytes per second that need no company: the other end, or this machine, is busy with them."""
_GAIN = 1.08
_FLAT = 3
"""Windows without that gain that end the growth."""
_FROZEN = (30.0, 300.0)
"""Seconds without growth after the host refused, doubled each time up to the second value."""


class Host:
    """The connections of one run to one host. Thread-safe.

    :param clock: monotonic seconds.
    :param most: connections, whatever they bring.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self.most = most
        self._clock = clock
        self._lock = threading.Lock()
        self.ranges = True
        """False once it answered a request for a part with the whole."""
        self.proven = False
        """True once it gave a part that is not a beginning."""
        self._active = 0
        self._limit = 0
        self._before = 0
        self._best = 0.0
        self._flat = 0
        self._settled = False
        self._thaw = float("-inf")
        self._frost = _FROZEN[0]
        self._began = self._clock()
        self._bytes = 0
        self._waited = 0.0

    def enter(self) -> None:
        """Count a connection that is opened in any case: the first for a content."""
        with self._lock:
            if self._active == 0:
                self._restart(self._clock())
            self._active += 1

    def admit(self) -> bool:
        """Count one more connection, if there is room for it."""
        with self._lock:
            if not self.ranges or self._active >= self._limit:
                return False
            self._active += 1
            return True

    def leave(self) -> None:
        """A connection ended."""
        with self._lock:
            self._active -= 1

    def crowded(self) -> bool:
        """Whether an additional connection should end at the next occasion."""
        with self._lock:
            return self._active > self._limit or not self.ranges

    def hindered(self) -> None:
        """It refused a connection, or fell silent on one: no more than the others, for a while."""
        with self._lock:
            now = self._clock()
            self._before = self._limit = max(1, min(self._limit, self._active) - 1)
            self._best, self._flat, self._settled = 0.0, 0, False
            if now >= self._thaw:
                self._thaw = now + self._frost
                self._frost = min(_FROZEN[1], self._frost * 2)

    def received(self, amount: int, waited: float) -> None:
        """Count bytes, and once per window decide about the room for connections.

        :param waited: seconds that the connection was waited for: a slow disk is no slow connection.
        """
        with self._lock:
            self._bytes += amount
            self._waited += waited
            now = self._clock()
            if now - self._began < (_WINDOW if self._limit else _SAMPLE):
                return
            if now >= self._thaw:
                self._judge(self._bytes / (now - self._began))
            self._restart(now)

    def _restart(self, now: float) -> None:
        self._began, self._bytes, self._waited = now, 0, 0.0

    def _judge(self, speed: float) -> None:
        # The first connections of several contents are several too; only together they must be slow to get company.
        together = 1 if self._limit else self._active
        if self._settled or self._active < self._limit or self._bytes * together >= _FAST * self._waited:
            return
        if speed >= self._best * _GAIN:
            self._best, self._flat = speed, 0
            self._before, self._limit = self._active, min(self.most, max(_FIRST, self._active * 2))
            return
        self._flat += 1
        if self._flat >= _FLAT:
            self._settled, self._limit = True, self._before


class Hosts:
    """The hosts of one run, by name. Thread-safe.

    :param clock: monotonic seconds.
    :param most: connections to each of them, whatever they bring.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Host] = {}

    def get(self, name: str) -> Host:
        """The one called `name`."""
        with self._lock:
            return self._known.setdefault(name, Host(self._clock, self._most))
