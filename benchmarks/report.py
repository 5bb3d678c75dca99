"""Results as lines, as a table people read, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from benchmarks.measure import MIB, Cost, Group, Result, Target

_HEAD = (
    "| work | tool | wall s | CPU s | peak MiB | requests | sent MiB | received MiB | wall ratio | target | verdict | runs |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|--:|\n"
)
_NAMES = {"wall": "wall", "cpu": "CPU", "rss": "peak", "requests": "requests", "sent": "sent", "received": "received"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one target; `value` is what was compared with its limit, None when there was nothing to compare."""

    target: Target
    value: float | None

    @property
    def met(self) -> bool | None:
        return None if self.value is None else self.value <= self.target.limit


@dataclass(frozen=True, slots=True)
class Line:
    """One tool at one piece of work: `cost` is the median, None for a `failure`; `ratio` is of wall times."""

    work: str
    tool: str
    cost: Cost | None
    ratio: float | None
    verdicts: tuple[Verdict, ...]
    runs: int
    disturbed: int
    failure: str = ""


def lines(group: Group, results: Sequence[Result]) -> list[Line]:
    """A group's results beside those of its reference."""
    reference = next((result.median for result in results if result.case.reference), None)
    made = []
    for result in results:
        cost = result.median
        made.append(
            Line(
                group.work,
                result.case.name,
                cost,
                cost.wall / reference.wall if cost and reference else None,
                tuple(Verdict(target, compared(target, cost, reference)) for target in result.case.targets),
                len(result.costs),
                sum(run.disturbed for run in result.costs),
                result.failure,
            )
        )
    return made


def compared(target: Target, cost: Cost | None, reference: Cost | None) -> float | None:
    """What is held against `target.limit`: the quantity, or its ratio to the reference's."""
    value = getattr(cost, target.quantity) if cost else None
    if value is None or not target.relative:
        return value
    other = getattr(reference, target.quantity) if reference else None
    return value / other if other else None


def as_json(line: Line) -> dict[str, object]:
    """`line` in plain values: seconds, bytes, ratios."""
    return {
        "work": line.work,
        "tool": line.tool,
        **(asdict(line.cost) if line.cost else {}),
        "ratio": line.ratio,
        "targets": [{**asdict(each.target), "value": each.value, "met": each.met} for each in line.verdicts],
        "runs": line.runs,
        "disturbed": line.disturbed,
        "failure": line.failure or None,
    }


def table(rows: Sequence[Line]) -> str:
    """The Markdown table."""
    text, work = _HEAD, ""
    for line in rows:
        text += _row(line, "" if line.work == work else line.work)
        work = line.work
    return text


def tally(rows: Sequence[Line]) -> str:
    """How many targets were met, and which were not."""
    judged = [(line, each) for line in rows for each in line.verdicts]
    missed = [
        f"- {line.work}: {line.tool}: {_target(each.target)}, {_value(each)}\n" for line, each in judged if not each.met
    ]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets met.\n"
    return text + ("\nNot met:\n\n" + "".join(missed) if missed else "")


def document(head: dict[str, str], rows: Sequence[Line]) -> str:
    """The whole report."""
    facts = "".join(f"- {name}: {value}\n" for name, value in head.items())
    return (
        "# Benchmark results\n\n"
        "Written by `make bench`; [how it is measured](../docs/benchmarks.md). Medians of interleaved runs of one session; peak\n"
        "memory is the most of them. Ratios are to the line that says 1.00. `*` after the number of runs: others used much of\n"
        f"the machine in some of them.\n\n{facts}\n{tally(rows)}\n{table(rows)}"
    )


def _row(line: Line, work: str) -> str:
    cost = line.cost
    cells = [work, line.tool]
    if cost is None:
        cells += [""] * 7 + [_targets(line), _cell(line.failure), ""]
    else:
        cells += [
            f"{cost.wall:.3f}",
            f"{cost.cpu:.2f}",
            f"{cost.rss / MIB:.0f}",
            "" if cost.requests is None else f"{cost.requests:,}",
            "" if cost.sent is None else f"{cost.sent / MIB:.1f}",
            "" if cost.received is None else f"{cost.received / MIB:.1f}",
            "" if line.ratio is None else f"{line.ratio:.2f}",
            _targets(line),
            "; ".join(map(_verdict, line.verdicts)),
            f"{line.runs}{'*' if line.disturbed else ''}",
        ]
    return f"| {' | '.join(cells)} |\n"


def _targets(line: Line) -> str:
    return "; ".join(_target(each.target) for each in line.verdicts)


def _target(target: Target) -> str:
    limit = _SCALES[target.quantity](target.limit) if not target.relative else f"{target.limit:.2f}"
    return f"{_NAMES[target.quantity]} ≤ {limit}"


def _verdict(verdict: Verdict) -> str:
    if verdict.met is None:
        return "not measured"
    return "met" if verdict.met else f"**missed** ({_value(verdict)})"


def _value(verdict: Verdict) -> str:
    if verdict.value is None:
        return "not measured"
    return f"{verdict.value:.2f}" if verdict.target.relative else _SCALES[verdict.target.quantity](verdict.value)


_SCALES: dict[str, Callable[[float], str]] = {
    "wall": lambda value: f"{value:.3f} s",
    "cpu": lambda value: f"{value:.2f} s",
    "rss": lambda value: f"{value / MIB:.0f} MiB",
    "requests": lambda value: f"{value:.0f}",
    "sent": lambda value: f"{value / MIB:.1f} MiB",
    "received": lambda value: f"{value / MIB:.1f} MiB",
}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
