"""Words of the command line against paths: literal first, then directories, then patterns."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.errors import NoMatch
from modelops_bundle.events import Run
from modelops_bundle.operations.select import matching, relative, require_all
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace.project import Project
from tests.support.bundle import Bundle

PATHS = {"a.txt", "b.bin", "sub/a.txt", "sub/b.bin", "sub/deep/c.bin", "sub*/literal.txt", "x[1].bin", "x1.bin"}


@pytest.fixture
def root(tmp_path: Path) -> Session:
    return Session(Project(Bundle.create(tmp_path / "m").root), Run(), cwd=tmp_path / "m")


@pytest.fixture
def sub(tmp_path: Path, root: Session) -> Session:
    return Session(root.project, Run(), cwd=tmp_path / "m" / "sub")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("a.txt", {"a.txt"}),
        ("sub", {"sub/a.txt", "sub/b.bin", "sub/deep/c.bin"}),
        ("sub/", {"sub/a.txt", "sub/b.bin", "sub/deep/c.bin"}),
        ("./sub/../a.txt", {"a.txt"}),
        ("*.bin", {"b.bin", "x[1].bin", "x1.bin"}),
        ("**/*.bin", {"b.bin", "sub/b.bin", "sub/deep/c.bin", "x[1].bin", "x1.bin"}),
        ("sub/*.bin", {"sub/b.bin"}),
        ("sub/**", {"sub/a.txt", "sub/b.bin", "sub/deep/c.bin"}),
        ("sub/*/c.bin", {"sub/deep/c.bin"}),
        ("su?/a.txt", {"sub/a.txt"}),
        ("x[1].bin", {"x[1].bin"}),
        ("x[0-9].bin", {"x1.bin"}),
        ("x[!1].bin", set()),
        ("sub*", {"sub*/literal.txt"}),
        ("d*", set()),
        ("sub/d*", {"sub/deep/c.bin"}),
        ("absent", set()),
        (".", PATHS),
    ],
)
def test_a_word_at_the_root(root: Session, word: str, found: set[str]) -> None:
    assert set(matching(root, word, PATHS)) == found


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("a.txt", {"sub/a.txt"}),
        ("*.bin", {"sub/b.bin"}),
        ("../a.txt", {"a.txt"}),
        ("..", PATHS),
        (".", {"sub/a.txt", "sub/b.bin", "sub/deep/c.bin"}),
        ("**/*.bin", {"sub/b.bin", "sub/deep/c.bin"}),
    ],
)
def test_a_word_in_a_subdirectory(sub: Session, word: str, found: set[str]) -> None:
    assert set(matching(sub, word, PATHS)) == found


def test_every_word_has_to_mean_something(root: Session) -> None:
    assert require_all(root, ["a.txt", "sub"], PATHS, "tracked path") == [
        "a.txt",
        "sub/a.txt",
        "sub/b.bin",
        "sub/deep/c.bin",
    ]
    with pytest.raises(NoMatch, match="absent matches no tracked path"):
        require_all(root, ["a.txt", "absent"], PATHS, "tracked path")


def test_outside_and_absolute(root: Session, tmp_path: Path) -> None:
    assert relative(root, str(tmp_path / "m" / "sub" / "a.txt")) == "sub/a.txt"
    assert relative(root, ".") == ""
    for word in ("..", "../other", str(tmp_path / "other"), "/"):
        with pytest.raises(NoMatch, match="outside"):
            relative(root, word)


def test_decomposed_names_mean_their_composed_path(root: Session) -> None:
    assert relative(root, "cafe\u0301.txt") == "café.txt"
