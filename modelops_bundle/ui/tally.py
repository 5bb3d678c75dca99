"""What a stream of events adds up to: the one place that counts, for every renderer.

Not locked: a sink locks itself and owns its tally.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from modelops_bundle.events import Advanced, Event, Finished, ItemStarted, Outcome, Retrying, Started

SPEED_WINDOW = 8.0
"""Seconds that the shown speed looks back: long enough to be readable, short enough to follow."""
_SAMPLE_EVERY = 0.25


@dataclass(slots=True)
class Item:
    """One file, blob or request in progress."""

    key: str
    name: str
    size: int | None = None
    done: int = 0
    wait: Retrying | None = None
    wait_until: float = 0.0


@dataclass(slots=True)
class Phase:
    """Counts of the phase that runs now."""

    name: str
    items: int | None
    size: int | None
    began: float
    done_items: int = 0
    done: int = 0
    """Bytes settled: moved, or known to be there without moving."""
    moved: int = 0
    """Bytes moved in this phase, repeated ones included: what speed is made of."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)


class Tally:
    """Folds events into the current phase, the active items and a speed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.phase: Phase | None = None
        self.active: dict[str, Item] = {}
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, event: Event) -> None:
        """Count one event; those that carry no progress change nothing."""
        match event:
            case Started():
                self._start(event)
            case ItemStarted():
                self.active[event.key] = Item(event.key, event.name, event.size)
            case Advanced():
                self._advance(event)
            case Finished():
                self._finish(event)
            case Retrying():
                item = self.active.setdefault(event.key, Item(event.key, event.key))
                item.wait, item.wait_until = event, self._clock() + event.wait
            case _:
                pass

    def _start(self, event: Started) -> None:
        now = self._clock()
        self.phase = Phase(event.phase, event.items, event.size, now)
        self._samples.clear()
        self._samples.append((now, 0))

    def _advance(self, event: Advanced) -> None:
        item = self.active.get(event.key)
        credit = event.amount
        if item is not None:
            item.wait = None
            # An attempt that began again from zero moves bytes that were counted already.
            if item.size is not None:
                credit = max(0, min(credit, item.size - item.done))
            item.done += credit
        phase = self.phase
        if phase is None:
            return
        phase.moved += event.amount
        phase.done += credit
        now = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_EVERY:
            self._samples.append((now, phase.moved))
            self._forget(now)

    def _forget(self, now: float) -> None:
        while len(self._samples) > 2 and now - self._samples[1][0] >= SPEED_WINDOW:
            self._samples.popleft()

    def _finish(self, event: Finished) -> None:
        item = self.active.pop(event.key, None)
        phase = self.phase
        if phase is None:
            return
        phase.done_items += 1
        phase.outcomes[event.outcome] += 1
        if item is not None and item.size is not None and event.outcome != "failed":
            phase.done += item.size - item.done

    @property
    def elapsed(self) -> float:
        """Seconds since the phase began."""
        return self._clock() - self.phase.began if self.phase else 0.0

    def speed(self) -> float | None:
        """Bytes per second of late, None when nothing can be said yet."""
        if self.phase is None or not self.phase.moved:
            return None
        now = self._clock()
        self._forget(now)
        since, moved = self._samples[0]
        return (self.phase.moved - moved) / (now - since) if now - since >= _SAMPLE_EVERY else None

    def left(self) -> float | None:
        """Seconds to go at the present speed."""
        speed = self.speed()
        if self.phase is None or self.phase.size is None or not speed:
            return None
        return max(0, self.phase.size - self.phase.done) / speed

    def foremost(self, most: int) -> list[Item]:
        """The items to show: those that wait, then those that move, the biggest first."""
        return heapq.nlargest(
            most,
            self.active.values(),
            key=lambda item: (item.wait is not None, item.done > 0, item.size or 0, item.done),
        )
