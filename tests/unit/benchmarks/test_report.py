"""Ratios, verdicts and the table."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.measure import MIB, Attempt, Case, Cost, Group, Result, Target
from benchmarks.report import as_json, document, lines, table, tally

SLOW = Target("wall", 0.5)
BUSY = Target("cpu", 1.0)
LARGE = Target("rss", 100 * MIB, relative=False)


def result(name: str, *targets: Target, cost: Cost | None = None, reference: bool = False, failure: str = "") -> Result:
    made = Case(name, lambda: Attempt([], Path(".")), targets, reference)
    return Result(made, [cost] if cost else [], failure)


OURS = result("ours", SLOW, BUSY, LARGE, cost=Cost(3.0, 1.0, 32 * MIB, 1234))
PEER = result("peer", cost=Cost(4.0, 2.0, 20 * MIB, 5, foreign=0.9), reference=True)
BROKEN = result("broken", SLOW, failure="failed: a | b\nc")


def test_ratios_are_to_the_reference() -> None:
    ours, peer, broken = lines(Group("work", []), [OURS, PEER, BROKEN])
    assert (ours.ratio, peer.ratio, broken.ratio) == (0.75, 1.0, None)
    assert [each.value for each in ours.verdicts] == [0.75, 0.5, 32 * MIB]
    assert [each.met for each in ours.verdicts] == [False, True, True]
    assert [each.met for each in broken.verdicts] == [None]


def test_without_reference_only_absolute_targets_are_judged() -> None:
    (ours, _) = lines(Group("work", []), [OURS, result("peer", reference=True, failure="absent: no peer")])
    assert ours.ratio is None
    assert [each.met for each in ours.verdicts] == [None, None, True]


def test_the_table() -> None:
    found = table(lines(Group("work", []), [OURS, PEER, BROKEN])).splitlines()[2:]
    assert found == [
        (
            "| work | ours | 3.000 | 1.00 | 32 | 1,234 |  |  | 0.75 "
            "| wall ≤ 0.50; CPU ≤ 1.00; peak ≤ 100 MiB | **missed** (0.75); met; met | 1 |"
        ),
        "|  | peer | 4.000 | 2.00 | 20 | 5 |  |  | 1.00 |  |  | 1* |",
        "|  | broken |  |  |  |  |  |  |  | wall ≤ 0.50 | failed: a \\| b c |  |",
    ]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in found} == {14}


def test_the_tally_names_what_was_missed_and_what_could_not_be_measured() -> None:
    rows = lines(Group("work", []), [OURS, PEER, BROKEN])
    assert tally(rows) == (
        "2 of 4 targets met.\n\nNot met:\n\n"
        "- work: ours: wall ≤ 0.50, 0.75\n- work: broken: wall ≤ 0.50, not measured\n"
    )
    assert "\n- Commit: abc\n" in document({"Commit": "abc"}, rows)


def test_figures_as_json() -> None:
    ours, _, broken = (as_json(line) for line in lines(Group("work", []), [OURS, PEER, BROKEN]))
    assert (ours["wall"], ours["requests"], ours["failure"]) == (3.0, 1234, None)
    assert ours["targets"] == [
        {"quantity": "wall", "limit": 0.5, "relative": True, "value": 0.75, "met": False},
        {"quantity": "cpu", "limit": 1.0, "relative": True, "value": 0.5, "met": True},
        {"quantity": "rss", "limit": 100 * MIB, "relative": False, "value": 32 * MIB, "met": True},
    ]
    assert "wall" not in broken
    assert broken["failure"] == "failed: a | b\nc"
