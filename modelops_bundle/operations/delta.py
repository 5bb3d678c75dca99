"""push: how large files are stored, and with --delta which of their chunks are sent (facts: delta §4, Push)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from modelops_bundle.disk.files import free_bytes
from modelops_bundle.disk.spool import Spool
from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import BundleError, DiskError, NotFound, UsageError
from modelops_bundle.events import Started
from modelops_bundle.formats import cuts
from modelops_bundle.model.chunkmap import FIRST_XOR, ChunkList, ChunkMap, ChunkPack, Recipe, is_whole, whole_files
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Reader
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.chunking import chunk_lists, is_likely, said
from modelops_bundle.operations.layouts import profile_of
from modelops_bundle.operations.remote_state import Remote
from modelops_bundle.operations.session import Session
from modelops_bundle.plan import delta as rules
from modelops_bundle.plan.delta import Draft, Known, Large
from modelops_bundle.transfer import encode
from modelops_bundle.transfer.bases import Bases
from modelops_bundle.transfer.encode import Fresh
from modelops_bundle.workspace.chunks import ChunkCache
from modelops_bundle.workspace.tree import WorkTree

if TYPE_CHECKING:
    from modelops_bundle.plan.push import PushPlan

_MOST_BASES = 8
"""Versions whose chunks are looked through."""
_COMPRESSIBLE = 0.95
"""Of their size: what chunks take at most for a file of which nothing is known to be worth it."""
Lists = Mapping[str, tuple[str, ChunkList]]
"""Chunker and chunks of files, by path."""


@dataclass(frozen=True, slots=True)
class Ways:
    """What is stored, the bytes of large files that each way of storing them sends, the packs that are made for it, and
    the bytes that need not be sent.
    """

    chunks: ChunkMap
    ways: Mapping[str, int]
    fresh: frozenset[Digest] = frozenset()
    reused: int = 0


@dataclass(slots=True)
class Sides:
    """The tree of a push, and what may be there already."""

    here: Snapshot
    keys: Mapping[str, tuple[int, ...]]
    inside: frozenset[str]
    """Paths that are in packs of small files."""
    bases: Sequence[Remote] = ()
    """Versions that the repository holds, those to look at first at the front."""
    held: frozenset[str] = frozenset()
    """Blobs that it holds."""
    layers: int = 0
    """Layers of the version that are no chunk packs, but for the indexes of earlier ones."""
    most_layers: int | None = None
    most_bytes: int | None = None
    """The most layers, and bytes of one, that the registry takes."""
    lost: frozenset[Digest] = frozenset()
    """Blobs that it turned out not to hold."""
    place: str = ""
    """The repository, without a tag."""


def plain(session: Session, tree: Sides) -> ChunkMap:
    """Every large file a blob of its own, with its chunk list in the index: a function of the tree alone."""
    return whole_files((path, tree.here[path].content, *found) for path, found in _lists(session, tree).items())


def _lists(session: Session, tree: Sides, *, made: bool = False) -> Lists:
    """The chunks of the large files.

    :param made: files that are stored as chunks already stay as they are cut.
    """
    large = [
        path
        for path, entry in tree.here.items()
        if entry.kind == "file"
        and entry.size >= cuts.SMALLEST
        and path not in tree.inside
        and not cuts.is_compressed(path)
    ]
    wanted = {tree.here[path].digest for path in large}
    known = said(wanted, tree.bases, whole=False) if made else {}
    told = said(
        {digest for digest in wanted - known.keys() if session.chunks.get(digest) is None}, tree.bases, whole=True
    )
    read = WorkTree(session.tree, tree.here, tree.keys).read
    for path in large:
        digest = tree.here[path].digest
        # The word of others, where otherwise a file that somebody only pulled would have to be read for it.
        if digest in told and digest not in known and is_likely(path, tree.here[path].size, told[digest], read):
            known[digest] = told[digest]
    unknown = [path for path in large if tree.here[path].digest not in known]
    if unknown:
        known |= chunk_lists(session, tree.here, tree.keys, unknown)
    lists = {path: known[tree.here[path].digest] for path in large if tree.here[path].digest in known}
    return rules.affordable(lists)


def chunked(session: Session, tree: Sides, how: str, store: Reader, xor_base: str | None = None) -> Ways:
    """How large files are stored, new packs made and kept for the push that follows where there is room.

    :param how: `delta` or `auto`. :param store: the repository.
    :raises WorkspaceChanged: a file changed since it was hashed.
    """
    standing = as_it_is(tree)
    if standing is not None:
        return standing
    lists = _lists(session, tree, made=True)
    look = _Look(session, tree, store, lists, xor_base)
    if how == "auto":
        look.keep_shared()
    whole = sum(tree.here[path].size for path in look.files)
    if not look.files or (how == "auto" and not rules.is_worth(whole, look.expected)):
        return Ways(plain(session, tree), {"plain": whole, "delta": look.expected} if look.files else {})
    chunks = look.encoded()
    sent = {pack.blob.digest: pack.blob.size for pack in look.made}
    return Ways(chunks, {"plain": whole, "delta": sum(sent.values())}, frozenset(sent), look.reused())


def as_it_is(tree: Sides) -> Ways | None:
    """How the very same tree is stored in chunks already: a push that is run again, after a kill, is the same push.

    The first version that holds it decides, so that a plain one under the tag stays what it is.
    """
    for remote in tree.bases:
        with suppress(BundleError):
            contents = remote.contents
            if contents.snapshot.content != tree.here.content:
                continue
            chunks = contents.chunks
            made = [path for path, place in contents.places.items() if place.blob is None]
            gone = any(pack.blob.digest in tree.lost for pack in chunks.packs)
            if not made or gone or not tree.inside.isdisjoint(made):
                return None
            size = sum(tree.here[path].size for path in made)
            return Ways(chunks, {"plain": size, "delta": 0}, reused=size)
    return None


def foreseen(session: Session, tree: Sides, store: Reader) -> Ways:
    """As `plain`, with about the bytes that a delta push would send."""
    look = _Look(session, tree, store, _lists(session, tree, made=True))
    whole = sum(tree.here[path].size for path in look.files)
    return Ways(plain(session, tree), {"plain": whole, "delta": look.expected} if look.files else {})


def bases_of(session: Session, reference: Reference, found: Iterable[Remote]) -> list[Remote]:
    """The versions that this clone ever saw in the repository of `reference`, those `found` under its tags first.

    What they name may be gone by now: whoever counts on it looks.
    """
    bases = list(found)
    at = session.project.at().reference
    seen = sorted(session.seen.all(), key=lambda sighting: sighting.reference != at)
    for sighting in seen:
        other = parse(sighting.reference)
        if other.at() == reference.at() and sighting.digest not in {each.digest for each in bases}:
            bases.append(remote_state.from_sighting(session, other, sighting))
    return bases[:_MOST_BASES]


def _named(session: Session, tree: Sides, source: str) -> Remote:
    """The version that differences are to be to.

    :raises UsageError: it is not where this push goes. :raises NotFound: there is none.
    """
    remote = remote_state.require(session, session.reference(source))
    if str(remote.reference.at()) != tree.place:
        raise UsageError(f"--xor-base {source} is in another repository", hint="bundle cp brings it to this one first")
    return remote


def _directory(session: Session, source: str) -> Tree:
    """A directory with the version that differences are to be to. :raises UsageError: there is none."""
    path = session.cwd / source
    if not path.is_dir():
        raise UsageError(f"--xor-base {source}: there is no directory", hint="it takes a directory or a reference")
    return Tree(path)


class _Look:
    """Large files against what the repository holds."""

    def __init__(
        self,
        session: Session,
        tree: Sides,
        store: Reader,
        lists: Lists,
        xor_base: str | None = None,
    ) -> None:
        local = xor_base is not None and xor_base.startswith((".", "/"))
        if xor_base is not None and not local:
            # Nobody here need have seen it before.
            tree = replace(tree, bases=(_named(session, tree, xor_base), *tree.bases))
        self._session, self._tree, self._lists = session, tree, lists
        self.read = WorkTree(session.tree, tree.here, tree.keys).read
        self.known, self.earlier = _known(session, tree)
        self.bases = Bases(self.known.packs, store)
        self.made: list[ChunkPack] = []
        self._pairs: dict[str, dict[int, tuple[int, int]]] = {}
        self._types: dict[str, cuts.Plan | None] = {}
        self.files = {path: self._cut(path) for path in lists if str(tree.here[path].digest) not in tree.held}
        idle = rules.idle(self.files.values(), self.known)
        self.files = {path: rules.without(file, idle) for path, file in self.files.items()}
        if xor_base is not None:
            if local:
                self.bases.beside(_directory(session, xor_base))
            self._pair(tree.bases if local else tree.bases[:1])
            if not self._pairs:
                session.run.notice("no-base", f"nothing is stored as a difference to {xor_base}: no chunk gains by it")
        self.files = {path: file for path, file in self.files.items() if self._is_worth(file)}
        self._fit()

    def _cut(self, path: str) -> Large:
        from blake3 import blake3

        chunker, chunks = self._lists[path]
        return rules.cut(
            path,
            self._tree.here[path].digest,
            chunker,
            chunks,
            self.known,
            lambda start, size: blake3(self.read(path, start, size)).digest(),
        )

    def _is_worth(self, file: Large) -> bool:
        """Whether chunks of the file are known, or its bytes shrink: else it stays a blob that every tool can read."""
        if file.fresh < file.size:
            return True
        return encode.sampled(self._fresh([file]), self.read, self.bases) < _COMPRESSIBLE

    def keep_shared(self) -> None:
        """Leave whole what only shrinks: nobody asked for versions that other tools cannot read and that share nothing."""
        least = rules.WORTH_SHARED
        self.files = {path: file for path, file in self.files.items() if file.size - file.fresh >= least * file.size}

    def _fit(self) -> None:
        """Give up packs where there would be more than the registry takes, or than are quick to read."""
        total = sum(file.size for file in self.files.values())
        has_base = any(file.fresh < file.size for file in self.files.values())
        self.target = rules.pack_size(total, has_base=has_base, most=self._tree.most_bytes)
        tree = self._tree
        self.room = None if tree.most_layers is None else tree.most_layers - tree.layers
        budget = rules.BUDGET if self.room is None else max(1, min(rules.BUDGET, self.room))
        bases = {pack for pairs in self._pairs.values() for pack, _ in pairs.values()}
        gone = rules.dropped(self.files.values(), self.known, budget, self.target, bases)
        if gone:
            self.files = {path: rules.without(file, gone) for path, file in self.files.items()}

    # --- differences

    def _pair(self, remotes: Sequence[Remote]) -> None:
        """Find for each new chunk the one of a version before that a difference would be to."""
        for path, file in self.files.items():
            recipe = next((found for each in remotes if (found := self._recipe(each, path)) is not None), None)
            if recipe is not None:
                self._pairs[path] = self._paired(path, file, recipe)
        if self._pairs and not self._differences_pay():
            # Too far from it by now: what is stored whole is what later ones are differences to.
            self._pairs = {}

    def _recipe(self, remote: Remote, path: str) -> Recipe | None:
        entry = place = None
        # As those of which chunks are known: what cannot be read is no base.
        with suppress(BundleError):
            entry, place = remote.contents.snapshot.get(path), remote.contents.places.get(path)
        if entry is None or place is None:
            return None
        if place.recipe is not None:
            return place.recipe
        number = self.known.number(entry.digest)
        packs = tuple(self.known.packs)
        return None if number is None else Recipe("", ((number, 0, len(packs[number].chunks)),), packs)

    def _paired(self, path: str, file: Large, recipe: Recipe) -> dict[int, tuple[int, int]]:
        # From the end: a header of another length moves everything behind it.
        size = recipe.size
        by_end = {(size - piece.start, piece.size): piece for piece in recipe.pieces()}
        found: dict[int, tuple[int, int]] = {}
        for one in file.cuts:
            piece = by_end.get((file.size - one.start, one.size)) if one.where is None else None
            where = self.known.same(recipe.packs[piece.pack], piece.number) if piece is not None else None
            if piece is None or where is None:
                continue
            place, chunks = (where.pack, where.number), self.known.packs[where.pack].chunks
            if chunks.codec(where.number) >= FIRST_XOR:
                # Never deeper: two differences to one chunk instead of a chain.
                place = chunks.bases[where.number]
            found[one.start] = place
            self.bases.at(place, path, piece.start)
        return found

    def _differences_pay(self) -> bool:
        fresh = self._fresh(self.files.values())
        paired = [what for what in fresh if what.base is not None]
        alone = [Fresh(what.path, what.start, what.size, what.digest, what.dtype) for what in paired]
        try:
            with_base = encode.sampled(paired, self.read, self.bases)
        except NotFound:
            # It may be gone by now.
            return False
        return with_base <= 0.5 * encode.sampled(alone, self.read, self.bases)

    # --- encoding

    def _fresh(self, files: Iterable[Large]) -> list[Fresh]:
        found: dict[bytes, Fresh] = {}
        for file in files:
            plan, pairs = self._plan(file.path), self._pairs.get(file.path, {})
            for one in file.cuts:
                if one.where is None and one.digest not in found:
                    dtype = plan.dtype_at(one.start) if plan else None
                    found[one.digest] = Fresh(file.path, one.start, one.size, one.digest, dtype, pairs.get(one.start))
        return list(found.values())

    def _plan(self, path: str) -> cuts.Plan | None:
        if path not in self._types:
            self._types[path] = cuts.chunker_for(
                path,
                self._tree.here[path].size,
                partial(self.read, path),
                smallest=cuts.SMALLEST,
            )
        return self._types[path]

    @cached_property
    def expected(self) -> int:
        """About how many bytes of chunks are new, once they are stored; asked for when it is known which files those are."""
        fresh = self._fresh(self.files.values())
        return int(sum(what.size for what in fresh) * encode.sampled(fresh, self.read, self.bases))

    def reused(self) -> int:
        """Bytes of files that the repository holds already, in chunks."""
        return sum(file.size - file.fresh for file in self.files.values())

    def encoded(self) -> ChunkMap:
        """Make the new packs; what they are for is in the map."""
        session, fresh = self._session, self._fresh(self.files.values())
        session.run.emit(Started("encode", None, sum(what.size for what in fresh)))
        keep = self.expected <= free_bytes(session.project.folder) // 4
        spool = partial(_spool, session) if keep else _none
        places: dict[bytes, tuple[int, int]] = {}
        taken, run = self.known.contradicts, session.run
        for pack, kept in encode.encode(fresh, self.read, self.bases, self.target, run, spool, taken):
            places.update((pack.chunks.digest(at), (len(self.made), at)) for at in range(len(pack.chunks)))
            self.made.append(pack)
            if kept is not None and kept.is_whole:
                session.spooled[pack.blob.digest] = kept
        whole = {path: found for path, found in self._lists.items() if path not in self.files}
        packs = {path: (chunker, self._whole(path, chunks)) for path, (chunker, chunks) in whole.items()}
        files = list(self.files.values())
        chunks = Draft(self.known, places, self.made).map(files, packs, self.earlier, self.room)
        if all(is_whole(chunks.files[file.path], file.digest) for file in files):
            # The same tree is the same plain version, whoever stores it.
            return plain(self._session, self._tree)
        return chunks

    def _whole(self, path: str, chunks: ChunkList) -> ChunkPack:
        number = self.known.number(self._tree.here[path].digest)
        return ChunkPack(self._tree.here[path].content, chunks) if number is None else self.known.packs[number]


def rebuilt(session: Session, plan: PushPlan, store: Reader, lost: frozenset[Digest]) -> PushPlan:
    """The plan without the blobs that its repository lost: what was in them is in the tree, and made anew.

    :raises WorkspaceChanged: a file changed since it was hashed.
    """
    reference, here = parse(plan.place), plan.snapshot
    inside = frozenset(path for pack in plan.packed for path, _ in pack.members)
    known = frozenset(plan.known.difference(map(str, lost)))
    bases = bases_of(session, reference, ())
    sides = replace(sides_of(session, reference, here, plan.keys, inside, len(plan.packed), bases), lost=lost)
    sides.held = frozenset(sides.held.difference(map(str, lost)))
    ways = chunked(session, sides, "delta", store)
    return replace(plan, chunks=ways.chunks, fresh=ways.fresh, ways=ways.ways, reused=ways.reused, known=known)


def sides_of(
    session: Session,
    reference: Reference,
    here: Snapshot,
    keys: Mapping[str, tuple[int, ...]],
    inside: frozenset[str],
    packs: int,
    bases: Sequence[Remote],
) -> Sides:
    """The sides of a push to `reference`.

    :param inside: paths in packs of small files. :param packs: how many of those. :param bases: see `bases_of`.
    """
    files = sum(1 for path, entry in here.items() if entry.kind == "file" and path not in inside)
    held = frozenset().union(*(remote_state.blob_digests(each.manifest) for each in bases))
    profile = profile_of(session, reference)
    # One is the index.
    return Sides(
        here, keys, inside, bases, held, files + packs + 1, profile.layers, profile.layer, place=str(reference.at())
    )


def _spool(session: Session) -> Spool | None:
    # It only saves work.
    with suppress(DiskError):
        return Spool(session.project.parts)
    return None


def _none() -> None:
    """No room."""


def _known(session: Session, tree: Sides) -> tuple[Known, dict[Digest, bytes]]:
    """The chunks of the versions that the repository holds, and the indexes that list them."""
    known, earlier = Known(), dict[Digest, bytes]()
    cache = session.chunks
    for remote in tree.bases:
        with suppress(BundleError):
            contents = remote.contents
            # What was compared with the content here goes before what the version says of it.
            for blob in (*_file_blobs(remote), *(pack.blob for pack in contents.chunks.packs)):
                _add_cached(known, blob, cache, tree.lost)
            known.add_map(contents.chunks, contents.index, tree.lost)
            earlier |= contents.chunks.earlier
            if contents.index is not None and contents.chunks.packs:
                earlier[contents.index.digest] = remote.index
    return known, earlier


def _file_blobs(remote: Remote) -> Iterator[Descriptor]:
    """The blobs of a version that are files."""
    for place in remote.contents.places.values():
        if place.blob is not None and place.offset is None:
            yield place.blob


def _add_cached(known: Known, layer: Descriptor, cache: ChunkCache, lost: frozenset[Digest]) -> None:
    """Add a blob of which no index has the list, as those that other tools pushed, where the tree held it once."""
    if layer.size < cuts.SMALLEST or layer.digest in lost or known.number(layer.digest) is not None:
        return
    found = cache.get(layer.digest)
    if found is not None and sum(found[1].sizes) == layer.size:
        known.add(ChunkPack(layer, found[1]))
