"""Bringing a whole version into the shared cache: one process per version, each blob once, all of it verified."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from modelops_bundle.disk.files import free_bytes, require_directory, write_file
from modelops_bundle.disk.filesystems import tick_of
from modelops_bundle.disk.hashing import Hashed, hash_file
from modelops_bundle.disk.holds import Hold
from modelops_bundle.disk.locks import exclusive
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import Corrupt, DiskError, DiskFull, NotFound, WorkspaceChanged
from modelops_bundle.events import Advanced, Finished, ItemStarted, Started, checkpoint
from modelops_bundle.model import artifact, foreign
from modelops_bundle.model.artifact import Contents
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.stores import graph
from modelops_bundle.stores.cache import Cache
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.hosts import Hosts
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.workspace.index import Index

if TYPE_CHECKING:
    # Files of chunks are rare.
    from modelops_bundle.model.chunkmap import Recipe
    from modelops_bundle.operations.seeding import Seeding

POLL = 0.1
"""Seconds between two looks at what somebody else is bringing."""


@dataclass(slots=True)
class Counts:
    """What a version took: blobs and bytes that came over the wire, bytes that were here, seconds spent waiting for
    other processes.
    """

    fetched: int = 0
    size: int = 0
    cached: int = 0
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Shelved:
    """A version in the cache, as long as it is held: what it contains, its blobs, and the states they are good in."""

    contents: Contents
    blobs: Staging
    keys: dict[Digest, StatKey] = field(default_factory=dict)


class Waiting:
    """Waits for another process, says so once, and counts the seconds."""

    def __init__(self, session: Session, counts: Counts, what: str) -> None:
        self._run = session.run
        self._counts = counts
        self._what = what
        self._said = False

    def __call__(self) -> None:
        """Wait a moment. :raises Interrupted: somebody asked to stop."""
        if not self._said:
            self._said = True
            self._run.notice("ensure-waiting", f"another process is at work on {self._what}; waiting for it")
        began = time.monotonic()
        self._run.cancelled.wait(POLL)
        self._run.check()
        self._counts.waited += time.monotonic() - began


@contextmanager
def shelved(
    session: Session, cache: Cache, reference: Reference, counts: Counts, *, verify: bool = False
) -> Iterator[Shelved]:
    """Have the version `reference`, which names a digest, in the cache, and keep it there meanwhile.

    Nothing is asked of the network when all of it is there. A process that finds another one bringing it waits; when
    that one dies, it goes on from the parts that came.

    :param verify: read every blob that is there, whatever was found of it before.
    :raises NotFound: it does not exist. :raises Unavailable: offline, and it is not complete.
    :raises DiskFull: there is no room; found before the first byte.
    """
    shelf = _Shelf(session, cache, reference, counts, verify)
    hold = shelf.bring()
    try:
        yield shelf.result()
    finally:
        hold.release()


class _Shelf:
    def __init__(self, session: Session, cache: Cache, reference: Reference, counts: Counts, verify: bool) -> None:
        assert reference.digest is not None
        self._session = session
        self._cache = cache
        self._reference = reference
        self._digest = reference.digest
        self._counts = counts
        self._verify = verify
        self._wait = Waiting(session, counts, str(reference.digest))
        self._index = Index(cache.verified)
        self._hashed: dict[Digest, Hashed] = {}
        self._keys: dict[Digest, StatKey] = {}
        self._contents: Contents | None = None
        self._manifest: Descriptor | None = None
        self._lock = threading.Lock()
        self._seeds: Seeding | None = None

    def result(self) -> Shelved:
        assert self._contents is not None
        return Shelved(self._contents, Staging(self._cache.blobs), self._keys)

    def bring(self) -> Hold:
        """A shared hold on the version, whose blobs are all here and good."""
        while True:
            manifest = self._known_manifest()
            if manifest is not None and self._is_here(manifest):
                hold = self._cache.hold(self._digest, shared=True, wait=self._wait)
                assert hold is not None
                try:
                    if self._is_good(manifest):
                        self._finish(manifest)
                        return hold
                except BaseException:
                    hold.release()
                    raise
                hold.release()
                continue
            alone = self._cache.hold(self._digest)
            if alone is None:
                self._wait()
                continue
            with alone:
                self._fetch()

    def _known_manifest(self) -> Descriptor | None:
        """The manifest if it is in the cache; read once."""
        if self._manifest is None:
            self._manifest = self._cache.manifest(self._digest)
        return self._manifest

    def _is_here(self, manifest: Descriptor) -> bool:
        """Whether everything has its name in the cache."""
        return all(self._cache.has(what) for what in [manifest, *_needs(manifest)])

    def _is_good(self, manifest: Descriptor) -> bool:
        """Whether every blob is what its name says; what is not is removed."""
        needed = _needs(manifest)
        run = self._session.run
        unread = [what for what in needed if not self._is_known(what)]
        run.emit(Started("verify", len(unread), sum(what.size for what in unread)))
        bad: list[Descriptor] = []

        def one(what: Descriptor) -> None:
            if not self._read(what):
                bad.append(what)

        engine.each(sorted(unread, key=lambda what: -what.size), one, run)
        for what in bad:
            run.notice("cache-damaged", f"{what.digest} in the cache is damaged and is fetched again")
            self._cache.drop(what.digest)
        return not bad and all(self._cache.has(what) for what in needed)

    def _is_known(self, what: Descriptor) -> bool:
        """Whether the blob is in a state in which it was found good, by this process or an earlier one."""
        try:
            facts = (self._cache.blobs / what.digest.hex).lstat()
        except OSError:
            return False
        key = StatKey.of(facts)
        if self._keys.get(what.digest) == key:
            return True
        if self._verify or self._index.get(what.digest.hex, key, strict=True) != what.digest:
            return False
        self._keys[what.digest] = key
        return True

    def _read(self, what: Descriptor) -> bool:
        key = str(what.digest)
        emit = self._session.run.emit
        emit(ItemStarted(key, what.digest.short, what.size))
        try:
            with Tree(self._cache.blobs) as tree:
                found = hash_file(tree, what.digest.hex, self._session.run, lambda count: emit(Advanced(key, count)))
        except (DiskError, WorkspaceChanged):
            return False
        emit(Finished(key, "exists"))
        if found.digest != what.digest:
            return False
        self._note(found)
        return True

    def _note(self, found: Hashed) -> None:
        self._hashed[found.digest] = found
        self._keys[found.digest] = found.key

    # --- what is missing

    def _fetch(self) -> None:
        """Bring what is missing, alone."""
        session, cache = self._session, self._cache
        found = cache.manifest(self._digest)
        if found is None:
            found = session.store(self._reference).resolve(str(self._digest), data=True)
        if found is None or found.data is None:
            raise NotFound(f"{self._reference} does not exist", hint="bundle tags lists what there is")
        staging = Staging(cache.parts, Hosts(most=session.run.limits.connections))
        # A look at what it holds comes first: nothing is fetched for a version that cannot be placed.
        self._contents = self._read_contents(found, staging)
        cache.put_manifest(found, found.data)
        checkpoint("manifest kept")
        missing = [what for what in _needs(found) if not cache.has(what)]
        check_room(cache, missing, staging)
        session.run.emit(Started("download", len(missing), sum(what.size for what in missing)))
        with self._seeding(missing, staging) as self._seeds:
            engine.each(
                sorted(missing, key=lambda what: -what.size), lambda what: self._one(what, staging), session.run
            )
        self._settle(missing)
        if self._contents is None:
            self._contents = self._parse(found)
        # What is removed meanwhile is missed at the next look, and fetched again.
        with suppress(NotFound):
            cache.complete(found, found.data)
        checkpoint("version complete")
        self._save()

    def _read_contents(self, manifest: Descriptor, staging: Staging) -> Contents | None:
        """What the version holds; a separate index is the first blob that is brought.

        None where only the archives of another tool tell.
        """
        if has_archives(manifest):
            return None
        indexes = indexes_of(manifest)
        if indexes and all(self._cache.has(what) for what in indexes):
            try:
                return self._parse(manifest)
            except Corrupt:
                for what in indexes:
                    self._cache.drop(what.digest)
        for what in indexes:
            self._one(what, staging)
        return self._parse(manifest)

    def _parse(self, manifest: Descriptor) -> Contents:
        return remote_state.read(self._session, self._reference, manifest, self._cache.layout).contents

    def _one(self, what: Descriptor, staging: Staging) -> None:
        """Bring one blob, unless somebody does who needs it for another version."""
        run, key, cache = self._session.run, str(what.digest), self._cache
        hold = cache.hold(what.digest, wait=self._wait)
        assert hold is not None
        try:
            if cache.has(what):
                return
            run.emit(ItemStarted(key, self._name(what), what.size))
            size = self._receive(what, staging, lambda count: run.emit(Advanced(key, count)))
            cache.take(what, staging.path(what.digest))
            facts = StatKey.of((cache.blobs / what.digest.hex).lstat())
            checkpoint("blob kept")
        finally:
            hold.release(remove=True)
        run.emit(Finished(key, "copied"))
        self._note(Hashed(what.digest, facts, time.time_ns()))
        if size is not None:
            with self._lock:
                self._counts.fetched += 1
                self._counts.size += size

    def _receive(self, what: Descriptor, staging: Staging, progress: Callable[[int], None]) -> int | None:
        """The bytes that came; None when the manifest had them."""
        if what.data is not None and Digest.of(what.data) == what.digest:
            write_file(staging.path(what.digest), what.data)
            return None
        recipe = self._recipes().get(what.digest)
        if self._seeds is not None and recipe is not None:
            made = self._seeds.bring(self._name(what), what, recipe, progress, plain=True)
            if made is not None:
                return made.received
        received = staging.fetch(what, self._session.store(self._reference), self._session.run, progress)
        if self._seeds is not None and recipe is not None:
            self._seeds.brought(what, recipe)
        return received

    def _recipes(self) -> dict[Digest, Recipe]:
        """The chunks of files that are blobs of their own: nobody holds the lock of another pack meanwhile."""
        places = self._contents.places.values() if self._contents else ()
        if not any(place.recipe for place in places):
            return {}
        from modelops_bundle.model.chunkmap import is_whole

        own = {place.blob.digest: place.recipe for place in places if place.blob and place.recipe}
        return {digest: recipe for digest, recipe in own.items() if is_whole(recipe, digest)}

    def _seeding(self, missing: list[Descriptor], staging: Staging) -> AbstractContextManager[Seeding | None]:
        """What takes chunks from other versions in the cache, where that may serve."""
        recipes = self._recipes()
        if not any(what.digest in recipes for what in missing):
            return nullcontext()
        from modelops_bundle.operations.seeding import Seeding, cached_sources

        session, cache = self._session, self._cache
        sources = partial(cached_sources, session, cache, self._reference)
        return Seeding(session, staging, session.store(self._reference), cache, sources)

    def _name(self, what: Descriptor) -> str:
        places = self._contents.places if self._contents else {}
        return next(
            (path for path, place in places.items() if what.digest in {blob.digest for blob in place.blobs}),
            what.digest.short,
        )

    def _settle(self, fetched: list[Descriptor]) -> None:
        """Wait a clock tick where that saves the next process from hashing a gigabyte."""
        for what in fetched:
            known = self._hashed.get(what.digest)
            if known is None:
                continue
            stamp = max(known.key.mtime_ns, known.key.ctime_ns)
            young = stamp + tick_of(known.key.mtime_ns, known.key.ctime_ns) - time.time_ns()
            if 0 < young / 1e9 < known.key.size / 1.5e9:
                self._session.run.cancelled.wait(young / 1e9)
            self._hashed[what.digest] = Hashed(known.digest, known.key, time.time_ns())

    def _finish(self, manifest: Descriptor) -> None:
        if self._contents is None:
            self._contents = self._parse(manifest)
        assert manifest.data is not None
        if not any(what.digest == self._digest for what in self._cache.versions()):
            with suppress(NotFound):
                self._cache.complete(manifest, manifest.data)
        self._counts.cached = sum(what.size for what in _needs(manifest)) - self._counts.size
        self._save()

    def _save(self) -> None:
        """Remember the states in which blobs were found good, beside what others remember meanwhile."""
        if not self._hashed:
            return
        with exclusive(self._cache.verified.with_suffix(".lock"), what="the cache"):
            index = Index(self._cache.verified)
            for digest, hashed in self._hashed.items():
                index.put(digest.hex, hashed)
            index.save()
        self._hashed.clear()


def _needs(manifest: Descriptor) -> list[Descriptor]:
    """Each blob of a manifest once."""
    assert manifest.data is not None
    return list({what.digest: what for what in graph.needs(manifest.data)}.values())


def indexes_of(manifest: Descriptor) -> list[Descriptor]:
    """The blobs of a manifest that list its files and chunks, none where the manifest itself does."""
    parsed = Manifest.from_bytes(manifest.data or b"", manifest.media_type)
    if not artifact.is_ours(parsed):
        return []
    found = artifact.kept_indexes(parsed)
    for what in found:
        if what.size > artifact.MAX_INDEX:
            raise Corrupt(f"the index of {manifest.digest} has {what.size} bytes", digest=str(what.digest))
    return found


def has_archives(manifest: Descriptor) -> bool:
    """Whether what a version holds is known only when its blobs were read."""
    parsed = Manifest.from_bytes(manifest.data or b"", manifest.media_type)
    if artifact.is_ours(parsed):
        return False
    return foreign.needs_config(parsed) or any(piece.archive for piece in foreign.pieces(parsed))


def check_room(cache: Cache, missing: list[Descriptor], staging: Staging) -> None:
    """:raises DiskFull: the blobs that are to come do not fit into the cache."""
    require_directory(cache.parts)
    needed = sum(staging.needed_space(what) for what in missing)
    free = free_bytes(cache.parts)
    if needed > free:
        raise DiskFull(
            f"the cache needs {needed} bytes more, and {free} are free",
            hint="'bundle cache prune --max-size' makes room, '--no-cache' keeps nothing there",
            needed=needed,
        )
