"""A push that was overwritten by somebody who had not seen it is told, with the way to bring it back (DESIGN §6)."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.events import observe_checkpoints
from tests.support.bundle import Bundle, Result
from tests.support.clones import Pair, pair_on
from tests.support.oci import Repository

READERS: list[tuple[str, ...]] = [("status",), ("pull", "--dry-run"), ("diff", ":latest"), ("push", "--dry-run")]


@pytest.fixture
def lost(repo: str, tmp_path: Path) -> Pair:
    """`a` pushed weights/a.bin and new.txt; `b`, which had not seen that, took the tag."""
    pair = pair_on(repo, tmp_path)
    pair.a.commit({"weights/a.bin": "the work of a\n", "new.txt": "also a\n"})
    pair.b.write({"README.md": "b\n"})
    pair.b.push("--tag", "side")
    Repository(repo).retag("side", "latest")  # what a racing writer does, whatever it checked before
    return pair


def told(result: Result) -> str:
    return result.notices["push-lost"]


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_the_losers_next_command_reports_it(lost: Pair, words: tuple[str, ...]) -> None:
    message = told(lost.a.run("--progress", "json", *words))
    for path in ("weights/a.bin", "new.txt"):
        assert path in message
    assert "README.md" not in message
    assert "bundle restore --source @sha256:" in message


def test_a_push_is_refused_and_reports_it(lost: Pair) -> None:
    lost.a.write({"config.json": "more\n"})
    result = lost.a.run("--progress", "json", "push", expect=5)
    assert "weights/a.bin" in told(result)


def test_status_lists_it_as_data(lost: Pair) -> None:
    assert lost.a.json("status")["lost"] == ["new.txt", "weights/a.bin"]
    assert lost.b.json("status")["lost"] == []


def test_the_way_back_that_is_told_works(lost: Pair) -> None:
    a, b, _ = lost
    message = told(a.run("--progress", "json", "status"))
    digest = message.partition("--source @")[2].split()[0]
    # Step by step as it is told: pull, restore, push.
    a.run("pull")
    assert not a.path("new.txt").exists()
    assert a.read("README.md") == "b\n"
    a.run("restore", "--source", f"@{digest}", "weights/a.bin", "new.txt")
    a.push()
    b.run("pull", ":latest")
    assert b.read("weights/a.bin") == "the work of a\n"
    assert b.read("new.txt") == "also a\n"
    assert b.read("README.md") == "b\n"
    assert a.json("status")["lost"] == []


def test_the_loss_is_told_until_it_is_dealt_with(lost: Pair) -> None:
    for _ in range(2):
        assert lost.a.json("status")["lost"] == ["new.txt", "weights/a.bin"]
    lost.a.run("pull")
    assert lost.a.json("status")["lost"] == []


def test_somebody_who_had_seen_our_push_and_changed_it_is_no_loss(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"weights/a.bin": "the work of a\n"})
    b.run("pull")
    b.commit({"weights/a.bin": "improved by b\n", "README.md": "b\n"})
    assert a.json("status")["lost"] == []
    assert "push-lost" not in a.run("--progress", "json", "pull").notices


def test_a_loss_over_several_pushes(repo: str, tmp_path: Path) -> None:
    a, b, _ = pair_on(repo, tmp_path)
    a.commit({"weights/a.bin": "one\n"})
    a.commit({"weights/a.bin": "two\n"})
    a.commit({"config.json": "three\n"})
    b.write({"README.md": "b\n"})
    b.push("--tag", "side")
    Repository(repo).retag("side", "latest")
    assert a.json("status")["lost"] == ["config.json", "weights/a.bin"]


def test_two_pushers_at_the_same_moment_lose_nothing_in_silence(repo: str, tmp_path: Path) -> None:
    """Both pass every check; the second PUT wins. The first is told by its next command."""
    a, b, _ = pair_on(repo, tmp_path)
    a.write({"weights/a.bin": "the work of a\n"})
    b.write({"weights/b.bin": "the work of b\n"})
    theirs = b.push("--tag", "elsewhere")

    def strike(name: str) -> None:
        if name == "tags moved":  # a's own checks are over
            Repository(repo).put_manifest("latest", Repository(repo).manifest(theirs)[1])  # type: ignore[index]

    undo = observe_checkpoints(strike)
    try:
        a.push()
    finally:
        undo()
    assert a.json("status")["lost"] == ["weights/a.bin"]


def test_a_fresh_clone_is_told_nothing(lost: Pair, tmp_path: Path) -> None:
    fresh = Bundle.clone(lost.remote, tmp_path / "fresh")
    assert fresh.json("status")["lost"] == []
