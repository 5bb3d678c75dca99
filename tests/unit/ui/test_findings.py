"""How findings look."""

from __future__ import annotations

from modelops_bundle.operations.findings import Finding
from modelops_bundle.ui.findings import lines
from modelops_bundle.ui.text import Style


def shown(*findings: Finding) -> list[str]:
    return [Style().line(line) for line in lines(findings)]


def test_columns_and_hints() -> None:
    assert shown(
        Finding("reach", "ok", "answers", "never shown", 0.0123),
        Finding("referrers", "warn", "none", "look here", 1.5),
        Finding("push", "skip", "read only"),
    ) == [
        "ok    reach      12 ms  answers",
        "warn  referrers  1.5 s  none",
        "      look here",
        "skip  push           -  read only",
    ]


def test_foreign_text_is_escaped() -> None:
    assert shown(Finding("x", "fail", "\x1b[31mred", "\x07")) == ["fail  x  0 ms  \\x1b[31mred", "      \\x07"]


def test_nothing_found_is_nothing_shown() -> None:
    assert shown() == []
