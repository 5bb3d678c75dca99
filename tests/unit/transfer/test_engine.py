"""A bounded pool: the first failure stops the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from modelops_bundle.errors import Corrupt, Interrupted, Terminated
from modelops_bundle.events import Limits, Run
from modelops_bundle.transfer.engine import WINDOW, each


def run(jobs: int) -> Run:
    return Run(limits=Limits(jobs=jobs))


@pytest.mark.parametrize("jobs", [-1, 0, 1, 2, 4, 64])
@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_every_item_is_done_once(jobs: int, count: int) -> None:
    done: list[int] = []
    each(range(count), done.append, run(jobs))
    assert sorted(done) == list(range(count))


def test_one_job_means_this_thread_and_this_order() -> None:
    done: list[tuple[int, int]] = []
    each(range(5), lambda n: done.append((n, threading.get_ident())), run(1))
    assert done == [(n, threading.get_ident()) for n in range(5)]


@pytest.mark.parametrize("jobs", [2, 4])
def test_no_more_than_jobs_at_a_time(jobs: int) -> None:
    lock = threading.Lock()
    gate = threading.Barrier(jobs)
    now = most = 0

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        gate.wait(10)
        with lock:
            now -= 1

    each(range(jobs * 5), work, run(jobs))
    assert most == jobs


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_the_first_failure_stops_the_rest_and_is_raised(jobs: int) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise Corrupt("bad")
        done.append(item)

    with pytest.raises(Corrupt, match="bad"):
        each(range(100_000), work, run(jobs))
    assert len(done) < 1000


@pytest.mark.parametrize("jobs", [1, 4])
def test_cancelling_ends_a_long_list(jobs: int) -> None:
    started = run(jobs)

    def work(item: int) -> None:
        if item == 10:
            started.cancel()

    with pytest.raises(Interrupted):
        each(range(1_000_000), work, started)


def test_what_is_under_way_has_ended_when_it_raises() -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work(item: int) -> None:
        if item == 0:
            started.set()
            release.wait(10)
            ended.set()
        else:
            started.wait(10)
            release.set()
            raise Corrupt("bad")

    with pytest.raises(Corrupt):
        each([0, 1], work, run(2))
    assert ended.is_set()


def test_items_under_way_are_stopped_for_the_first_failure() -> None:
    started = run(4)
    waiting = threading.Barrier(4, timeout=10)
    ends: list[BaseException] = []

    def work(item: int) -> None:
        waiting.wait()
        if item == 3:
            raise Corrupt("bad")
        try:
            while True:
                assert started.cancelled.wait(10)
                started.check()
        except Interrupted as error:
            ends.append(error)
            raise

    with pytest.raises(Corrupt, match="bad"):
        each(range(4), work, started)
    assert len(ends) == 3
    started.check()  # what comes after may go on


def test_those_that_wait_for_somebody_else_are_woken() -> None:
    woken = threading.Event()
    started = run(2)
    started.stoppers.append(woken.set)
    both = threading.Barrier(2, timeout=10)

    def work(item: int) -> None:
        both.wait()
        if item:
            raise Corrupt("bad")
        assert woken.wait(10)

    with pytest.raises(Corrupt, match="bad"):
        each([0, 1], work, started)


def test_a_cancelled_run_stays_cancelled() -> None:
    started = run(2)

    def work(item: int) -> None:
        if item == 0:
            started.cancel("SIGTERM")
        raise Corrupt("bad")

    with pytest.raises(Corrupt):
        each([0, 1], work, started)
    with pytest.raises(Terminated):
        started.check()


def test_items_are_taken_as_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    first = threading.Event()

    def work(item: int) -> None:
        if not first.is_set():
            first.set()
            assert taken <= 2 * WINDOW
        raise Corrupt("stop")

    with pytest.raises(Corrupt):
        each(items(), work, run(2))
    assert taken <= 2 * WINDOW


@pytest.mark.parametrize("jobs", [1, 4])
def test_ctrl_c_inside_an_item_is_not_swallowed(jobs: int) -> None:
    def work(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each(range(10), work, run(jobs))
