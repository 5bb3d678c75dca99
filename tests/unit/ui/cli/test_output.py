from __future__ import annotations

import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import DiskError, DiskFull, NeedsConfirmation
from modelops_bundle.ui.cli.options import Settings
from modelops_bundle.ui.cli.output import Output
from modelops_bundle.ui.text import Paint

TTY = {"stdin_is_tty": True, "stderr_is_tty": True}


class Streams:
    """An output whose streams are kept."""

    def __init__(self, answer: str = "", **settings: Any) -> None:
        self.stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        self.stderr = io.StringIO()
        self.out = Output(Settings(**settings), stdin=io.StringIO(answer), stdout=self.stdout, stderr=self.stderr)

    @property
    def data(self) -> bytes:
        raw = self.stdout.buffer
        assert isinstance(raw, io.BytesIO)
        return raw.getvalue()


def test_lines_for_people() -> None:
    streams = Streams(colour=True)
    streams.out.result({"a": 1}, ["one\x1b[2J", (Paint("two", "green"), " three")])
    assert streams.data == b"one\\x1b[2J\n\x1b[32mtwo\x1b[0m three\n"


def test_one_document_for_programs() -> None:
    streams = Streams(json=True, quiet=True)
    streams.out.result({"path": Path("é\u202e")}, ["never"])
    assert streams.data.isascii()
    assert json.loads(streams.data) == {"path": "é\u202e"}
    with pytest.raises(RuntimeError, match="one result"):
        streams.out.result({})


def test_quiet_says_nothing() -> None:
    streams = Streams(quiet=True)
    streams.out.result({}, ["never"])
    streams.out.note("never")
    streams.out.warn("read this")
    assert streams.data == b""
    assert streams.stderr.getvalue() == "read this\n"


@given(st.text())
def test_whatever_is_in_a_name_there_is_one_line(name: str) -> None:
    streams = Streams()
    streams.out.result({}, [name])
    assert all(byte >= 0x20 for byte in streams.data[:-1])
    assert streams.data.endswith(b"\n")


def test_data_passes_untouched_and_in_order() -> None:
    streams = Streams()
    streams.out.data([b"\x00\x1b", b"\r\n"])
    assert streams.data == b"\x00\x1b\r\n"


class Full(io.RawIOBase):
    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        if self.number:
            raise OSError(self.number, "refused")
        return len(data)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EIO, DiskError), (errno.EPIPE, BrokenPipeError)]
)
def test_a_stream_that_refuses(number: int, kind: type[Exception]) -> None:
    for write in (lambda out: out.result({}, ["x"]), lambda out: out.data([b"x" * 100_000])):
        stream = io.TextIOWrapper(io.BufferedWriter(Full(number)), encoding="utf-8")
        with pytest.raises(kind) as caught:
            write(Output(Settings(), stdin=io.StringIO(), stdout=stream, stderr=io.StringIO()))
        assert type(caught.value) is kind
        stream.buffer.raw.number = 0  # type: ignore[attr-defined]  # what is still buffered may go


@pytest.mark.parametrize("answer", ["y\n", "YES\n", " y \n"])
def test_agreed(answer: str) -> None:
    streams = Streams(answer, **TTY)
    streams.out.confirm("drop 3 files?", ["a\x1b", "b"])
    assert streams.stderr.getvalue() == "a\\x1b\nb\ndrop 3 files? [y/N] "
    assert streams.data == b""


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yess\n"])
def test_declined(answer: str) -> None:
    with pytest.raises(NeedsConfirmation, match="nothing was done"):
        Streams(answer, **TTY).out.confirm("drop?")


def test_yes_asks_nothing_and_reads_nothing() -> None:
    streams = Streams(yes=True, **TTY)
    streams.out.confirm("drop?", ["a"])
    assert streams.stderr.getvalue() == ""


@pytest.mark.parametrize("changes", [{"stdin_is_tty": False}, {"stderr_is_tty": False}, {"json": True}])
def test_nobody_to_ask(changes: dict[str, bool]) -> None:
    streams = Streams("y\n", **(TTY | changes))
    with pytest.raises(NeedsConfirmation) as caught:
        streams.out.confirm("drop 1 file?", [(Paint("gone", "red"), " a\x1b")])
    assert caught.value.hint is not None and "--yes" in caught.value.hint
    assert caught.value.facts == {"question": "drop 1 file?", "details": ["gone a\\x1b"]}
    assert streams.stderr.getvalue() == ""


def test_the_standard_streams_are_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(Settings())
    out.result({}, ["data"])
    out.note("note")
    assert capsys.readouterr() == ("data\n", "note\n")
