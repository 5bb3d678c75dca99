"""Room reserved before the first byte, bytes at any position."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.disk import allocate
from modelops_bundle.disk.allocate import reserve, sync_data, write_at


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


def on(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(allocate, "kind_of", lambda _device: kind)


@pytest.mark.parametrize("kind", ["ext4", "nfs4", ""])
def test_the_file_gets_its_length(file: int, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    on(monkeypatch, kind)
    reserve(file, 5_000_000)
    assert os.fstat(file).st_size == 5_000_000
    assert os.pread(file, 10, 4_999_990) == bytes(10)


def test_room_is_asked_for_only_where_the_system_does_it_itself(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(allocate.os, "posix_fallocate", lambda _fd, _start, size: asked.append(size))
    on(monkeypatch, "nfs4")
    reserve(file, 100)
    assert asked == []
    on(monkeypatch, "xfs")
    reserve(file, 100)
    assert asked == [100]


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_where_it_cannot_be_reserved_it_is_only_lengthened(
    file: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    on(monkeypatch, "ext4")
    monkeypatch.setattr(allocate.os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(number, "no")))
    reserve(file, 1000)
    assert os.fstat(file).st_size == 1000


def test_a_full_disk_is_told_at_once_and_nothing_stays_reserved(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "ext4")

    def full(descriptor: int, _start: int, size: int) -> None:
        os.ftruncate(descriptor, size // 2)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(allocate.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="full"):
        reserve(file, 1000)
    assert os.fstat(file).st_size == 0


def test_bytes_go_where_they_belong(file: int) -> None:
    reserve(file, 10)
    write_at(file, b"xyz", 7)
    write_at(file, memoryview(b"abc"), 0)
    sync_data(file)
    assert os.pread(file, 20, 0) == b"abc\0\0\0\0xyz"


def test_a_write_that_takes_a_part_is_gone_on_with(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(allocate.os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:3], at))
    write_at(file, b"0123456789", 2)
    assert os.pread(file, 20, 2) == b"0123456789"
