"""What this machine may hold of the chunks that a pull needs, and pulls that make use of it (facts: delta §4)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from modelops_bundle.errors import BundleError, Corrupt
from modelops_bundle.events import Retrying
from modelops_bundle.model.artifact import Contents
from modelops_bundle.model.chunkmap import FIRST_XOR, ChunkPack, Recipe
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Parts, Reader
from modelops_bundle.model.reference import parse
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PullPlan, needs_bytes
from modelops_bundle.transfer.assemble import Brought, Wanted
from modelops_bundle.transfer.hosts import Host
from modelops_bundle.transfer.ranges import NoRanges
from modelops_bundle.transfer.seeds import Seeds, Source
from modelops_bundle.transfer.staging import Staging

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


def known_sources(session: Session, plan: PullPlan) -> Iterator[Source]:
    """What can be told without reading anything: the files of the merge base, and blobs of the shared cache."""
    recipes: dict[Digest, Recipe] = {}
    packs: dict[Digest, ChunkPack] = {}
    for contents in known_versions(session):
        recipes.update((contents.snapshot[path].digest, recipe) for path, recipe in contents.chunks.files.items())
        packs.update((pack.blob.digest, pack) for pack in contents.chunks.packs)
    for path, entry in session.project.at().snapshot.items():
        if entry.kind == "file" and entry.digest in recipes:
            yield Source.of_recipe(recipes[entry.digest], partial(session.tree.open_read, path))
    recipe = next((place.recipe for place in plan.places.values() if place.recipe is not None), None)
    packs.update((pack.blob.digest, pack) for pack in (recipe.packs if recipe is not None else ()))
    cache = session.cache
    for pack in packs.values() if cache is not None else ():
        if cache is not None and cache.has(pack.blob):
            yield Source.of_list(pack.chunks, partial(_open, cache.blobs / pack.blob.digest.hex))


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
            recipe = plan.places[step.path].recipe
            delta += step.after.size if recipe is None else min(step.after.size, _missing(recipe, seeds))
    return Moving(whole, delta)


def _missing(recipe: Recipe, seeds: Seeds) -> int:
    """Bytes of the chunks that no seed has, as packs store them, and of those that these are differences to."""
    wanted = Wanted(recipe)
    named = {wanted.digest(at): (wanted.packs[at], wanted.numbers[at]) for at in wanted.missing(seeds)[1]}
    places = set(named.values())
    for pack, number in named.values():
        chunks = recipe.packs[pack].chunks
        if chunks.codec(number) >= FIRST_XOR:
            other, base = chunks.bases[number]
            if seeds.find(recipe.packs[other].chunks.digest(base)) is None:
                places.add((other, base))
    return sum(recipe.packs[pack].chunks.room[number] for pack, number in places)


class Seeding:
    """Brings files of chunks for one pull, with what is here. A context manager; thread-safe."""

    def __init__(self, session: Session, plan: PullPlan, staging: Staging, store: Reader) -> None:
        self._session = session
        self._plan = plan
        self._staging = staging
        self._where = Packs(session, staging, store)
        self._lock = threading.Lock()
        self._seeds: Seeds | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._seeds is not None:
            self._seeds.__exit__()

    @property
    def seeds(self) -> Seeds:
        """What is here; found out when it is first asked for."""
        with self._lock:
            if self._seeds is None:
                self._seeds = Seeds(known_sources(self._session, self._plan))
            return self._seeds

    def bring(
        self, what: Descriptor, recipe: Recipe, progress: Callable[[int], None], *, plain: bool
    ) -> Brought | None:
        """Put a file together of what is here and what is not.

        :param plain: it is a blob of its own as well.
        :returns: None where nothing is won over bringing that blob.
        :raises Corrupt: it cannot be made of its chunks, and there is no blob.
        """
        if plain and not self._is_worth_it(what, recipe):
            return None
        told = 0
        lock = threading.Lock()

        def tell(amount: int) -> None:
            nonlocal told
            with lock:
                told += amount
            progress(amount)

        try:
            return self._staging.assemble(what, recipe, self.seeds, self._where, self._session.run, tell)
        except (NoRanges, Corrupt) as error:
            if not plain:
                raise
            # The digest of the blob is all that counts: what the list says of it may be wrong, and it right.
            why = error.message if isinstance(error, Corrupt) else "the host gives no parts of it"
            self._session.run.emit(Retrying(str(what.digest), 1, 0.0, why))
            progress(-told)
            with suppress(OSError):
                self._staging.assembly(what).unlink()
            return None

    def _is_worth_it(self, what: Descriptor, recipe: Recipe) -> bool:
        if os.path.lexists(self._staging.assembly(what)):
            return True
        wanted = Wanted(recipe)
        here, away = wanted.missing(self.seeds)
        missing = wanted.size(away)
        # A part of the whole blob that came before may be the larger part of it.
        return wanted.size(here) >= WORTH * what.size and missing < self._staging.missing_bytes(what)


class Packs:
    """Where the packs of one pull are: here if they were staged or are in the shared cache, else in the store."""

    def __init__(self, session: Session, staging: Staging, store: Reader) -> None:
        self._session = session
        self._staging = staging
        self._store = store
        self._elsewhere = Host()
        self._distrusted: set[Digest] = set()

    def reader(self, pack: Descriptor) -> tuple[Reader, Host | None]:
        """What brings a pack, and its host; None where that is this machine."""
        if pack.digest not in self._distrusted:
            if self._staging.has(pack):
                return self._staging.reader(), None
            cache = self._session.cache
            if cache is not None and cache.has(pack):
                return cache.layout, None
        if isinstance(self._store, Parts):
            return self._store, self._staging.host(self._store.host)
        return self._store, self._elsewhere

    def distrust(self, pack: Descriptor) -> bool:
        """Bring it from elsewhere from now on; False when it was not from this machine."""
        was_here = self.reader(pack)[1] is None
        self._distrusted.add(pack.digest)
        return was_here

    def stage(self, pack: Descriptor) -> int:
        """Bring a whole pack to this machine; how many bytes came."""
        return self._staging.fetch(pack, self._store, self._session.run, _quietly)


def _quietly(_amount: int) -> None:
    """Nobody waits for a pack; what is made of it is told of."""
