"""Events are values; `Run` cancels; checkpoints cost nothing until observed."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from modelops_bundle import events
from modelops_bundle.errors import Interrupted, Terminated
from modelops_bundle.events import Event, Limits, Notice, Run, checkpoint, observe_checkpoints


@pytest.mark.parametrize("kind", get_args(Event))
def test_events_are_frozen(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_a_run_goes_on_until_somebody_cancels_it() -> None:
    run = Run()
    run.check()
    run.cancel()
    with pytest.raises(Interrupted):
        run.check()


def test_a_halted_run_can_go_on_unless_somebody_asked_to_stop() -> None:
    woken: list[int] = []
    run = Run(stoppers=[lambda: woken.append(1)])
    run.halt()
    with pytest.raises(Interrupted):
        run.check()
    run.resume()
    run.check()
    run.halt()
    run.cancel()
    run.resume()
    with pytest.raises(Interrupted):
        run.check()
    assert len(woken) == 3


def test_sigterm_is_told_apart_even_after_ctrl_c() -> None:
    run = Run()
    run.cancel("SIGINT")
    run.cancel("SIGTERM")
    with pytest.raises(Terminated):
        run.check()


def test_cancelling_one_run_leaves_others_alone() -> None:
    Run().cancel()
    Run().check()


def test_notices_reach_the_sink() -> None:
    got: list[Event] = []
    Run(emit=got.append).notice("offline", "no connection")
    assert got == [Notice("offline", "no connection")]


def test_a_run_without_a_sink_is_silent() -> None:
    Run().notice("x", "y")
    events.discard(Notice("x", "y"))


def test_the_defaults_are_four_jobs_and_no_rate() -> None:
    assert Run().limits == Limits(jobs=4, rate=None)


def test_checkpoints_are_seen_only_while_observed() -> None:
    names: list[str] = []
    checkpoint("before")
    stop = observe_checkpoints(names.append)
    checkpoint("during")
    stop()
    checkpoint("after")
    assert names == ["during"]


def test_an_observer_may_stop_the_work() -> None:
    def fail(name: str) -> None:
        raise RuntimeError(name)

    stop = observe_checkpoints(fail)
    try:
        with pytest.raises(RuntimeError, match="here"):
            checkpoint("here")
    finally:
        stop()


def test_two_observers_see_the_same() -> None:
    one: list[str] = []
    two: list[str] = []
    stops = [observe_checkpoints(one.append), observe_checkpoints(two.append)]
    checkpoint("x")
    for stop in stops:
        stop()
    assert one == two == ["x"]
