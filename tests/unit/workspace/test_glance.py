"""Whole directories compared with rows of the cache; that nothing is missed is the matter of test_survey."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import Interrupted
from modelops_bundle.events import Run
from modelops_bundle.workspace import glance as module
from modelops_bundle.workspace import index as index_module
from modelops_bundle.workspace.glance import Glance
from modelops_bundle.workspace.index import Index
from modelops_bundle.workspace.survey import Surveyor


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty files in six directories, and a cache that knows them."""
    monkeypatch.setattr(index_module, "settled", lambda key, taken: True)
    for number in range(60):
        path = tmp_path / f"root/d{number % 6}/f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    with Tree(tmp_path / "root") as tree:
        surveyor = Surveyor(tree, Index(tmp_path / "index"), Run(), strict=False)
        surveyor.begin(lines(tmp_path / "root"))
        surveyor.survey(None)
    return tmp_path / "root"


def lines(root: Path) -> bytes:
    found = (os.path.relpath(os.path.join(above, name), root) for above, _, names in os.walk(root) for name in names)
    return b"".join(path.encode() + b"\n" for path in sorted(found))


@pytest.fixture
def seen(root: Path) -> Iterator[Glance]:
    index = Index(root.parent / "index")
    assert index.covers(lines(root).replace(b"\n", b"\0"), strict=False)
    yield Glance(index, root)


def same(seen: Glance, root: Path) -> list[str]:
    return [directory for directory in seen.table if seen.same(directory, f"{root}/{directory}")]


@pytest.mark.parametrize("fork_from", [0, 1 << 60])
def test_directories_that_are_as_they_were(
    seen: Glance, root: Path, monkeypatch: pytest.MonkeyPatch, fork_from: int
) -> None:
    monkeypatch.setattr(module, "FORK_FROM", fork_from)
    (root / "d2/f2").write_bytes(b"other")
    (root / "d3/new").touch()
    (root / "d4/f4").chmod(0o755)
    seen.look(lambda: None)
    assert same(seen, root) == ["d0", "d1", "d5"]
    assert seen.confirmed.count(1) == 30


def test_another_spelling_of_a_directory_is_looked_at_by_itself(seen: Glance, root: Path) -> None:
    seen.look(lambda: None)
    assert not seen.same("d0", f"{root}/D0")
    assert not any(seen.confirmed)


def test_a_helper_that_dies_is_nobodys_loss(seen: Glance, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORK_FROM", 0)
    me, real = os.getpid(), Glance._is_same

    def dying(self: Glance, directory: str) -> bool:
        if os.getpid() != me and directory == "d1":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, directory)

    monkeypatch.setattr(Glance, "_is_same", dying)
    seen.begin()
    helper = seen._helper
    assert helper
    seen.look(lambda: None)
    assert len(same(seen, root)) == 6
    with pytest.raises(ChildProcessError):
        os.waitpid(helper, 0)


def test_no_process_is_copied_while_there_are_threads(
    seen: Glance, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORK_FROM", 0)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("copied"))
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        seen.look(lambda: None)
    finally:
        done.set()
        other.join()
    assert len(same(seen, root)) == 6


def test_where_there_are_no_more_processes_one_does_it(
    seen: Glance, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(module, "FORK_FROM", 0)
    monkeypatch.setattr(os, "fork", refused)
    seen.look(lambda: None)
    assert len(same(seen, root)) == 6


@pytest.mark.parametrize("fork_from", [0, 1 << 60])
def test_it_can_be_interrupted(seen: Glance, monkeypatch: pytest.MonkeyPatch, fork_from: int) -> None:
    monkeypatch.setattr(module, "FORK_FROM", fork_from)
    run = Run()
    run.cancel()
    monkeypatch.setattr(Glance, "_look", lambda self, order, check: check())
    with pytest.raises(Interrupted):
        seen.look(run.check)
    assert seen._helper == 0
