from __future__ import annotations

import dataclasses
import io
import json
import threading
import typing
from pathlib import Path

import pytest

from modelops_bundle import events
from modelops_bundle.events import Advanced, Done, Event, Finished, ItemStarted, Notice, Requested, Retrying, Started
from modelops_bundle.ui import jsonlines
from modelops_bundle.ui.jsonlines import JsonLinesSink, document

EXAMPLES: list[tuple[Event, dict[str, object]]] = [
    (Started("upload", 2, 30), {"event": "started", "phase": "upload", "items": 2, "size": 30}),
    (ItemStarted("k", "n\u202e", None), {"event": "item-started", "key": "k", "name": "n\u202e", "size": None}),
    (Advanced("k", 5), {"event": "advanced", "key": "k", "amount": 5}),
    (Finished("k", "mounted"), {"event": "finished", "key": "k", "outcome": "mounted"}),
    (Retrying("k", 1, 0.5, "503"), {"event": "retrying", "key": "k", "attempt": 1, "wait": 0.5, "why": "503"}),
    (Notice("c", "m"), {"event": "notice", "code": "c", "message": "m"}),
    (
        Requested("GET", "https://u:SECRET@h/", 200, 0.1),
        {"event": "requested", "method": "GET", "url": "https://***@h/", "status": 200, "seconds": 0.1},
    ),
    (Done({"at": Path("x")}), {"event": "done", "summary": {"at": "x"}}),
]


@pytest.mark.parametrize(("event", "expected"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_each_event_is_one_line(event: Event, expected: dict[str, object]) -> None:
    stream = io.StringIO()
    sink = JsonLinesSink(stream)
    sink(event)
    sink.close()
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue().isascii()
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line) == {"v": 1, **expected}


def test_every_event_class_and_field_is_written_and_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/events.md").read_text(encoding="utf-8")
    for kind in typing.get_args(events.Event):
        name, fields = jsonlines._FIELDS[kind]
        assert fields == tuple(field.name for field in dataclasses.fields(kind))
        section = page.split(f"### `{name}`", 1)[1].split("\n### ", 1)[0]
        assert all(f"`{field}`" in section for field in fields), name
    for outcome in typing.get_args(events.Outcome):
        assert f"`{outcome}`" in page


def test_lines_of_many_threads_do_not_mix() -> None:
    stream = io.StringIO()
    sink = JsonLinesSink(stream)
    threads = [threading.Thread(target=lambda n=n: [sink(Advanced(str(n), i)) for i in range(200)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in stream.getvalue().splitlines()]) == 800


def test_documents_are_values_of_their_own() -> None:
    summary = {"a": 1}
    document(Done(summary))["summary"]["a"] = 2
    assert summary == {"a": 1}


def test_a_reader_that_went_away_does_not_stop_the_transfer() -> None:
    stream = io.StringIO()
    stream.close()
    sink = JsonLinesSink(stream)
    sink(Advanced("a", 1))
    sink(Advanced("a", 1))
