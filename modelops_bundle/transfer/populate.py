"""Filling a new tree, which nobody else knows of yet, from a folder of verified blobs."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelops_bundle.disk.batch import Batch
from modelops_bundle.disk.files import staged, write_all
from modelops_bundle.disk.problems import translate
from modelops_bundle.disk.reflink import reflink
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import Corrupt, NotFound
from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started, checkpoint
from modelops_bundle.model import packs
from modelops_bundle.model.artifact import Contents, Place
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import parents
from modelops_bundle.model.ports import Chunks
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.transfer.unpack import IN_MEMORY, Member, Staged, members_in, reading
from modelops_bundle.transfer.verify import verified

_BLOCK = 1024 * 1024
_PIECE = 64 * 1024 * 1024
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
READ_ONLY = 0o444
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes come from, and what may be done with them.

    :param keys: the states in which blobs were found good; those of blobs that are nobody else's need none.
    :param link: let files be hard links of blobs where they can, and read-only everywhere.
    :param move: the blobs are wanted nowhere else.
    """

    blobs: Staging
    keys: Mapping[Digest, StatKey] = field(default_factory=dict)
    link: bool = False
    move: bool = False


def populate(tree: Tree, contents: Contents, source: Source, run: Run) -> Counter[str]:
    """Put the files, links and empty directories of a version into an empty tree, durably.

    :returns: how many files were placed in which way: `link`, `reflink`, `copy`, `move`, `unpacked`.
    :raises Corrupt: a blob changed since it was verified, or a pack lies. :raises NotFound: a blob is gone.
    :raises DiskFull: there is no room.
    """
    return _Filling(tree, contents, source, run).fill()


def shares_blocks(contents: Contents, source: Source, directory: Path) -> bool:
    """Whether files in `directory` can share the blocks of the blobs, found by letting one do it."""
    whole = (place.blob for place in contents.places.values() if place.offset is None)
    for blob in (source.blobs.path(what.digest) for what in whole if what is not None):
        with suppress(OSError), open(blob, "rb", buffering=0) as found, staged(directory / "probe") as out:
            return reflink(found.fileno(), out.fileno())
    return False


class _Filling:
    def __init__(self, tree: Tree, contents: Contents, source: Source, run: Run) -> None:
        self._tree = tree
        self._contents = contents
        self._source = source
        self._run = run
        self._ways: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._uses: Counter[Digest] = Counter()

    def fill(self) -> Counter[str]:
        entries = self._contents.snapshot
        files = [(path, entry) for path, entry in entries.items() if entry.kind == "file"]
        self._uses.update(blob.digest for path, _ in files for blob in self._contents.places[path].blobs)
        self._run.emit(Started("apply", len(files), entries.size))
        for path, entry in entries.items():
            if entry.kind == "dir":
                self._tree.make_directory(path)
            elif entry.kind == "link":
                self._tree.link(entry.target or "", path)
        small = [(path, entry) for path, entry in files if self._is_small(path, entry)]
        waiting = {path for path, _ in small}
        large = sorted((each for each in files if each[0] not in waiting), key=lambda each: -each[1].size)
        self._unpack(small)
        archived = [each for each in large if self._contents.places[each[0]].archive]
        large = [each for each in large if not self._contents.places[each[0]].archive]
        engine.each(_by_archive(archived, self._contents), lambda each: self._empty(*each), self._run)
        engine.each(large, lambda each: self._place(*each), self._run)
        self._tree.sync({"", *(parent for path in entries for parent in parents(path))} | self._directories())
        checkpoint("tree filled")
        return self._ways

    def _directories(self) -> set[str]:
        return {path for path, entry in self._contents.snapshot.items() if entry.kind == "dir"}

    def _is_small(self, path: str, entry: Entry) -> bool:
        place = self._contents.places[path]
        return place.offset is not None and not place.archive and entry.size <= IN_MEMORY

    def _mode(self, entry: Entry) -> int:
        return READ_ONLY | (0o111 if entry.executable else 0) if self._source.link else Tree.mode(entry.executable)

    def _note(self, way: str, count: int = 1) -> None:
        with self._lock:
            self._ways[way] += count

    # --- out of packs

    def _unpack(self, files: list[tuple[str, Entry]]) -> None:
        members = {
            entry.digest: (_blob(self._contents.places[path]).digest, self._contents.places[path].offset or 0)
            for path, entry in files
        }
        if not files:
            return
        with Staged(self._source.blobs, members) as packed, Batch(self._tree, len(files)) as batch:
            for path, entry in files:
                self._run.check()
                data = packed.read(entry.digest, entry.size)
                if data is None:
                    raise Corrupt(f"{members[entry.digest][0]} lacks a file that its index lists", path=path)
                batch.write(path, data, executable=entry.executable, guard=None)
            batch.commit()
            if batch.refused:
                raise Corrupt(f"{batch.refused[0]} could not be written: somebody else is at work here")
        if self._source.link:
            for path, entry in files:
                self._seal(path, entry)
        self._note("unpacked", len(files))

    def _seal(self, path: str, entry: Entry) -> None:
        descriptor = self._tree.open_read(path)
        try:
            os.fchmod(descriptor, self._mode(entry))
        finally:
            os.close(descriptor)

    # --- out of archives of other tools

    def _empty(self, archive: Digest, members: Mapping[Member, list[str]]) -> None:
        """Take files out of an archive in one go: nothing tells where in compressed bytes one begins."""
        with self._unchanged(archive) as descriptor:
            size = os.fstat(descriptor).st_size
            for member, content in members_in(_pieces(descriptor, 0, size), members):
                first, *others = members[member]
                with self._open_new(first) as out:
                    for chunk in verified(member.content, content):
                        self._run.check()
                        write_all(out, chunk)
                for path in others:
                    self._again(first, path)
                for path in members[member]:
                    self._run.emit(Advanced(path, member.size))
                    self._run.emit(Finished(path, "copied"))
                checkpoint("placed")
        self._note("unpacked", sum(len(paths) for paths in members.values()))

    def _again(self, first: str, path: str) -> None:
        source = self._tree.open_read(first)
        try:
            with self._open_new(path) as out:
                self._copy(source, out)
        finally:
            os.close(source)

    @contextmanager
    def _open_new(self, path: str) -> Iterator[int]:
        entry = self._contents.snapshot[path]
        self._run.emit(ItemStarted(path, path, entry.size))
        with self._tree.parent(path, create=True) as (parent, name), _new(parent, name, self._mode(entry)) as out:
            yield out

    # --- one by one

    def _place(self, path: str, entry: Entry) -> None:
        place = self._contents.places[path]
        self._run.emit(ItemStarted(path, path, entry.size))
        with self._tree.parent(path, create=True) as (parent, name):
            if place.blob is None:
                way = self._assembled(place, entry, parent, name)
            elif place.offset is None:
                way = self._whole(place.blob.digest, entry, parent, name)
            else:
                way = self._member(place, entry, parent, name)
        self._note(way)
        self._run.emit(Advanced(path, entry.size))
        self._run.emit(Finished(path, "copied" if way in ("copy", "unpacked") else "linked"))
        checkpoint("placed")

    def _whole(self, digest: Digest, entry: Entry, parent: int, name: str) -> str:
        path = self._source.blobs.path(digest)
        with self._unchanged(digest) as descriptor:
            if self._source.link and not entry.executable and self._linked(descriptor, path, parent, name):
                return "link"
            if self._source.move and self._last(digest):
                os.fchmod(descriptor, self._mode(entry))
                os.rename(path, name, dst_dir_fd=parent)
                return "move"
            with _new(parent, name, self._mode(entry)) as out:
                if reflink(descriptor, out):
                    return "reflink"
                self._copy(descriptor, out)
                return "copy"

    def _copy(self, source: int, out: int) -> None:
        """Copy all bytes, in pieces: nobody waits for the end of a hundred gigabytes to stop."""
        size = os.fstat(source).st_size
        at = 0
        while at < size:
            self._run.check()
            at += copy_range(source, out, at, min(_PIECE, size - at))
            checkpoint("piece copied")

    @staticmethod
    def _linked(descriptor: int, path: Path, parent: int, name: str) -> bool:
        """Let `name` be a further name of the open blob; False where that cannot be."""
        # A blob that a pull brought may be writable, and this one will have a name in somebody's tree.
        os.fchmod(descriptor, READ_ONLY)
        try:
            os.link(path, name, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        if not os.path.samestat(os.stat(name, dir_fd=parent, follow_symlinks=False), os.fstat(descriptor)):
            raise Corrupt("a blob in the cache was replaced while it was used", hint="run the same command again")
        return True

    def _last(self, digest: Digest) -> bool:
        with self._lock:
            self._uses[digest] -= 1
            return not self._uses[digest]

    @contextmanager
    def _unchanged(self, digest: Digest) -> Iterator[int]:
        """The open blob, which must be in the same state before and after."""
        try:
            descriptor = os.open(self._source.blobs.path(digest), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError as error:
            raise NotFound(f"{digest} was removed from the cache just now", digest=str(digest)) from error
        key = self._source.keys.get(digest)
        try:
            yield descriptor
            if key is not None and StatKey.of(os.fstat(descriptor)).written != key.written:
                raise Corrupt(f"{digest} in the cache changed while it was used", hint="run the same command again")
        except OSError as error:
            raise translate(error, f"place {digest}") from error
        finally:
            os.close(descriptor)

    def _assembled(self, place: Place, entry: Entry, parent: int, name: str) -> str:
        """A file that is made of chunks, out of their packs."""
        blobs = _Open(self._unchanged)
        with reading(blobs, place, entry.size) as chunks, _new(parent, name, self._mode(entry)) as out:
            for chunk in verified(entry.content, chunks):
                self._run.check()
                write_all(out, chunk)
        return "unpacked"

    def _member(self, place: Place, entry: Entry, parent: int, name: str) -> str:
        """A file that is too large to be held in memory, out of its pack."""
        member = Member(entry.digest, entry.size, place.offset or 0)
        start, stop = member.raw
        with self._unchanged(_blob(place).digest) as descriptor, _new(parent, name, self._mode(entry)) as out:
            raw = packs.unframed(_pieces(descriptor, start, stop), member.offset, member.offset + member.size)
            for chunk in verified(member.content, raw):
                self._run.check()
                write_all(out, chunk)
        return "unpacked"


class _Open:
    """Blobs that are here, as a reader.

    :param opened: opens one.
    """

    def __init__(self, opened: Callable[[Digest], AbstractContextManager[int]]) -> None:
        self._opened = opened

    def has(self, what: Descriptor) -> bool:
        with suppress(NotFound), self._opened(what.digest):
            return True
        return False

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        with self._opened(what.digest) as descriptor:
            yield _pieces(descriptor, start, what.size if stop is None else stop)


def _blob(place: Place) -> Descriptor:
    """The blob of a file that is not made of chunks."""
    assert place.blob is not None
    return place.blob


def _by_archive(files: Iterable[tuple[str, Entry]], contents: Contents) -> list[tuple[Digest, dict[Member, list[str]]]]:
    """By archive, its members with the paths that each of them is for."""
    found: dict[Digest, dict[Member, list[str]]] = {}
    for path, entry in files:
        place = contents.places[path]
        member = Member(entry.digest, entry.size, place.offset or 0, archive=True)
        found.setdefault(_blob(place).digest, {}).setdefault(member, []).append(path)
    return list(found.items())


def copy_range(source: int, out: int, at: int, count: int) -> int:
    """Copy up to `count` bytes at `at` to the same place in another file; how many it were, never none.

    :raises OSError: the system refuses. :raises Corrupt: the file ends before.
    """
    try:
        done = os.copy_file_range(source, out, count, at, at)
    except (AttributeError, OSError):
        # Not between these file systems, or not here at all; and what is really wrong shows again.
        data = os.pread(source, min(count, _BLOCK), at)
        os.lseek(out, at, os.SEEK_SET)
        write_all(out, data)
        done = len(data)
    if not done:
        raise Corrupt("a blob shrank while it was copied", hint="run the same command again")
    return done


def _pieces(descriptor: int, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        data = os.pread(descriptor, min(_BLOCK, stop - start), start)
        if not data:
            return
        start += len(data)
        yield data


@contextmanager
def _new(parent: int, name: str, mode: int) -> Iterator[int]:
    out = os.open(name, _NEW, 0o600, dir_fd=parent)
    try:
        yield out
        os.fchmod(out, mode)
        os.fsync(out)
    finally:
        os.close(out)
