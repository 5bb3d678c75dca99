"""The record of what was written into a directory, and how the directory compares with it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelops_bundle.disk.tree import StatKey
from modelops_bundle.events import Run
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.transfer import ensured
from modelops_bundle.transfer.ensured import Record, compare, in_the_way

RUN = Run()
ENTRIES = Snapshot(
    {
        "a.txt": Entry("file", Digest.of(b"a"), 1),
        "d/run": Entry("file", Digest.of(b"run"), 3, executable=True),
        "d/link": Entry.link("run"),
        "empty": Entry.directory(),
    }
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"a")
    (root / "d/run").write_bytes(b"run")
    (root / "d/run").chmod(0o755)
    (root / "d/link").symlink_to("run")
    return root


@pytest.fixture
def record(root: Path) -> Record:
    keys = {path: StatKey.of((root / path).lstat()) for path in ("a.txt", "d/run")}
    later = time.time_ns() + 10**10
    made = Record("h/r:v", Digest.of(b"m"), ENTRIES, keys, later, previous=("h/r:u", Digest.of(b"n")))
    ensured.write(root, made)
    return made


def test_it_reads_back(root: Path, record: Record) -> None:
    assert ensured.read(root) == record
    ensured.write(root, replace(record, previous=None, linked=True))
    assert ensured.read(root) == replace(record, previous=None, linked=True)


def test_an_absent_one_is_none_and_so_is_one_behind_a_link(root: Path, tmp_path: Path, record: Record) -> None:
    assert ensured.read(tmp_path) is None
    other = tmp_path / "other"
    other.mkdir()
    (other / ensured.FOLDER).symlink_to(root / ensured.FOLDER)
    assert ensured.read(other) is None


def test_as_it_was_written(root: Path, record: Record) -> None:
    found = compare(root, record, RUN)
    assert found.whole and not found.unknown
    assert found.keys == record.keys


def test_every_kind_of_difference(root: Path, record: Record) -> None:
    (root / "a.txt").write_bytes(b"b")
    (root / "d/run").chmod(0o644)
    (root / "d/link").unlink()
    (root / "d/link").symlink_to("elsewhere")
    (root / "empty").rmdir()
    (root / "own/deep").mkdir(parents=True)
    (root / ".git/objects").mkdir(parents=True)
    (root / "d/own").write_bytes(b"")
    found = compare(root, record, RUN)
    assert sorted(found.edited) == ["a.txt", "d/link"]
    assert sorted(found.lacking) == ["d/run", "empty"]
    assert found.unknown == [".git", "d/own", "own/deep"]
    assert set(found.edits) == {"a.txt"}


def test_other_kinds_where_ours_were(root: Path, record: Record) -> None:
    (root / "a.txt").unlink()
    (root / "a.txt").mkdir()
    (root / "d/run").unlink()
    (root / "d/run").symlink_to("../a.txt")
    (root / "empty").rmdir()
    (root / "empty").write_bytes(b"")
    found = compare(root, record, RUN)
    assert sorted(found.edited) == ["a.txt", "d/run", "empty"]


def test_a_directory_that_was_empty_may_hold_something(root: Path, record: Record) -> None:
    (root / "empty/mine").write_bytes(b"")
    found = compare(root, record, RUN)
    assert found.whole and found.unknown == ["empty/mine"]


def test_bytes_that_went_bad_are_no_edit(root: Path, record: Record) -> None:
    (root / "a.txt").write_bytes(b"z")
    bad = replace(record, keys={**record.keys, "a.txt": StatKey.of((root / "a.txt").lstat())})
    assert compare(root, bad, RUN).whole
    found = compare(root, bad, RUN, verify=True)
    assert (found.lacking, found.edited) == (["a.txt"], [])


def test_a_write_in_the_same_tick_is_seen(root: Path, record: Record) -> None:
    """The stamps are those of the record; only the time at which it was made says that they prove nothing."""
    (root / "a.txt").write_bytes(b"z")
    key = StatKey.of((root / "a.txt").lstat())
    at_once = replace(record, keys={**record.keys, "a.txt": key}, taken_ns=key.ctime_ns)
    assert compare(root, at_once, RUN).edited == ["a.txt"]


def test_another_hard_link_does_not_count_as_an_edit(root: Path, record: Record) -> None:
    os.link(root / "a.txt", root.parent / "further")
    key = StatKey.of((root / "a.txt").lstat())
    assert not record.is_as_written("a.txt", key) or key == record.keys["a.txt"]
    assert replace(record, linked=True).is_as_written("a.txt", key)
    assert not record.is_as_written("unknown", key)


def test_without_a_record_nothing_is_ours(root: Path) -> None:
    found = compare(root, None, RUN)
    assert found.unknown == ["a.txt", "d/link", "d/run", "empty"]


@pytest.mark.parametrize(
    ("unknown", "blocked"),
    [
        ("a.txt", True),  # the same path
        ("d", True),  # a file where a directory is to be
        ("a.txt/below", True),  # a directory where a file is to be
        ("empty/below", False),
        ("d/other", False),
        ("other", False),
    ],
)
def test_what_is_in_the_way(unknown: str, blocked: bool) -> None:
    assert in_the_way([unknown], ENTRIES) == ([unknown] if blocked else [])
