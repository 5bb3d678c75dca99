"""The directories that are pushed, and whether what came back is the same."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.measure import MIB, Failed

OURS = ".modelops-bundle"


def large(root: Path, count: int, size: int) -> Path:
    """`count` weight files of `size` bytes each. Random, so that nobody gains by compressing."""
    root.mkdir(parents=True)
    for number in range(count):
        with (root / f"model-{number + 1:05}.safetensors").open("wb") as file:
            for start in range(0, size, MIB):
                file.write(os.urandom(min(MIB, size - start)))
    return root


def small(root: Path, count: int, size: int) -> Path:
    """`count` random files of `size` bytes each, a hundred to a directory, as data sets come."""
    for number in range(count):
        path = root / f"d{number // 100:04}" / f"{number % 100:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return root


def names(root: Path) -> list[str]:
    """The POSIX paths of the files below `root`, sorted, without our own folder and git's."""
    found = []
    for directory, directories, files in os.walk(root):
        directories[:] = [name for name in directories if name not in (OURS, ".git")]
        found += [os.path.relpath(os.path.join(directory, name), root).replace(os.sep, "/") for name in files]
    return sorted(found)


def size(root: Path) -> int:
    """Bytes of the files below `root`."""
    return sum((root / name).stat().st_size for name in names(root))


def expect_same(there: Path, here: Path) -> None:
    """Every file, and every byte of it.

    :raises Failed: they differ.
    """
    ours, theirs = names(there), names(here)
    if ours != theirs:
        raise Failed(f"{len(theirs)} files instead of {len(ours)} came back")
    for name in ours:
        expect_same_file(there / name, here / name)


def expect_same_file(there: Path, here: Path) -> None:
    """Every byte of one file.

    :raises Failed: they differ, or `here` is not there.
    """
    try:
        with there.open("rb") as one, here.open("rb") as other:
            while block := one.read(MIB):
                if block != other.read(MIB):
                    raise Failed(f"{here.name} came back with other bytes")
            if other.read(1):
                raise Failed(f"{here.name} came back longer")
    except FileNotFoundError:
        raise Failed(f"{here.name} did not come back") from None


def change_one_byte(path: Path, value: int) -> None:
    """Write one byte in the middle of `path`, in place."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        old = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([value % 256 if value % 256 != old else (value + 1) % 256]))
