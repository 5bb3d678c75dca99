from __future__ import annotations

import io
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console

from modelops_bundle.events import Advanced, Done, Finished, ItemStarted, Notice, Requested, Retrying, Started
from modelops_bundle.ui import console
from modelops_bundle.ui.console import ROWS, ConsoleSink, Frame, Row, render

MIB = 1024**2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "24")
    return io.StringIO()


def sink_on(terminal: io.StringIO, clock: Clock, **options: bool) -> ConsoleSink:
    return ConsoleSink(terminal, clock=clock, threaded=False, **options)


def shown(sink: ConsoleSink, *, width: int = 100, height: int = 24) -> list[str]:
    """The present frame as plain lines."""
    out = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    out.print(render(sink.frame(), out))
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def words(line: str) -> str:
    """A line without its bar and alignment."""
    return re.sub(r"[━╸╺ ]+", " ", line).strip()


def test_files_and_total_with_bytes_speed_and_time_left(terminal: io.StringIO, clock: Clock) -> None:
    sink = sink_on(terminal, clock)
    sink(Started("upload", 3, 100 * MIB))
    sink(ItemStarted("k1", "weights/model.safetensors", 80 * MIB))
    sink(ItemStarted("k2", "config.json", MIB))
    for _ in range(4):
        clock.now += 1
        sink(Advanced("k1", 10 * MIB))
    sink(Finished("k2", "exists"))
    assert [words(line) for line in shown(sink)] == [
        "weights/model.safetensors 40.0 MiB / 80.0 MiB",
        "upload 1/3 10.0 MiB/s, 5.9 s left 41.0 MiB / 100 MiB",
    ]


def test_scanning_knows_neither_items_nor_bytes(terminal: io.StringIO, clock: Clock) -> None:
    sink = sink_on(terminal, clock)
    sink(Started("scan"))
    clock.now += 2
    sink(Finished("a", "skipped"))
    assert shown(sink) == ["scan 1  2.0 s"]


def test_waits_come_first_and_say_why_and_how_long(terminal: io.StringIO, clock: Clock) -> None:
    sink = sink_on(terminal, clock)
    sink(Started("upload", 2, 20))
    sink(ItemStarted("a", "big", 15))
    sink(ItemStarted("b", "small\x1b[2J", 5))
    sink(Retrying("b", 2, 30.0, "503 \x1b[2Jslow down"))
    clock.now += 10
    first, *_ = shown(sink)
    assert first == "  small\\x1b[2J  waiting 20 s, attempt 2 failed: 503 \\x1b[2Jslow down"
    assert shown(sink, width=40)[0].endswith("…")
    clock.now += 30
    assert "trying again, attempt 2 failed" in shown(sink)[0]


def test_ten_thousand_items_are_eight_rows_and_cheap(terminal: io.StringIO, clock: Clock) -> None:
    sink = sink_on(terminal, clock)
    sink(Started("upload", 10_000, 10_000 * 100))
    for number in range(10_000):
        sink(ItemStarted(str(number), f"file-{number}", number))
    began = time.process_time()
    lines = shown(sink)
    assert time.process_time() - began < 1
    assert len(lines) == ROWS + 2
    assert "file-9999" in lines[0]
    assert lines[ROWS] == "  and 9,992 more"


def test_a_small_screen_keeps_the_total(terminal: io.StringIO, clock: Clock) -> None:
    sink = sink_on(terminal, clock)
    sink(Started("upload", 20, 1000))
    for number in range(20):
        sink(ItemStarted(str(number), f"some/rather/long/directory/name/file-{number}", 50))
    lines = shown(sink, width=60, height=6)
    assert len(lines) == 4
    assert lines[0].strip().startswith("…")
    assert "/file-0" in lines[0] or "/file-" in lines[0]
    assert words(lines[-1]).startswith("upload")


def test_drawing_and_closing_leave_the_terminal_clean(terminal: io.StringIO, clock: Clock) -> None:
    sink = sink_on(terminal, clock, requests=True)
    sink(Started("hash", 1, 10))
    clock.now += 5
    sink(Advanced("x", 10))
    sink(Notice("n", "read [this]"))
    sink(Requested("GET", "https://h/v2/", 200, 0.01))
    sink.draw()
    sink(Started("upload", 1, 10))
    sink.draw()
    sink(Done({}))
    sink.close()
    written = terminal.getvalue()
    assert "note: read [this]" in written
    assert "GET https://h/v2/ 200 10 ms" in written
    assert "hash: 0 items, 10 B moved in 5.0 s" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1


def test_colour_is_left_out_on_request(terminal: io.StringIO, clock: Clock) -> None:
    sink = sink_on(terminal, clock, colour=False)
    sink(Started("hash", 1, 10))
    sink(Advanced("x", 5))
    sink.draw()
    sink.close()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.getvalue())


def test_quick_commands_draw_nothing_but_their_notices(terminal: io.StringIO, clock: Clock) -> None:
    sink = ConsoleSink(terminal, clock=clock)
    sink(Started("scan"))
    sink(Notice("n", "offline"))
    sink.close()
    assert terminal.getvalue() == "note: offline\n"


def test_the_thread_draws(terminal: io.StringIO, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE", 0)
    monkeypatch.setattr(console, "EVERY", 0)
    sink = ConsoleSink(terminal, clock=clock)
    drawn = []
    monkeypatch.setattr(sink, "draw", lambda: (drawn.append(1), sink._stop.set()))
    sink(Started("scan"))
    assert sink._stop.wait(10)
    sink.close()
    assert drawn


class Gone(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_went_away_does_not_stop_the_transfer(clock: Clock) -> None:
    sink = ConsoleSink(Gone(), clock=clock, threaded=False)
    sink(Started("scan"))
    sink(Notice("n", "m"))
    sink.draw()
    sink.draw()
    sink.close()


def test_rows_of_unknown_size() -> None:
    out = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    out.print(render(Frame(rows=(Row("stream", 5 * MIB, None), Row("new", 0, None))), out))
    assert isinstance(out.file, io.StringIO)
    assert [words(line) for line in out.file.getvalue().splitlines()] == ["stream 5.0 MiB", "new"]


def test_rich_is_imported_when_something_is_drawn_and_not_before() -> None:
    program = (
        "import sys, io; from modelops_bundle.ui.console import ConsoleSink; from modelops_bundle.events import *;"
        "s = ConsoleSink(io.StringIO()); s(Started('scan')); s.close(); sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
