"""What happens while an operation runs, as values.

The core emits frozen events to a `Sink`; rendering, speed and ETA are the consumers' work (DESIGN §8).
Sinks may be called from any worker thread and lock themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modelops_bundle.errors import Interrupted, Terminated

Outcome = Literal["copied", "exists", "mounted", "linked", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Started:
    """A phase began: how many items and bytes it has, None when unknown."""

    phase: str
    items: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ItemStarted:
    """Work on one item began. `key` is unique within the run; size in bytes."""

    key: str
    name: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Advanced:
    """`amount` more bytes of the item `key` were moved."""

    key: str
    amount: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The item is done with."""

    key: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Retrying:
    """Attempt number `attempt` failed; the next begins in `wait` seconds."""

    key: str
    attempt: int
    wait: float
    why: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should read. `code` is stable."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Requested:
    """One HTTP request was answered (status) or failed (status 0)."""

    method: str
    url: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """The operation ended well."""

    summary: Mapping[str, Any]


Event = Started | ItemStarted | Advanced | Finished | Retrying | Notice | Requested | Done
Sink = Callable[[Event], None]


def discard(_event: Event) -> None:
    """The sink of callers that do not watch."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Widths of an operation: workers, bytes per second (None: unlimited), connections to one host."""

    jobs: int = 4
    rate: int | None = None
    connections: int = 16


@dataclass(frozen=True, slots=True)
class Run:
    """Sink, cancellation and limits of one operation: the one argument every long call takes."""

    emit: Sink = discard
    limits: Limits = field(default_factory=Limits)
    cancelled: threading.Event = field(default_factory=threading.Event)
    signal: list[str] = field(default_factory=list)
    stoppers: list[Callable[[], None]] = field(default_factory=list)
    """Called by `cancel` and `halt`: what wakes threads that wait for somebody else."""

    def check(self) -> None:
        """Raise `Interrupted` or `Terminated` once somebody asked to stop."""
        if self.cancelled.is_set():
            if "SIGTERM" in self.signal:
                raise Terminated("terminated", hint="run the same command again to go on")
            raise Interrupted("interrupted", hint="run the same command again to go on")

    def cancel(self, signal: str = "SIGINT") -> None:
        """Ask every worker to stop at its next chunk."""
        self.signal.append(signal)
        self.halt()

    def halt(self) -> None:
        """Ask every worker to stop at its next chunk, for a reason of our own: `resume` ends that."""
        self.cancelled.set()
        for stop in self.stoppers:
            stop()

    def resume(self) -> None:
        """Let work go on after `halt`, unless somebody asked to stop."""
        self.cancelled.clear()
        if self.signal:
            # `cancel` may have come between.
            self.cancelled.set()

    def notice(self, code: str, message: str) -> None:
        """Emit a `Notice`."""
        self.emit(Notice(code, message))


_observers: list[Callable[[str], None]] = []


def checkpoint(name: str) -> None:
    """Mark a step after which a crash must be survivable. Free unless a test observes it."""
    for observer in _observers:
        observer(name)


def observe_checkpoints(observer: Callable[[str], None]) -> Callable[[], None]:
    """Call `observer` at every checkpoint from now on; the returned function ends that."""
    _observers.append(observer)
    return lambda: _observers.remove(observer)
