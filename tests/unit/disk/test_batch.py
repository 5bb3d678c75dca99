"""Many small files at once: written beside, made durable together, named one by one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.disk import batch as module
from modelops_bundle.disk.batch import FEW, Batch
from modelops_bundle.disk.tree import ABSENT, Guard, StatKey, Tree
from modelops_bundle.errors import DiskError, DiskFull
from modelops_bundle.events import observe_checkpoints

MANY = FEW + 4


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "tree").mkdir()
    with Tree(tmp_path / "tree") as opened:
        yield opened


def put(tree: Tree, files: dict[str, bytes], guard: Guard | None = ABSENT) -> Batch:
    with tree.keeping(), Batch(tree, len(files)) as batch:
        for path, data in files.items():
            batch.write(path, data, executable=path.endswith(".sh"), guard=guard)
        batch.commit()
    return batch


def files(count: int) -> dict[str, bytes]:
    return {f"d{number % 3}/{number}": str(number).encode() * number for number in range(count)}


def found(tree: Tree) -> dict[str, bytes]:
    return {
        path.relative_to(tree.root).as_posix(): path.read_bytes() for path in tree.root.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1, 300])
def test_everything_gets_its_place(tree: Tree, count: int) -> None:
    batch = put(tree, files(count))
    assert found(tree) == files(count)
    assert batch.refused == []
    assert batch.placed == {path: StatKey.of((tree.root / path).stat()) for path in files(count)}


def test_modes_are_those_of_new_files(tree: Tree) -> None:
    put(tree, {"a": b"", "run.sh": b"", "b.sh": b""})
    (tree.root / "plain").touch()
    plain = (tree.root / "plain").stat().st_mode
    assert (tree.root / "a").stat().st_mode == plain
    assert (tree.root / "run.sh").stat().st_mode == plain | 0o111


@pytest.mark.parametrize("count", [1, MANY])
def test_nothing_has_its_name_before_all_of_it_is_durable(
    tree: Tree, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small batches sync each file, large ones the file system once."""
    events: list[str] = []
    real_sync, real_fsync = module.sync_file_system, os.fsync
    monkeypatch.setattr(module, "sync_file_system", lambda fd: events.append("all") or real_sync(fd))  # type: ignore[func-returns-value]
    monkeypatch.setattr(os, "fsync", lambda fd: events.append("one") or real_fsync(fd))  # type: ignore[func-returns-value]
    stop = observe_checkpoints(events.append)
    try:
        put(tree, files(count))
    finally:
        stop()
    synced = events.index("batch synced")
    assert [event for event in events if event in ("one", "all")] == (["one"] if count == 1 else ["all"])
    assert {"placed", "linked into place"}.isdisjoint(events[:synced])
    assert not {"one", "all"} & set(events[synced:])
    assert events.count("placed") == count


def test_where_there_is_no_sync_of_a_file_system_each_is_synced(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(module, "sync_file_system", lambda _fd: False)
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(fd) or real(fd))  # type: ignore[func-returns-value]
    put(tree, files(MANY))
    assert len(synced) == MANY
    assert found(tree) == files(MANY)


@pytest.mark.parametrize("count", [2, MANY])
def test_a_file_that_appeared_meanwhile_is_left_alone(tree: Tree, count: int) -> None:
    wanted = files(count)

    def intrude(name: str) -> None:
        if name == "batch synced":
            (tree.root / "d1/1").write_text("somebody's")

    stop = observe_checkpoints(intrude)
    try:
        batch = put(tree, wanted)
    finally:
        stop()
    assert batch.refused == ["d1/1"]
    assert found(tree) == {**wanted, "d1/1": b"somebody's"}
    assert "d1/1" not in batch.placed


def test_a_file_that_changed_meanwhile_is_left_alone(tree: Tree) -> None:
    for name in ("a", "b"):
        (tree.root / name).write_text("old")
    keys = {name: StatKey.of((tree.root / name).stat()) for name in ("a", "b")}
    with Batch(tree, 2) as batch:
        for name, key in keys.items():
            batch.write(name, b"new", executable=False, guard=key)
        (tree.root / "b").write_text("edited")
        batch.commit()
    assert batch.refused == ["b"]
    assert found(tree) == {"a": b"new", "b": b"edited"}


def test_a_directory_that_became_a_link_is_not_followed(tree: Tree, tmp_path: Path) -> None:
    """By the time of the names: what was written beside stays behind in what was moved away, never outside by name."""
    outside = tmp_path / "outside"
    outside.mkdir()

    def swap(name: str) -> None:
        if name == "batch synced":
            (tree.root / "d1").rename(tmp_path / "moved")
            (tree.root / "d1").symlink_to(outside)

    stop = observe_checkpoints(swap)
    try:
        batch = put(tree, files(MANY))
    finally:
        stop()
    assert sorted(batch.refused) == sorted(path for path in files(MANY) if path.startswith("d1/"))
    assert list(outside.iterdir()) == []
    assert set(found(tree)) == {path for path in files(MANY) if not path.startswith("d1/")}


@pytest.mark.parametrize("thing", ["file", "link", "directory"])
def test_what_stands_in_the_way_refuses_those_paths_only(tree: Tree, thing: str) -> None:
    if thing == "directory":
        (tree.root / "d1/1/x").mkdir(parents=True)
    elif thing == "file":
        (tree.root / "d1").write_text("a file")
    else:
        (tree.root / "d1").symlink_to("d0")
    batch = put(tree, files(9))
    expected = ["d1/1"] if thing == "directory" else ["d1/1", "d1/4", "d1/7"]
    assert batch.refused == expected
    assert set(files(9)) - set(found(tree)) == set(expected)
    assert not list(tree.root.rglob(".~bundle-*"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("where", ["write_all", "sync_file_system"])
def test_a_disk_that_fails_leaves_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch, number: int, where: str) -> None:
    calls = 0

    def fail(_out: int, _data: bytes = b"") -> None:
        nonlocal calls
        calls += 1
        if calls > (MANY // 2 if where == "write_all" else 0):
            raise DiskFull("full") if where != "write_all" else OSError(number, os.strerror(number))

    monkeypatch.setattr(module, where, fail)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    with pytest.raises(DiskError):
        put(tree, files(MANY))
    assert found(tree) == {}
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)


def test_a_directory_that_is_gone_is_told(tree: Tree) -> None:
    def remove(name: str) -> None:
        if name == "batch synced":
            shutil.rmtree(tree.root / "d1")

    stop = observe_checkpoints(remove)
    try:
        with pytest.raises(DiskError):
            put(tree, files(3))
    finally:
        stop()
    assert not list(tree.root.rglob(".~bundle-*"))


def test_a_directory_of_another_file_system_is_synced_as_well(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(module, "sync_file_system", lambda fd: synced.append(os.fstat(fd).st_ino) is None)
    real = StatKey.of

    def elsewhere(facts: os.stat_result) -> StatKey:
        key = real(facts)
        return key._replace(device=key.size % 2)

    monkeypatch.setattr(module.StatKey, "of", staticmethod(elsewhere))
    put(tree, files(MANY))
    assert len(synced) == 2
