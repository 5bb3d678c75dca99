"""Downloads on their way: partial bytes under `<hex>.part`, which of them came in `<hex>.journal`, verified and synced
blobs under `<hex>`.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

from modelops_bundle.disk.allocate import reserve
from modelops_bundle.disk.files import require_directory, write_all
from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import Corrupt, NotFound
from modelops_bundle.events import Retrying, Run, checkpoint
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Parts, Reader
from modelops_bundle.transfer.hosts import Host, Hosts
from modelops_bundle.transfer.journal import Journal
from modelops_bundle.transfer.receive import Part, Reception
from modelops_bundle.transfer.segments import Spans
from modelops_bundle.transfer.verify import mismatch

if TYPE_CHECKING:
    from modelops_bundle.model.chunkmap import Recipe
    from modelops_bundle.transfer.assemble import Brought, Where
    from modelops_bundle.transfer.seeds import Seeds

_BLOCK = 1024 * 1024
SMALL = 8 * 1024 * 1024
"""Up to this size a blob is written from its beginning on, so that a part's length tells what came; larger ones get
their full length at once and a journal."""


class Told:
    """Passes on progress, which may turn out to have been none.

    :param progress: told the bytes that came, from several threads.
    """

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self._amount = 0
        self._lock = threading.Lock()

    def __call__(self, amount: int) -> None:
        with self._lock:
            self._amount += amount
        self._progress(amount)

    def take_back(self) -> None:
        """All of it was for nothing."""
        self._progress(-self._amount)


class Staging:
    """A folder of blobs by digest, on the file system of the tree they are for.

    :param hosts: what is known about the hosts they come from, when others use them too.
    """

    def __init__(self, folder: Path, hosts: Hosts | None = None) -> None:
        self._folder = folder
        self._hosts = hosts or Hosts()
        self._lock = threading.Lock()
        self._busy: dict[Digest, threading.Lock] = {}
        """One lock per blob: two that write the same part would truncate what the other has verified and named."""
        self._fresh: set[Digest] = set()

    def is_fresh(self, what: Descriptor) -> bool:
        """Whether the blob is here whole, and its bytes were hashed by this object."""
        return what.digest in self._fresh and self.has(what)

    def _alone(self, digest: Digest) -> threading.Lock:
        with self._lock:
            return self._busy.setdefault(digest, threading.Lock())

    def path(self, digest: Digest) -> Path:
        """Where the verified blob is, or will be."""
        return self._folder / digest.hex

    def has(self, what: Descriptor) -> bool:
        """Whether the blob is here whole. Only verified and synced bytes ever get this name."""
        try:
            return self.path(what.digest).lstat().st_size == what.size
        except OSError:
            return False

    def names(self) -> frozenset[str]:
        """The names of what is here, whole blobs by the digits of their digests."""
        with suppress(OSError):
            return frozenset(os.listdir(self._folder))
        return frozenset()

    def missing_bytes(self, what: Descriptor) -> int:
        """How many bytes of the blob are still to come."""
        if self.has(what):
            return 0
        try:
            facts = self._part(what).lstat()
        except OSError:
            return what.size
        if what.size <= SMALL:
            return max(0, what.size - facts.st_size)
        # Its full length is reserved from the beginning on.
        return what.size - (self._journal(what).read().total if facts.st_size == what.size else 0)

    def needed_space(self, what: Descriptor) -> int:
        """How many bytes of disk the blob still needs: what an interrupted fetch reserved is its own."""
        if self.has(what):
            return 0
        kept = 0
        for path in (self._part(what), self.assembly(what)):
            with suppress(OSError):
                kept = max(kept, path.lstat().st_blocks * 512)
        return max(0, what.size - kept)

    def assembly(self, what: Descriptor) -> Path:
        """Where the blob is put together of chunks."""
        return self._folder / f"{what.digest.hex}.assembly"

    def assemble(
        self,
        what: Descriptor,
        recipe: Recipe,
        seeds: Seeds,
        where: Where,
        run: Run,
        progress: Callable[[int], None],
    ) -> Brought:
        """Put the blob together here of chunks; see `transfer.assemble`."""
        from modelops_bundle.transfer.assemble import assemble  # noqa: PLC0415  few pulls need it

        path = self.assembly(what)
        brought = assemble(path, what, recipe, seeds, where, run, progress)
        with translated(f"write {path}"):
            path.replace(self.path(what.digest))
        self._fresh.add(what.digest)
        checkpoint("part kept")
        return brought

    def reader(self) -> Reader:
        """What is here whole, as a reader."""
        return _Whole(self)

    def host(self, name: str) -> Host:
        """What is known of a host that blobs come from."""
        return self._hosts.get(name)

    def _journal(self, what: Descriptor) -> Journal:
        return Journal(self._folder / f"{what.digest.hex}.journal", what)

    def _part(self, what: Descriptor) -> Path:
        return self._folder / f"{what.digest.hex}.part"

    def fetch(
        self, what: Descriptor, store: Reader, run: Run, progress: Callable[[int], None], *, anew: bool = False
    ) -> int:
        """Bring the blob here, going on where an interrupted fetch stopped; nothing comes when it is here whole.

        :param anew: what an earlier run left here whole is not believed.
        :returns: the number of bytes that were transferred.
        :raises Corrupt: the store holds other bytes; nothing stays here then.
        """
        require_directory(self._folder)
        with self._alone(what.digest):
            if self.is_fresh(what) or (not anew and self.has(what)):
                progress(what.size)
                return 0
            return self._fetch(what, store, run, progress)

    def _fetch(self, what: Descriptor, store: Reader, run: Run, progress: Callable[[int], None]) -> int:
        told = Told(progress)
        try:
            return self._receive(what, store, run, told, alone=False)
        except Corrupt as error:
            self._drop(what)
            run.emit(Retrying(str(what.digest), 1, 0.0, error.message))
        # A kept beginning, or the way here, may have been the bad part: once more from nothing.
        told.take_back()
        try:
            return self._receive(what, store, run, progress, alone=True)
        except Corrupt:
            self._drop(what)
            raise

    def _drop(self, what: Descriptor) -> None:
        for path in (self._part(what), self._folder / f"{what.digest.hex}.journal"):
            with suppress(OSError):
                path.unlink()

    def _receive(
        self, what: Descriptor, store: Reader, run: Run, progress: Callable[[int], None], *, alone: bool
    ) -> int:
        part = self._part(what)
        with translated(f"write {part}"):
            out = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            if what.size <= SMALL:
                received, hexdigest = _receive_small(out, what, store, run, progress)
            else:
                received, hexdigest = self._receive_large(out, what, store, run, progress, alone=alone)
            if hexdigest != what.digest.hex:
                raise mismatch(what, f"the bytes have sha256:{hexdigest}")
            with translated(f"write {part}"):
                os.fsync(out)
        finally:
            os.close(out)
        checkpoint("part verified")
        with translated(f"write {part}"):
            part.replace(self.path(what.digest))
        self._fresh.add(what.digest)
        checkpoint("part kept")
        if what.size > SMALL:
            self._journal(what).remove()
        return received

    def _receive_large(
        self, out: int, what: Descriptor, store: Reader, run: Run, progress: Callable[[int], None], *, alone: bool
    ) -> tuple[int, str]:
        journal = self._journal(what)
        with translated(f"write {self._part(what)}"):
            here = journal.read() if os.fstat(out).st_size == what.size else Spans()
            if not here.total:
                # First the journal: it must never tell of bytes in a file that is made anew.
                journal.remove()
                os.ftruncate(out, 0)
                reserve(out, what.size)
        journal.start(here)
        progress(here.total)
        # A byte rate that the user set is no reason to look for more connections.
        divisible = not alone and run.limits.rate is None
        host = self._hosts.get(store.host) if divisible and isinstance(store, Parts) else None
        reception = Reception(Part(out, what, here, journal), store, run, progress, host)
        hexdigest = reception.bring()
        return reception.received, hexdigest

    def adopt(self, what: Descriptor, source: int) -> bool:
        """Copy the blob from the open file `source` if that really holds it; False when it does not, or is no file that
        can be read: it only would have been nearer than another.
        """
        require_directory(self._folder)
        try:
            facts = os.fstat(source)
        except OSError:
            return False
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != what.size:
            return False
        with self._alone(what.digest):
            return self._adopt(what, source)

    def _adopt(self, what: Descriptor, source: int) -> bool:
        # Not the part of an interrupted fetch: the source may turn out wrong, and that part is worth keeping.
        part = self._folder / f"{what.digest.hex}.copy"
        hasher = hashlib.sha256()
        size = 0
        with translated(f"write {part}"):
            out = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
            try:
                for block in _readable(source):
                    hasher.update(block)
                    size += len(block)
                    write_all(out, block)
                os.fsync(out)
            finally:
                os.close(out)
            if size != what.size or hasher.hexdigest() != what.digest.hex:
                part.unlink()
                return False
            part.replace(self.path(what.digest))
        self._fresh.add(what.digest)
        return True

    def drop(self, what: Descriptor) -> None:
        """Remove a blob that nobody needs any more."""
        with suppress(OSError):
            self.path(what.digest).unlink()

    def clear(self) -> None:
        """Remove everything staged."""
        with suppress(OSError):
            for name in os.listdir(self._folder):
                with suppress(OSError):
                    (self._folder / name).unlink()


class _Whole:
    def __init__(self, staging: Staging) -> None:
        self._staging = staging

    def has(self, what: Descriptor) -> bool:
        return self._staging.has(what)

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        if not self.has(what):
            raise NotFound(f"{what.digest} is not here any more", digest=str(what.digest))
        with translated("read a download"), open(self._staging.path(what.digest), "rb", buffering=0) as file:
            file.seek(start)
            yield _pieces(file, (what.size if stop is None else stop) - start)


def _readable(source: int) -> Chunks:
    """What can be read of an open file; a medium that fails ends it early."""
    with suppress(OSError):
        while block := os.read(source, _BLOCK):
            yield block


def _pieces(file: RawIOBase, count: int) -> Chunks:
    while count > 0 and (piece := file.read(min(count, _BLOCK))):
        count -= len(piece)
        yield piece


def _receive_small(
    out: int, what: Descriptor, store: Reader, run: Run, progress: Callable[[int], None]
) -> tuple[int, str]:
    hasher = hashlib.sha256()
    start = _hash_kept(out, what.size, hasher, run)
    progress(start)
    received = 0
    if start < what.size or what.size == 0:
        received = _append(out, what, start, store, hasher, run, progress)
    return received, hasher.hexdigest()


def _hash_kept(out: int, size: int, hasher: hashlib._Hash, run: Run) -> int:
    kept = os.fstat(out).st_size
    if kept > size:
        os.ftruncate(out, 0)
        return 0
    while block := os.read(out, _BLOCK):
        run.check()
        hasher.update(block)
    return kept


def _append(
    out: int,
    what: Descriptor,
    start: int,
    store: Reader,
    hasher: hashlib._Hash,
    run: Run,
    progress: Callable[[int], None],
) -> int:
    received = 0
    with store.open(what, start) as chunks:
        for chunk in chunks:
            run.check()
            received += len(chunk)
            if start + received > what.size:
                raise mismatch(what, f"there are more than {what.size} bytes")
            hasher.update(chunk)
            with translated("write a download"):
                write_all(out, chunk)
            checkpoint("chunk written")
            progress(len(chunk))
    if start + received != what.size:
        raise mismatch(what, f"there are {start + received} bytes of {what.size}")
    return received
