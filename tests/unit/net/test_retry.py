from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt, Interrupted, NotFound, RateLimited, Unavailable
from modelops_bundle.events import Event, Retrying, Run
from modelops_bundle.net.retry import (
    Cause,
    Policy,
    Retrier,
    Transient,
    interruptible_sleep,
    pause,
    pause_asked,
    retry_after,
)

WHY = Unavailable("it broke", host="h")


def failing(times: int, trouble: Callable[[], Exception]) -> Callable[[], str]:
    left = [times]

    def action() -> str:
        if left[0]:
            left[0] -= 1
            raise trouble()
        return "done"

    return action


def retrier(slept: list[float], events: list[Event] | None = None, policy: Policy | None = None) -> Retrier:
    run = Run(emit=events.append) if events is not None else Run()
    return Retrier(run, policy or Policy(), slept.append, lambda: 1.0)


def test_success_needs_no_wait() -> None:
    slept: list[float] = []
    assert retrier(slept).call("k", lambda: 7) == 7
    assert slept == []


def test_waits_double_up_to_the_ceiling() -> None:
    slept: list[float] = []
    policy = Policy(attempts=9, base=1.0, ceiling=10.0)
    assert retrier(slept, policy=policy).call("k", failing(8, lambda: Transient(WHY))) == "done"
    assert slept == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0]


def test_every_retry_is_told() -> None:
    slept: list[float] = []
    events: list[Event] = []
    retrier(slept, events).call("blob", failing(2, lambda: Transient(WHY)))
    assert events == [Retrying("blob", 1, 0.5, "it broke"), Retrying("blob", 2, 1.0, "it broke")]


@pytest.mark.parametrize(
    ("cause", "attempts"),
    [
        ("answer", 6),
        ("stall", 6),
        ("refused", 3),
        ("lookup", 3),
        ("proxy", 3),
        ("corrupt", 3),
        ("renew", 6),
        ("expired", 3),
        ("lag", 2),
    ],
)
def test_attempts_are_limited_by_cause(cause: Cause, attempts: int) -> None:
    made = []

    def action() -> None:
        made.append(1)
        raise Transient(WHY, cause=cause)

    with pytest.raises(Unavailable) as caught:
        retrier([]).call("k", action)
    assert caught.value is WHY
    assert len(made) == attempts


def test_other_errors_are_final() -> None:
    slept: list[float] = []
    for error in (NotFound("x"), Corrupt("x"), ValueError("x")):
        with pytest.raises(type(error)):
            retrier(slept).call("k", failing(1, lambda error=error: error))  # type: ignore[misc]
    assert slept == []


def test_the_servers_wish_is_honoured_up_to_our_patience() -> None:
    slept: list[float] = []
    retrier(slept).call("k", failing(1, lambda: Transient(WHY, after=7.0)))
    assert slept == [7.5]
    with pytest.raises(RateLimited) as caught:
        retrier(slept).call("k", failing(1, lambda: Transient(WHY, after=100_000.0)))
    assert slept == [7.5]
    assert caught.value.facts == {"host": "h", "retry_after": 100_000.0}
    assert "asks to wait 100000 s" in caught.value.message


@given(st.integers(1, 4), st.floats(0, 1))
def test_jitter_spreads_over_the_whole_wait(failed: int, drawn: float) -> None:
    wait = pause(Policy(), failed, Transient(WHY), lambda: drawn)
    assert wait is not None
    assert 0 <= wait <= 0.5 * 2 ** (failed - 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("100000", 100000.0),
        ("9" * 400, 999999999.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("1.5", None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("Thu, 99 Foo 1970 00:00:01 GMT", None),
        ("²", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value: str | None, expected: float | None) -> None:
    assert retry_after(value, 100.0) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "3"}, 56.0),
        ({"ratelimit": '"resolvers"; r=0; t=0'}, 1.0),
        ({"ratelimit": '"api";r=10;t=55', "retry-after": "3"}, 3.0),
        ({"ratelimit": '"api";r=01;t=55'}, None),
        ({"ratelimit": "nonsense"}, None),
        ({"retry-after": "7"}, 7.0),
        ({}, None),
    ],
)
def test_a_quota_says_when_there_is_a_new_one(headers: dict[str, str], expected: float | None) -> None:
    assert pause_asked(headers, 100.0) == expected


@given(st.text(max_size=50))
def test_no_header_breaks_it(value: str) -> None:
    for found in (retry_after(value, 0.0), pause_asked({"ratelimit": value, "retry-after": value}, 0.0)):
        assert found is None or found >= 0


def test_a_cancelled_run_does_not_sleep() -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Interrupted):
        interruptible_sleep(run)(3600)
    with pytest.raises(Interrupted):
        Retrier(run, Policy()).call("k", failing(1, lambda: Transient(WHY)))
