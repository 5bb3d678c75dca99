"""Findings: in order, each with its time, the first failure deciding."""

from __future__ import annotations

import pytest

from modelops_bundle.errors import Corrupt, Interrupted, NotFound
from modelops_bundle.operations.findings import Examination, Finding, info, ok, warn


def raising(error: Exception) -> Finding:
    raise error


def test_the_first_failure_decides() -> None:
    found = Examination()
    assert found.exit_code == 0
    assert found.look("one", lambda: ok("well", a=1))
    assert found.look("two", lambda: warn("soon", "look"))
    assert not found.look("three", lambda: raising(NotFound("gone", hint="find it", where="here")))
    assert not found.look("four", lambda: raising(Corrupt("bad")))
    found.skip(["five"], "no time")
    assert found.exit_code == 6
    document = found.to_json()
    assert document["ok"] is False
    assert [each["verdict"] for each in document["checks"]] == ["ok", "warn", "fail", "fail", "skip"]
    assert document["checks"][0]["facts"] == {"a": 1}
    assert document["checks"][2] | {"seconds": 0} == {
        "name": "three",
        "verdict": "fail",
        "message": "gone",
        "hint": "find it",
        "seconds": 0,
        "facts": {"where": "here"},
        "code": "not-found",
        "exit_code": 6,
    }


def test_a_stop_is_no_finding() -> None:
    found = Examination()
    with pytest.raises(Interrupted):
        found.look("one", lambda: raising(Interrupted("interrupted")))
    assert found.findings == []


def test_they_are_told_at_once() -> None:
    told: list[Finding] = []
    found = Examination(told.append)
    found.look("one", lambda: info("that is so"))
    assert [each.name for each in told] == ["one"]
    assert told[0].under("origin").name == "origin one"
