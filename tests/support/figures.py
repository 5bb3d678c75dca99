"""What campaigns measure, told at the end of the run, also by the workers of xdist: the fixture `figure`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_NAME = "figure"


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """`figure("200 races: 0 lost")` prints the line in the summary and keeps it in a JUnit report."""
    return lambda line: record_property(_NAME, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures, by test."""
    told = [
        (report.nodeid, value)
        for kind in ("passed", "failed")
        for report in terminalreporter.getreports(kind)
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == _NAME
    ]
    if told:
        terminalreporter.section("campaign figures")
        for nodeid, line in sorted(told, key=lambda item: item[0]):
            terminalreporter.line(f"{nodeid.rpartition('::')[2]}: {line}")
