"""sha256 of files, several at a time, and only when the file held still meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Protocol

from modelops_bundle.disk.filesystems import tick_of
from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.sync import sync_file_system
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import DiskError, WorkspaceChanged, WouldOverwrite
from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started
from modelops_bundle.model.digest import Digest

BLOCK = 1024 * 1024
SETTLED = 60 * 10**9
"""Nanoseconds after which the kernel has written mapped pages back and stamped them (reliability §5.1 c)."""

SMALL = 256 * 1024
"""Bytes up to which a file is read in one piece."""
_MANY = 32
"""Small files from which on they are taken a directory at a time."""
_ONE_BY_ONE = 16
"""Young files that are written back one by one before the whole file system is."""


class Watcher(Protocol):
    """Sees bytes while they are hashed."""

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes; they are overwritten afterwards."""
        ...

    def finish(self, digest: Digest) -> object:
        """That was all, and it held still. Not called otherwise."""
        ...


Watch = Callable[[str, int, Callable[[int, int], bytes]], Watcher | None]
"""Who wants to see the bytes of a file: called with its path, its size and what reads some of it (offset, how many),
each time it is read from the start. What is raised ends the hashing."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A digest, the stat key the file had before and after it was read, and the wall clock (ns) at that stat."""

    digest: Digest
    key: StatKey
    taken_ns: int


def hash_file(
    tree: Tree,
    path: str,
    run: Run,
    progress: Callable[[int], None],
    watch: Watch | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Hashed:
    """Hash the regular file `path`.

    :param watch: who else wants to see its bytes.
    :raises WorkspaceChanged: it changed while it was read, twice. :raises DiskError: it cannot be read.
    """
    for _ in range(2):
        descriptor = tree.open_read(path)
        try:
            with translated(f"read {path}"):
                found = _hash_open(descriptor, run, progress, now_ns, watch and partial(watch, path))
        finally:
            os.close(descriptor)
        if found is not None:
            return found
    raise WorkspaceChanged(
        f"{path} changed while it was read", hint="wait until it is written, then run again", path=path
    )


def _hash_open(
    descriptor: int,
    run: Run,
    progress: Callable[[int], None],
    now_ns: Callable[[], int],
    watch: Callable[[int, Callable[[int, int], bytes]], Watcher | None] | None,
) -> Hashed | None:
    taken = now_ns()
    facts = os.fstat(descriptor)
    # The change time too: a modification time can be set back (`cp -p`, utime) while mapped pages are still dirty.
    if taken - max(facts.st_mtime_ns, facts.st_ctime_ns) < SETTLED:
        # A page dirtied through mmap before this moment would take no new stamp for later writes.
        _write_back(descriptor)
    before = StatKey.of(os.fstat(descriptor))
    watcher = watch(before.size, lambda start, count: os.pread(descriptor, count, start)) if watch else None
    hasher = hashlib.sha256()
    buffer = bytearray(min(BLOCK, max(before.size, 1)))
    view = memoryview(buffer)
    done = 0
    with beside(watcher) as show:
        # One that grows is not followed to its end, which may never come.
        while done <= before.size and (count := os.readv(descriptor, [buffer])):
            run.check()
            shown = show(view[:count])
            hasher.update(view[:count])
            shown()
            done += count
            progress(count)
    if StatKey.of(os.fstat(descriptor)) != before:
        return None
    digest = Digest("sha256", hasher.hexdigest())
    if watcher is not None:
        watcher.finish(digest)
    return Hashed(digest, before, taken)


@contextmanager
def beside(watcher: Watcher | None) -> Iterator[Callable[[bytes | memoryview], Callable[[], None]]]:
    """Show bytes to `watcher` in a second thread: call with them, hash them, then call what came back to wait.

    Cutting takes about as long as hashing, and both let go of the interpreter.
    """
    if watcher is None:
        yield lambda _data: _nothing
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  5 ms, and logging with it

    with ThreadPoolExecutor(1, "watch") as pool:
        yield lambda data: pool.submit(watcher.feed, data).result


def _nothing() -> None:
    pass


def _write_back(descriptor: int) -> None:
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        sync(descriptor)
    except OSError:
        # Read-only mounts refuse; nothing can be dirty there.
        return


def write_back(tree: Tree, path: str, now_ns: Callable[[], int] = time.time_ns) -> None:
    """Write mapped pages of the file `path` back if it is young: before its content is read to be hashed elsewhere.

    :raises DiskError: it cannot be opened.
    """
    descriptor = tree.open_read(path)
    try:
        facts = os.fstat(descriptor)
        if now_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) < SETTLED:
            _write_back(descriptor)
    finally:
        os.close(descriptor)


def _write_all_back(descriptor: int) -> bool:
    """Write back what is dirty on the file system of `descriptor`; False where that cannot be asked for."""
    try:
        return sync_file_system(descriptor)
    except DiskError:
        return False


class _WriteBack:
    """Writes mapped pages back before files are hashed: a few one by one, many by one call for their file system."""

    def __init__(self) -> None:
        self._files = 0
        self._synced: dict[int, int] = {}

    def needed(self, descriptor: int, facts: os.stat_result, now: int) -> bool:
        """Whether the pages of a file had to be written back, which is done then; its stat before that is void."""
        stamp = max(facts.st_mtime_ns, facts.st_ctime_ns)
        if now - stamp >= SETTLED:
            return False
        synced = self._synced.get(facts.st_dev, 0)
        # A page dirtied since then was clean, and so its file took a new stamp.
        if stamp < synced - tick_of(facts.st_mtime_ns, facts.st_ctime_ns) and now >= synced:
            return False
        self._files += 1
        if self._files == _ONE_BY_ONE:
            began = time.time_ns()
            if _write_all_back(descriptor):
                self._synced[facts.st_dev] = began
                self._files = 0
                return True
        _write_back(descriptor)
        return True


def hash_files(
    tree: Tree,
    sized: Sequence[tuple[str, int]],
    run: Run,
    each: Callable[[str, Hashed], None],
    watch: Watch | None = None,
) -> None:
    """Hash `sized` (paths with their sizes in bytes), biggest first, on every core; `each` runs in this thread.

    A path that is gone by now is left out.

    :param watch: who else wants to see the bytes of those above `SMALL`, in any thread.
    """
    run.emit(Started("hash", len(sized), sum(size for _, size in sized)))
    small = [path for path, size in sized if size <= SMALL]
    if len(small) < _MANY:
        small = []
    ordered = sorted((item for item in sized if not small or item[1] > SMALL), key=lambda item: -item[1])
    if len(ordered) < 2:
        for path, size in ordered:
            _tell(each, path, _hash_one(tree, path, size, run, watch))
        _hash_small(tree, small, run, each)
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  5 ms, and logging with it

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        futures = [(path, pool.submit(_hash_one, tree, path, size, run, watch)) for path, size in ordered]
        try:
            # Beside the others: of small files the interpreter's own work is most, which threads cannot share.
            _hash_small(tree, small, run, each)
            for path, future in futures:
                _tell(each, path, future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _tell(each: Callable[[str, Hashed], None], path: str, found: Hashed | None) -> None:
    if found is not None:
        each(path, found)


def _hash_one(tree: Tree, path: str, size: int | None, run: Run, watch: Watch | None = None) -> Hashed | None:
    run.check()
    run.emit(ItemStarted(path, path, size))
    large = size is not None and size > SMALL
    try:
        found = hash_file(tree, path, run, lambda count: run.emit(Advanced(path, count)), watch if large else None)
    except DiskError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        found = None
    run.emit(Finished(path, "copied" if found else "skipped"))
    return found


def _hash_small(tree: Tree, paths: Iterable[str], run: Run, each: Callable[[str, Hashed], None]) -> None:
    """Hash files that are read in one piece, a directory at a time."""
    write_back = _WriteBack()
    for directory, group in groupby(sorted(paths, key=_directory), key=_directory):
        names = list(group)
        found: dict[str, Hashed | None] = {}
        with suppress(DiskError, WouldOverwrite), tree.opener(directory) as opened:
            for path in names:
                run.check()
                found[path] = _hash_whole(opened, path, write_back)
        for path in names:
            hashed = found.get(path)
            if hashed is None:
                # Whatever is odd about a file or its directory is told by the careful way.
                _tell(each, path, _hash_one(tree, path, None, run))
                continue
            run.emit(ItemStarted(path, path, hashed.key.size))
            run.emit(Advanced(path, hashed.key.size))
            run.emit(Finished(path, "copied"))
            each(path, hashed)


def _directory(path: str) -> str:
    return path.rpartition("/")[0]


def _hash_whole(opened: Callable[[str], int], path: str, write_back: _WriteBack) -> Hashed | None:
    """Hash a file in one piece; None where it is none, or is in motion."""
    try:
        descriptor = opened(path)
    except OSError:
        return None
    try:
        taken = time.time_ns()
        facts = os.fstat(descriptor)
        if write_back.needed(descriptor, facts, taken):
            facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > SMALL:
            return None
        content = os.read(descriptor, facts.st_size + 1)
        key = StatKey.of(facts)
        if len(content) != key.size or StatKey.of(os.fstat(descriptor)) != key:
            return None
        return Hashed(Digest("sha256", hashlib.sha256(content).hexdigest()), key, taken)
    except OSError:
        return None
    finally:
        os.close(descriptor)
