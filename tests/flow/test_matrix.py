"""Every row of the three-way matrix (DESIGN §6): what status calls it, and what each kind of pull does.

`base`, `here` and `there` are contents of one path; None is absence. The expectations stand in the tables, nothing is
computed from the rules they check.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.clones import Pair, pair_on

A, B, C = "A\n", "BB\n", "CCC\n"
PATH = "dir/it.txt"
OTHER = "other.txt"

KEEP, TAKE, STOP = "keep", "take", "stop"

# base, here (tracked), there, status, a plain pull
ROWS = [
    (A, A, A, None, KEEP),
    (A, B, A, "local", KEEP),
    (A, A, C, "remote", TAKE),
    (A, B, B, "same", KEEP),
    (A, B, C, "conflict", STOP),
    (A, None, A, "local", KEEP),
    (A, None, None, "same", KEEP),
    (A, None, C, "conflict", STOP),
    (A, A, None, "remote", TAKE),
    (A, B, None, "conflict", STOP),
    (None, A, None, "local", KEEP),
    (None, None, C, "remote", TAKE),
    (None, A, A, "same", KEEP),
    (None, B, C, "conflict", STOP),
]
IDS = ["-".join(text.strip() if text else "none" for text in row[:3]) for row in ROWS]


def stage(where: Path, remote: str, base: str | None, here: str | None, there: str | None) -> Pair:
    """Two clones; the second has `here`, the remote has `there` and one more change that conflicts with nothing."""
    pair = pair_on(remote, where)
    if base is not None:
        pair.a.commit({PATH: base})
        pair.b.run("pull")
    if there != base:
        pair.a.commit({PATH: there})
    pair.a.commit({OTHER: "other\n"})
    if here != base:
        pair.b.write({PATH: here})
        if here is not None:
            pair.b.run("add", PATH)
    return pair


def content(bundle: Bundle) -> str | None:
    path = bundle.path(PATH)
    return path.read_text() if path.exists() else None


@pytest.mark.parametrize(("base", "here", "there", "side", "pull"), ROWS, ids=IDS)
def test_a_row_of_the_matrix(
    tmp_path: Path, remote: str, base: str | None, here: str | None, there: str | None, side: str | None, pull: str
) -> None:
    _, b, _ = stage(tmp_path, remote, base, here, there)
    changes = b.changes()
    assert changes.pop(OTHER) == "remote"
    assert changes == ({PATH: side} if side else {})
    before = b.tree()
    if pull == STOP:
        error = b.refused(4, "pull")
        assert error["code"] == "conflict"
        assert error["facts"]["conflicts"] == [PATH]
        assert b.tree() == before  # all or nothing: not even the other path came
        assert b.json("pull", "--dry-run")["refused"] is True
    else:
        assert b.json("pull", "--dry-run")["refused"] is False
        assert b.tree() == before
        b.run("pull")
        assert b.read(OTHER) == "other\n"
        assert content(b) == (there if pull == TAKE else here)
        # What was local stays a local change, everything else is settled.
        assert b.changes() == ({PATH: "local"} if side == "local" else {})
        assert (PATH in b.tracked) == (content(b) is not None or side == "local")
        b.push()
        assert b.changes() == {}


@pytest.mark.parametrize(("base", "here", "there", "side", "pull"), ROWS, ids=IDS)
def test_overwrite_makes_it_equal_the_remote(
    tmp_path: Path, base: str | None, here: str | None, there: str | None, side: str | None, pull: str
) -> None:
    _, b, _ = stage(tmp_path, f"layout:{tmp_path / 'r'}", base, here, there)
    work = here is not None and here not in (base, there)
    if work:
        error = b.refused(4, "pull", "--overwrite")
        assert error["code"] == "needs-confirmation"
        assert any(PATH in line for line in error["facts"]["details"])
        assert content(b) == here
    b.run("pull", "--overwrite", "--yes")
    assert content(b) == there
    assert b.read(OTHER) == "other\n"
    assert b.changes() == {}


CONFLICTS = [row[:3] for row in ROWS if row[4] == STOP]
CONFLICT_IDS = [name for name, row in zip(IDS, ROWS, strict=True) if row[4] == STOP]


@pytest.mark.parametrize(("base", "here", "there"), CONFLICTS, ids=CONFLICT_IDS)
def test_ours_settles_a_conflict_and_is_pushed(
    tmp_path: Path, remote: str, base: str | None, here: str | None, there: str | None
) -> None:
    a, b, _ = stage(tmp_path, remote, base, here, there)
    b.run("pull", "--ours", PATH)
    assert content(b) == here
    assert b.read(OTHER) == "other\n"
    assert b.changes() == {PATH: "local"}
    b.push()
    a.run("pull")
    assert content(a) == here
    assert a.changes() == b.changes() == {}


@pytest.mark.parametrize(("base", "here", "there"), CONFLICTS, ids=CONFLICT_IDS)
def test_theirs_settles_a_conflict_and_is_pushed(
    tmp_path: Path, remote: str, base: str | None, here: str | None, there: str | None
) -> None:
    a, b, _ = stage(tmp_path, remote, base, here, there)
    if here is not None:
        assert b.refused(4, "pull", "--theirs", PATH)["code"] == "needs-confirmation"
        assert content(b) == here
    b.run("pull", "--theirs", PATH, "--yes")
    assert content(b) == there
    assert b.changes() == {}
    b.commit({"more.txt": "m\n"})
    a.run("pull")
    assert content(a) == there
    assert a.read("more.txt") == "m\n"


@pytest.mark.parametrize(("base", "here", "there"), CONFLICTS, ids=CONFLICT_IDS)
def test_merge_applies_the_rest_and_leaves_the_conflict(
    tmp_path: Path, remote: str, base: str | None, here: str | None, there: str | None
) -> None:
    a, b, _ = stage(tmp_path, remote, base, here, there)
    error = b.refused(3, "pull", "--merge")
    assert error["code"] == "partial"
    assert error["facts"]["failed"] == [PATH]
    assert content(b) == here
    assert b.read(OTHER) == "other\n"
    # The base moved for the other path only, so the conflict is still one, and the lease did not move.
    assert b.changes() == {PATH: "conflict"}
    assert b.refused(5, "push")["code"] == "tag-moved"
    b.run("pull", "--ours", PATH)
    b.push()
    a.run("pull")
    assert content(a) == here


# here (on disk, not tracked), there, ignored
LOOSE = [
    pytest.param(A, A, False, id="untracked-identical"),
    pytest.param(B, A, False, id="untracked-different"),
    pytest.param(A, A, True, id="ignored-identical"),
    pytest.param(B, A, True, id="ignored-different"),
]


@pytest.mark.parametrize(("here", "there", "ignored"), LOOSE)
def test_an_untracked_file_at_a_remote_path(tmp_path: Path, remote: str, here: str, there: str, ignored: bool) -> None:
    _, b, _ = stage(tmp_path, remote, None, None, there)
    b.write({PATH: here})
    if ignored:
        b.write({".modelopsignore": "dir/\n"})
    before = b.tree()
    if here == there:
        assert b.json("pull")["adopted_paths"] == 1
        assert b.changes() == {}
    else:
        error = b.refused(4, "pull")
        assert error["code"] == "would-overwrite"
        assert error["facts"]["collisions"] == [PATH]
        assert b.tree() == before
        assert b.json("pull", "--dry-run")["collisions"] == [PATH]
        assert b.refused(4, "pull", "--overwrite")["code"] == "needs-confirmation"
        assert b.tree() == before
        b.run("pull", "--overwrite", "--yes")
        assert content(b) == there
    assert PATH in b.tracked
    assert b.read(OTHER) == "other\n"


def test_added_and_deleted_before_the_first_push_is_silent(tmp_path: Path, remote: str) -> None:
    _, b, _ = stage(tmp_path, remote, None, None, None)
    b.run("pull")
    b.write({PATH: A})
    b.run("add", PATH)
    b.path(PATH).unlink()
    assert b.changes() == {}
    b.push()
    assert PATH not in b.tracked


def test_ours_and_theirs_want_a_path_in_question(pair: Pair) -> None:
    for flag in ("--ours", "--theirs"):
        assert pair.b.refused(4, "pull", flag, "README.md")["code"] == "no-match"


def test_settling_one_of_two_conflicts_is_still_all_or_nothing(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"README.md": "theirs\n", "config.json": "theirs\n"})
    b.write({"README.md": "ours\n", "config.json": "ours\n"})
    before = b.tree()
    assert b.refused(4, "pull", "--ours", "README.md")["facts"]["conflicts"] == ["config.json"]
    assert b.tree() == before
    b.run("pull", "--ours", "README.md", "--theirs", "config.json", "--yes")
    assert (b.read("README.md"), b.read("config.json")) == ("ours\n", "theirs\n")
