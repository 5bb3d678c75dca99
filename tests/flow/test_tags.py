"""tags: what a repository has, one request for each and one for the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.testing.actions import Html, Refuse
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import BASE, Pair, pair_on
from tests.support.oci import Repository, image_index, titled


def test_names_digests_sizes_and_kinds(pair: Pair) -> None:
    a = pair.a
    first = a.push("--tag", "v1")
    second = a.commit({"config.json": "version 2\n"}, "--tag", "v2", "--annotation", "x=y")
    tags = {tag["tag"]: tag for tag in a.json("tags")["tags"]}
    assert list(tags) == ["latest", "v1", "v2"]
    assert tags["v1"]["digest"] == tags["latest"]["digest"] == first
    assert tags["v2"]["digest"] == second
    assert tags["v1"]["files"] == len(BASE)
    assert tags["v1"]["size"] == 21
    assert tags["v2"]["size"] == 28
    assert {tag["kind"] for tag in tags.values()} == {"bundle"}
    shown = a.run("tags").out
    assert first[7:19] in shown


def test_outside_of_a_bundle(pair: Pair, tmp_path: Path) -> None:
    assert [tag["tag"] for tag in call("-C", str(tmp_path), "--json", "tags", pair.remote).json["tags"]] == ["latest"]


def test_artifacts_of_others_are_listed_for_what_they_are(repo: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", repo, BASE)
    a.push()
    there = Repository(repo)
    there.publish("oras", titled([("x.txt", b"x\n")]))
    there.publish("index", image_index(there.manifest("latest")[1]))  # type: ignore[index]
    kinds = {tag["tag"]: tag["kind"] for tag in a.json("tags")["tags"]}
    assert kinds["latest"] == "bundle"
    assert kinds["oras"] == "application/vnd.unknown.artifact.v1"
    assert "index" in kinds["index"]


def test_service_tags_are_hidden_unless_asked_for(repo: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", repo, BASE)
    a.push("--tag", "v1")
    for name in ("v1-lost-0123456789ab", "_i.0123456789ab.absent.0123456789abcdef"):
        Repository(repo).retag("v1", name)
    assert [tag["tag"] for tag in a.json("tags")["tags"]] == ["v1"]
    assert len(a.json("tags", "--all")["tags"]) == 3


def test_many_pages(fake: Fake, tmp_path: Path) -> None:
    fake.habits.page = 3
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", {"x.txt": "x"})
    names = [f"v{number:02}" for number in range(10)]
    a.push(*(word for name in names for word in ("--tag", name)))
    assert [tag["tag"] for tag in a.json("tags")["tags"]] == names


def test_a_repository_nobody_pushed_to_is_empty_and_no_error(remote: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", remote)
    assert a.json("tags")["tags"] == []


@pytest.mark.parametrize(("status", "code"), [(401, 7), (403, 7), (500, 8)])
def test_an_error_is_not_an_empty_list(fake: Fake, tmp_path: Path, status: int, code: int) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    fake.fault(lambda _, path: "/tags/list" in path, Refuse(status, "X"), times=None)
    a.refused(code, "tags")
    a.refused(code, "push", "--bump", "patch")


def test_control_characters_in_what_a_registry_says_reach_no_terminal(repo: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", repo, BASE)
    a.push("--annotation", "org.opencontainers.image.created=\x1b[31mred")
    assert "\x1b" not in a.run("tags").text
    assert "\x1b" not in a.run("inspect").text


def test_a_web_page_is_no_list(fake: Fake, tmp_path: Path) -> None:
    fake.fault(lambda _, path: "/tags/" in path, Html(), times=None)
    error = call("-C", str(tmp_path), "--json", "tags", f"{fake.host}/m", expect=8).error
    assert "answered with HTML" in error["message"]
    assert "host name" in error["hint"]
