"""What kind a file system is, and which tell every change by their time stamps (facts: reliability §5.1)."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

COARSE_TICK = 2 * 10**9
"""Nanoseconds: the coarsest time stamps in use (FAT has 2 s)."""
FINE_TICK = 10**8
"""Nanoseconds: ten times the coarsest kernel tick (10 ms at HZ=100) of file systems that stamp finer than seconds."""

_OCTAL = re.compile(r"\\([0-7]{3})")
_BLIND = (
    "tmpfs",
    "ramfs",
    "fuse",
    "nfs",
    "cifs",
    "smb",
    "9p",
    "virtiofs",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "vboxsf",
)
"""tmpfs never stamps mmap writes (200 of 200 invisible); FUSE and network file systems cache attributes."""


@lru_cache(maxsize=1)
def _types() -> dict[tuple[int, int], str]:
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[tuple[int, int], str] = {}
    for line in lines:
        # proc(5), mountinfo: field 3 is major:minor, the type is the first field after the separator "-".
        fields, _, rest = line.partition(" - ")
        major, _, minor = fields.split()[2].partition(":")
        found[int(major), int(minor)] = rest.split()[0]
    return found


def mounts() -> frozenset[Path]:
    """Where something is mounted, bind mounts of the same file system too; nothing where the system does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return frozenset()
    # proc(5): field 5 is the mount point, in which blanks and backslashes are octal.
    return frozenset(Path(_OCTAL.sub(lambda met: chr(int(met[1], 8)), line.split()[4])) for line in lines)


def kind_of(device: int) -> str:
    """What the system calls the file system on `device` (st_dev); empty when it does not tell (macOS, BSD)."""
    return _types().get((os.major(device), os.minor(device)), "")


def stamps_every_change(device: int) -> bool:
    """Whether equal stat keys on `device` (st_dev) prove equal content. Unknown kinds (macOS, BSD disks) do."""
    return not kind_of(device).startswith(_BLIND)


def tick_of(mtime_ns: int, ctime_ns: int) -> int:
    """How long (ns) two writes may carry the same stamps, judged by the stamps: whole seconds may be rounded ones."""
    return FINE_TICK if mtime_ns % 10**9 and ctime_ns % 10**9 else COARSE_TICK
