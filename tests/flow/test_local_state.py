"""What is on disk: every kind of thing that can stand where a tracked file was."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from modelops_bundle.disk.tree import Tree
from tests.support.bundle import Bundle
from tests.support.clones import Pair


def test_a_tracked_file_that_became_something_else(pair: Pair) -> None:
    b = pair.b
    b.path("config.json").unlink()
    b.path("config.json").symlink_to("README.md")
    assert b.changes() == {"config.json": "local"}
    b.path("config.json").unlink()
    b.path("config.json").mkdir()
    assert b.changes() == {"config.json": "local"}


@pytest.mark.parametrize("command", [("status",), ("push",), ("pull",), ("diff",)])
def test_a_tracked_path_that_is_a_pipe_is_refused_and_hangs_nothing(pair: Pair, command: tuple[str, ...]) -> None:
    b = pair.b
    b.path("config.json").unlink()
    os.mkfifo(b.path("config.json"))
    error = b.refused(9, *command)
    assert "config.json" in error["message"]


def test_an_untracked_pipe_or_socket_is_nobodys_business(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    b = pair.b
    os.mkfifo(b.path("pipe"))
    monkeypatch.chdir(b.root)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        b.run("status")
        b.run("push")
        b.run("pull")


def test_a_directory_that_is_gone_is_many_deletions(pair: Pair) -> None:
    shutil.rmtree(pair.b.path("weights"))
    assert pair.b.changes() == {"weights/a.bin": "local", "weights/b.bin": "local"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_named(alone: Bundle) -> None:
    alone.write({"a.txt": "secret\n"})
    alone.path("a.txt").chmod(0)
    error = alone.refused(11, "push")
    assert "a.txt" in error["message"]


def test_nfd_names_on_disk_are_nfc_in_the_bundle(tmp_path_factory: pytest.TempPathFactory) -> None:
    top = tmp_path_factory.mktemp("nfd")
    made = Bundle.create(top / "a")
    made.write({"cafe\u0301.txt": "c\n"})
    made.run("add", ".")
    assert made.tracked == {"café.txt"}
    made.push()
    assert made.listed(":latest") == {"café.txt"}
    assert made.changes() == {}
    assert set(Bundle.clone(str(made.root), top / "b").tree()) == {"café.txt"}
    # The name as it is on disk, and as it is tracked, mean the same file.
    made.run("rm", "cafe\u0301.txt")
    assert made.tracked == set()


def test_more_than_one_thing_at_once(pair: Pair) -> None:
    b = pair.b
    b.write({"config.json": "edited\n", "new.txt": "n\n"})
    b.run("add", "new.txt")
    b.path("weights/b.bin").unlink()
    assert b.changes() == {"config.json": "local", "new.txt": "local", "weights/b.bin": "local"}
    assert b.json("status")["tracked"] == 5


def test_two_threads_find_decomposed_names_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handles that share an offset share one listing: the second thread finds nothing, and a file looks deleted."""
    for name in ("a\u030a", "e\u0301"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    both_have_read = threading.Barrier(2)

    def listdir(handle: int) -> list[str]:
        with os.scandir(handle) as entries:
            first = next(entries, None)  # the kernel hands out the whole directory here
            with suppress(threading.BrokenBarrierError):
                both_have_read.wait(0.2)  # not for ever: nothing is wrong with listing one after the other
            return [entry.name for entry in (first, *entries) if entry is not None]

    monkeypatch.setattr(os, "listdir", listdir)
    with Tree(tmp_path) as tree, ThreadPoolExecutor(2) as pool:
        assert all(pool.map(tree.lstat, ["\u00e5/file", "\u00e9/file"]))
