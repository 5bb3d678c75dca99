"""sha256 of files, several at a time, and only when the file held still meanwhile."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import DiskError, WorkspaceChanged
from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started
from modelops_bundle.model.digest import Digest

BLOCK = 1024 * 1024
SETTLED = 60 * 10**9
"""Nanoseconds after which the kernel has written mapped pages back and stamped them (reliability §5.1 c)."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A digest, the stat key the file had before and after it was read, and the wall clock (ns) at that stat."""

    digest: Digest
    key: StatKey
    taken_ns: int


def hash_file(
    tree: Tree, path: str, run: Run, progress: Callable[[int], None], now_ns: Callable[[], int] = time.time_ns
) -> Hashed:
    """Hash the regular file `path`.

    :raises WorkspaceChanged: it changed while it was read, twice. :raises DiskError: it cannot be read.
    """
    for _ in range(2):
        descriptor = tree.open_read(path)
        try:
            with translated(f"read {path}"):
                found = _hash_open(descriptor, run, progress, now_ns)
        finally:
            os.close(descriptor)
        if found is not None:
            return found
    raise WorkspaceChanged(
        f"{path} changed while it was read", hint="wait until it is written, then run again", path=path
    )


def _hash_open(descriptor: int, run: Run, progress: Callable[[int], None], now_ns: Callable[[], int]) -> Hashed | None:
    taken = now_ns()
    facts = os.fstat(descriptor)
    # The change time too: a modification time can be set back (`cp -p`, utime) while mapped pages are still dirty.
    if taken - max(facts.st_mtime_ns, facts.st_ctime_ns) < SETTLED:
        # A page dirtied through mmap before this moment would take no new stamp for later writes.
        _write_back(descriptor)
    before = StatKey.of(os.fstat(descriptor))
    hasher = hashlib.sha256()
    buffer = bytearray(min(BLOCK, max(before.size, 1)))
    view = memoryview(buffer)
    done = 0
    # One that grows is not followed to its end, which may never come.
    while done <= before.size and (count := os.readv(descriptor, [buffer])):
        run.check()
        hasher.update(view[:count])
        done += count
        progress(count)
    if StatKey.of(os.fstat(descriptor)) != before:
        return None
    return Hashed(Digest("sha256", hasher.hexdigest()), before, taken)


def _write_back(descriptor: int) -> None:
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        sync(descriptor)
    except OSError:
        # Read-only mounts refuse; nothing can be dirty there.
        return


def hash_files(tree: Tree, sized: Sequence[tuple[str, int]], run: Run, each: Callable[[str, Hashed], None]) -> None:
    """Hash `sized` (paths with their sizes in bytes), biggest first, on every core; `each` runs in this thread.

    A path that is gone by now is left out.
    """
    run.emit(Started("hash", len(sized), sum(size for _, size in sized)))

    def one(path: str, size: int) -> Hashed | None:
        run.check()
        run.emit(ItemStarted(path, path, size))
        try:
            found = hash_file(tree, path, run, lambda count: run.emit(Advanced(path, count)))
        except DiskError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            found = None
        run.emit(Finished(path, "copied" if found else "skipped"))
        return found

    def tell(path: str, found: Hashed | None) -> None:
        if found is not None:
            each(path, found)

    ordered = sorted(sized, key=lambda item: -item[1])
    if len(ordered) < 2:
        for path, size in ordered:
            tell(path, one(path, size))
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        futures = [(path, pool.submit(one, path, size)) for path, size in ordered]
        try:
            for path, future in futures:
                tell(path, future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
