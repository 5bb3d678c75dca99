"""Progress on a terminal: the items that move, and a total with speed and time left.

Events only count; a thread draws at most ten times a second, so 10,000 items cost what 10 cost. Nothing is drawn,
and rich is not even imported, before a command has lasted long enough for anybody to wonder.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from modelops_bundle.events import Event, Notice, Requested, Started
from modelops_bundle.net.redact import redact
from modelops_bundle.ui import plain, text
from modelops_bundle.ui.tally import Item, Tally

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

ROWS = 8
"""Most items shown at once."""
PATIENCE = 0.3
"""Seconds before the first drawing."""
EVERY = 0.1
"""Seconds between two drawings."""
_WORTH_A_LINE = 2.0
"""A phase that took this long leaves a line behind."""


@dataclass(frozen=True, slots=True)
class Row:
    """One item as it is shown."""

    name: str
    done: int
    size: int | None
    wait: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """What one drawing shows: copied out of the tally under its lock, rendered outside."""

    phase: str = ""
    items: str = ""
    done: int = 0
    size: int | None = None
    facts: str = ""
    rows: tuple[Row, ...] = ()
    more: int = 0


class ConsoleSink:
    """Draws on `stream`, a terminal.

    :param requests: whether every HTTP request gets a line (`-v`).
    :param threaded: False leaves drawing to the caller of `draw`.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        requests: bool = False,
        colour: bool = True,
        clock: Callable[[], float] = time.monotonic,
        threaded: bool = True,
    ) -> None:
        self._stream = stream
        self._requests = requests
        self._colour = colour
        self._clock = clock
        self._lock = threading.Lock()
        self._tally = Tally(clock)
        self._lines: list[str] = []
        self._live: Live | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._threaded = threaded
        self._broken = False

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Notice) or (self._requests and isinstance(event, Requested)):
                self._lines.append(plain.describe(event))
            else:
                if isinstance(event, Started):
                    self._leave_line()
                self._tally.take(event)
            if self._threaded and self._thread is None:
                self._thread = threading.Thread(target=self._draw_on, name="progress", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Take the bars away, and leave the lines that are worth reading."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._leave_line()
            self._tally.phase = None
            lines, self._lines = self._lines, []
        try:
            if self._live is not None:
                self._live.stop()
            if lines and not self._broken:
                self._stream.write("".join(line + "\n" for line in lines))
                self._stream.flush()
        except (OSError, ValueError):
            self._broken = True  # the terminal is gone; the work is not

    def _draw_on(self) -> None:
        pause = PATIENCE
        while not self._stop.wait(pause):
            self.draw()
            pause = EVERY

    def _leave_line(self) -> None:
        phase = self._tally.phase
        if phase is not None and self._tally.elapsed >= _WORTH_A_LINE:
            self._lines.append(plain.closing(phase, self._tally.elapsed))

    def draw(self) -> None:
        """Show the present state."""
        if self._broken:
            return
        with self._lock:
            lines, self._lines = self._lines, []
            frame = self.frame()
        try:
            live = self._live or self._open()
            for line in lines:
                live.console.print(line, markup=False, highlight=False, soft_wrap=True)
            live.update(render(frame, live.console), refresh=True)
        except (OSError, ValueError):
            self._broken = True  # as in close

    def _open(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, force_terminal=True, no_color=not self._colour, highlight=False)
        # Not redirecting: data on stdout is not ours to touch.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()
        return self._live

    def frame(self) -> Frame:
        """The present state as values. Called under the lock."""
        phase = self._tally.phase
        now = self._clock()
        shown = self._tally.foremost(ROWS)
        rows = tuple(_row(item, now) for item in shown)
        more = len(self._tally.active) - len(shown)
        if phase is None:
            return Frame(rows=rows, more=more)
        speed, left = self._tally.speed(), self._tally.left()
        facts = [text.rate(speed)] if speed is not None else []
        facts += [f"{text.duration(left)} left"] if left is not None else [text.duration(self._tally.elapsed)]
        of = f"/{phase.items:,}" if phase.items is not None else ""
        return Frame(
            phase=text.safe(phase.name),
            items=f"{phase.done_items:,}{of}" if phase.items != 1 else "",
            done=phase.done,
            size=phase.size,
            facts=", ".join(facts),
            rows=rows,
            more=more,
        )


def _row(item: Item, now: float) -> Row:
    wait = ""
    if item.wait is not None:
        rest = item.wait_until - now
        when = f"waiting {text.duration(round(rest))}" if rest >= 1 else "trying again"
        wait = text.safe(redact(f"{when}, attempt {item.wait.attempt} failed: {item.wait.why}"))
    return Row(item.name, item.done, item.size, wait)


def render(frame: Frame, console: Console) -> RenderableType:
    """A frame for rich: rows, then the total."""
    from rich.console import Group
    from rich.text import Text

    # A screen too small for everything keeps the total.
    room = max(0, min(ROWS, console.height - 4))
    rows = frame.rows[:room]
    more = frame.more + len(frame.rows) - len(rows)
    parts: list[RenderableType] = [_waiting(row, console.width) for row in rows if row.wait]
    moving = [_cells(row, console.width) for row in rows if not row.wait]
    if moving:
        parts.append(_grid(moving))
    if more and rows:
        parts.append(Text(f"  and {more:,} more", style="dim"))
    if frame.phase:
        parts.append(_grid([_total_cells(frame)]))
    return Group(*parts)


def _grid(rows: list[list[RenderableType]]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=20, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True, min_width=20)
    for row in rows:
        grid.add_row(*row)
    return grid


def _waiting(row: Row, columns: int) -> RenderableType:
    from rich.text import Text

    line = Text("  " + text.shorten(row.name, max(10, columns // 2)), no_wrap=True, overflow="ellipsis")
    return line.append(f"  {row.wait}", style="yellow")


def _cells(row: Row, columns: int) -> list[RenderableType]:
    from rich.text import Text

    name = Text("  " + text.shorten(row.name, max(10, columns - 48)))
    return [name, _bar(row.done, row.size), Text(_amount(row.done, row.size))]


def _total_cells(frame: Frame) -> list[RenderableType]:
    from rich.text import Text

    title = " ".join(part for part in (frame.phase, frame.items) if part)
    head = Text.assemble((title, "bold"), f"  {frame.facts}" if frame.facts else "")
    if frame.size is None and not frame.done:
        return [head, Text(""), Text("")]
    return [head, _bar(frame.done, frame.size), Text(_amount(frame.done, frame.size))]


def _bar(done: int, size: int | None) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    if not size:
        return Text("")
    return ProgressBar(total=size, completed=min(done, size), width=20)


def _amount(done: int, size: int | None) -> str:
    if size is None:
        return text.size(done) if done else ""
    return f"{text.size(done)} / {text.size(size)}"
