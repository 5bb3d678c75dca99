from __future__ import annotations

import io

from modelops_bundle.events import Advanced, Done, Finished, ItemStarted, Notice, Requested, Retrying, Started
from modelops_bundle.ui.plain import EVERY, PlainSink


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


MIB = 1024**2


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_transfer_from_start_to_end() -> None:
    clock, stream = Clock(), io.StringIO()
    sink = PlainSink(stream, clock=clock)
    sink(Started("scan"))
    sink(Started("upload", 2, 20 * MIB))
    sink(ItemStarted("k1", "a.bin", 12 * MIB))
    for _ in range(12):
        clock.now += 1
        sink(Advanced("k1", MIB))
    sink(Retrying("k1", 1, 3.0, "connection\nreset"))
    sink(Finished("k1", "copied"))
    sink(ItemStarted("k2", "b.bin", 8 * MIB))
    sink(Finished("k2", "exists"))
    sink(Done({}))
    sink.close()
    assert lines(stream) == [
        "scan",
        "upload: 2 items, 20.0 MiB",
        "upload: 5.0 MiB of 20.0 MiB (25 %), 0 of 2 items, 1.0 MiB/s, 15 s left",
        "upload: 10.0 MiB of 20.0 MiB (50 %), 0 of 2 items, 1.0 MiB/s, 10 s left",
        "a.bin: attempt 1 failed (connection\\nreset), next in 3.0 s",
        "upload: 2 items (1 copied, 1 exists), 12.0 MiB moved in 12 s, 1.0 MiB/s",
    ]


def test_totals_come_at_most_once_in_their_time_however_many_events_there_are() -> None:
    clock, stream = Clock(), io.StringIO()
    sink = PlainSink(stream, clock=clock)
    sink(Started("hash", None, None))
    for _ in range(10_000):
        clock.now += 0.01
        sink(Advanced("x", 1))
    totals = [line for line in lines(stream) if line.startswith("hash: ")]
    assert len(totals) <= 100 / EVERY
    assert totals[0].startswith("hash: ") and " left" not in totals[0]


def test_quick_phases_say_one_line() -> None:
    clock, stream = Clock(), io.StringIO()
    sink = PlainSink(stream, clock=clock)
    sink(Started("scan", 1))
    sink(Started("hash", 3, 5))
    sink.close()
    sink.close()
    assert lines(stream) == ["scan: 1 item", "hash: 3 items, 5 B"]


def test_without_progress_only_what_has_to_be_read() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream, progress=False)
    for event in (Started("scan"), Retrying("a", 1, 1, "x"), Requested("GET", "https://h/", 200, 0.1)):
        sink(event)
    sink(Notice("offline", "using what was last seen \x1b[2J"))
    sink.close()
    assert lines(stream) == ["note: using what was last seen \\x1b[2J"]


def test_requests_are_shown_when_asked_without_their_secrets() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream, requests=True)
    sink(Requested("GET", "https://h/v2/?token=SECRET", 200, 0.0341))
    sink(Requested("PUT", "https://h/v2/", 0, 1.0))
    assert lines(stream) == ["GET https://h/v2/?token=*** 200 34 ms", "PUT https://h/v2/ failed 1000 ms"]


def test_a_retry_of_something_unnamed_and_totals_before_any_phase() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream)
    sink(Retrying("manifest v1", 2, 0.5, "503"))
    sink(Advanced("x", 1))
    assert lines(stream) == ["manifest v1: attempt 2 failed (503), next in 500 ms"]


class Broken(io.StringIO):
    writes = 0

    def write(self, _text: str) -> int:
        self.writes += 1
        raise BrokenPipeError


def test_a_reader_that_went_away_does_not_stop_the_transfer() -> None:
    stream = Broken()
    sink = PlainSink(stream)
    sink(Started("a"))
    sink(Started("b"))
    sink.close()
    assert stream.writes == 1
