"""One large content on its way into a file: written at its place, hashed behind the writing, noted in a journal.

The caller's thread receives. A second one hashes the beginning that has come, read again from the page cache, so that
the digest is that of the file; a third syncs and writes the journal; further ones receive other segments where the
host gives more that way (docs/decisions/0009).
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from modelops_bundle.disk.allocate import sync_data, write_at
from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import Corrupt, DiskError, NotFound, Unauthorized, Unavailable
from modelops_bundle.events import Run, checkpoint
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Chunks, Parts, Reader
from modelops_bundle.transfer.hosts import Host
from modelops_bundle.transfer.journal import Journal
from modelops_bundle.transfer.segments import Lease, Segments, Spans
from modelops_bundle.transfer.verify import mismatch

BATCH = 64 * 1024 * 1024
"""Bytes after which what came is synced and noted: the most that a kill can cost, and the most that is left to sync."""
PAUSE = 2.0
"""Seconds after which it is in any case."""
SPLIT = 32 * 1024 * 1024
"""Bytes still to come that are worth another connection."""
_BLOCK = 256 * 1024
_STRIDE = 1024 * 1024
"""Bytes that are worth waking the hashing thread for."""


class _Leave(Exception):
    """The host has no room for this additional connection."""


class _Whole(Exception):
    """The host has no ranges."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file that is to become `what`.

    :param out: the open file, for reading and writing, of the content's full length.
    :param here: ranges that it holds already.
    """

    out: int
    what: Descriptor
    here: Spans
    journal: Journal


class Reception:
    """Brings what a part lacks.

    :param progress: told the bytes that came, from several threads.
    :param host: the store's, when it may be asked for several parts at a time.
    """

    def __init__(
        self, part: Part, store: Reader, run: Run, progress: Callable[[int], None], host: Host | None = None
    ) -> None:
        self._out, self._what, here, self._journal = part.out, part.what, part.here, part.journal
        self._store = store
        self._run = run
        self._progress = progress
        self._host = host
        self._here = here
        self._noted = here.total
        self._kept = here.total
        self._segments = Segments(part.what.size, here)
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        """A lease or a worker ended, or something failed."""
        self._grown = threading.Condition(lock)
        """The beginning reaches `_wanted`, or something failed."""
        self._wanted = 0
        self._due = threading.Condition(lock)
        """A batch is full, or receiving is over."""
        self._helpers = 0
        self._over = False
        self._failure: BaseException | None = None

    @property
    def received(self) -> int:
        """Bytes that came."""
        return self._here.total - self._kept

    def bring(self) -> str:
        """Receive, hash and note everything.

        :returns: the SHA-256 of the file in hex.
        :raises BundleError: the first failure; what came until then is noted.
        """
        with ThreadPoolExecutor(2 + (self._host.most if self._host else 0)) as self._pool:
            noting = self._pool.submit(self._guarded, self._note)
            hashing: Future[str | None] = self._pool.submit(self._guarded, self._hash)
            try:
                self._guarded(self._receive)
            finally:
                with self._changed:
                    self._over = True
                    self._due.notify()
            hexdigest = hashing.result()
            noting.result()
        if self._failure is not None:
            raise self._failure
        assert hexdigest is not None
        return hexdigest

    def _guarded(self, work: Callable[[], str | None]) -> str | None:
        try:
            return work()
        except BaseException as error:
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()
                self._grown.notify()
            raise

    # --- receiving

    def _receive(self) -> None:
        """Bring what nobody else brings, until nothing is missing."""
        with self._entered():
            while (lease := self._next()) is not None:
                before = self._here.total
                try:
                    self._bring(lease, helping=False)
                except _Whole:
                    # The next time it takes all there is.
                    continue
                except Unavailable:
                    if not self._may_try_again(before):
                        raise
            with self._changed:
                self._changed.wait_for(lambda: self._helpers == 0)

    def _may_try_again(self, before: int) -> bool:
        """Whether the host, having refused for long, gave more than the `before` bytes meanwhile, or helpers hold
        what room it has. Then one of them leaves first.
        """
        with self._changed:
            helpers = self._helpers
            if helpers:
                self._changed.wait_for(lambda: self._helpers < helpers)
            return helpers > 0 or self._here.total > before

    def _help(self) -> None:
        """Bring further segments as long as the host gives more that way."""
        assert self._host is not None
        try:
            while (lease := self._claim(self._host)) is not None:
                self._bring(lease, helping=True)
        except (_Leave, _Whole):
            return
        except (Corrupt, NotFound, Unauthorized, Unavailable):
            # One connection fewer; whether the content can be had is for the caller's own to say.
            self._host.hindered()
        finally:
            self._host.leave()
            with self._changed:
                self._helpers -= 1
                self._changed.notify_all()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        if self._host is None:
            yield
            return
        self._host.enter()
        try:
            yield
        finally:
            self._host.leave()

    def _next(self) -> Lease | None:
        """The next lease of the caller's thread, waiting for what helpers may leave; None at the end."""
        with self._changed:
            while self._failure is None:
                # Where every answer is the whole, one of them must do.
                shared = self._host is not None and self._host.ranges
                lease = self._segments.take(1 + self._helpers if shared else 1)
                if lease is not None or not self._segments.leased:
                    return lease
                self._changed.wait()
        return None

    def _claim(self, host: Host) -> Lease | None:
        """The next lease of a helper, None when it is not wanted any more."""
        with self._changed:
            over = self._failure is not None or host.crowded()
            return None if over else self._segments.take(1 + self._helpers)

    def _bring(self, lease: Lease, *, helping: bool) -> None:
        try:
            with self._opened(lease, helping=helping) as chunks:
                self._write(lease, chunks)
        finally:
            with self._changed:
                self._segments.end(lease)
                self._changed.notify_all()

    def _write(self, lease: Lease, chunks: Chunks) -> None:
        began = time.monotonic()
        for chunk in chunks:
            waited = time.monotonic() - began
            self._run.check()
            if not self._take(lease, memoryview(chunk), waited):
                return
            began = time.monotonic()
        raise mismatch(self._what, f"there are {lease.at} bytes of {self._what.size}")

    def _take(self, lease: Lease, rest: memoryview, waited: float) -> bool:
        """Write what a connection brought; False when no more of it is wanted."""
        while rest:
            with self._changed:
                if self._failure is not None:
                    return False
                start, stop = self._segments.claim(lease, len(rest))
            if stop == self._what.size and stop - start < len(rest):
                raise mismatch(self._what, f"there are more than {self._what.size} bytes")
            if stop > start:
                with translated("write a download"):
                    write_at(self._out, rest[: stop - start], start)
                self._came(start, stop, waited)
            # What goes beyond the lease is needed when that is stretched: the connection goes on behind it.
            rest, waited = rest[stop - start :], 0.0
            if stop == lease.stop and not self._is_stretched(lease):
                return False
        return True

    def _is_stretched(self, lease: Lease) -> bool:
        """Whether helpers left more of a lease that was cut for them: known once one of them was given a part."""
        host = self._host
        if host is None or lease.stop == lease.reach:
            return False
        with self._changed:
            self._changed.wait_for(
                lambda: lease.left > 0 or host.proven or self._helpers == 0 or self._failure is not None
            )
            return lease.left > 0

    @contextmanager
    def _opened(self, lease: Lease, *, helping: bool) -> Iterator[Chunks]:
        if self._host is None or not isinstance(self._store, Parts) or not self._host.ranges:
            if helping:
                raise _Whole
            with self._store.open(self._what, lease.at, lease.reach) as chunks:
                yield chunks
            return
        hindered = self._leave if helping else self._host.hindered
        with self._store.part(self._what, lease.at, lease.reach, hindered) as found:
            if found is None:
                self._host.ranges = False
                raise _Whole
            if lease.at and not self._host.proven:
                with self._changed:
                    self._host.proven = True
                    self._changed.notify_all()
            yield found

    def _leave(self) -> None:
        assert self._host is not None
        self._host.hindered()
        raise _Leave

    def _came(self, start: int, stop: int, waited: float) -> None:
        with self._changed:
            self._here.add(start, stop)
            if self._here.total - self._noted >= BATCH:
                self._due.notify()
            if self._here.prefix >= self._wanted:
                self._grown.notify()
        checkpoint("chunk written")
        self._progress(stop - start)
        if self._host is not None:
            self._host.received(stop - start, waited)
            self._widen(self._host)

    def _widen(self, host: Host) -> None:
        while self._what.size - self._here.total > SPLIT and host.admit():
            with self._changed:
                if self._failure is not None:
                    host.leave()
                    return
                self._helpers += 1
                self._pool.submit(self._guarded, self._help)

    # --- behind it

    def _hash(self) -> str | None:
        """The digest of the file; None when it will not get whole."""
        hasher = hashlib.sha256()
        buffer = memoryview(bytearray(_BLOCK))
        at = 0
        with translated("read a download"), open(os.dup(self._out), "rb", buffering=0) as file:
            file.seek(0)
            while at < self._what.size:
                top = self._await_beginning(min(self._what.size, at + _STRIDE))
                while at < top and self._failure is None:
                    self._run.check()
                    count = file.readinto(buffer[: top - at])
                    if not count:
                        raise DiskError("a download was cut short by another program")
                    hasher.update(buffer[:count])
                    at += count
                if self._failure is not None:
                    return None
        return hasher.hexdigest()

    def _await_beginning(self, wanted: int) -> int:
        """How many bytes have come without a gap, once it is at least `wanted` or something failed."""
        with self._grown:
            self._wanted = wanted
            self._grown.wait_for(lambda: self._here.prefix >= wanted or self._failure is not None)
            return self._here.prefix

    def _note(self) -> None:
        """Sync what came and tell the journal, now and then and at the end."""
        over = False
        while not over:
            with self._changed:
                self._due.wait_for(lambda: self._over or self._here.total - self._noted >= BATCH, PAUSE)
                over, total, ranges = self._over, self._here.total, tuple(self._here)
            if total > self._noted:
                with translated("write a download"):
                    sync_data(self._out)
                self._journal.append(ranges)
                self._noted = total
                checkpoint("part noted")
