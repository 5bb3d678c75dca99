"""verify --deep of versions with chunk lists: every list is true, and files made of chunks are what they should be."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from modelops_bundle.errors import Corrupt, NotFound
from modelops_bundle.events import Run
from modelops_bundle.model.artifact import Contents
from modelops_bundle.model.chunkmap import ChunkPack, Recipe
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Reader
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.chunks import decoded, reading


@dataclass(slots=True)
class _Listed:
    """A chunk list.

    :param packs: those that bases count in. :param used: 1 for each chunk that is looked at in a file that it is part of.
    """

    pack: ChunkPack
    packs: tuple[ChunkPack, ...]
    used: bytearray


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that cannot be put together.

    :param corrupt: packs that hold other bytes than their lists say; none where the file's own digest is wrong.
    :param missing: packs that are not there.
    """

    path: str
    corrupt: tuple[Digest, ...] = ()
    missing: tuple[Digest, ...] = ()

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """All that are to blame."""
        return (*self.corrupt, *self.missing)


@dataclass(frozen=True)
class ChunkCheck:
    """Looks at chunks as the blobs that hold them pass by, and at files as they are put together.

    A chunk of a file that has no blob of its own is decoded for the file; the others with their blob.
    """

    store: Reader
    run: Run
    _lists: dict[Digest, list[_Listed]] = field(default_factory=dict)
    _files: dict[object, tuple[str, Entry, Recipe]] = field(default_factory=dict)

    def add(self, contents: Contents) -> None:
        """Look at what a version says too."""
        packs = contents.chunks.packs
        flags = [bytearray(len(pack.chunks)) for pack in packs]
        for path, place in contents.places.items():
            if place.blob is None and place.recipe is not None:
                entry = contents.snapshot[path]
                named = tuple((packs[pack].blob.digest, first, count) for pack, first, count in place.recipe.segments)
                self._files.setdefault((entry.digest, named), (path, entry, place.recipe))
                for number, first, count in place.recipe.segments:
                    flags[number][first : first + count] = b"\1" * count
        for pack, used in zip(packs, flags, strict=True):
            self._add_list(_Listed(pack, packs, used))

    def _add_list(self, listed: _Listed) -> None:
        known = self._lists.setdefault(listed.pack.blob.digest, [])
        # Versions share packs. Their bases may be numbered otherwise, so lists with some are each looked at.
        for other in known:
            if other.pack.chunks == listed.pack.chunks and not listed.pack.chunks.bases:
                other.used = bytearray(one | two for one, two in zip(other.used, listed.used, strict=True))
                return
        known.append(listed)

    def passing(self, digest: Digest, data: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the bytes of a blob on, looking at the chunks of every list that is said to be its.

        :raises Corrupt: a list is not true.
        """
        lists = [self._following(listed) for listed in self._lists.get(digest, ())]
        for piece in data:
            for take in lists:
                take(piece)
            yield piece

    def _following(self, listed: _Listed) -> Callable[[bytes], None]:
        """Takes the bytes of a blob and looks at each chunk when it is complete; holds no more than one."""
        pack, room = listed.pack, listed.pack.chunks.room
        held = bytearray()
        number = 0

        def base(other: int, at: int) -> bytes:
            recipe = Recipe("", ((other, at, 1),), listed.packs)
            with reading(self.store, recipe, 0, recipe.size) as chunks:
                return b"".join(chunks)

        def take(data: bytes) -> None:
            nonlocal number
            at = 0
            while at < len(data) and number < len(room):
                part = data[at : at + room[number] - len(held)]
                held.extend(part)
                at += len(part)
                if len(held) == room[number]:
                    if not listed.used[number]:
                        decoded(pack, number, bytes(held), base)
                    held.clear()
                    number += 1

        return take

    @property
    def files(self) -> int:
        """How many files are made of chunks."""
        return len(self._files)

    @property
    def size(self) -> int:
        """Bytes of those files."""
        return sum(entry.size for _, entry, _ in self._files.values())

    def put_together(self) -> list[Broken]:
        """Read every file that is made of chunks, and return those that are not what they should be."""
        found: list[Broken] = []
        lock = threading.Lock()

        def one(item: tuple[str, Entry, Recipe]) -> None:
            broken = self._read(*item)
            if broken is not None:
                with lock:
                    found.append(broken)

        engine.each(self._files.values(), one, self.run)
        return sorted(found, key=lambda each: each.path)

    def _read(self, path: str, entry: Entry, recipe: Recipe) -> Broken | None:
        hasher = hashlib.sha256()
        corrupt: set[Digest] = set()
        missing: set[Digest] = set()
        for segment in recipe.segments:
            part = Recipe(recipe.chunker, (segment,), recipe.packs)
            blob = recipe.packs[segment[0]].blob.digest
            try:
                with reading(self.store, part, 0, part.size) as chunks:
                    for chunk in chunks:
                        self.run.check()
                        hasher.update(chunk)
            except Corrupt as error:
                corrupt.add(_named(error.facts, blob))
            except NotFound as error:
                missing.add(_named(error.facts, blob))
        if not corrupt and not missing and hasher.hexdigest() == entry.digest.hex:
            return None
        return Broken(path, tuple(sorted(corrupt, key=str)), tuple(sorted(missing, key=str)))


def _named(facts: Mapping[str, object], blob: Digest) -> Digest:
    """The blob that an error names, which may be that of a base."""
    try:
        return Digest.parse(str(facts.get("digest", blob)))
    except Corrupt:
        return blob
