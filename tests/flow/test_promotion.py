"""Several remotes of one bundle: what is promoted is not sent again, and each remote has leases of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Asked, Bundle
from tests.support.clones import BASE
from tests.support.oci import Repository


@pytest.fixture
def a(fake: Fake, tmp_path: Path) -> Bundle:
    made = Bundle.create(tmp_path / "a", f"{fake.host}/dev/model", {**BASE, "big.bin": "b" * 300_000})
    made.push("--tag", "v1")
    return made


def sent(asked: list[Asked]) -> list[Asked]:
    """Requests that carry the content of a blob."""
    return [one for one in asked if one.method in ("PUT", "PATCH") and "/blobs/" in one.url]


def test_on_the_same_registry_blobs_are_mounted_not_sent(a: Bundle, fake: Fake) -> None:
    digest = a.json("inspect", ":v1")["digest"]
    a.run("remote", "add", "prod", f"{fake.host}/prod/model")
    asked = a.requests("push", "prod:v1")
    assert sent(asked) == []
    mounts = [one for one in asked if one.method == "POST" and "from=dev" in one.url]
    assert len(mounts) == len(fake.repositories["prod/model"].blobs)
    assert {one.status for one in mounts} == {201}
    assert a.json("inspect", "prod:v1")["digest"] == digest
    assert a.json("diff", ":v1", "prod:v1")["changes"] == []
    assert a.json("diff", "origin:v1", "prod:v1")["changes"] == []


@pytest.mark.registry
def test_on_a_real_registry_too(repo: str, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", f"{repo}/dev", BASE)
    digest = made.push("--tag", "v1")
    made.run("remote", "add", "prod", f"{repo}/prod")
    assert sent(made.requests("push", "prod:v1")) == []
    assert Repository(f"{repo}/prod").digest("v1") == digest


def test_to_another_registry_blobs_come_from_the_tree(a: Bundle, tmp_path: Path) -> None:
    with Fake() as elsewhere:
        a.run("remote", "add", "prod", f"{elsewhere.host}/prod/model")
        assert sent(a.requests("push", "prod:v1"))
        assert a.json("inspect", "prod:v1")["digest"] == a.json("inspect", ":v1")["digest"]
        clone = Bundle.clone(f"{elsewhere.host}/prod/model:v1", tmp_path / "c")
        assert clone.tree() == a.tree()


def test_leases_are_apart(a: Bundle, fake: Fake, tmp_path: Path) -> None:
    a.run("remote", "add", "prod", f"{fake.host}/prod/model")
    a.run("push", "prod:v1")
    other = Bundle.clone(f"{fake.host}/prod/model:v1", tmp_path / "other")
    theirs = other.commit({"config.json": "theirs\n"}, "--tag", "v1")
    a.write({"README.md": "# ours\n"})
    # What somebody did to prod stops a push there, and nowhere else.
    a.push("--tag", "v1")
    assert a.refused(5, "push", "prod:v1")["code"] == "tag-moved"
    assert Repository(f"{fake.host}/prod/model").digest("v1") == theirs
    a.run("push", "prod:v1", "--expect", theirs)


def test_what_prod_has_can_be_pulled_and_compared(a: Bundle, fake: Fake, tmp_path: Path) -> None:
    a.run("remote", "add", "prod", f"{fake.host}/prod/model")
    a.run("push", "prod:v1")
    other = Bundle.clone(f"{fake.host}/prod/model:v1", tmp_path / "other")
    other.commit({"config.json": "hotfix\n"}, "--tag", "v1")
    changed = a.json("diff", "origin:v1", "prod:v1")["changes"]
    assert [each["path"] for each in changed] == ["config.json"]
    a.run("pull", "prod:v1")
    assert a.read("config.json") == "hotfix\n"
    # And brought back to where it came from.
    a.run("push", "origin:v1", "--yes")
    assert a.json("diff", "origin:v1", "prod:v1")["changes"] == []


def test_within_one_repository_a_tag_is_enough(a: Bundle) -> None:
    asked = a.requests("tag", ":v1", "prod")
    assert [one for one in asked if "/blobs/" in one.url] == []
