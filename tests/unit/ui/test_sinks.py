from __future__ import annotations

import io

import pytest

from modelops_bundle.events import Notice, Requested, Started
from modelops_bundle.ui.sinks import Kind, Progress, choose

TTY = {"quiet": False, "verbose": False, "json_output": False, "stderr_is_tty": True, "ci": False}


@pytest.mark.parametrize(
    ("progress", "changes", "kind"),
    [
        ("auto", {}, "console"),
        ("auto", {"json_output": True}, "console"),
        ("auto", {"ci": True}, "plain"),
        ("auto", {"stderr_is_tty": False}, "plain"),
        ("auto", {"stderr_is_tty": False, "json_output": True}, "none"),
        ("auto", {"quiet": True}, "none"),
        ("plain", {}, "plain"),
        ("plain", {"quiet": True}, "none"),
        ("json", {}, "json"),
        ("json", {"quiet": True, "stderr_is_tty": False}, "json"),
        ("none", {}, "none"),
    ],
)
def test_choice(progress: Progress, changes: dict[str, bool], kind: Kind) -> None:
    context = choose(progress, **(TTY | changes), stream=io.StringIO())
    assert context.kind == kind
    with context:
        pass


def test_none_still_shows_notices_and_verbose_still_shows_requests() -> None:
    stream = io.StringIO()
    with choose("none", **(TTY | {"verbose": True}), stream=stream) as sink:
        sink(Started("scan"))
        sink(Notice("n", "read this"))
        sink(Requested("HEAD", "https://h/", 404, 0.001))
    assert stream.getvalue() == "note: read this\nHEAD https://h/ 404 1 ms\n"


def test_the_sink_is_closed_after_a_failure_too() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError), choose("auto", **TTY, stream=stream) as sink:
        sink(Notice("n", "said before the end"))
        raise ValueError
    assert "said before the end" in stream.getvalue()


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with choose("plain", **TTY) as sink:
        sink(Started("scan"))
    assert capsys.readouterr() == ("", "scan\n")
