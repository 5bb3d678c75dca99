"""Renaming without replacing, and exchanging names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.disk import exclusive
from modelops_bundle.disk.exclusive import exchange, rename_new


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a").write_text("a")
    handle = os.open(tmp_path, os.O_RDONLY)
    yield handle
    os.close(handle)


def test_a_free_name_is_taken(folder: int, tmp_path: Path) -> None:
    if not rename_new(folder, "a", "é"):
        pytest.skip("this platform cannot")
    assert [path.name for path in tmp_path.iterdir()] == ["é"]


@pytest.mark.parametrize("kind", ["file", "directory", "link to nowhere"])
def test_what_has_the_name_keeps_it(folder: int, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "b"
    if kind == "file":
        other.write_text("b")
    elif kind == "directory":
        other.mkdir()
    else:
        other.symlink_to("nowhere")
    try:
        assert not rename_new(folder, "a", "b")
    except FileExistsError:
        pass
    assert (tmp_path / "a").read_text() == "a"
    assert other.is_symlink() or other.is_dir() or other.read_text() == "b"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_a_system_without_it(folder: int, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive, "_call", lambda: lambda *_: number)
    assert not rename_new(folder, "a", "b")
    monkeypatch.setattr(exclusive, "_call", lambda: None)
    assert not rename_new(folder, "a", "b")
    assert (tmp_path / "a").exists()


def test_a_disk_that_refuses(folder: int) -> None:
    with pytest.raises(OSError, match="No such file"):
        if not rename_new(folder, "absent", "b"):
            raise FileNotFoundError(errno.ENOENT, "No such file")


def test_two_entries_exchange_their_names(folder: int, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/inside").write_text("b")
    if not exchange(folder, "a", "b"):
        pytest.skip("this platform cannot")
    assert (tmp_path / "b").read_text() == "a"
    assert (tmp_path / "a/inside").read_text() == "b"


def test_an_exchange_needs_both(folder: int, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        if not exchange(folder, "a", "absent"):
            raise FileNotFoundError(errno.ENOENT, "No such file")
    assert (tmp_path / "a").read_text() == "a"
