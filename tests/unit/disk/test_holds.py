"""Locks that are held alone or shared."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from modelops_bundle.disk.holds import take
from modelops_bundle.errors import DiskError, Unsupported


class Enough(Exception):
    """The test waited often enough."""


def test_one_alone_keeps_everybody_out(tmp_path: Path) -> None:
    hold = take(tmp_path / "a/lock")
    assert hold is not None
    assert take(tmp_path / "a/lock") is None
    assert take(tmp_path / "a/lock", shared=True) is None
    hold.release()
    hold.release()
    with take(tmp_path / "a/lock") as again:  # type: ignore[union-attr]
        assert again is not None


def test_those_who_share_keep_out_who_wants_it_alone(tmp_path: Path) -> None:
    first, second = take(tmp_path / "lock", shared=True), take(tmp_path / "lock", shared=True)
    assert first is not None and second is not None
    assert take(tmp_path / "lock") is None
    first.release()
    second.release()
    assert take(tmp_path / "lock") is not None


def test_one_alone_may_begin_to_share(tmp_path: Path) -> None:
    hold = take(tmp_path / "lock")
    assert hold is not None
    hold.share()
    assert take(tmp_path / "lock", shared=True) is not None
    assert take(tmp_path / "lock") is None


def test_waiting_ends_when_it_is_free_or_the_waiting_raises(tmp_path: Path) -> None:
    hold = take(tmp_path / "lock")
    assert hold is not None

    def never() -> None:
        raise Enough

    with pytest.raises(Enough):
        take(tmp_path / "lock", wait=never)
    assert take(tmp_path / "lock", wait=hold.release) is not None


def test_who_gets_a_lock_whose_file_was_removed_takes_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = take(tmp_path / "lock")
    assert hold is not None
    opened = os.open
    monkeypatch.setattr(os, "open", lambda *args, **more: _and_then(opened(*args, **more), hold))
    waits: list[None] = []
    second = take(tmp_path / "lock", wait=lambda: waits.append(None))
    assert second is not None and len(waits) == 1
    assert (tmp_path / "lock").exists()
    assert take(tmp_path / "lock") is None


def _and_then(descriptor: int, hold: object) -> int:
    """Between opening and locking, the holder lets go and removes the file."""
    hold.release(remove=True)  # type: ignore[attr-defined]
    return descriptor


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Unsupported, match="no locks"):
        take(tmp_path / "lock")


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError):
        take(tmp_path / "file/lock")
