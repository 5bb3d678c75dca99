"""Files without a name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelops_bundle.disk import spool as module
from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import DiskError


def test_it_holds_what_was_written_and_has_no_name(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "parts")
    spool.write(b"ab")
    spool.write(b"c")
    assert os.pread(spool.fileno(), 10, 0) == b"abc"
    assert list((tmp_path / "parts").iterdir()) == []
    spool.close()
    spool.close()


def test_it_goes_with_its_last_user(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    descriptor = spool.fileno()
    del spool
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError):
        Spool(tmp_path / "file")


def test_one_that_cannot_take_it_is_no_longer_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: bytes) -> None:
        raise OSError(28, "no space")

    spool = Spool(tmp_path)
    spool.write(b"a")
    assert spool.is_whole
    monkeypatch.setattr(module, "write_all", full)
    spool.write(b"b")
    spool.write(b"c")
    assert not spool.is_whole
