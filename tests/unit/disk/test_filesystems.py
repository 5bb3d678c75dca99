"""What kind a file system is, and which tell every change by their time stamps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.disk import filesystems
from modelops_bundle.disk.filesystems import COARSE_TICK, FINE_TICK, kind_of, stamps_every_change, tick_of

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /dev/shm rw - tmpfs tmpfs rw
24 22 0:40 / /mnt/a\\040b rw shared:3 master:1 - fuse.sshfs x@y:/ rw
25 22 0:41 / /nfs rw - nfs4 server:/x rw
26 22 0:42 / /win rw - 9p drvfs rw
27 22 8:1 / /xfs rw - xfs /dev/sda1 rw
28 22 0:43 / /usb rw - fuseblk /dev/sdb1 rw
29 22 0:44 / /o rw - overlay overlay rw
"""


@pytest.fixture(autouse=True)
def _mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(filesystems, "Path", lambda _: tmp_path / "mountinfo")
    filesystems._types.cache_clear()
    yield
    filesystems._types.cache_clear()


@pytest.mark.parametrize(
    ("device", "stamps"),
    [
        *(((254, 0), True), ((8, 1), True), ((0, 44), True), ((99, 99), True)),
        *(((0, 21), False), ((0, 40), False), ((0, 41), False), ((0, 42), False), ((0, 43), False)),
    ],
)
def test_memory_fuse_and_network_file_systems_are_blind(device: tuple[int, int], stamps: bool) -> None:
    assert stamps_every_change(os.makedev(*device)) is stamps


@pytest.mark.parametrize(
    ("device", "kind"), [((254, 0), "ext4"), ((0, 41), "nfs4"), ((0, 40), "fuse.sshfs"), ((9, 9), "")]
)
def test_file_systems_are_known_by_what_the_system_calls_them(device: tuple[int, int], kind: str) -> None:
    assert kind_of(os.makedev(*device)) == kind


def test_without_a_mount_table_disks_are_assumed(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").unlink()
    filesystems._types.cache_clear()
    assert stamps_every_change(os.makedev(0, 21))


def test_whole_seconds_may_be_rounded_ones() -> None:
    assert tick_of(1, 1) == FINE_TICK
    assert tick_of(0, 1) == tick_of(1, 0) == tick_of(10**9, 10**9) == COARSE_TICK
