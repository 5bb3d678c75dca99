"""Progress as plain lines, for logs and CI: a line per phase, a total every few seconds, retries, notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TextIO

from modelops_bundle.events import Event, Notice, Requested, Retrying, Started
from modelops_bundle.net.redact import redact
from modelops_bundle.ui import text
from modelops_bundle.ui.tally import Phase, Tally

EVERY = 5.0
"""Seconds between two lines of totals, at least."""


class PlainSink:
    """Writes lines to `stream`.

    :param progress: False leaves notices only (quiet, `--progress none`).
    :param requests: whether every HTTP request gets a line (`-v`).
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        progress: bool = True,
        requests: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._progress = progress
        self._requests = requests
        self._clock = clock
        self._lock = threading.Lock()
        self._tally = Tally(clock)
        self._next = 0.0
        self._broken = False

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Notice) or (self._requests and isinstance(event, Requested)):
                self._write(describe(event))
            elif self._progress:
                self._take(event)

    def close(self) -> None:
        """Say how the last phase ended, when it was long enough for anybody to wonder."""
        with self._lock:
            self._end_phase()

    def _take(self, event: Event) -> None:
        if isinstance(event, Started):
            self._end_phase()
        named = self._tally.active.get(event.key) if isinstance(event, Retrying) else None
        self._tally.take(event)
        now = self._clock()
        if isinstance(event, Started):
            self._next = now + EVERY
            self._write(opening(event))
        elif isinstance(event, Retrying):
            self._write(describe(event, named.name if named else None))
        elif now >= self._next and self._tally.phase is not None:
            self._next = now + EVERY
            self._write(total(self._tally))

    def _end_phase(self) -> None:
        if self._tally.phase is not None and self._tally.elapsed >= EVERY:
            self._write(closing(self._tally.phase, self._tally.elapsed))
        self._tally.phase = None

    def _write(self, line: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads any more. The transfer, in whose threads we are called, is not to suffer for that.
            self._broken = True


def describe(event: Notice | Requested | Retrying, name: str | None = None) -> str:
    """One line for an event that is worth one."""
    if isinstance(event, Notice):
        return text.safe(redact(f"note: {event.message}"))
    if isinstance(event, Requested):
        status = str(event.status) if event.status else "failed"
        return text.safe(redact(f"{event.method} {event.url} {status} {event.seconds * 1000:.0f} ms"))
    what = f"{name or event.key}: attempt {event.attempt} failed ({event.why}), next in {text.duration(event.wait)}"
    return text.safe(redact(what))


def opening(event: Started) -> str:
    """`upload: 12 items, 3.4 GiB`."""
    facts = [text.count(event.items, "item")] if event.items is not None else []
    facts += [text.size(event.size)] if event.size is not None else []
    return text.safe(f"{event.phase}: {', '.join(facts)}" if facts else event.phase)


def total(tally: Tally) -> str:
    """`upload: 3.2 GiB of 10.4 GiB (30 %), 12 of 40 items, 110 MiB/s, 1 min 05 s left`."""
    phase = tally.phase
    if phase is None:
        return ""
    facts = []
    if phase.size:
        facts.append(f"{text.size(phase.done)} of {text.size(phase.size)} ({text.percent(phase.done, phase.size)})")
    elif phase.done:
        facts.append(text.size(phase.done))
    of = f" of {phase.items:,}" if phase.items is not None else ""
    facts.append(f"{phase.done_items:,}{of} items")
    speed, left = tally.speed(), tally.left()
    if speed:
        facts.append(text.rate(speed))
    if left is not None:
        facts.append(f"{text.duration(left)} left")
    return text.safe(f"{phase.name}: {', '.join(facts)}")


def closing(phase: Phase, seconds: float) -> str:
    """`upload: 40 items (38 copied, 2 exists), 10.4 GiB moved in 1 min 40 s, 106 MiB/s`."""
    facts = text.count(phase.done_items, "item")
    if phase.outcomes:
        facts += f" ({', '.join(f'{number:,} {outcome}' for outcome, number in sorted(phase.outcomes.items()))})"
    if phase.moved:
        facts += f", {text.size(phase.moved)} moved"
    facts += f" in {text.duration(seconds)}"
    if phase.moved and seconds > 0:
        facts += f", {text.rate(phase.moved / seconds)}"
    return text.safe(f"{phase.name}: {facts}")
