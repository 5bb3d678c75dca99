"""rm as an operation: decided first, done after, and safe to repeat."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.errors import NoMatch, WorkspaceChanged
from modelops_bundle.events import Run
from modelops_bundle.operations.remove import apply_remove, plan_remove
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace.project import Project
from tests.support.bundle import Bundle


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    made = Bundle.create(tmp_path / "m", None, {"a.txt": "a\n", "d/b.txt": "b\n", "d/c.txt": "c\n"})
    made.push()
    return made


def session(made: Bundle) -> Session:
    return Session(Project(made.root), Run(), cwd=made.root)


def test_a_plan_touches_nothing(made: Bundle) -> None:
    before = (made.tree(), made.bookkeeping())
    removal = plan_remove(session(made), ["d"], delete=True)
    assert removal.paths == ("d/b.txt", "d/c.txt")
    assert removal.unsaved == ()
    assert (made.tree(), made.bookkeeping()) == before


def test_what_no_version_has_is_unsaved(made: Bundle) -> None:
    made.write({"d/b.txt": "edited\n", "new.txt": "n\n"})
    made.run("add", "new.txt")
    assert plan_remove(session(made), ["d", "new.txt"], delete=True).unsaved == ("d/b.txt", "new.txt")
    assert plan_remove(session(made), ["d", "new.txt"]).unsaved == ()  # the files stay anyway


def test_applying_twice_is_harmless(made: Bundle) -> None:
    removal = plan_remove(session(made), ["d"], delete=True)
    apply_remove(session(made), removal)
    apply_remove(session(made), removal)
    assert made.tracked == {"a.txt"}
    assert set(made.tree()) == {"a.txt"}


def test_paths_added_meanwhile_stay(made: Bundle) -> None:
    removal = plan_remove(session(made), ["d"])
    made.write({"d/later.txt": "l\n"})
    made.run("add", "d/later.txt")
    apply_remove(session(made), removal)
    assert made.tracked == {"a.txt", "d/later.txt"}


def test_a_tracked_directory_with_untracked_content_is_not_deleted(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m")
    made.path("empty").mkdir()
    made.run("add", "empty")
    made.write({"empty/notes.txt": "mine\n"})
    made.run("rm", "--delete", "--yes", "empty")
    assert made.tracked == set()
    assert made.read("empty/notes.txt") == "mine\n"


def test_deleting_never_goes_through_a_link(made: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.txt").write_text("precious")
    (outside / "c.txt").write_text("precious")
    for name in ("d/b.txt", "d/c.txt"):
        made.path(name).unlink()
    made.path("d").rmdir()
    made.path("d").symlink_to(outside)
    made.run("rm", "--delete", "--yes", "d", expect=None)
    assert sorted(path.name for path in outside.iterdir()) == ["b.txt", "c.txt"]


def test_an_untracked_word_is_no_match(made: Bundle) -> None:
    with pytest.raises(NoMatch, match="absent"):
        plan_remove(session(made), ["absent"])


def test_an_edit_after_the_question_is_not_deleted(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m", f"layout:{tmp_path / 'hub'}", {"a.txt": "a", "b.txt": "b"})
    made.run("push")
    session = Session.find(made.root, Run())
    removal = plan_remove(session, ["a.txt", "b.txt"], delete=True)
    assert removal.unsaved == ()
    (made.root / "b.txt").write_text("edited meanwhile")
    with pytest.raises(WorkspaceChanged, match=r"b\.txt"):
        apply_remove(Session.find(made.root, Run()), removal)
    assert (made.root / "a.txt").exists()
    assert made.tracked == {"a.txt", "b.txt"}
