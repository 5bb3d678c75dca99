"""Files put together of chunks in the staging folder: those that are on this machine copied, the others fetched.

The file has its full length from the beginning on, and no journal: a chunk that came before a kill is known by its
digest. The SHA-256 of the whole is taken behind the writing, and only with that the file gets its name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, repeat
from pathlib import Path
from typing import Protocol, TypeVar

from modelops_bundle.disk.allocate import reserve, sync_data, write_at
from modelops_bundle.disk.files import require_directory
from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.reflink import reflink
from modelops_bundle.errors import DiskError
from modelops_bundle.events import Run, checkpoint
from modelops_bundle.model.chunkmap import Recipe, is_whole
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.transfer import ranges
from modelops_bundle.transfer.chunks import matches
from modelops_bundle.transfer.seeds import Seeds
from modelops_bundle.transfer.verify import mismatch

BATCH = 64 * 1024 * 1024
"""Bytes after which what is in place is synced."""
_SHARED = 4
"""One of how many chunks must be where the file has them for all blocks to be shared first."""
_BLOCK = 256 * 1024
_STRIDE = 1024 * 1024
"""Bytes that are worth waking the hashing thread for."""
Result = TypeVar("Result")


class Where(ranges.Where, Protocol):
    """Where packs are."""

    def stage(self, pack: Descriptor) -> int:
        """Bring a whole pack to this machine; how many bytes came."""
        ...


@dataclass(frozen=True, slots=True)
class Brought:
    """Bytes that came over a network, and bytes of the file that had not to."""

    received: int
    reused: int


def assemble(
    path: Path, what: Descriptor, recipe: Recipe, seeds: Seeds, where: Where, run: Run, progress: Callable[[int], None]
) -> Brought:
    """Put the file `what` together at `path`, durably, going on where an interrupted run stopped.

    :param progress: told the bytes of the file that are in place, from several threads.
    :raises Corrupt: a pack holds other bytes than its list says, or the chunks do not make the file.
    :raises NotFound: a pack is not there.
    :raises DiskError: what was staged does not stay there.
    :raises ranges.NoRanges: the file is one blob, and its host gives no parts of it.
    """
    require_directory(path.parent)
    with translated(f"write {path}"):
        out = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        assembly = _Assembly(out, what, recipe, seeds, where, run, progress)
        hexdigest = assembly.bring()
        if hexdigest != what.digest.hex:
            # Its chunks are what the list says, so it is the list that lies: nothing here is worth keeping.
            with suppress(OSError):
                path.unlink()
            raise mismatch(what, f"the chunks that it is said to be made of have sha256:{hexdigest}")
        with translated(f"write {path}"):
            os.fsync(out)
    finally:
        os.close(out)
    checkpoint("assembly verified")
    return Brought(assembly.received, what.size - assembly.fetched)


class Wanted:
    """The chunks of a file as columns, by their place in it."""

    def __init__(self, recipe: Recipe) -> None:
        self._lists = [pack.chunks for pack in recipe.packs]
        self.packs = array("I")
        self.numbers = array("I")
        self.sizes = array("I")
        for pack, first, count in recipe.segments:
            self.packs.extend(repeat(pack, count))
            self.numbers.extend(range(first, first + count))
            self.sizes.extend(self._lists[pack].sizes[first : first + count])
        self.starts = array("Q", accumulate(self.sizes, initial=0))

    def __len__(self) -> int:
        return len(self.sizes)

    def digest(self, at: int) -> bytes:
        """The digest of a chunk."""
        return self._lists[self.packs[at]].digest(self.numbers[at])

    def missing(self, seeds: Seeds, among: Iterable[int] | None = None) -> tuple[array[int], array[int]]:
        """Those that `seeds` may have, and those that they have not."""
        here, away = array("I"), array("I")
        for at in range(len(self)) if among is None else among:
            (away if seeds.find(self.digest(at)) is None else here).append(at)
        return here, away

    def size(self, among: Iterable[int]) -> int:
        """Bytes of some of them."""
        return sum(self.sizes[at] for at in among)


class _Assembly:
    """One file on its way. The caller's thread copies what is here, others fetch and hash."""

    def __init__(
        self,
        out: int,
        what: Descriptor,
        recipe: Recipe,
        seeds: Seeds,
        where: Where,
        run: Run,
        progress: Callable[[int], None],
    ) -> None:
        self._out = out
        self._what = what
        self._recipe = recipe
        self._seeds = seeds
        self._where = where
        self._run = run
        self._progress = progress
        self._wanted = Wanted(recipe)
        if self._wanted.starts[-1] != what.size:
            raise mismatch(what, f"the chunks that it is said to be made of have {self._wanted.starts[-1]} bytes")
        self._done = bytearray(len(self._wanted))
        self._front = 0
        """How many chunks from the beginning on are in place."""
        self._grown = threading.Condition()
        self._failure: BaseException | None = None
        self._ranges = ranges.Ranges(recipe.packs, where, seeds.read, self._holds, run)
        self._staged = 0
        self.fetched = 0
        """Bytes of the file that did not come from this machine."""

    @property
    def received(self) -> int:
        """Bytes that came over a network."""
        return self._ranges.received + self._staged

    def bring(self) -> str:
        """Put everything in place.

        :returns: the SHA-256 of the file in hex.
        """
        kept = self._begin()
        with ThreadPoolExecutor(2) as pool:
            hashing: Future[str | None] = pool.submit(self._guarded, self._hash)
            self._guarded(lambda: self._bring(pool, kept=kept))
            hexdigest = hashing.result()
        if self._failure is not None:
            raise self._failure
        assert hexdigest is not None
        return hexdigest

    def _guarded(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except BaseException as error:
            with self._grown:
                self._failure = self._failure or error
                self._grown.notify_all()
            raise

    def _holds(self, digest: bytes) -> bool:
        return self._seeds.find(digest) is not None

    # --- what is in the file already

    def _begin(self) -> bool:
        """Give the file its length; whether some of its chunks may be in it."""
        with translated("write a download"):
            if os.fstat(self._out).st_size == self._what.size:
                return True
            os.ftruncate(self._out, 0)
            shared = self._shared()
            if shared is not None and reflink(shared, self._out):
                os.ftruncate(self._out, self._what.size)
                return True
            reserve(self._out, self._what.size)
        return False

    def _shared(self) -> int | None:
        """The seed that has most of the file where the file has it, open."""
        wanted, same = self._wanted, Counter[int]()
        for at in range(len(wanted)):
            same.update(
                held.source for held in self._seeds.places(wanted.digest(at)) if held.offset == wanted.starts[at]
            )
        source, count = next(iter(same.most_common(1)), (0, 0))
        return self._seeds.descriptor(source) if count * _SHARED >= len(wanted) else None

    def _recognise(self) -> None:
        """Find the chunks that are in place; nobody looks into holes, in which an interrupted run put nothing."""
        wanted = self._wanted
        for start, stop in _written(self._out, self._what.size):
            first = max(0, bisect_right(wanted.starts, start) - 1)
            for at in range(first, len(wanted)):
                if wanted.starts[at] >= stop:
                    break
                self._check()
                if self._done[at]:
                    continue
                if matches(os.pread(self._out, wanted.sizes[at], wanted.starts[at]), wanted.digest(at)):
                    self._mark(at)

    # --- the rest

    def _bring(self, pool: ThreadPoolExecutor, *, kept: bool) -> None:
        wanted = self._wanted
        if kept:
            with translated("read a download"):
                self._recognise()
        here, away = wanted.missing(self._seeds, (at for at in range(len(wanted)) if not self._done[at]))
        fetching = pool.submit(self._guarded, lambda: self._fetch(away))
        gone = self._copy(here)
        fetching.result()
        self._fetch(gone)

    def _copy(self, here: Sequence[int]) -> array[int]:
        """Copy chunks that are on this machine; those that turn out not to be are returned."""
        gone, wanted = array("I"), self._wanted
        for at in here:
            self._check()
            data = self._seeds.read(wanted.digest(at), wanted.sizes[at])
            if data is None:
                gone.append(at)
            else:
                self._put(at, data)
        return gone

    def _fetch(self, away: Sequence[int]) -> None:
        """Bring chunks from the packs, each once."""
        wanted = self._wanted
        places: dict[tuple[int, int], list[int]] = {}
        known: dict[tuple[bytes, int], list[int]] = {}
        for at in away:
            # The same bytes may be in several packs, and several times in the file. A list may also give one digest two
            # sizes, of which one is wrong.
            together = known.setdefault((wanted.digest(at), wanted.sizes[at]), [])
            places.setdefault((wanted.packs[at], wanted.numbers[at]), together).append(at)
        by_pack: dict[int, list[int]] = {}
        for together in known.values():
            by_pack.setdefault(wanted.packs[together[0]], []).append(wanted.numbers[together[0]])
        del known

        def take(pack: int, number: int, data: bytes) -> None:
            self._check()
            together = places[pack, number]
            for at in together:
                self._put(at, data)
            with self._grown:
                self.fetched += len(data)

        left = {pack: sorted(numbers) for pack, numbers in by_pack.items()}
        # Packs that an earlier run staged may turn out to be wrong, one after another.
        for _ in range(1 + len(self._recipe.packs)):
            try:
                return self._ranges.fetch(left, take)
            except ranges.NoRanges:
                if is_whole(self._recipe, self._what.digest):
                    raise
                self._stage_packs(left)
            left = {pack: [n for n in numbers if not self._done[places[pack, n][0]]] for pack, numbers in left.items()}
        raise DiskError("packs that were brought here go away again", hint="another program may be removing them")

    def _stage_packs(self, wanted: Iterable[int]) -> None:
        """Bring whole packs, those of bases too, from a host that gives no parts of them."""
        packs = self._recipe.packs
        needed = {base for pack in wanted for base, _ in packs[pack].chunks.bases.values()}.union(wanted)
        for pack in sorted(needed):
            self._check()
            self._staged += self._where.stage(packs[pack].blob)

    def _put(self, at: int, data: bytes) -> None:
        if len(data) != self._wanted.sizes[at]:
            raise mismatch(self._what, f"a chunk of {self._wanted.sizes[at]} bytes has {len(data)}")
        with translated("write a download"):
            write_at(self._out, data, self._wanted.starts[at])
        checkpoint("chunk written")
        self._mark(at)

    def _mark(self, at: int) -> None:
        done = self._done
        with self._grown:
            done[at] = 1
            if at == self._front:
                while self._front < len(done) and done[self._front]:
                    self._front += 1
                self._grown.notify()
        self._progress(self._wanted.sizes[at])

    def _check(self) -> None:
        self._run.check()
        if self._failure is not None:
            raise self._failure

    # --- behind it

    def _hash(self) -> str | None:
        """The digest of the file; None when it will not get whole. What was hashed is synced now and then, so that
        little is left for the end.
        """
        hasher, at, synced = hashlib.sha256(), 0, 0
        with translated("read a download"):
            while at < self._what.size:
                top = self._await(min(self._what.size, at + _STRIDE))
                while at < top and self._failure is None:
                    data = os.pread(self._out, min(_BLOCK, top - at), at)
                    if not data:
                        raise DiskError("a download was cut short by another program")
                    hasher.update(data)
                    at += len(data)
                if self._failure is not None:
                    return None
                if at - synced >= BATCH:
                    sync_data(self._out)
                    synced = at
            if (size := os.fstat(self._out).st_size) != self._what.size:
                raise DiskError(f"a download of {self._what.size} bytes was given {size} by another program")
        return hasher.hexdigest()

    def _await(self, wanted: int) -> int:
        """How many bytes from the beginning on are in place, once it is at least `wanted` or something failed."""
        starts = self._wanted.starts
        with self._grown:
            self._grown.wait_for(lambda: starts[self._front] >= wanted or self._failure is not None)
            return starts[self._front]


def _written(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where in a file something was written (lseek(2), SEEK_DATA); all of it where the system cannot tell."""
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            stop = os.lseek(descriptor, start, os.SEEK_HOLE)
        except AttributeError:
            start, stop = at, size
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start, stop = at, size
        yield start, stop
        at = stop
