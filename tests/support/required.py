"""A pytest plugin: under BUNDLE_REQUIRE_PEERS=1 a skip for want of a peer, an engine or a registry is a failure.

Elsewhere such tests skip and say what is missing. CI sets the variable, so nothing drops out of its run in silence.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

NEEDY = ("docker", "peers", "registry")
"""The markers of tests that need something from outside."""

_FIXTURES = {"registry": "registry", "repo": "registry", "crane_host": "peers", "peer": "peers"}
"""Fixture to the marker that its use implies."""


def required() -> bool:
    """Whether a missing peer is a failure here."""
    return os.environ.get("BUNDLE_REQUIRE_PEERS", "") not in ("", "0")


@pytest.hookimpl(tryfirst=True)  # `-m` deselects in this hook too and must see the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the users of the needy fixtures, before pytest looks at `-m`."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in _FIXTURES:
                item.add_marker(_FIXTURES[fixture])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a needy test into a failure that carries the reason of the skip."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and required():
        needs = [name for name in NEEDY if item.get_closest_marker(name)]
        if needs:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} needs {', '.join(needs)} and BUNDLE_REQUIRE_PEERS is set: {reason}"
    return report
