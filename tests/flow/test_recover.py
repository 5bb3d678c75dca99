"""A pull that was killed is finished by the next command, whichever that is (DESIGN §1, promise 4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle import FOLDER, Bundle, Node
from tests.support.clones import Pair, pair_on

STEPS = ["intent written", "tree synced", "pull recorded"]


@pytest.fixture
def behind(tmp_path: Path) -> Pair:
    """`b` is behind by an edit, a deletion, an addition and a link."""
    pair = pair_on(f"layout:{tmp_path / 'remote'}", tmp_path)
    pair.a.path("link").symlink_to("config.json")
    pair.a.run("add", "link")
    pair.a.commit({"config.json": "v2\n", "README.md": None, "deep/new.txt": "n\n"})
    return pair


def clean(bundle: Bundle) -> bool:
    folder = bundle.root / FOLDER
    return not [*(folder / "parts").glob("*"), *(folder / "journal").glob("*"), *bundle.root.rglob(".~bundle-*")]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("command", [("status",), ("diff",), ("pull",), ("add", "."), ("verify",)], ids=lambda c: c[0])
def test_the_next_command_finishes_a_killed_pull(behind: Pair, step: str, command: tuple[str, ...]) -> None:
    a, b, _ = behind
    b.killed_at(step, "pull")
    b.run(*command)
    assert b.tree() == a.tree()
    assert b.changes() == {}
    assert clean(b)


def test_it_says_that_it_did(behind: Pair) -> None:
    behind.b.killed_at("intent written", "pull")
    assert "recovered" in behind.b.run("--progress", "json", "status").notices
    assert "recovered" not in behind.b.run("--progress", "json", "status").notices


@pytest.mark.parametrize("step", ["part verified", "part kept"])
def test_before_the_decision_nothing_changes(behind: Pair, step: str) -> None:
    a, b, _ = behind
    before = b.tree()
    b.killed_at(step, "--jobs", "1", "pull")
    assert b.tree() == before
    assert b.changes() == {"config.json": "remote", "README.md": "remote", "deep/new.txt": "remote", "link": "remote"}
    b.run("pull")
    assert b.tree() == a.tree()
    assert clean(b)


def test_a_push_after_a_killed_pull_publishes_no_torn_tree(behind: Pair, tmp_path: Path) -> None:
    a, b, remote = behind
    b.killed_at("placed", "pull")
    b.run("push", "--tag", "after")
    assert b.tree() == a.tree()
    assert Bundle.clone(f"{remote}:after", tmp_path / "c").tree() == a.tree()


def test_work_done_after_the_crash_is_not_overwritten(behind: Pair) -> None:
    a, b, _ = behind
    b.killed_at("intent written", "pull")
    b.write({"config.json": "my work after the crash\n"})
    b.run("status")
    assert b.read("config.json") == "my work after the crash\n"
    assert b.read("deep/new.txt") == "n\n"
    assert b.tree()["link"] == Node("link", b"config.json")
    assert b.changes() == {"config.json": "conflict"}
    b.run("pull", "--ours", "config.json")
    b.push()
    a.run("pull")
    assert a.read("config.json") == "my work after the crash\n"


def test_a_restore_that_was_killed(behind: Pair) -> None:
    a, _, _ = behind
    before = a.tree()
    a.write({"config.json": "1\n", "weights/a.bin": "2\n"})
    a.killed_at("intent written", "restore", "--yes", ".")
    a.run("status")
    assert a.tree() == before
    assert a.changes() == {}
    assert clean(a)


def test_a_damaged_journal_is_put_aside_and_nothing_is_guessed(behind: Pair) -> None:
    b = behind.b
    b.killed_at("intent written", "pull")
    journal = b.root / FOLDER / "journal" / "landing.json"
    journal.write_bytes(journal.read_bytes()[:-20])
    before = b.tree()
    assert "cannot be finished" in b.run("status").err
    assert b.tree() == before
    assert journal.with_suffix(".bad").exists()
