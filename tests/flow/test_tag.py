"""tag: more names for a version that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import Pair, pair_on
from tests.support.oci import Repository, titled


def tags(bundle: Bundle) -> dict[str, str]:
    return {tag["tag"]: tag["digest"] for tag in bundle.json("tags")["tags"]}


def test_new_tags_stand_for_the_same_version(pair: Pair) -> None:
    first = pair.a.push("--tag", "v1")
    done = pair.a.json("tag", ":v1", "stable", "prod", "stable")
    assert done["digest"] == first
    assert [(tag["tag"], tag["before"], tag["changed"]) for tag in done["tags"]] == [
        ("stable", None, True),
        ("prod", None, True),
    ]
    assert tags(pair.b) == dict.fromkeys(["latest", "prod", "stable", "v1"], first)


def test_only_the_manifest_moves(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    asked = a.requests("tag", ":latest", "stable")
    assert not [one for one in asked if "/blobs/" in one.url]
    assert [one.method for one in asked if one.method == "PUT"] == ["PUT"]


def test_again_it_changes_nothing_and_sends_nothing(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    a.run("tag", ":latest", "stable")
    assert not [one for one in a.requests("tag", ":latest", "stable") if one.method == "PUT"]
    assert "already" in a.run("tag", ":latest", "stable").out


def test_a_tag_that_stands_for_something_unseen_is_refused(pair: Pair) -> None:
    first = pair.a.push("--tag", "v1")
    second = pair.b.commit({"config.json": "2\n"}, "--tag", "stable")
    error = pair.a.refused(5, "tag", ":v1", "new", "stable")
    assert error["code"] == "tag-moved"
    assert error["facts"]["found"] == second
    assert f"--expect {second}" in error["hint"]
    assert tags(pair.a) == {"latest": first, "v1": first, "stable": second}, "nothing was written"
    pair.a.refused(5, "tag", ":v1", "stable", "--expect", first)
    pair.a.run("tag", ":v1", "stable", "--expect", second)
    assert tags(pair.a)["stable"] == first


def test_force_moves_whatever_it_stands_for(pair: Pair) -> None:
    first = pair.a.push("--tag", "v1")
    pair.b.commit({"config.json": "2\n"}, "--tag", "stable")
    pair.a.run("tag", ":v1", "stable", "--force")
    assert tags(pair.a)["stable"] == first


def test_a_tag_this_clone_moved_it_may_move_again(pair: Pair) -> None:
    first = pair.a.push("--tag", "v1")
    second = pair.a.commit({"config.json": "2\n"}, "--tag", "v2")
    pair.a.run("tag", ":v1", "stable")
    done = pair.a.json("tag", ":v2", "stable")
    assert done["tags"] == [{"tag": "stable", "before": first, "changed": True}]
    assert tags(pair.a)["stable"] == second
    pair.a.commit({"config.json": "3\n"}, "--tag", "stable")
    pair.b.run("pull", ":stable")
    assert pair.b.read("config.json") == "3\n"


def test_the_tree_stays_synced_with_what_it_was(pair: Pair) -> None:
    pair.a.push("--tag", "v1")
    before = (pair.a.root / ".modelops-bundle" / "at").read_bytes()
    pair.a.run("tag", ":v1", "stable")
    assert (pair.a.root / ".modelops-bundle" / "at").read_bytes() == before
    assert pair.a.changes() == {}


def test_outside_of_a_bundle_only_new_tags_without_more_words(pair: Pair, tmp_path: Path) -> None:
    first = pair.a.push("--tag", "v1")
    second = pair.a.commit({"config.json": "2\n"}, "--tag", "v2")
    at = f"{pair.remote}:v1"
    call("-C", str(tmp_path), "tag", at, "stable")
    assert tags(pair.a)["stable"] == first
    call("-C", str(tmp_path), "tag", f"{pair.remote}:v2", "stable", expect=5)
    call("-C", str(tmp_path), "tag", f"{pair.remote}@{second}", "stable", "--expect", first)
    assert tags(pair.a)["stable"] == second


def test_artifacts_of_others_can_be_tagged(repo: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", repo)
    there = Repository(repo)
    digest = there.publish("oras", titled([("x.txt", b"x\n")]))
    a.run("tag", ":oras", "mine")
    a.run("tag", ":oras", "mine")
    assert there.digest("mine") == digest


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("tag", ":nothing", "stable"), 6),
        (("tag", ":latest", "a/b"), 2),
        (("tag", ":latest", "v1-lost-0123456789ab"), 2),
        (("tag", ":latest", "sha256-" + "a" * 64), 2),
        (("tag", ":latest"), 2),
        (("tag", ":latest", "stable", "--expect", "123"), 2),
    ],
)
def test_words_that_do_not_fit(alone: Bundle, words: tuple[str, ...], code: int) -> None:
    alone.refused(code, *words)
    assert [tag["tag"] for tag in alone.json("tags", "--all")["tags"]] == ["latest"]
