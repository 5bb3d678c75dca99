from __future__ import annotations

from collections.abc import Mapping

import pytest

from modelops_bundle.errors import Corrupt, Interrupted, Unavailable
from modelops_bundle.events import Run
from modelops_bundle.net.exchange import Answer, Request
from modelops_bundle.net.retry import Transient
from modelops_bundle.net.throttle import RECEIVED, Throttle


class Wire:
    """A body on the wire: pieces, and an error to end with."""

    def __init__(self, *parts: bytes, headers: Mapping[str, str] | None = None, error: Exception | None = None) -> None:
        self.status = 200
        self.headers = headers or {}
        self.left = b"".join(parts)
        self.error = error
        self.asked: list[int] = []
        self.closed = 0

    def read(self, amount: int) -> bytes:
        self.asked.append(amount)
        data, self.left = self.left[:amount], self.left[amount:]
        if not data and self.error is not None:
            raise self.error
        return data

    def close(self) -> None:
        self.closed += 1


def answer(wire: Wire, run: Run | None = None, taken: list[float] | None = None, rate: int | None = None) -> Answer:
    waited = taken if taken is not None else []
    return Answer(wire, "https://h/x", run or Run(), Throttle(rate, waited.append, lambda: 0.0))


def test_bodies_come_in_bounded_pieces() -> None:
    data = bytes(5_000_000)
    wire = Wire(data)
    pieces = list(answer(wire).chunks())
    assert b"".join(pieces) == data
    assert max(wire.asked) == RECEIVED


def test_every_piece_pays_for_the_rate() -> None:
    waited: list[float] = []
    list(answer(Wire(bytes(10_000)), taken=waited, rate=10_000).chunks())
    assert max(waited) == pytest.approx(0.75)


def test_a_cancelled_run_stops_between_pieces() -> None:
    run = Run()
    pieces = answer(Wire(bytes(3_000_000)), run).chunks()
    next(pieces)
    run.cancel()
    with pytest.raises(Interrupted):
        next(pieces)


def test_a_bounded_body() -> None:
    assert answer(Wire(b"abc")).read(3) == b"abc"
    with pytest.raises(Corrupt, match="more than the 3 bytes"):
        answer(Wire(b"abcd")).read(3)


def test_an_announced_excess_is_not_even_read() -> None:
    wire = Wire(b"abcd", headers={"content-length": "4"})
    with pytest.raises(Corrupt):
        answer(wire).read(3)
    assert wire.asked == []


@pytest.mark.parametrize("headers", [{"content-encoding": "gzip"}, {"transfer-encoding": "gzip, chunked"}])
def test_encoded_bodies_are_refused_unread(headers: dict[str, str]) -> None:
    for use in (lambda a: a.read(10), lambda a: list(a.chunks())):
        wire = Wire(b"x" * 100, headers=headers)
        with pytest.raises(Corrupt, match="compressed"):
            use(answer(wire))
        assert wire.asked == []
        assert wire.closed == 1
    assert answer(Wire(b"x", headers=headers)).read_error() == b""


@pytest.mark.parametrize("headers", [{"content-encoding": "identity"}, {"transfer-encoding": "chunked"}, {}])
def test_plain_bodies_are_read(headers: dict[str, str]) -> None:
    assert answer(Wire(b"x", headers=headers)).read(10) == b"x"


def test_errors_are_read_up_to_eight_kibibytes_and_never_fail() -> None:
    assert len(answer(Wire(bytes(100_000))).read_error()) == 8192
    assert answer(Wire(b"half", error=Transient(Unavailable("cut")))).read_error() == b""


@pytest.mark.parametrize(
    ("said", "length"), [("5", 5), ("", None), ("-5", None), ("5, 5", None), ("²", None), ("9" * 30, None)]
)
def test_the_announced_length(said: str, length: int | None) -> None:
    assert answer(Wire(headers={"content-length": said})).length == length


def test_leaving_the_context_closes() -> None:
    wire = Wire()
    with answer(wire):
        pass
    assert wire.closed == 1


def test_requests_know_whether_they_can_be_sent_again() -> None:
    assert Request("GET", "https://h/", "blob").repeatable
    assert Request("PUT", "https://h/", "blob", body=b"x").repeatable
    assert not Request("PUT", "https://h/", "blob", body=iter([b"x"])).repeatable
    assert Request("GET", "https://u:p@h/?sig=1", "blob").name == "https://***@h/?sig=***"
    assert Request("GET", "https://h/", "blob", key="k").name == "k"
