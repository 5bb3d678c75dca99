"""The commands below `bundle registry`, as they look."""

from __future__ import annotations

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import call


def test_the_group_alone_shows_its_commands() -> None:
    result = call("registry", expect=2)
    assert "check" in result.err


def test_the_exit_code_is_that_of_the_first_failure(fake: Fake) -> None:
    fake.close()
    result = call("registry", "check", f"{fake.host}/team/model", expect=8)
    assert "fail  reach" in result.out
