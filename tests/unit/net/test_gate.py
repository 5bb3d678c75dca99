"""How many requests a host gets at once, decided without a clock of its own. (tests/contract/test_gate.py has sockets.)"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest

from modelops_bundle.errors import Interrupted
from modelops_bundle.events import Run
from modelops_bundle.net.gate import ENOUGH, GROWTH, Gate, Gates, Held, Place


class Clock:
    """Time that passes while somebody sleeps, and not otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    return Gate(clock.sleep, lambda: None, clock=clock)


def elsewhere(action: Callable[[], object]) -> threading.Thread:
    """Let another thread do it."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def places(gate: Gate, count: int) -> list[Place]:
    """`count` places, each taken by a thread of its own."""
    found: list[Place] = []
    for _ in range(count):
        elsewhere(lambda: found.append(gate.enter())).join(30)
    assert len(found) == count
    return found


def test_there_is_no_limit_before_a_complaint(gate: Gate, clock: Clock) -> None:
    taken = places(gate, 100)
    assert gate.limit is None
    assert gate.under_way == 100
    for place in taken:
        gate.succeeded()
        place.leave()
    assert (gate.limit, gate.under_way, clock.slept) == (None, 0, [])


def test_a_complaint_leaves_half_of_what_was_under_way(gate: Gate) -> None:
    taken = places(gate, 9)
    gate.complained(taken[0], None)
    assert gate.limit == 4


def test_complaints_about_the_same_moment_count_once(gate: Gate) -> None:
    taken = places(gate, 16)
    for place in taken[:10]:
        gate.complained(place, None)
    assert gate.limit == 8
    for place in taken:
        place.leave()
    [later, *_] = places(gate, 8)
    gate.complained(later, None)
    assert gate.limit == 4


def test_one_place_is_always_left(gate: Gate) -> None:
    for _ in range(5):
        [place] = places(gate, 1)
        gate.complained(place, None)
        place.leave()
    assert gate.limit == 1


def test_successes_bring_the_places_back_one_by_one(gate: Gate) -> None:
    taken = places(gate, 4)
    gate.complained(taken[0], None)
    grown = []
    for _ in range(GROWTH * 2 + GROWTH * 3 + 2):
        gate.succeeded()
        grown.append(gate.limit)
    assert grown[0] == 2
    assert grown[GROWTH * 2] == 3
    assert grown[-1] == 4
    for _ in range(int(GROWTH * ENOUGH * ENOUGH)):
        gate.succeeded()
    assert gate.limit is None


def test_who_comes_when_it_is_full_waits_for_a_place(gate: Gate) -> None:
    taken = places(gate, 2)
    gate.complained(taken[0], None)
    taken.pop().leave()
    entered = threading.Event()
    waiting = elsewhere(lambda: (gate.enter(), entered.set()))
    assert not entered.wait(0.05)
    taken.pop().leave()
    waiting.join(30)
    assert entered.is_set()


def test_who_holds_a_place_passes(gate: Gate) -> None:
    first = gate.enter()
    gate.complained(first, None)
    assert gate.limit == 1
    second = gate.enter()
    assert gate.under_way == 2
    second.leave()
    first.leave()
    assert gate.under_way == 0


def test_a_login_passes(gate: Gate) -> None:
    [taken] = places(gate, 1)
    gate.complained(taken, None)
    gate.enter(urgent=True).leave()
    assert gate.under_way == 1


def test_somebody_passes_when_nothing_moves(clock: Clock) -> None:
    """Its holder may be the one who waits for us, by a way that the gate does not see."""

    def passing(_: object = None) -> None:
        clock.now += 20.0

    gate = Gate(clock.sleep, passing, patience=30.0, clock=clock)
    [taken] = places(gate, 1)
    gate.complained(taken, None)
    [passed] = places(gate, 1)
    assert gate.under_way == 2
    passed.leave()
    assert clock.now >= 1030.0


def test_a_pause_is_for_all_and_waited_for_once(gate: Gate, clock: Clock) -> None:
    [place] = places(gate, 1)
    gate.complained(place, 7.0)
    place.leave()
    for _ in range(3):
        gate.enter().leave()
    assert clock.slept == [7.0]


def test_who_was_told_to_wait_does_not_wait_twice(gate: Gate, clock: Clock) -> None:
    place = gate.enter()
    gate.complained(place, 7.0)
    place.leave()
    gate.enter().leave()  # after the wait that the retry brought
    assert clock.slept == []
    gate.enter().leave()
    assert clock.slept == [7.0]


def test_a_longer_pause_that_comes_meanwhile_is_kept(clock: Clock) -> None:
    def sleep(seconds: float) -> None:
        if not clock.slept:
            gate.complained(other, 60.0)
        clock.sleep(seconds)

    gate = Gate(sleep, lambda: None, clock=clock)
    place, other = places(gate, 2)
    gate.complained(place, 7.0)
    place.leave()
    other.leave()
    gate.enter()
    assert clock.slept == [7.0, 53.0]


def test_cancellation_wakes_who_waits() -> None:
    run = Run()
    gates = Gates(lambda _: None, run.check)
    run.stoppers.append(gates.wake)
    gate = gates.at("h")
    [taken] = places(gate, 1)
    gate.complained(taken, None)
    raised: list[Exception] = []

    def work() -> None:
        try:
            gate.enter()
        except Interrupted as error:
            raised.append(error)

    waiting = elsewhere(work)
    run.cancel()
    waiting.join(30)
    assert len(raised) == 1
    assert gate.under_way == 1


def test_a_place_that_is_forgotten_is_given_back(gate: Gate) -> None:
    taken = places(gate, 2)
    gate.complained(taken[0], None)
    taken.clear()
    gc.collect()
    assert gate.under_way == 0
    taken.append(gate.enter())
    assert gate.under_way == 1


def test_a_place_is_given_back_once(gate: Gate) -> None:
    place = gate.enter()
    place.leave()
    place.leave()
    del place
    gc.collect()
    assert gate.under_way == 0


def test_an_answer_keeps_its_place_until_it_is_closed(gate: Gate) -> None:
    class Raw:
        status = 200
        headers = {"a": "b"}  # noqa: RUF012
        closed = False

        def read(self, amount: int) -> bytes:
            return bytes(amount)

        def close(self) -> None:
            self.closed = True

    raw = Raw()
    held = Held(raw, gate.enter())
    assert (held.status, held.headers, held.read(2)) == (200, {"a": "b"}, b"\0\0")
    assert gate.under_way == 1
    held.close()
    held.close()
    assert raw.closed
    assert gate.under_way == 0


def test_each_host_has_a_gate() -> None:
    gates = Gates(lambda _: None, lambda: None)
    assert gates.at("a") is gates.at("a")
    assert gates.at("a") is not gates.at("b")
