"""When bytes leave a slow link."""

from __future__ import annotations

import pytest

from benchmarks.proxy import Line


def test_delay_costs_no_bandwidth() -> None:
    line = Line(delay=0.025, rate=None, opened=0.0)
    assert [line.leaves(now, 10**6) for now in (1.0, 1.001, 1.002)] == pytest.approx([1.025, 1.026, 1.027])


def test_a_connection_waits_until_it_is_open() -> None:
    line = Line(delay=0.025, rate=None, opened=1.05)
    assert line.leaves(1.0, 100) == pytest.approx(1.075)
    assert line.leaves(2.0, 100) == pytest.approx(2.025)


def test_the_rate_holds_however_the_bytes_come() -> None:
    burst = Line(delay=0.0, rate=20e6, opened=0.0)
    assert [burst.leaves(1.0, 10**6) for _ in range(20)][-1] == pytest.approx(2.0)
    whole = Line(delay=0.5, rate=20e6, opened=0.0)
    assert whole.leaves(1.0, 20 * 10**6) == pytest.approx(2.5)


def test_a_pause_saves_nothing_up() -> None:
    line = Line(delay=0.0, rate=1000.0, opened=0.0)
    assert line.leaves(0.0, 1000) == pytest.approx(1.0)
    assert line.leaves(9.0, 1000) == pytest.approx(10.0)
    assert line.leaves(9.0, 1000) == pytest.approx(11.0)
