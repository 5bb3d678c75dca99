"""Locks that die with their holder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from modelops_bundle.disk import locks
from modelops_bundle.disk.locks import exclusive, hold
from modelops_bundle.errors import DiskError, Locked, Unsupported


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(locks, "time", made)
    return made


def test_a_lock_excludes_a_second_holder(tmp_path: Path, clock: Clock) -> None:
    with exclusive(tmp_path / "lock"):
        with pytest.raises(Locked, match="another process is writing to the tree"):
            with exclusive(tmp_path / "lock", wait=0, what="the tree"):
                pytest.fail("held twice")
    with exclusive(tmp_path / "lock", wait=0):
        pass


def test_waiting_ends_after_the_time_given(tmp_path: Path, clock: Clock) -> None:
    with exclusive(tmp_path / "lock"), pytest.raises(Locked), exclusive(tmp_path / "lock", wait=30.0):
        pytest.fail("held twice")
    assert 130.0 <= clock.now < 130.1


def test_a_lock_that_is_released_meanwhile_is_taken(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = exclusive(tmp_path / "lock")
    first.__enter__()
    real = clock.sleep

    def sleep(seconds: float) -> None:
        real(seconds)
        if clock.now > 105 and first is not None:
            first.__exit__(None, None, None)
            monkeypatch.setattr(clock, "sleep", real)

    monkeypatch.setattr(clock, "sleep", sleep)
    with exclusive(tmp_path / "lock", wait=30.0):
        assert 105 < clock.now < 106


def test_an_error_inside_releases_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path / "lock"):
        raise KeyError
    with exclusive(tmp_path / "lock", wait=0):
        pass


def test_a_lock_file_left_behind_locks_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("pid 12345")
    with exclusive(tmp_path / "lock", wait=0):
        assert (tmp_path / "lock").read_text() == "pid 12345"


def test_the_folder_of_the_lock_is_made(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a/b/lock"):
        assert (tmp_path / "a/b/lock").exists()


def test_a_file_system_without_locks_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Unsupported, match="no locks"), exclusive(tmp_path / "lock"):
        pytest.fail("not locked")


def test_a_lock_that_cannot_be_opened_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(DiskError), exclusive(tmp_path / "lock"):
        pytest.fail("not locked")


def test_an_open_file_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one, two = (os.open(tmp_path / "file", os.O_RDONLY) for _ in range(2))
    try:
        hold(one, "the tree")
        with pytest.raises(Locked, match="another process is writing to the tree"):
            hold(two, "the tree")
    finally:
        os.close(one)
    hold(two, "the tree")
    os.close(two)


def test_where_there_are_no_locks_an_open_file_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    hold(descriptor, "the tree")
    os.close(descriptor)
