"""The commands below `bundle registry`: how they look, and the repositories of a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.testing.actions import Refuse
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import BASE
from tests.support.registry_process import Registry


def test_a_real_registry_lists_what_was_pushed(registry: Registry, repo: str, tmp_path: Path) -> None:
    Bundle.create(tmp_path / "a", f"{repo}/sub", BASE).push()
    host, _, name = repo.partition("/")
    assert f"{name}/sub" in call("--json", "registry", "list", host).json["repositories"]
    assert call("--json", "registry", "list", repo).json == {"host": host, "repositories": [f"{name}/sub"]}
    assert call("registry", "list", f"{repo}/").out.strip() == f"{repo}/sub"


def test_a_second_kind_of_registry(crane_host: str, tmp_path: Path) -> None:
    Bundle.create(tmp_path / "a", f"{crane_host}/listed/here", BASE).push()
    assert "listed/here" in call("--json", "registry", "list", crane_host).json["repositories"]


def test_a_registry_without_a_list(fake: Fake) -> None:
    fake.habits.catalog = False
    error = call("--json", "registry", "list", fake.host, expect=10).error
    assert "no list of its repositories" in error["message"]


def test_a_login_that_may_not(fake: Fake) -> None:
    fake.fault(lambda _, path: "_catalog" in path, Refuse(403, "DENIED"), times=None)
    assert call("--json", "registry", "list", fake.host, expect=7).error["code"] == "unauthorized"


def test_offline_nobody_is_asked(fake: Fake) -> None:
    assert call("--offline", "--json", "registry", "list", fake.host, expect=8).error["facts"]["offline"] is True
    assert fake.requests == []


def test_without_a_host_the_namespace_is_meant(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.protocol.repository("team/a")
    fake.protocol.repository("other")
    call("registry", "list", expect=2)
    monkeypatch.setenv("BUNDLE_NAMESPACE", f"{fake.host}/team")
    assert call("--json", "registry", "list").json["repositories"] == ["team/a"]


@pytest.mark.parametrize("place", ["", "a b", "localhost:1/team:v1", "localhost:1/Team", "http://localhost", "/x"])
def test_places_that_are_none(place: str) -> None:
    call("registry", "list", place, expect=2)


def test_many_pages(fake: Fake) -> None:
    fake.habits.page = 10
    names = [f"team/m{number:03}" for number in range(95)]
    for name in names:
        fake.protocol.repository(name)
    assert call("--json", "registry", "list", fake.host).json["repositories"] == names


def test_the_group_alone_shows_its_commands() -> None:
    result = call("registry", expect=2)
    assert "check" in result.err


def test_the_exit_code_is_that_of_the_first_failure(fake: Fake) -> None:
    fake.close()
    result = call("registry", "check", f"{fake.host}/team/model", expect=8)
    assert "fail  reach" in result.out
