"""restore: back to the base, or to another version."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.bundle import Bundle, Node
from tests.support.clones import BASE, Pair


def test_a_deleted_file_comes_back_without_question(pair: Pair) -> None:
    pair.b.path("config.json").unlink()
    pair.b.run("restore", "config.json")
    assert pair.b.changes() == {}


def test_an_edited_file_comes_back_after_a_yes(pair: Pair) -> None:
    b = pair.b
    b.write({"config.json": "work\n"})
    error = b.refused(4, "restore", "config.json")
    assert error["code"] == "needs-confirmation"
    assert any("config.json" in line for line in error["facts"]["details"])
    assert b.read("config.json") == "work\n"
    b.run("restore", "--yes", "config.json")
    assert b.changes() == {}


def test_directories_globs_and_where_one_stands(pair: Pair) -> None:
    b = pair.b
    b.write({"weights/a.bin": "1", "weights/b.bin": "2", "README.md": "3"})
    b.run("restore", "--yes", "weights/*.bin")
    assert b.changes() == {"README.md": "local"}
    b.write({"weights/a.bin": "1", "weights/b.bin": "2"})
    b.run("restore", "--yes", "weights")
    assert b.changes() == {"README.md": "local"}
    b.run("restore", "--yes", "../README.md", cwd="weights")
    assert b.changes() == {}


def test_what_is_in_no_version_is_exit_4_and_changes_nothing(pair: Pair) -> None:
    b = pair.b
    b.write({"config.json": "work\n", "new.txt": "n\n"})
    assert b.refused(4, "restore", "--yes", "config.json", "new.txt")["code"] == "no-match"
    assert b.read("config.json") == "work\n"


def test_another_version_is_a_local_change(pair: Pair) -> None:
    a, b, _ = pair
    a.push("--tag", "v1")
    a.commit({"config.json": "v2\n"})
    b.run("pull")
    b.run("restore", "--source", ":v1", "config.json")
    assert b.read("config.json") == "{}\n"
    assert b.changes() == {"config.json": "local"}
    b.push()
    a.run("pull")
    assert a.read("config.json") == "{}\n"


def test_a_path_only_another_version_has_is_tracked_again(pair: Pair) -> None:
    a, b, _ = pair
    a.push("--tag", "v1")
    a.commit({"README.md": None})
    b.run("pull")
    assert not b.path("README.md").exists()
    b.run("restore", "--source", ":v1", "README.md")
    assert b.changes() == {"README.md": "local"}
    assert "README.md" in b.tracked


def test_links_modes_and_empty_directories(tmp_path: Path, remote: str) -> None:
    a = Bundle.create(tmp_path / "a", remote)
    a.write({"run.sh": "#!/bin/sh\n"})
    a.path("run.sh").chmod(0o755)
    a.path("current").symlink_to("run.sh")
    a.path("logs").mkdir()
    a.run("add", ".")
    a.push()
    before = a.tree()
    a.path("run.sh").chmod(0o644)
    a.path("current").unlink()
    a.path("logs").rmdir()
    assert json.dumps(a.changes())
    a.run("restore", "--yes", ".")
    assert a.tree() == before
    assert a.tree()["current"] == Node("link", b"run.sh")


def test_a_dry_run_writes_nothing(pair: Pair) -> None:
    b = pair.b
    b.write({"config.json": "work\n"})
    before = (b.tree(), b.bookkeeping())
    assert "config.json" in b.run("restore", "--dry-run", ".").out
    assert (b.tree(), b.bookkeeping()) == before


def test_restore_keeps_conflicts_as_they_are(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"config.json": "theirs\n"})
    b.write({"config.json": "ours\n"})
    b.run("pull", "--merge", expect=3)
    b.run("restore", "--yes", "config.json")
    assert b.changes() == {"config.json": "remote"}
    b.run("pull")
    assert b.read("config.json") == "theirs\n"


def test_restore_only_touches_what_it_names(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"weights/a.bin": "v2\n"})
    b.write({"config.json": "work\n", "README.md": "more work\n"})
    b.run("restore", "--yes", "config.json")
    assert b.changes() == {"README.md": "local", "weights/a.bin": "remote"}


def test_what_is_on_disk_needs_no_request(pair: Pair) -> None:
    b = pair.b
    b.path("weights/a.bin").rename(b.path("moved.bin"))
    b.run("restore", "weights/a.bin")
    assert b.read("weights/a.bin") == BASE["weights/a.bin"]


def test_a_tree_that_was_never_synced(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m", None, {"a.txt": "a"})
    assert made.refused(6, "restore", "a.txt")["code"] == "not-found"


def test_an_untracked_file_in_the_way_is_not_replaced(pair: Pair) -> None:
    a, b, _ = pair
    a.push("--tag", "v1")
    a.path("config.json").unlink()
    a.push()
    b.run("pull")
    b.write({"config.json": "untracked work\n"})
    error = b.refused(4, "restore", "--source", ":v1", "config.json")
    assert error["code"] in ("needs-confirmation", "would-overwrite")
    assert b.read("config.json") == "untracked work\n"
