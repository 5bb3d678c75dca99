"""What this machine may hold of the chunks that a pull needs, and pulls that make use of it (facts: delta §4)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Self

from modelops_bundle.errors import BundleError, Corrupt
from modelops_bundle.events import Retrying, Run
from modelops_bundle.model.artifact import Contents
from modelops_bundle.model.chunkmap import FIRST_XOR, ChunkList, ChunkPack, Recipe
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Parts, Reader
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.operations import neighbours, remote_state
from modelops_bundle.operations.neighbours import Candidate, Sought
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PullPlan, needs_bytes
from modelops_bundle.stores.cache import Cache
from modelops_bundle.transfer import ranges
from modelops_bundle.transfer.assemble import Brought, Wanted
from modelops_bundle.transfer.hosts import Host
from modelops_bundle.transfer.ranges import NoRanges, Room
from modelops_bundle.transfer.seeds import Seeds, Source
from modelops_bundle.transfer.staging import Staging, Told
from modelops_bundle.workspace.chunks import SMALLEST

FURTHER = 64 * 1024 * 1024
"""Bytes still missing that are worth reading files of which nothing is known."""
RECENT = 8
"""Versions of the shared cache that are looked into."""
WORTH = 0.05
"""Share of a file that must be here for the rest to be asked for in parts."""


def known_versions(session: Session) -> list[Contents]:
    """The versions with chunks that this tree was last synced with, as far as they were kept."""
    at = session.project.at()
    found: list[Contents] = []
    for sighting in session.seen.all():
        if at.digest == sighting.digest or at.reference == sighting.reference:
            # What cannot be read any more makes the pull slower, and nothing else.
            with suppress(BundleError):
                found.append(remote_state.from_sighting(session, parse(sighting.reference), sighting).contents)
    return [contents for contents in found if contents.chunks.packs]


def known_sources(session: Session, plan: PullPlan, listed: set[str] | None = None) -> Iterator[Source]:
    """What can be told without reading anything: the files of the merge base, and blobs of the shared cache.

    :param listed: is given the paths of those files.
    """
    recipes: dict[Digest, Recipe] = {}
    packs: dict[Digest, ChunkPack] = {}
    for contents in known_versions(session):
        recipes.update((contents.snapshot[path].digest, recipe) for path, recipe in contents.chunks.files.items())
        packs.update((pack.blob.digest, pack) for pack in contents.chunks.packs)
    for path, entry in session.project.at().snapshot.items():
        if entry.kind != "file":
            continue
        source = _of_file(session, path, entry, recipes)
        if source is not None:
            if listed is not None:
                listed.add(path)
            yield source
    recipe = next((place.recipe for place in plan.places.values() if place.recipe is not None), None)
    packs.update((pack.blob.digest, pack) for pack in (recipe.packs if recipe is not None else ()))
    if session.cache is not None:
        yield from _in_cache(session.cache, packs.values())


def _in_cache(cache: Cache, packs: Iterable[ChunkPack]) -> Iterator[Source]:
    for pack in packs:
        if cache.has(pack.blob):
            yield Source.of_list(pack.chunks, partial(_open, cache.blobs / pack.blob.digest.hex))


def cached_sources(session: Session, cache: Cache, reference: Reference) -> Iterator[Source]:
    """What the versions that were used last in the shared cache have, told without reading it."""
    used = {what.digest: use.at for what in cache.versions() if (use := cache.uses.get(what.digest)) is not None}
    for digest in sorted(used, key=lambda each: -used[each])[:RECENT]:
        manifest = cache.manifest(digest)
        if manifest is None:
            continue
        # What cannot be read only makes it slower.
        with suppress(BundleError):
            read = remote_state.read(session, reference.at(None, digest), manifest, cache.layout)
            yield from _in_cache(cache, read.contents.chunks.packs)


def _of_file(session: Session, path: str, entry: Entry, recipes: Mapping[Digest, Recipe]) -> Source | None:
    opened = partial(session.tree.open_read, path)
    if entry.digest in recipes:
        return Source.of_recipe(recipes[entry.digest], opened)
    kept = session.chunks.get(entry.digest, told=True) if entry.size >= SMALLEST else None
    return Source.of_list(kept[1], opened) if kept is not None else None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))


@dataclass(frozen=True, slots=True)
class Moving:
    """Bytes that a pull moves: of whole files, and what is left of that with the chunks that are here."""

    whole: int = 0
    delta: int = 0


def estimate(session: Session, plan: PullPlan) -> Moving:
    """What a pull would move, told from lists alone."""
    here = {entry.digest for entry in session.project.at().snapshot.values() if entry.kind == "file"}
    whole = delta = 0
    with Seeds(known_sources(session, plan)) as seeds:
        for digest, step in {
            step.after.digest: step for step in plan.steps if step.after and needs_bytes(step)
        }.items():
            assert step.after is not None
            if digest in here:
                continue
            whole += step.after.size
            place = plan.places[step.path]
            missing = step.after.size if place.recipe is None else _missing(place.recipe, seeds)
            # Of a blob of its own no more is asked for than all of it.
            delta += missing if place.blob is None else min(step.after.size, missing)
    return Moving(whole, delta)


def _missing(recipe: Recipe, seeds: Seeds) -> int:
    """Bytes to ask for: the chunks that no seed has, as packs store them, what these are differences to, and what is
    between them.
    """
    wanted = Wanted(recipe)
    named = {wanted.digest(at): (wanted.packs[at], wanted.numbers[at]) for at in wanted.missing(seeds)[1]}
    places = set(named.values())
    bases: set[tuple[int, int]] = set()
    for pack, number in places:
        chunks = recipe.packs[pack].chunks
        if chunks.codec(number) >= FIRST_XOR:
            other, base = chunks.bases[number]
            if seeds.find(recipe.packs[other].chunks.digest(base)) is None:
                bases.add((other, base))
    return _asked(recipe, places) + _asked(recipe, bases)


def _asked(recipe: Recipe, places: Iterable[tuple[int, int]]) -> int:
    by_pack: dict[int, list[int]] = {}
    for pack, number in sorted(places):
        by_pack.setdefault(pack, []).append(number)
    return sum(
        span.stop - span.start
        for pack, numbers in by_pack.items()
        for span in ranges.spans(pack, recipe.packs[pack].chunks.offsets(), numbers)
    )


class Seeding:
    """Brings files of chunks with what is here. A context manager; thread-safe.

    :param sources: finds what is here, when it is first asked for.
    """

    def __init__(
        self,
        session: Session,
        staging: Staging,
        store: Reader,
        cache: Cache | None,
        sources: Callable[[], Iterable[Source]],
    ) -> None:
        self._session = session
        self._staging = staging
        self._cache = cache
        self._where = Packs(session.run, staging, store, cache)
        self._sources = sources
        self._lock = threading.Lock()
        self._seeds: Seeds | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._seeds is not None:
            self._seeds.__exit__()

    @property
    def seeds(self) -> Seeds:
        """What is here."""
        with self._lock:
            if self._seeds is None:
                self._seeds = Seeds(self._sources())
            return self._seeds

    def bring(
        self, path: str, what: Descriptor, recipe: Recipe, progress: Callable[[int], None], *, plain: bool
    ) -> Brought | None:
        """Put a file together of what is here and what is not.

        :param path: of the file in the tree. :param plain: it is a blob of its own as well.
        :returns: None where nothing is won over bringing that blob.
        :raises Corrupt: it cannot be made of its chunks, and there is no blob.
        """
        self.look_further(path, what, recipe)
        if plain and not self._is_worth_it(what, recipe):
            return None
        told = Told(progress)
        try:
            made = self._staging.assemble(what, recipe, self.seeds, self._where, self._session.run, told)
            self.brought(what, recipe)
            # What is between two chunks came as well, though it was here.
            return Brought(made.received, max(0, min(made.reused, what.size - made.received)))
        except (NoRanges, Corrupt) as error:
            if not plain and isinstance(error, Corrupt):
                raise
            # The digest of the blob is all that counts: what the list says of it may be wrong, and it right. And where
            # parts are missed, there is such a blob: other packs are staged.
            why = error.message if isinstance(error, Corrupt) else "the host gives no parts of it"
            self._session.run.emit(Retrying(str(what.digest), 1, 0.0, why))
            told.take_back()
            with suppress(OSError):
                self._staging.assembly(what).unlink()
            return None

    def brought(self, what: Descriptor, recipe: Recipe) -> None:
        """Let a file that came be a seed of those that follow."""
        self.seeds.add([Source.of_recipe(recipe, partial(self._open_brought, what.digest))])

    def _open_brought(self, digest: Digest) -> int:
        try:
            return _open(self._staging.path(digest))
        except OSError:
            if self._cache is None:
                raise
            # It was staged for the shared cache, and has moved there.
            return _open(self._cache.blobs / digest.hex)

    def look_further(self, path: str, what: Descriptor, recipe: Recipe) -> None:
        """Find more where much is missing, if there is a way to."""

    def _is_worth_it(self, what: Descriptor, recipe: Recipe) -> bool:
        if os.path.lexists(self._staging.assembly(what)):
            return True
        wanted = Wanted(recipe)
        here, away = wanted.missing(self.seeds)
        missing = wanted.size(away)
        # A part of the whole blob that came before may be the larger part of it.
        return wanted.size(here) >= WORTH * what.size and missing < self._staging.missing_bytes(what)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Files that may be read: from how many missing bytes on, how many of them at most, and whether anybody said that
    they have to do with what is pulled.
    """

    candidates: Callable[[], Iterable[Candidate]]
    worth: int
    most: int
    is_meant: bool = True


class PullSeeding(Seeding):
    """That of a pull into a tree, which also reads files of which nothing is known."""

    def __init__(self, session: Session, plan: PullPlan, staging: Staging, store: Reader) -> None:
        self._listed: set[str] = set()
        """Paths of files in the tree whose chunks are known."""
        self._looking = threading.Lock()
        self._read: set[tuple[str, str]] = set()
        """By chunker, what was read for it already."""
        super().__init__(session, staging, store, session.cache, lambda: known_sources(session, plan, self._listed))

    def brought(self, what: Descriptor, recipe: Recipe) -> None:
        """Let a file that came be a seed of those that follow, and of the next pull, whatever is seen until then."""
        super().brought(what, recipe)
        if what.size >= SMALLEST:
            source = Source.of_recipe(recipe, partial(_open, self._staging.path(what.digest)))
            chunks = ChunkList(source.sizes, source.digests)
            self._session.chunks.put(what.digest, recipe.chunker, chunks, told=True)

    def look_further(self, path: str, what: Descriptor, recipe: Recipe) -> None:
        """Read other files, one kind after another, as long as much is missing."""
        wanted = Wanted(recipe)
        known, sought = len(self.seeds), Sought(wanted, wanted.missing(self.seeds)[1])
        for kind in self._neighbours(path, what):
            if known != len(self.seeds):
                known, sought = len(self.seeds), Sought(wanted, wanted.missing(self.seeds)[1])
            if sought.left >= kind.worth:
                self._add(recipe.chunker, kind, sought)

    def _neighbours(self, path: str, what: Descriptor) -> Iterator[_Kind]:
        options = self._session.options
        if options.seeds:
            yield _Kind(lambda: self._named, 1, neighbours.MOST)
        yield _Kind(lambda: self._old(path), FURTHER, 1)
        if options.hub is not None:
            found = partial(neighbours.blobs, options.hub, what.size)
            yield _Kind(found, FURTHER, neighbours.CANDIDATES, is_meant=False)

    @cached_property
    def _named(self) -> list[Candidate]:
        """Asked for under the lock: a directory is walked once."""
        return neighbours.named(self._session.options.seeds, self._session.run)

    def _add(self, chunker: str, kind: _Kind, sought: Sought) -> None:
        # One file at a time: what is read for one may be what the next one wants.
        with self._looking:
            new, session = self._unread(chunker, kind.candidates()), self._session
            probed = None if kind.is_meant else sought
            self.seeds.add(neighbours.listed(new, chunker, session.chunks, session.run, kind.most, probed))

    def _unread(self, chunker: str, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        for each in candidates:
            if (chunker, each.name) not in self._read:
                self._read.add((chunker, each.name))
                yield each

    def _old(self, path: str) -> Iterator[Candidate]:
        """The file that is to be replaced, if it is none whose chunks are known."""
        entry = self._session.project.at().snapshot.get(path)
        if entry is not None and entry.kind == "file" and path not in self._listed:
            opened = partial(self._session.tree.open_read, path)
            with suppress(BundleError, OSError):
                descriptor = opened()
                try:
                    size = os.fstat(descriptor).st_size
                finally:
                    os.close(descriptor)
                if size >= neighbours.SMALLEST:
                    yield Candidate(path, size, opened)


class Packs:
    """Where the packs of one pull are: here if they were staged or are in the shared cache, else in the store."""

    def __init__(self, run: Run, staging: Staging, store: Reader, cache: Cache | None) -> None:
        self._run = run
        self._staging = staging
        self._staged = staging.reader()
        self._store = store
        self._cache = cache
        self._elsewhere = Host()
        self.lanes = threading.Semaphore(max(1, run.limits.connections))
        self.room = Room()
        self._distrusted: set[Digest] = set()

    def reader(self, pack: Descriptor) -> tuple[Reader, Host | None]:
        """What brings a pack, and its host; None where that is this machine."""
        trusted = pack.digest not in self._distrusted
        if self._staging.is_fresh(pack) or (trusted and self._staging.has(pack)):
            return self._staged, None
        if trusted and self._cache is not None and self._cache.has(pack):
            return self._cache.layout, None
        if isinstance(self._store, Parts):
            return self._store, self._staging.host(self._store.host)
        return self._store, self._elsewhere

    def distrust(self, pack: Descriptor, reader: Reader) -> bool:
        """Bring it from elsewhere than `reader`, which is on this machine; False when that has all of it, verified."""
        if reader is self._staged and self._staging.is_fresh(pack):
            return False
        self._distrusted.add(pack.digest)
        return True

    def stage(self, pack: Descriptor) -> int:
        """Bring a whole pack to this machine; how many bytes came."""
        anew = pack.digest in self._distrusted
        return self._staging.fetch(pack, self._store, self._run, _quietly, anew=anew)


def _quietly(_amount: int) -> None:
    """Nobody waits for a pack; what is made of it is told of."""
