"""untag: a name goes, what it stood for stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.testing.actions import Refuse
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle
from tests.support.clones import BASE, pair_on
from tests.support.oci import Repository


@pytest.fixture(params=["registry", "layout"])
def a(request: pytest.FixtureRequest, fake: Fake, tmp_path: Path) -> Bundle:
    """A bundle on a registry that can remove tags, and on a layout; `v1` and `latest` are one version."""
    remote = f"{fake.host}/m" if request.param == "registry" else f"layout:{tmp_path / 'layout'}"
    made = pair_on(remote, tmp_path).a
    made.push("--tag", "v1")
    return made


def tags(bundle: Bundle) -> list[str]:
    return [tag["tag"] for tag in bundle.json("tags")["tags"]]


def test_the_tag_goes_and_the_version_stays(a: Bundle) -> None:
    digest = a.json("inspect", ":v1")["digest"]
    done = a.json("untag", ":v1")["untagged"]
    assert [each["digest"] for each in done] == [digest]
    assert tags(a) == ["latest"]
    a.run("untag", ":latest")
    assert tags(a) == []
    assert a.json("inspect", f"@{digest}")["digest"] == digest


def test_a_second_time_it_is_not_there(a: Bundle) -> None:
    a.run("untag", ":v1")
    assert a.refused(6, "untag", ":v1")["code"] == "not-found"
    assert a.json("untag", ":v1", "--missing-ok")["untagged"][0]["digest"] is None


def test_one_that_is_not_there_keeps_all(a: Bundle) -> None:
    a.refused(6, "untag", ":v1", ":nothing")
    assert tags(a) == ["latest", "v1"]


def test_a_tag_that_was_removed_may_be_pushed_again(a: Bundle) -> None:
    a.run("untag", ":v1")
    a.push("--tag", "v1")
    assert tags(a) == ["latest", "v1"]


def test_a_removed_tag_may_stand_for_something_else_at_once(a: Bundle) -> None:
    a.run("untag", ":v1")
    second = a.commit({"config.json": "2\n"}, "--tag", "v1")
    assert a.json("inspect", ":v1")["digest"] == second


@pytest.mark.parametrize("words", [["push"], ["tag", "@{digest}", "latest"]])
def test_after_a_kill_the_next_command_says_how_to_go_on(fake: Fake, tmp_path: Path, words: list[str]) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    a.push()
    a.write({"config.json": "2\n"})
    other = a.push("--tag", "v2")
    a.write({"config.json": "3\n"})
    a.killed_at("answer DELETE manifest", "untag", ":latest")
    words = [word.format(digest=other) for word in words]
    hint = a.refused(5, *words)["hint"]
    told = hint.partition("; bundle ")[2].removesuffix(" forgets it")
    a.run(*told.split())
    a.run(*words)
    assert tags(a) == ["latest", "v2"]


@pytest.mark.parametrize("what", ["origin", "@0123456789", "nonsense/x"])
def test_only_a_tag_that_is_spelled_out(a: Bundle, what: str) -> None:
    a.run("untag", what, expect=None)
    assert tags(a) == ["latest", "v1"]
    if what == "origin":
        a.refused(2, "untag", what)


@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_is_told_so(fake: Fake, tmp_path: Path, status: int) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    a.push()
    fake.fault(lambda method, _: method == "DELETE", Refuse(status, "DENIED"), times=None)
    assert a.refused(7, "untag", ":latest")["code"] == "unauthorized"
    assert tags(a) == ["latest"]


@pytest.mark.parametrize("shared", [True, False])
def test_a_registry_that_removes_no_tags_keeps_the_version(repo: str, tmp_path: Path, shared: bool) -> None:
    """distribution 2.8 could only delete the manifest: with its other tags, or though it has no other."""
    a = Bundle.create(tmp_path / "a", repo, BASE)
    digest = a.push("--tag", "v1")
    if shared:
        a.push("--tag", "v2")
    error = a.refused(10, "untag", ":v1")
    assert "removes no tags" in error["message"]
    assert "bundle delete" in error["hint"]
    assert Repository(repo).digest("v1") == digest
