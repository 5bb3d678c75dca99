"""Sharing blocks between files."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from modelops_bundle.disk.reflink import reflink


def test_it_shares_all_or_says_that_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10000)
    with open(tmp_path / "a", "rb") as source, open(tmp_path / "b", "wb") as out:
        shared = reflink(source.fileno(), out.fileno())
    assert (tmp_path / "b").read_bytes() == (b"x" * 10000 if shared else b"")


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL])
def test_a_file_system_that_cannot(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert not reflink(0, 1)


def test_a_broken_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "ioctl", break_down)
    with pytest.raises(OSError, match="broken"):
        reflink(0, 1)
