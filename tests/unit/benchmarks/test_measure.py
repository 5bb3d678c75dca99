"""Rounds, medians, disturbed runs, and what one command is told to have cost."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.measure import MIB, Attempt, Case, Cost, Failed, Group, execute, measure, median, quietest


def cost(wall: float, foreign: float = 0.0, requests: int | None = None) -> Cost:
    return Cost(wall, wall / 2, int(wall * MIB), requests, foreign=foreign)


def case(name: str, rounds: int | None = None, check: Callable[[], None] = lambda: None, **more: str) -> Case:
    return Case(name, lambda: Attempt([name], Path("."), check), rounds=rounds, **more)


def runner(ran: list[str], foreign: Iterator[float] | None = None) -> Callable[[Attempt], Cost]:
    def run(attempt: Attempt) -> Cost:
        ran.append(attempt.command[0])
        return cost(float(len(ran)), next(foreign) if foreign else 0.0)

    return run


def test_medians_and_the_most_memory() -> None:
    found = median([cost(3, requests=7), cost(1, requests=5), cost(8, 0.5, requests=6)])
    assert (found.wall, found.cpu, found.rss, found.requests, found.foreign) == (3, 1.5, 8 * MIB, 6, 0.5)
    assert found.sent is None


def test_disturbed_runs_count_last() -> None:
    runs = [cost(1, 0.9), cost(2, 0.1), cost(3, 0.3), cost(4)]
    assert [run.wall for run in quietest(runs, 3)] == [2, 4, 3]


def test_rounds_are_interleaved_after_a_warm_up() -> None:
    ran: list[str] = []
    results = measure(Group("w", [case("a"), case("b"), case("slow", rounds=1)], rounds=2), runner(ran))
    assert ran == ["a", "b", "a", "b", "slow", "a", "b"]
    assert [[run.wall for run in result.costs] for result in results] == [[3, 6], [4, 7], [5]]


def test_quick_is_one_round_and_nothing_else() -> None:
    ran: list[str] = []
    measure(Group("w", [case("a"), case("b")], rounds=5), runner(ran, iter([0.9, 0.9])), quick=True)
    assert ran == ["a", "b"]


def test_disturbed_runs_are_repeated_twice_at_most() -> None:
    ran: list[str] = []
    (result,) = measure(Group("w", [case("a")], rounds=2, warm=False), runner(ran, iter([0.9, 0.0, 0.0])))
    assert [run.wall for run in result.costs] == [2, 3]
    ran.clear()
    (result,) = measure(Group("w", [case("a")], rounds=2, warm=False), runner(ran, iter([0.9] * 4)))
    assert len(ran) == 4
    assert len(result.costs) == 2
    assert all(run.disturbed for run in result.costs)


def test_what_fails_is_not_measured_and_stops_nobody_else() -> None:
    def wrong() -> None:
        raise Failed("other bytes")

    ran: list[str] = []
    cases = [case("a", check=wrong), case("b"), case("c", absent="no c on PATH")]
    bad, good, missing = measure(Group("w", cases, rounds=2, warm=False), runner(ran))
    assert ran == ["a", "b", "b"]
    assert (bad.failure, bad.median) == ("failed: other bytes", None)
    assert good.median is not None
    assert (missing.failure, missing.median) == ("absent: no c on PATH", None)


def test_a_command_costs_what_it_and_not_its_parent_used(tmp_path: Path) -> None:
    ballast = bytearray(os.urandom(1) * (120 * MIB))
    code = "import os; b = bytearray(os.urandom(1)) * (40 << 20); open('made', 'w').close()"
    found = execute([sys.executable, "-S", "-c", code], tmp_path, os.environ)
    assert (tmp_path / "made").exists()
    assert 40 * MIB < found.rss < 90 * MIB < len(ballast)
    assert found.wall > 0


def test_a_failing_command_says_how_it_ended(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="ended with 3: no luck"):
        execute(
            [sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"], tmp_path, os.environ
        )
    with pytest.raises(Failed, match="ended with no code"):
        execute(["there-is-no-such-program"], tmp_path, os.environ)
