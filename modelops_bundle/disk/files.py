"""Whole files that are either the old ones or the new ones: temporary file, fsync, rename, directory fsync."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import DiskError
from modelops_bundle.events import checkpoint
from modelops_bundle.model.paths import TEMPORARY_PREFIX

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_COPY_BLOCK = 1024 * 1024
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def temporary_name() -> str:
    """A fresh name that scans ignore and the next command sweeps."""
    return f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"


def read_file(path: Path) -> bytes | None:
    """The bytes of `path`; None when it is absent.

    :raises DiskError: unreadable, or its last component is a symbolic link.
    """
    with translated(f"read {path}"):
        try:
            # O_NONBLOCK: opening a FIFO would wait for its writer, for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DiskError(f"{path} is not a regular file")
            return file.read()


def version(path: Path) -> tuple[int, ...] | None:
    """Tells one content of an atomically replaced file from another; None when it is absent."""
    with translated(f"look at {path}"):
        try:
            facts = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def write_file(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Replace `path` by `data`, durably. Parents are created.

    :param mode: permission bits, less those of the umask.
    :raises DiskError: and the old file is untouched. :raises DiskFull: likewise.
    """
    with staged(path, mode=mode) as out:
        out.write(data)
        out.commit()


def write_new(path: Path, data: bytes, *, mode: int = 0o666) -> bool:
    """Make the file `path`, durably and in one step; False when something is there already, which stays.

    :param mode: permission bits, less those of the umask. :raises DiskError: the system refuses.
    """
    with staged(path, mode=mode) as out, translated(f"write {path}"):
        out.write(data)
        try:
            out.link()
        except FileExistsError:
            return False
        except OSError as error:
            # Without hard links (FAT, some network file systems) two who look at the same moment may both go on.
            if error.errno not in _NO_LINKS or os.path.lexists(path):
                raise
            out.commit()
    return True


class StagedFile:
    """A file being written beside its final path."""

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        self._path = path
        self._committed = False
        with translated(f"write {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary, self._descriptor = _create_temporary(path.parent, mode)

    def fileno(self) -> int:
        """Its descriptor."""
        return self._descriptor

    def write(self, data: bytes) -> None:
        """Append `data`."""
        with translated(f"write {self._path}"):
            write_all(self._descriptor, data)

    def commit(self, *, directory: bool = True, name: str | None = None) -> None:
        """Make it the file at its final path, durably.

        :param name: what it is called after all, in the same directory.
        :param directory: False leaves the name to a later `sync_directory`.
        """
        with translated(f"write {self._path}"):
            os.fsync(self._descriptor)
            checkpoint("file synced")
            self._temporary.replace(self._path if name is None else self._path.with_name(name))
            self._committed = True
            checkpoint("file renamed")
            if directory:
                sync_directory(self._path.parent)

    def link(self) -> None:
        """Make it the file at its final path, durably. :raises FileExistsError: something is there."""
        os.fsync(self._descriptor)
        os.link(self._temporary, self._path, follow_symlinks=False)
        sync_directory(self._path.parent)

    def close(self) -> None:
        """Release the file; one that was not committed is removed."""
        os.close(self._descriptor)
        if not self._committed:
            with suppress(OSError):
                self._temporary.unlink()


def _create_temporary(directory: Path, mode: int) -> tuple[Path, int]:
    """A new temporary file, locked for as long as its writer lives: so `sweep` knows the dead ones."""
    while True:
        path = directory / temporary_name()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, mode)
        # A sweep between the two calls may have taken it for a dead one and removed it, or be about to.
        ours = _locked(descriptor)
        if ours is None or (ours and os.fstat(descriptor).st_nlink):
            return path, descriptor
        os.close(descriptor)


def lock_now(descriptor: int) -> bool:
    """Take the advisory lock of an open file if it is free; False where it is taken or there are no locks."""
    return _locked(descriptor) is True


def _locked(descriptor: int) -> bool | None:
    """Whether the lock could be taken; None where there are no locks."""
    try:
        import fcntl  # noqa: PLC0415  (absent on Windows)

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


@contextmanager
def staged(path: Path, mode: int = 0o666) -> Iterator[StagedFile]:
    """Write a file in pieces; leaving without `commit()` leaves nothing behind."""
    out = StagedFile(path, mode)
    try:
        yield out
    finally:
        out.close()


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`; plain write may take only a part of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def copy(source: int, out: int) -> None:
    """Copy all bytes between descriptors, sharing blocks where the file system can (copy_file_range reflinks)."""
    copied = _copy_in_kernel(source, out)
    if copied:
        return
    # From the start on both sides: the kernel may have moved a part before it stopped.
    os.lseek(source, 0, os.SEEK_SET)
    os.lseek(out, 0, os.SEEK_SET)
    while block := os.read(source, _COPY_BLOCK):
        write_all(out, block)


def _copy_in_kernel(source: int, out: int) -> bool:
    if not hasattr(os, "copy_file_range"):
        return False
    size = os.fstat(source).st_size
    done = 0
    try:
        while done < size:
            count = os.copy_file_range(source, out, size - done)
            if count == 0:
                break
            done += count
    except OSError:
        if done:
            raise
        return False
    return done == size


def sync_directory(path: Path) -> None:
    """Make renames in `path` durable, where the platform can."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_file(path: Path) -> None:
    """Remove `path`; already gone is fine.

    :raises DiskError: the system refuses.
    """
    with translated(f"remove {path}"), suppress(FileNotFoundError):
        path.unlink()


def free_bytes(path: Path) -> int:
    """Bytes that an ordinary user may still write on the file system of `path`."""
    with translated(f"look at the free space of {path}"):
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize


def sweep(directory: Path) -> None:
    """Remove temporary files of dead writers from `directory` (not below it); those of live ones stay."""
    with suppress(OSError):
        for name in os.listdir(directory):
            if name.startswith(TEMPORARY_PREFIX):
                with suppress(OSError):
                    _remove_dead(directory / name)


def supports_links(directory: Path) -> bool:
    """Whether symbolic links can be made in `directory`, found by making one.

    :raises DiskError: trying failed for another reason.
    """
    probe = directory / temporary_name()
    with translated(f"make a link in {directory}"):
        try:
            probe.symlink_to("nowhere")
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        probe.unlink(missing_ok=True)
    return True


def _remove_dead(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
        return
    descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW)
    try:
        if lock_now(descriptor):
            path.unlink()
    finally:
        os.close(descriptor)


def require_directory(path: Path) -> None:
    """Create `path` and its parents.

    :raises DiskError: something else is there, or the system refuses.
    """
    with translated(f"create {path}"):
        path.mkdir(parents=True, exist_ok=True)
    if not path.is_dir():
        raise DiskError(f"{path} is not a directory")
