"""Changing a directory tree through handles that follow no symbolic link.

Each path is walked component by component with `openat(O_NOFOLLOW)`, so a link planted anywhere below the root,
even while we run, leads to a refusal and never outside (facts: reliability §3.1, §5.2).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple
from unicodedata import normalize

from modelops_bundle.disk.files import copy, temporary_name
from modelops_bundle.disk.problems import translate, translated
from modelops_bundle.errors import DiskError, UnsafePath, Unsupported, WorkspaceChanged, WouldOverwrite
from modelops_bundle.events import checkpoint
from modelops_bundle.model.paths import display

_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# O_NONBLOCK: a FIFO put there meanwhile must not hang us.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_HARD_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
_STAYS = (
    errno.ENOTEMPTY,
    errno.EEXIST,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EBUSY,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
)
"""Why a directory is not removed although nothing is broken: it has content, is gone, is in use, is not ours."""
_SIGNED = 1 << 63
_NEVER = frozenset(["", ".", ".."])


class StatKey(NamedTuple):
    """What tells one state of a file from another without reading it (DESIGN §5)."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, facts: os.stat_result) -> StatKey:
        """The key of a stat result."""
        # Overlay and network file systems use the top bit of inodes; the columns of the digest cache are signed.
        inode = facts.st_ino if facts.st_ino < _SIGNED else facts.st_ino - 2 * _SIGNED
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, inode, facts.st_dev)

    @property
    def written(self) -> tuple[int, int, int, int]:
        """The part that writing changes and renaming, linking and chmod leave alone."""
        return self.size, self.mtime_ns, self.inode, self.device


class Absent(Enum):
    """Nothing but a directory may be at a path that is about to be created."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
Guard = StatKey | Literal[Absent.ABSENT]


class Tree:
    """A directory whose content is changed by relative POSIX paths that were validated before."""

    def __init__(self, root: Path, follow: frozenset[str] = frozenset()) -> None:
        """Open `root`; `follow` are paths whose final link stands for the content of its target."""
        self._root = -1
        if os.open not in os.supports_dir_fd:
            raise Unsupported("this platform cannot open files relative to a directory", hint="use Linux, macOS or WSL")
        self.root = root
        self._follow = follow
        self._odd_names: dict[str, dict[str, str]] = {}
        self._kept = threading.local()
        _umask()
        with translated(f"open {root}"):
            self._root = os.open(root, _DIRECTORY)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the directory handle."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def __del__(self) -> None:
        with suppress(OSError):
            self.close()

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Inside, this thread keeps the handle of the last directory it used: for many paths of one directory.

        Only for work that removes no directory: the kept handle would be that of the removed one.
        """
        if getattr(self._kept, "last", None) is not None:
            yield
            return
        self._kept.last = last = _Last()
        try:
            yield
        finally:
            # A generator that was dropped inside may end here in another thread, whose own handle is none of its.
            if getattr(self._kept, "last", None) is last:
                self._kept.last = None
            last.close()

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """The handle of the directory above `path`, and the name that `path` has in it.

        :param create: make the directories above that are not there.
        :raises WouldOverwrite: something that is no directory is in the way.
        """
        above, slash, name = path.rpartition("/")
        if not _NEVER.isdisjoint(path.split("/")):
            # Paths were validated long before; this is for those that come from our own files after somebody's edit.
            raise UnsafePath(f"unsafe path {display(path)}", path=display(path))
        last: _Last | None = getattr(self._kept, "last", None)
        keeper = last or _Last()
        try:
            if keeper.directory != above or keeper.handle is None:
                keeper.close()
                keeper.directory = above
                keeper.handle = self._open_directory(above, path, create)
            yield keeper.handle, self._native(keeper.handle, above + slash, name)
        except OSError as error:
            raise translate(error, f"change {path}") from error
        finally:
            if last is None:
                keeper.close()

    def _open_directory(self, directory: str, path: str, create: bool) -> int:
        # Opened anew, never duplicated: duplicates share the offset, and two threads listing it get half a list each.
        handle = os.open(".", _DIRECTORY, dir_fd=self._root)
        above = ""
        for part in directory.split("/") if directory else ():
            try:
                deeper = self._enter(handle, self._native(handle, above, part), path, create)
            finally:
                os.close(handle)
            handle = deeper
            above += f"{part}/"
        return handle

    def _native(self, handle: int, above: str, name: str) -> str:
        """How the disk spells `name`, which is in normalization form C here and need not be there."""
        if name.isascii():
            return name
        if above not in self._odd_names:
            entries = set(os.listdir(handle))
            self._odd_names[above] = {
                composed: entry for entry in entries if (composed := normalize("NFC", entry)) not in entries
            }
        return self._odd_names[above].get(name, name)

    def _enter(self, handle: int, name: str, path: str, create: bool) -> int:
        try:
            return os.open(name, _DIRECTORY | _NOFOLLOW, dir_fd=handle)
        except FileNotFoundError:
            if not create:
                raise
        except OSError as error:
            if error.errno in _IN_THE_WAY:
                raise WouldOverwrite(f"{name} is in the way of {path}: not a directory", path=path) from error
            raise
        with suppress(FileExistsError):
            os.mkdir(name, 0o777, dir_fd=handle)
        return os.open(name, _DIRECTORY | _NOFOLLOW, dir_fd=handle)

    def _held(self, path: str) -> tuple[int, str] | None:
        """What `parent` gives, at once, where the directory is the one whose handle is kept."""
        last: _Last | None = getattr(self._kept, "last", None)
        above, slash, name = path.rpartition("/")
        if last is None or last.handle is None or last.directory != above or name in _NEVER:
            return None
        return last.handle, self._native(last.handle, above + slash, name)

    def at(self, path: str, *, create: bool = False) -> tuple[int, str]:
        """As `parent`, inside `keeping`: good until the next call for another directory."""
        held = self._held(path)
        if held is None:
            with self.parent(path, create=create) as opened:
                held = opened
        return held

    def read_small(self, path: str, size: int) -> tuple[bytes, os.stat_result]:
        """The first `size` bytes of the regular file `path`, and its facts after they were read."""
        held = self._held(path)
        if held is not None:
            return self._read_small(path, *held, size)
        with self.parent(path) as (parent, name):
            return self._read_small(path, parent, name, size)

    def _read_small(self, path: str, parent: int, name: str, size: int) -> tuple[bytes, os.stat_result]:
        with translated(f"read {path}"):
            descriptor = os.open(name, _READ if path in self._follow else _READ | _NOFOLLOW, dir_fd=parent)
            try:
                data = os.read(descriptor, size)
                facts = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise WouldOverwrite(f"{path} is no regular file any more", path=path)
        return data, facts

    def lstat(self, path: str) -> os.stat_result | None:
        """The facts of `path` itself; None when it or a directory above it is absent or no directory."""
        last: _Last | None = getattr(self._kept, "last", None)
        if last is not None and last.handle is None and last.directory == path.rpartition("/")[0]:
            return None
        held = self._held(path)
        if held is not None:
            try:
                return os.stat(held[1], dir_fd=held[0], follow_symlinks=path in self._follow)
            except FileNotFoundError:
                return None
        try:
            with self.parent(path) as (parent, name), suppress(FileNotFoundError):
                return os.stat(name, dir_fd=parent, follow_symlinks=path in self._follow)
            return None
        except WouldOverwrite:
            return None
        except DiskError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise

    def open_read(self, path: str, *, follow: bool = True) -> int:
        """A descriptor of the regular file `path`.

        :param follow: a link that was declared to stand for its target is read through.
        """
        with self.parent(path) as (parent, name):
            descriptor = self._open_read(parent, name, path, follow=follow)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise WouldOverwrite(f"{path} is no regular file any more", path=path)
        return descriptor

    def _open_read(self, parent: int, name: str, path: str, *, follow: bool) -> int:
        return os.open(name, _READ if follow and path in self._follow else _READ | _NOFOLLOW, dir_fd=parent)

    @contextmanager
    def opener(self, directory: str) -> Iterator[Callable[[str], int]]:
        """Open many files of `directory` (`""` is the root) for little: a function from a path in it to a descriptor.

        What is opened follows no link, as with `open_read`, and need not be a regular file.
        """
        above = f"{directory}/" if directory else ""
        with self.parent(f"{above}x") as (handle, _):
            yield lambda path: self._open_read(
                handle, self._native(handle, above, path[len(above) :]), path, follow=True
            )

    def read_link(self, path: str) -> str:
        """The target text of the link `path`."""
        with self.parent(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)

    @staticmethod
    def mode(executable: bool) -> int:
        """The mode bits of a new file."""
        return (0o777 if executable else 0o666) & ~_umask()

    def place(
        self, staged: Path, path: str, *, executable: bool, keep: bool, guard: Guard | None = None
    ) -> StatKey | None:
        """Let the verified file `staged` become the file at `path`.

        :param keep: `staged` is needed again: its bytes are copied (reflinked where the file system can).
        :param guard: what must be at `path` still.
        :returns: the key of the placed file where that proves its content: nobody wrote to it meanwhile.
        :raises WorkspaceChanged: something else is there.
        """
        mode = self.mode(executable)
        with self.parent(path, create=True) as (parent, name):
            self.check(parent, name, path, guard)
            key, moved = (None, False) if keep else self._move(staged, mode, parent, name, guard)
            if not moved:
                self._copy(staged, mode, parent, name, guard)
            checkpoint("placed")
        return key

    def check(self, parent: int, name: str, path: str, guard: Guard | None) -> None:
        """The last look before something is replaced or removed.

        :raises WorkspaceChanged: it is not what `guard` says.
        """
        if guard is None or path in self._follow:
            return
        try:
            facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            facts = None
        if not _is_as_seen(facts, guard):
            raise WorkspaceChanged(f"{path} changed just now", path=path)

    def _move(
        self, staged: Path, mode: int, parent: int, name: str, guard: Guard | None
    ) -> tuple[StatKey | None, bool]:
        # One rename from the staging folder: a kill before it leaves the verified bytes where the next run looks.
        source = os.open(staged, os.O_RDONLY | _NOFOLLOW)
        try:
            os.fchmod(source, mode)
            before = StatKey.of(os.fstat(source))
            checkpoint("staged file ready")
            try:
                put(staged, None, name, parent, guard)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return None, False
            after = StatKey.of(os.fstat(source))
        finally:
            os.close(source)
        return (after if after.written == before.written else None), True

    def _copy(self, staged: Path, mode: int, parent: int, name: str, guard: Guard | None) -> None:
        temporary = temporary_name()
        out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o600, dir_fd=parent)
        try:
            with open(staged, "rb", buffering=0) as source:
                copy(source.fileno(), out)
            os.fchmod(out, mode)
            os.fsync(out)
            checkpoint("copied beside")
            put(temporary, parent, name, parent, guard)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
        finally:
            os.close(out)

    def link(self, target: str, path: str, guard: Guard | None = None) -> None:
        """Let `path` be a symbolic link with this target text, atomically.

        :raises WorkspaceChanged: what `guard` says is not there.
        """
        with self.parent(path, create=True) as (parent, name):
            self.check(parent, name, path, guard)
            temporary = temporary_name()
            os.symlink(target, temporary, dir_fd=parent)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            checkpoint("linked")

    def make_directory(self, path: str) -> None:
        """Let `path` be a directory."""
        with self.parent(f"{path}/x", create=True):
            checkpoint("made directory")

    def set_executable(self, path: str, executable: bool, guard: Guard | None = None) -> None:
        """Set or clear the executable bits as umask allows, content untouched.

        :raises WorkspaceChanged: what `guard` says is not there.
        """
        descriptor = self.open_read(path, follow=False)
        try:
            if guard is not None and not _is_as_seen(os.fstat(descriptor), guard):
                raise WorkspaceChanged(f"{path} changed just now", path=path)
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            with translated(f"change the mode of {path}"):
                os.fchmod(descriptor, (mode | (0o111 & ~_umask())) if executable else (mode & ~0o111))
        finally:
            os.close(descriptor)
        checkpoint("mode set")

    def remove(self, path: str, guard: Guard | None = None) -> None:
        """Remove the file, link or empty directory at `path`, and directories above it that this leaves empty.

        :raises WorkspaceChanged: what `guard` says is not there.
        """
        facts = self.lstat(path)
        if facts is not None:
            with self.parent(path) as (parent, name):
                self.check(parent, name, path, guard)
                if stat.S_ISDIR(facts.st_mode):
                    _remove_empty(parent, name)
                else:
                    os.unlink(name, dir_fd=parent)
            checkpoint("removed")
        self.prune(path.rpartition("/")[0])

    def prune(self, directory: str) -> None:
        """Remove `directory` and those above it as far as they are empty; the root stays."""
        while directory:
            try:
                with self.parent(directory) as (parent, name):
                    os.rmdir(name, dir_fd=parent)
            except WouldOverwrite:
                return
            except DiskError as error:
                if error.facts.get("errno") not in _STAYS:
                    raise
                return
            directory = directory.rpartition("/")[0]

    def sync(self, directories: set[str]) -> None:
        """Make renames in these directories (`""` is the root) durable; one that is gone is its parent's matter."""
        for directory in sorted(directories):
            try:
                with self.parent(f"{directory}/x" if directory else "x") as (handle, _):
                    os.fsync(handle)
            except WouldOverwrite:
                continue
            except DiskError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise

    def sweep(self, directories: set[str], prefix: str) -> None:
        """Remove entries beginning with `prefix`, which a killed command left in these directories."""
        for directory in directories:
            with (
                suppress(DiskError, WouldOverwrite),
                self.parent(f"{directory}/x" if directory else "x") as (handle, _),
            ):
                for name in os.listdir(handle):
                    if name.startswith(prefix):
                        os.unlink(name, dir_fd=handle)


@dataclass(slots=True)
class _Last:
    """The directory that was used last, and its handle; None when it could not be opened."""

    directory: str | None = None
    handle: int | None = None

    def close(self) -> None:
        if self.handle is not None:
            os.close(self.handle)
        self.directory = self.handle = None


def _is_as_seen(facts: os.stat_result | None, guard: Guard) -> bool:
    if guard is ABSENT:
        return facts is None or stat.S_ISDIR(facts.st_mode)
    # Not the ctime: replacing one of two hard links changes that of the other.
    return facts is not None and StatKey.of(facts).written == guard.written


def put(source: Path | str, source_parent: int | None, name: str, parent: int, guard: Guard | None) -> None:
    """Give `source` its name; where nothing may be there, without ever replacing what came meanwhile."""
    if guard is ABSENT:
        try:
            os.link(source, name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            # A directory, or somebody's new file: rename takes neither of them away below.
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise WorkspaceChanged(f"{name} appeared just now") from None
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            checkpoint("linked into place")
            os.unlink(source, dir_fd=source_parent)
            return
    os.rename(source, name, src_dir_fd=source_parent, dst_dir_fd=parent)


def _remove_empty(parent: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        # A directory that got content meanwhile is no empty directory; its content is not ours to remove.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


@lru_cache(maxsize=1)
def _umask() -> int:
    # Reading it means setting it: once, before there are threads that create files.
    value = os.umask(0o077)
    os.umask(value)
    return value
