"""rm: tracking ends, files stay unless asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle import Bundle


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    made = Bundle.create(tmp_path / "m", None, {"a.txt": "a", "w/1.bin": "1", "w/2.bin": "2", "w/x/3.bin": "3"})
    made.push()
    return made


def test_files_stay_and_the_next_push_leaves_them_out(made: Bundle) -> None:
    made.run("rm", "w/1.bin")
    assert made.path("w/1.bin").exists()
    assert made.changes() == {"w/1.bin": "local"}
    assert made.json("status")["untracked"] == ["w/1.bin"]
    made.push()
    assert made.listed(":latest") == {"a.txt", "w/2.bin", "w/x/3.bin"}


def test_delete_removes_the_file_and_directories_it_leaves_empty(made: Bundle) -> None:
    made.run("rm", "--delete", "w/x/3.bin")
    assert not made.path("w/x").exists()
    assert made.path("w/1.bin").exists()
    assert "w/x/3.bin" not in made.tracked


def test_directories_and_globs(made: Bundle) -> None:
    made.run("rm", "w/*.bin")
    assert made.tracked == {"a.txt", "w/x/3.bin"}
    made.run("rm", "w")
    assert made.tracked == {"a.txt"}


def test_what_matches_nothing_is_exit_4_and_changes_nothing(made: Bundle) -> None:
    before, tree = made.bookkeeping(), made.tree()
    error = made.refused(4, "rm", "--delete", "a.txt", "absent.txt")
    assert error["code"] == "no-match"
    assert "absent.txt" in error["message"]
    assert (made.bookkeeping(), made.tree()) == (before, tree)


def test_an_untracked_file_is_not_found_by_rm(made: Bundle) -> None:
    made.write({"new.txt": "work"})
    made.refused(4, "rm", "--delete", "new.txt")
    assert made.read("new.txt") == "work"


def test_deleting_content_that_was_never_pushed_wants_a_yes(made: Bundle) -> None:
    made.write({"a.txt": "unsaved work"})
    error = made.refused(4, "rm", "--delete", "a.txt", "w/1.bin")
    assert error["code"] == "needs-confirmation"
    assert any("a.txt" in line for line in error["facts"]["details"])
    assert not any("w/1.bin" in line for line in error["facts"]["details"])
    assert made.read("a.txt") == "unsaved work"
    assert "a.txt" in made.tracked
    made.run("rm", "--delete", "--yes", "a.txt")
    assert not made.path("a.txt").exists()


def test_a_dry_run_does_nothing(made: Bundle) -> None:
    before, tree = made.bookkeeping(), made.tree()
    assert "w/1.bin" in made.run("rm", "--dry-run", "--delete", "w").out
    assert (made.bookkeeping(), made.tree()) == (before, tree)


def test_a_file_that_is_gone_already(made: Bundle) -> None:
    made.path("a.txt").unlink()
    made.run("rm", "a.txt")
    assert "a.txt" not in made.tracked


def test_rm_from_a_subdirectory(made: Bundle) -> None:
    made.run("rm", "1.bin", cwd="w")
    assert "w/1.bin" not in made.tracked


def test_added_again_it_is_as_if_nothing_happened(made: Bundle) -> None:
    made.run("rm", "w")
    made.run("add", "w")
    assert made.changes() == {}
