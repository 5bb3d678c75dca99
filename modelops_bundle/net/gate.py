"""Back-pressure: how many requests a host gets at once after it complained, and when it gets the next one.

A host has no limit until it answers 429, or 503 with `Retry-After` (RFC 9110 §10.2.3, RFC 6585 §4). Then half of what is
under way is the limit, which grows again by one for every few successes: additive increase, multiplicative decrease, as
TCP has it (RFC 5681).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelops_bundle.net.exchange import Raw

GROWTH = 8
"""Successes, for each place there is, that bring one place more."""
ENOUGH = 64.0
"""A limit above this is none."""
_LOOK = 0.5
"""Seconds between two looks at whether the run is cancelled."""


class _Thread(threading.local):
    """What one thread has at one host: places, and the end of the pause that it was told of.

    Not by its ident: that is given to another thread when it ends.
    """

    def __init__(self) -> None:
        self.state = _Holder()


class _Holder:
    def __init__(self) -> None:
        self.places = 0
        self.told = float("-inf")


class Place:
    """One request to a host, from before it is sent until its answer was read. Dropped, it is given back."""

    def __init__(self, gate: Gate, holder: _Holder, round_: int) -> None:
        self._gate = gate
        self._open = True
        self.holder = holder
        self.round = round_

    def leave(self) -> None:
        """Make room for the next; a second call does nothing."""
        if self._open:
            self._open = False
            self._gate.left(self.holder)

    def __del__(self) -> None:
        if self._open:
            self._gate.dropped(self.holder)


class Held:
    """An answer on the wire (`exchange.Raw`) that keeps its place until it is closed."""

    def __init__(self, raw: Raw, place: Place) -> None:
        self._raw = raw
        self._place = place
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self.read = raw.read

    def close(self) -> None:
        """Let go of the connection, and of the place."""
        try:
            self._raw.close()
        finally:
            self._place.leave()


class Gate:
    """The places at one host. Thread-safe.

    A thread that holds a place gets every further one at once: it may need the second to be done with the first.

    :param sleep: waits some seconds; may raise to give up.
    :param check: raises when the run is cancelled.
    :param patience: seconds without a free place after which one is taken all the same: its holder may be waiting for us.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        sleep: Callable[[float], None],
        check: Callable[[], None],
        patience: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sleep = sleep
        self._check = check
        self._patience = patience
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        # The collector runs anywhere, also where the lock is held: it leaves word.
        self._dropped: deque[_Holder] = deque()
        self._thread = _Thread()
        self._under_way = 0
        self._limit: float | None = None
        self._round = 0
        self._closed_until = float("-inf")

    @property
    def limit(self) -> int | None:
        """Places there are, None for any number."""
        return None if self._limit is None else int(self._limit)

    @property
    def under_way(self) -> int:
        """Places that are taken."""
        return self._under_way - len(self._dropped)

    def enter(self, *, urgent: bool = False) -> Place:
        """A place: at once, or when there is one and the host's pause is over.

        :param urgent: whether others may wait for this one while they hold places: it needs none to be free.
        """
        me = self._thread.state
        self._wait_for_the_host(me)
        with self._changed:
            if not urgent:
                self._wait_for_room(me)
            self._under_way += 1
            me.places += 1
            return Place(self, me, self._round)

    def _wait_for_the_host(self, me: _Holder) -> None:
        # Who was told to wait has waited already.
        waited, me.told = me.told, float("-inf")
        while (until := self._closed_until) > waited and (left := until - self._clock()) > 0:
            self._sleep(left)
            waited = until

    def _wait_for_room(self, me: _Holder) -> None:
        until = self._clock() + self._patience
        while self._is_full() and not me.places and self._clock() < until:
            before = self._under_way
            self._changed.wait(_LOOK)
            self._check()
            if self._under_way != before:
                until = self._clock() + self._patience

    def _is_full(self) -> bool:
        while self._dropped:
            self._leave(self._dropped.popleft())
        return self._limit is not None and self._under_way >= int(self._limit)

    def left(self, holder: _Holder) -> None:
        """A place that `holder` took is free again."""
        with self._changed:
            self._leave(holder)
            self._changed.notify()

    def dropped(self, holder: _Holder) -> None:
        """A place that `holder` took was forgotten. Waits for no lock."""
        self._dropped.append(holder)

    def _leave(self, holder: _Holder) -> None:
        self._under_way -= 1
        holder.places -= 1

    def complained(self, place: Place, after: float | None) -> None:
        """The host has too much to do, it answered to the request of `place`.

        :param after: seconds it wants to be left alone, None when it says nothing.
        """
        with self._changed:
            if place.round == self._round:
                # What was sent before the limit fell says nothing about the new one.
                places = self.under_way if self._limit is None else min(self.under_way, int(self._limit))
                self._limit = float(max(1, places // 2))
                self._round += 1
            if after is not None:
                self._closed_until = max(self._closed_until, self._clock() + after)
                place.holder.told = self._closed_until

    def succeeded(self) -> None:
        """The host answered as one that can do more."""
        if self._limit is None:
            return
        with self._changed:
            if self._limit is not None:
                self._limit += 1 / (GROWTH * max(1, int(self._limit)))
                if self._limit > ENOUGH:
                    self._limit = None
                self._changed.notify()

    def wake(self) -> None:
        """Let those who wait look whether the run is cancelled."""
        with self._changed:
            self._changed.notify_all()


class Gates:
    """The gates of one client, by `HOST[:PORT]`. Thread-safe. The parameters are those of `Gate`."""

    def __init__(self, sleep: Callable[[float], None], check: Callable[[], None], patience: float = 30.0) -> None:
        self._settings = (sleep, check, patience)
        self._lock = threading.Lock()
        self._known: dict[str, Gate] = {}

    def at(self, host: str) -> Gate:
        """The one of `host`."""
        with self._lock:
            found = self._known.get(host)
            if found is None:
                found = self._known[host] = Gate(*self._settings)
            return found

    def wake(self) -> None:
        """As `Gate.wake`, at all of them."""
        with self._lock:
            gates = list(self._known.values())
        for gate in gates:
            gate.wake()
