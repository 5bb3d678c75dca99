"""What is on disk: every kind of thing that can stand where a tracked file was."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unicodedata import normalize

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
def test_a_file_that_cannot_be_read_is_named(pair: Pair) -> None:
    pair.b.write({"config.json": "secret\n"})
    pair.b.path("config.json").chmod(0)
    error = pair.b.refused(11, "push")
    assert "config.json" in error["message"]


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


def test_many_threads_find_decomposed_names(tmp_path: Path) -> None:
    """A listing that two threads share half of makes files look deleted."""
    names = [f"{number}e\u0301" for number in range(60)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    missed = 0
    with ThreadPoolExecutor(4) as pool:
        for _ in range(100):
            together = threading.Barrier(4)
            with Tree(tmp_path) as tree:

                def look(name: str, tree: Tree = tree, together: threading.Barrier = together) -> bool:
                    together.wait()
                    return tree.lstat(f"{normalize('NFC', name)}/file") is None

                missed += sum(pool.map(look, names[::15]))
    assert missed == 0
