"""How findings are shown: one line each, the hint below those that are not well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modelops_bundle.operations.findings import Finding, Verdict
from modelops_bundle.ui import text
from modelops_bundle.ui.text import Colour, Line, Paint

_COLOURS: Mapping[Verdict, Colour] = {"ok": "green", "info": "cyan", "warn": "yellow", "fail": "red", "skip": "dim"}


def lines(findings: Iterable[Finding]) -> Iterator[Line]:
    """A table of what was found."""
    found = list(findings)
    rows = [
        (
            Paint(finding.verdict, _COLOURS[finding.verdict]),
            finding.name,
            text.duration(finding.seconds) if finding.verdict != "skip" else "-",
            finding.message,
        )
        for finding in found
    ]
    for finding, row in zip(found, text.table(rows, right=(2,)), strict=True):
        yield row
        if finding.hint and finding.verdict != "ok":
            yield f"      {finding.hint}"
