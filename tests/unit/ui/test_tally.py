from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.events import Advanced, Done, Finished, ItemStarted, Notice, Retrying, Started
from modelops_bundle.ui.tally import SPEED_WINDOW, Tally


class Clock:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tally(clock: Clock) -> Tally:
    return Tally(clock)


def test_items_that_move_nothing_still_complete_the_total(tally: Tally) -> None:
    for event in (
        Started("upload", 3, 30),
        ItemStarted("a", "a", 10),
        Finished("a", "exists"),
        ItemStarted("b", "b", 10),
        Advanced("b", 4),
        Finished("b", "copied"),
        ItemStarted("c", "c", 10),
        Advanced("c", 4),
        Finished("c", "failed"),
    ):
        tally.take(event)
    assert tally.phase is not None
    assert (tally.phase.done, tally.phase.moved, tally.phase.done_items) == (24, 8, 3)
    assert tally.phase.outcomes == {"exists": 1, "copied": 1, "failed": 1}
    assert not tally.active


def test_a_second_attempt_counts_for_speed_but_not_twice_for_the_total(tally: Tally) -> None:
    tally.take(Started("upload", 1, 10))
    tally.take(ItemStarted("a", "a", 10))
    for _ in range(3):
        tally.take(Advanced("a", 8))
    assert tally.phase is not None
    assert (tally.phase.done, tally.phase.moved) == (10, 24)


def test_speed_follows_and_falls_to_nothing_in_a_stall(tally: Tally, clock: Clock) -> None:
    tally.take(Started("upload", 1, 1000))
    assert tally.speed() is None
    assert tally.left() is None
    for _ in range(40):
        clock.now += 0.5
        tally.take(Advanced("?", 10))
    assert tally.speed() == pytest.approx(20)
    assert tally.left() == pytest.approx((1000 - 400) / 20)
    clock.now += 3 * SPEED_WINDOW
    speed = tally.speed()
    assert speed is not None and speed < 4
    assert tally.elapsed == pytest.approx(20 + 3 * SPEED_WINDOW)


def test_waiting_ends_when_bytes_come(tally: Tally, clock: Clock) -> None:
    tally.take(ItemStarted("a", "a", 10))
    tally.take(Retrying("a", 1, 3.0, "503"))
    tally.take(Retrying("unknown", 1, 3.0, "503"))
    assert tally.active["a"].wait_until == clock.now + 3
    assert tally.active["unknown"].name == "unknown"
    tally.take(Advanced("a", 1))
    assert tally.active["a"].wait is None


def test_the_foremost_wait_or_move_or_are_big(tally: Tally) -> None:
    for key, size in (("small", 1), ("big", 100), ("moving", 10), ("waiting", 5), ("unknown", None)):
        tally.take(ItemStarted(key, key, size))
    tally.take(Advanced("moving", 1))
    tally.take(Retrying("waiting", 1, 1.0, "x"))
    assert [item.key for item in tally.foremost(3)] == ["waiting", "moving", "big"]


def test_events_without_progress_change_nothing(tally: Tally) -> None:
    tally.take(Notice("x", "y"))
    tally.take(Done({}))
    tally.take(Advanced("a", 1))
    tally.take(Finished("a", "copied"))
    assert tally.phase is None
    assert tally.elapsed == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.sampled_from(["move", "end", "begin"]))))
def test_no_sequence_of_events_counts_more_than_there_is(steps: list[tuple[str, int, str]]) -> None:
    tally = Tally(lambda: 1.0)
    tally.take(Started("x", 3, 300))
    begun = 0
    for key, amount, step in steps:
        if step == "begin" and key not in tally.active:
            begun += 100
            tally.take(ItemStarted(key, key, 100))
        elif step == "end":
            tally.take(Finished(key, "copied"))
        elif key in tally.active:
            tally.take(Advanced(key, amount))
    assert tally.phase is not None
    assert 0 <= tally.phase.done <= begun
