"""A large file beside its place: whole and verified, or not there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.disk import rebuild
from modelops_bundle.disk.rebuild import names_in, write_beside
from modelops_bundle.disk.tree import ABSENT, StatKey, Tree
from modelops_bundle.errors import Corrupt, DiskFull, WorkspaceChanged, WouldOverwrite


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "tree").mkdir()
    with Tree(tmp_path / "tree") as opened:
        yield opened


def key_of(tree: Tree, path: str) -> StatKey:
    return StatKey.of(os.lstat(tree.root / path))


def test_a_new_file_with_its_directories(tree: Tree) -> None:
    write_beside(tree, "a/b/c", [b"one", b"two"], 6, executable=True, guard=ABSENT)
    assert (tree.root / "a/b/c").read_bytes() == b"onetwo"
    assert stat.S_IMODE(os.stat(tree.root / "a/b/c").st_mode) == tree.mode(True)
    assert names_in(tree, "a/b") == ["c"]


def test_an_empty_file(tree: Tree) -> None:
    write_beside(tree, "a", [], 0, executable=False, guard=ABSENT)
    assert (tree.root / "a").read_bytes() == b""


def test_what_is_there_is_replaced_when_it_is_what_was_seen(tree: Tree) -> None:
    (tree.root / "a").write_bytes(b"old")
    write_beside(tree, "a", [b"new"], 3, executable=False, guard=key_of(tree, "a"))
    assert (tree.root / "a").read_bytes() == b"new"


@pytest.mark.parametrize("was_there", [True, False])
def test_what_changed_meanwhile_stays(tree: Tree, was_there: bool) -> None:
    if was_there:
        (tree.root / "a").write_bytes(b"old")
    guard = key_of(tree, "a") if was_there else ABSENT

    def pieces() -> Iterator[bytes]:
        yield b"new"
        (tree.root / "a").write_bytes(b"theirs")

    with pytest.raises(WorkspaceChanged):
        write_beside(tree, "a", pieces(), 3, executable=False, guard=guard)
    assert (tree.root / "a").read_bytes() == b"theirs"
    assert os.listdir(tree.root) == ["a"]


def test_bytes_that_turn_out_wrong_leave_nothing(tree: Tree) -> None:
    (tree.root / "a").write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise Corrupt("no")

    with pytest.raises(Corrupt):
        write_beside(tree, "a", pieces(), 3, executable=False, guard=key_of(tree, "a"))
    assert os.listdir(tree.root) == ["a"]
    assert (tree.root / "a").read_bytes() == b"old"


def test_a_full_disk_is_told_before_anything_is_asked_for(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(rebuild, "reserve", full)
    asked = iter([b"x"])
    with pytest.raises(DiskFull):
        write_beside(tree, "a", asked, 1, executable=False, guard=ABSENT)
    assert list(asked) == [b"x"]
    assert os.listdir(tree.root) == []


def test_a_link_above_is_not_followed(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tree.root / "a").symlink_to(tmp_path / "outside")
    with pytest.raises(WouldOverwrite):
        write_beside(tree, "a/b", [b"x"], 1, executable=False, guard=ABSENT)
    assert os.listdir(tmp_path / "outside") == []


def test_names_of_a_directory_that_is_not_there(tree: Tree) -> None:
    assert names_in(tree, "absent") == []
