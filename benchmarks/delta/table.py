"""The rows: what each way cost, and whether that is within its aim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.delta.chunking import LEAST, Rate
from benchmarks.delta.scenarios import Scenario
from benchmarks.delta.window import LIMIT, Peak
from benchmarks.measure import MIB, Cost

Figure = Cost | str
"""What a way cost, or why that is not known."""

WAYS = {
    "oras push": "oras up",
    "oras pull": "oras down",
    "xet chunks": "Xet up, chunks only",
    "xet": "Xet up",
    "delta push": "`--delta` up",
    "delta pull": "down",
    "delta clone": "fresh",
    "xor push": "`--xor-base` up",
    "xor pull": "down",
    "xor clone": "fresh",
    "plain push": "plain up",
    "plain pull": "down",
    "plain clone": "fresh",
}
"""What is measured, and the head of its column."""
UP = ("oras push", "xet chunks", "xet", "delta push", "xor push", "plain push")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One aim: `value` may be `limit` at most, in bytes; None: not measured."""

    way: str
    what: str
    limit: float | None
    value: int | None

    @property
    def met(self) -> bool | None:
        return None if self.value is None or self.limit is None else self.value <= self.limit


@dataclass(slots=True)
class Row:
    """One scenario: `size` of the changed version in bytes.

    `quick`: files are smaller than those that the facts' shares were found with, so only Xet is an aim.
    """

    scenario: Scenario
    size: int
    quick: bool = False
    figures: dict[str, Figure] = field(default_factory=dict)

    def moved(self, way: str) -> int | None:
        """Bytes that went this way: of a push those sent, else those received."""
        cost = self.figures.get(way)
        if not isinstance(cost, Cost):
            return None
        return cost.sent if way in UP else cost.received

    def verdicts(self) -> list[Verdict]:
        """All aims of the row."""
        return [*self._beside_xet(), *([] if self.quick else self._beside_facts())]

    def _beside_xet(self) -> Iterator[Verdict]:
        """Both count all that a push sends: Xet's lists of chunks, our index and manifest."""
        for way in ("delta push", "xor push") if self.scenario.xor else ("delta push",):
            yield Verdict(way, "no more than Xet", self.moved("xet"), self.moved(way))

    def _beside_facts(self) -> Iterator[Verdict]:
        limits = self.scenario.limits
        aims = {
            "delta push": limits.delta,
            "delta pull": limits.delta if self.scenario.base else None,
            "delta clone": limits.clone,
            "xor push": limits.xor,
            "xor pull": limits.xor,
            "plain pull": limits.plain,
        }
        for way, share in aims.items():
            if share is not None:
                yield Verdict(way, f"{_percent(share)} of the file", share * self.size, self.moved(way))


def line(row: Row) -> str:
    """One row for the terminal."""
    told = [f"{way} {_short(row, way)}" for way in WAYS if way in row.figures]
    judged = row.verdicts()
    missed = [verdict for verdict in judged if not verdict.met]
    verdict = f"{len(judged) - len(missed)} of {len(judged)} met"
    return f"{row.scenario.name} ({_mib(row.size)} MiB): {', '.join(told)}: {verdict}"


def document(head: Mapping[str, str], rows: Sequence[Row], further: Sequence[str] = ()) -> str:
    """The whole report."""
    facts = "".join(f"- {name}: {value}\n" for name, value in head.items())
    return (
        "# Benchmark results: what changed\n\n"
        "Written by `make bench-delta`; [how it is measured](../docs/benchmarks.md#what-a-change-costs). MiB of bodies on the\n"
        "wire (requests, seconds). Every file that came back was compared by SHA-256.\n\n"
        f"{facts}\n{tally(rows)}\n{figures(rows)}\n{aims(rows)}" + "".join(f"\n{text}" for text in further)
    )


def figures(rows: Sequence[Row]) -> str:
    """The table of what moved: a line for each scenario."""
    ways = [way for way in WAYS if any(way in row.figures for row in rows)]
    text = f"| scenario | file MiB | {' | '.join(WAYS[way] for way in ways)} |\n|---|--:|{'--:|' * len(ways)}\n"
    for row in rows:
        cells = [row.scenario.title, _mib(row.size), *(_cell(row, way) for way in ways)]
        text += f"| {' | '.join(cells)} |\n"
    failures = [
        f"- {row.scenario.title}: {way}: {_plain(cost)}\n"
        for row in rows
        for way, cost in row.figures.items()
        if isinstance(cost, str)
    ]
    return text + ("\n" + "".join(failures) if failures else "")


def aims(rows: Sequence[Row]) -> str:
    """The table of aims: a line for each."""
    text = "| scenario | way | at most | MiB | found | |\n|---|---|---|--:|--:|---|\n"
    for row in rows:
        for verdict in row.verdicts():
            limit = "" if verdict.limit is None else _mib(verdict.limit)
            value = "" if verdict.value is None else _mib(verdict.value)
            cells = [row.scenario.title, verdict.way, verdict.what, limit, value, _judgement(verdict)]
            text += f"| {' | '.join(cells)} |\n"
    return text


def tally(rows: Sequence[Row]) -> str:
    """How many aims were met, and which were not."""
    judged = [(row, verdict) for row in rows for verdict in row.verdicts()]
    missed = [
        f"- {row.scenario.title}: {verdict.way}: {verdict.what}: {_judgement(verdict)}\n"
        for row, verdict in judged
        if not verdict.met
    ]
    text = f"{len(judged) - len(missed)} of {len(judged)} aims met.\n"
    return text + ("\nNot met:\n\n" + "".join(missed) if missed else "")


def rates(found: Sequence[Rate]) -> str:
    """The table of what chunks cost beside the digest."""
    text = (
        "| file | cut by | SHA-256 alone, GB/s per core | with chunks in the same pass | chunks, by difference | at least | |\n"
        "|---|---|--:|--:|--:|--:|---|\n"
    )
    for rate in found:
        numbers = (
            [f"{number / 1e9:.2f}" for number in (rate.alone, rate.together, rate.chunks)] if rate.chunker else [""] * 3
        )
        cells = [rate.name, rate.chunker, *numbers, f"{LEAST / 1e9:.2f}", rate.failure or _verdict(rate.met)]
        text += f"| {' | '.join(map(_plain, cells))} |\n"
    return text


def peaks(found: Sequence[Peak]) -> str:
    """The table of memory."""
    text = "| work | file GiB | sent MiB | peak MiB | at most | |\n|---|--:|--:|--:|--:|---|\n"
    for peak in found:
        cost = peak.found
        numbers = ["", cost] if isinstance(cost, str) else [_mib(cost.sent or 0), f"{cost.rss / MIB:.0f}"]
        cells = [peak.work, f"{peak.size / (1 << 30):.1f}", *numbers, f"{LIMIT // MIB}", _verdict(peak.met)]
        text += f"| {' | '.join(map(_plain, cells))} |\n"
    return text


def as_json(row: Row) -> dict[str, object]:
    """The row in plain values: bytes, seconds."""
    return {
        "scenario": row.scenario.name,
        "size": row.size,
        "figures": {
            way: {"failure": figure} if isinstance(figure, str) else asdict(figure)
            for way, figure in row.figures.items()
        },
        "verdicts": [{**asdict(verdict), "met": verdict.met} for verdict in row.verdicts()],
    }


def _verdict(met: bool | None) -> str:
    return "not measured" if met is None else "met" if met else "**missed**"


def _plain(text: str) -> str:
    """`text` in a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _judgement(verdict: Verdict) -> str:
    if verdict.value is None or not verdict.limit or verdict.met:
        return _verdict(verdict.met)
    return f"{_verdict(verdict.met)} ({verdict.value / verdict.limit:.2f} of it)"


def _cell(row: Row, way: str) -> str:
    cost = row.figures.get(way)
    if cost is None or isinstance(cost, str):
        return "failed" if cost else ""
    asked = "" if cost.requests is None else f"{cost.requests}, "
    return f"{_short(row, way)} ({asked}{cost.wall:.1f} s)"


def _short(row: Row, way: str) -> str:
    moved = row.moved(way)
    return "failed" if moved is None else _mib(moved)


def _mib(size: float) -> str:
    """With as many digits as tell small changes apart."""
    amount = size / MIB
    return f"{amount:.1f}" if amount >= 100 else f"{amount:.2f}" if amount >= 1 else f"{amount:.4f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.01 else f"{100 * share:.4f} %"
