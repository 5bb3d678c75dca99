"""Rows, aims and verdicts of `make bench-delta`."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.delta.chunking import Rate
from benchmarks.delta.scenarios import ALL, Limits, Scenario
from benchmarks.delta.table import Row, aims, as_json, document, figures, line, peaks, rates, tally
from benchmarks.delta.window import LIMIT, Peak
from benchmarks.measure import MIB, Cost

EDIT = Scenario("edit", "an edit", lambda *_: None, lambda *_: None, Limits(delta=0.05, plain=0.1))
COST = Cost(1.25, 1.0, 32 * MIB, 11, sent=0, received=0)


def cost(sent: float = 0.0, received: float = 0.0) -> Cost:
    return replace(COST, sent=int(sent * MIB), received=int(received * MIB))


def row(**figures_: Cost | str) -> Row:
    made = Row(EDIT, 100 * MIB)
    made.figures = {name.replace("_", " "): figure for name, figure in figures_.items()}
    return made


GOOD = row(
    oras_push=cost(100),
    oras_pull=cost(received=100),
    xet_chunks=replace(cost(4.9), requests=None),
    xet=replace(cost(5), requests=None),
    delta_push=cost(5, 0.1),
    delta_pull=cost(0, 4.5),
    plain_pull=cost(0, 9),
)
BAD = row(xet=cost(4), delta_push=cost(6), delta_pull="failed: no | such\noption")


def test_pushes_are_judged_by_what_they_send_and_pulls_by_what_they_receive() -> None:
    assert [(each.way, each.value, each.met) for each in GOOD.verdicts()] == [
        ("delta push", 5 * MIB, True),
        ("delta push", 5 * MIB, True),
        ("delta pull", int(4.5 * MIB), True),
        ("plain pull", 9 * MIB, True),
    ]


def test_more_than_xet_or_than_the_share_is_missed_and_failures_are_not_met() -> None:
    assert [each.met for each in BAD.verdicts()] == [False, False, None, None]
    assert "0 of 4 aims met" in tally([BAD])
    assert "- an edit: delta push: no more than Xet: **missed** (1.50 of it)" in tally([BAD])
    assert "- an edit: delta pull: 5.0 % of the file: not measured" in tally([BAD])


def test_xor_is_held_against_xet_where_it_is_measured() -> None:
    made = Row(ALL["rl-step"], 100 * MIB, figures={"xet": cost(4), "xor push": cost(3), "xor pull": cost(0, 3.1)})
    assert [(each.way, each.met) for each in made.verdicts()] == [
        ("delta push", None),
        ("xor push", True),
        ("xor push", True),
        ("xor pull", False),
    ]


def test_a_first_push_has_nothing_to_pull_into() -> None:
    assert [each.way for each in Row(ALL["first-push"], MIB).verdicts()] == ["delta push", "delta push", "delta clone"]


def test_smaller_files_are_held_against_xet_only() -> None:
    quick = Row(EDIT, MIB, quick=True, figures=dict(GOOD.figures))
    assert [each.what for each in quick.verdicts()] == ["no more than Xet"]


def test_the_tables() -> None:
    text = figures([GOOD, BAD])
    head, _, good, bad, _, failure = text.splitlines()
    assert head == (
        "| scenario | file MiB | oras up | oras down | Xet up, chunks only | Xet up | `--delta` up | down | down |"
    )
    assert good == (
        "| an edit | 100.0 | 100.0 (11, 1.2 s) | 100.0 (11, 1.2 s) | 4.90 (1.2 s) | 5.00 (1.2 s) "
        "| 5.00 (11, 1.2 s) | 4.50 (11, 1.2 s) | 9.00 (11, 1.2 s) |"
    )
    assert "| 6.00 (11, 1.2 s) | failed |" in bad
    assert failure == "- an edit: delta pull: failed: no \\| such option"
    assert "| an edit | delta push | no more than Xet | 4.00 | 6.00 | **missed** (1.50 of it) |" in aims([BAD])
    assert line(GOOD).endswith("plain pull 9.00: 4 of 4 met")
    assert document({"Run": "one"}, [GOOD], ["more"]).endswith("more")
    assert "- Run: one\n" in document({"Run": "one"}, [GOOD])


def test_small_amounts_keep_their_digits() -> None:
    assert "| 0.0212 (11, 1.2 s) |" in figures([row(delta_push=cost(0.0212))])


def test_json_holds_bytes() -> None:
    plain = as_json(BAD)
    assert plain["size"] == 100 * MIB
    assert plain["figures"]["delta pull"] == {"failure": "failed: no | such\noption"}  # type: ignore[index]
    assert plain["figures"]["delta push"]["sent"] == 6 * MIB  # type: ignore[index]
    assert [each["met"] for each in plain["verdicts"]] == [False, False, None, None]  # type: ignore[attr-defined]


def test_rates_are_judged_by_what_chunks_add() -> None:
    fast, slow = Rate("a", "zip/1m", 2e9, 1.25e9), Rate("b", "zip/1m", 1.2e9, 0.5e9)
    assert Rate("d", "zip/1m", 1e9, 1.01e9).met  # noise
    assert (fast.met, slow.met, Rate("c", failure="failed").met) == (True, False, None)
    assert "| a | zip/1m | 2.00 | 1.25 | 3.33 | 1.00 | met |" in rates([fast])
    assert "**missed**" in rates([slow])
    assert "| c |  |  |  |  | 1.00 | failed |" in rates([Rate("c", failure="failed")])


def test_peaks_are_judged_by_memory() -> None:
    good, bad = (Peak("push", 50 << 30, replace(cost(700), rss=size)) for size in (LIMIT, LIMIT + MIB))
    assert (good.met, bad.met, Peak("push", 1, "failed").met) == (True, False, None)
    assert "| push | 50.0 | 700.0 | 200 | 200 | met |" in peaks([good])
    assert "| push | 50.0 |  | failed | 200 | not measured |" in peaks([Peak("push", 50 << 30, "failed")])
