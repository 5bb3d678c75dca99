"""A byte rate shared by all workers of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BLOCK = 1024 * 1024
"""Most bytes moved in one piece."""
RECEIVED = 512 * 1024
"""Most bytes received in one piece: as fast as 1 MiB, and still in the processor's cache for hashing
(docs/decisions/0009)."""
_SMALLEST = 16 * 1024
_FIRST = 256 * 1024
_LONG, _SHORT = 0.5, 0.05


class Throttle:
    """A token bucket: `take(n)` returns when `n` more bytes may move.

    :param rate: bytes per second; None means unlimited.
    :param clock: monotonic seconds.
    :param wait: sleeps for some seconds; may raise to give up.
    """

    def __init__(
        self, rate: int | None, wait: Callable[[float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._wait = wait
        self._clock = clock
        self._lock = threading.Lock()
        # When everything granted so far will have been paid for; a quarter of a second may be saved up.
        self._paid = float("-inf")

    @property
    def block(self) -> int:
        """Most bytes to move in one piece, so that progress stays smooth at low rates."""
        return BLOCK if self._rate is None else max(4096, min(BLOCK, self._rate // 4))

    def take(self, amount: int) -> None:
        """Wait until `amount` bytes may move."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._paid = max(self._paid, now - 0.25) + amount / self._rate
            debt = self._paid - now
        if debt > 0:
            self._wait(debt)


class Pieces:
    """How many bytes to move at once: up to 1 MiB on a fast link, few on a slow one.

    A large piece on a slow link would leave cancellation, progress and the stall timeout without a say for long.
    """

    def __init__(self, most: int = BLOCK) -> None:
        self._most = most
        self.size = min(_FIRST, most)

    def took(self, seconds: float) -> None:
        """Adapt to how long the last piece took."""
        if seconds > _LONG:
            self.size = max(min(_SMALLEST, self._most), self.size // 2)
        elif seconds < _SHORT:
            self.size = min(self._most, self.size * 2)
