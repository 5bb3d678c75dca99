"""What is in the shared cache, and making it smaller (`bundle cache`)."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import remove_file, sweep
from modelops_bundle.disk.locks import exclusive
from modelops_bundle.errors import NotFound, UsageError
from modelops_bundle.events import checkpoint
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations.session import Session
from modelops_bundle.stores.cache import Cache


@dataclass(frozen=True, slots=True)
class Kept:
    """One version in the cache: its size in bytes, that of what no other version has, and its last use in seconds
    since the epoch.
    """

    digest: Digest
    size: int
    alone: int
    used: int
    references: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "digest": str(self.digest),
            "size": self.size,
            "alone": self.alone,
            "used": self.used,
            "references": list(self.references),
        }


@dataclass(frozen=True, slots=True)
class Info:
    """The whole cache, versions used last first; `others` are bytes that belong to none: of pulls, and unfinished."""

    folder: Path
    size: int
    blobs: int
    others: int
    versions: tuple[Kept, ...]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        uses = [each.used for each in self.versions]
        return {
            "folder": str(self.folder),
            "size": self.size,
            "blobs": self.blobs,
            "others": self.others,
            "oldest_use": min(uses, default=None),
            "newest_use": max(uses, default=None),
            "versions": [each.to_json() for each in self.versions],
        }


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or would go: versions, and bytes; `busy` were left because somebody uses them now."""

    folder: Path
    versions: tuple[Kept, ...]
    freed: int
    size: int
    busy: int
    dry_run: bool

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "folder": str(self.folder),
            "removed": [each.to_json() for each in self.versions],
            "freed_bytes": self.freed,
            "size": self.size,
            "busy": self.busy,
            "dry_run": self.dry_run,
        }


def open_cache(session: Session) -> tuple[Cache, Path]:
    """The cache of this user. :raises NotFound: the caller has no folder for one."""
    folder = session.options.cache
    if folder is None:
        raise NotFound("no cache is used")
    return Cache(folder), folder


def info(session: Session) -> Info:
    """Look at the cache; an absent one is empty."""
    cache, folder = open_cache(session)
    return _State(cache).info(folder)


def prune(session: Session, *, most: int | None = None, age: float | None = None, dry_run: bool = False) -> Pruned:
    """Remove what was used least recently: until `most` bytes are left, and what was not used for `age` seconds.

    What a process uses or brings at this moment stays, and so do blobs that a version which stays needs.

    :raises UsageError: neither is given.
    """
    if most is None and age is None:
        raise UsageError("nothing says what to remove", hint="--max-size 200G, --older-than 30d, or both")
    cache, folder = open_cache(session)
    if not folder.is_dir():
        return Pruned(folder, (), 0, 0, 0, dry_run)
    with exclusive(folder / "prune.lock", what="the cache"):
        return _Pruning(cache, folder, most, None if age is None else time.time() - age, dry_run).run()


def clear(session: Session) -> Pruned:
    """Remove everything that no process uses at this moment."""
    done = prune(session, most=0)
    cache, folder = open_cache(session)
    if not done.busy and folder.is_dir():
        for digest in cache.uses.all():
            cache.uses.forget(digest)
        remove_file(cache.verified)
    return done


@dataclass(slots=True)
class _File:
    paths: list[Path] = field(default_factory=list)
    size: int = 0
    at: float = 0.0


class _State:
    """The cache as it is now."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.files: dict[str, _File] = {}
        """By the digits of the digest: a blob, or what came of it."""
        self._look(cache.blobs)
        self._look(cache.parts)
        self.blobs = sum(1 for each in self.files.values() if any(path.parent == cache.blobs for path in each.paths))
        self.versions: dict[Digest, set[str]] = {
            what.digest: {digest.hex for digest in cache.needs(what.digest)} for what in cache.versions()
        }
        self.shared = Counter(name for needs in self.versions.values() for name in needs)

    def _look(self, folder: Path) -> None:
        with suppress(OSError), os.scandir(folder) as listing:
            for item in listing:
                with suppress(OSError):
                    facts = item.stat(follow_symlinks=False)
                    found = self.files.setdefault(item.name.partition(".")[0] or item.name, _File())
                    found.paths.append(Path(item.path))
                    # What is really taken: a part has its full length from the beginning on.
                    taken = facts.st_blocks * 512 if folder == self.cache.parts else facts.st_size
                    found.size += min(facts.st_size, taken)
                    found.at = max(found.at, facts.st_mtime)

    @property
    def size(self) -> int:
        return sum(each.size for each in self.files.values())

    def sum(self, names: Iterable[str]) -> int:
        return sum(self.files[name].size for name in names if name in self.files)

    def kept(self, digest: Digest) -> Kept:
        needs, use = self.versions[digest], self.cache.uses.get(digest)
        at = use.at if use else int(self.files[digest.hex].at) if digest.hex in self.files else 0
        alone = (name for name in needs if self.shared[name] == 1)
        return Kept(digest, self.sum(needs), self.sum(alone), at, use.references if use else ())

    def info(self, folder: Path) -> Info:
        kept = sorted((self.kept(digest) for digest in self.versions), key=lambda each: -each.used)
        others = self.sum(name for name in self.files if not self.shared[name])
        return Info(folder, self.size, self.blobs, others, tuple(kept))


class _Pruning:
    def __init__(self, cache: Cache, folder: Path, most: int | None, before: float | None, dry_run: bool) -> None:
        self._cache = cache
        self._folder = folder
        self._most = most
        self._before = before
        self._dry_run = dry_run
        for each in (folder, cache.blobs, cache.parts):
            if not dry_run:
                sweep(each)
        # First the locks: what somebody begins after this look finds its blobs gone, and brings them.
        self._held = {digest.hex for digest in cache.held()}
        self._state = _State(cache)
        self._size = self._state.size
        self._busy = 0
        self._gone: list[Kept] = []

    def run(self) -> Pruned:
        before = self._size
        versions = [self._state.kept(digest) for digest in self._state.versions]
        todo: list[tuple[float, Kept | str]] = [(each.used, each) for each in versions]
        todo += [(file.at, name) for name, file in self._others().items()]
        for at, what in sorted(todo, key=lambda pair: pair[0]):
            if not self._wanted(at):
                continue
            if isinstance(what, Kept):
                self._remove_version(what)
            else:
                self._remove_file(what)
        return Pruned(self._folder, tuple(self._gone), before - self._size, self._size, self._busy, self._dry_run)

    def _others(self) -> Mapping[str, _File]:
        return {name: file for name, file in self._state.files.items() if not self._state.shared[name]}

    def _wanted(self, at: float) -> bool:
        too_old = self._before is not None and at < self._before
        return too_old or (self._most is not None and self._size > self._most)

    def _remove_version(self, kept: Kept) -> None:
        hold = self._cache.hold(kept.digest)
        if hold is None or kept.digest.hex in self._held:
            self._busy += 1
            if hold is not None:
                hold.release(remove=True)
            return
        needs = self._state.versions[kept.digest]
        try:
            if not self._dry_run:
                self._delist(kept.digest)
        finally:
            hold.release(remove=True)
        self._gone.append(kept)
        self._state.shared.subtract(needs)
        for name in sorted(needs):
            if not self._state.shared[name]:
                self._remove_file(name)

    def _delist(self, digest: Digest) -> None:
        """First from the list: killed after this, only blobs are left that belong to nothing."""
        with suppress(NotFound):
            # As a plain blob: what it needs may be in use by somebody whose version is not listed yet.
            self._cache.layout.delete(Descriptor("", digest, 0))
        self._cache.uses.forget(digest)
        checkpoint("version delisted")

    def _remove_file(self, name: str) -> None:
        file = self._state.files.get(name)
        if file is None:
            return
        if name in self._held:
            self._busy += 1
            return
        if not self._dry_run:
            for path in file.paths:
                remove_file(path)
            checkpoint("blob removed")
        self._size -= file.size
        del self._state.files[name]
