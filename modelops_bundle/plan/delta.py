"""Which chunks of large files a repository holds already, and which must be sent (facts: delta §4, Push).

Pure: whoever asks reads the files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from modelops_bundle.model.chunkmap import MOST_EARLIER, ChunkList, ChunkMap, ChunkPack, Listed, Recipe, Segment, joined
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest

MIB = 1024 * 1024
LEAST_PACK, MOST_PACK = 64 * MIB, 1024 * MIB
BUDGET = 100
"""Chunk packs of one version, from which on small ones are made into new ones."""
WORTH_BYTES, WORTH_SHARE = 32 * MIB, 0.30
"""What `delta = "auto"` has to save: bytes, and the share of what would be sent without."""
WORTH_SHARED = 0.10
"""The share of a file that has to be there already: what only shrinks stays readable for other tools."""

IDLE_BYTES, IDLE_SHARE = 16 * MIB, 0.05
"""What is in use of a pack, in bytes and as a share of it, below both of which it is given up."""
MOST_LISTED = 600_000
"""Chunks in one index: 30 MiB of it, and what people can wait for; tensors of 600 GiB have as many."""

HashAt = Callable[[int, int], bytes]
"""The BLAKE3 digest of the bytes of a file from an offset on, as many as asked for."""


class Where(NamedTuple):
    """A chunk that the repository holds: the number of the pack in `Known`, and its own."""

    pack: int
    number: int


class Cut(NamedTuple):
    """A run of bytes of a file: first byte, how many, their digest, and where they are stored already."""

    start: int
    size: int
    digest: bytes
    where: Where | None


class Known:
    """Chunks that a repository holds, by digest; of packs that several versions name, the first list counts."""

    def __init__(self) -> None:
        self.packs: list[ChunkPack] = []
        self.listed: list[Listed | None] = []
        self._numbers: dict[Digest, int] = {}
        self._chunks: dict[bytes, Where] = {}

    def add(self, pack: ChunkPack, listed: Listed | None = None) -> None:
        """Add a blob with its chunks.

        :param listed: where its list stands in an index that the repository holds; None where in none.
        """
        if pack.blob.digest in self._numbers:
            return
        number = self._numbers[pack.blob.digest] = len(self.packs)
        self.packs.append(pack)
        self.listed.append(listed)
        for at in range(len(pack.chunks)):
            self._chunks.setdefault(pack.chunks.digest(at), Where(number, at))

    def add_map(self, chunks: ChunkMap, index: Descriptor | None, lost: Collection[Digest] = ()) -> None:
        """Add all that the index of a version says; what its differences are to is numbered as here.

        :param lost: blobs that are not there, whatever it says.
        """
        packs, unwanted = chunks.packs, {*lost, *self._numbers}
        new = self._readable(packs, {at for at, pack in enumerate(packs) if pack.blob.digest not in unwanted})
        places = {at: len(self.packs) + n for n, at in enumerate(sorted(new))}
        for at in places:
            pack = packs[at]
            bases = {
                number: (places[other] if other in places else self._numbers[packs[other].blob.digest], base)
                for number, (other, base) in pack.chunks.bases.items()
            }
            self.add(ChunkPack(pack.blob, replace(pack.chunks, bases=bases)))
        for at, pack in enumerate(packs):
            known = self.number(pack.blob.digest)
            if known is not None and self.listed[known] is None and not pack.chunks.bases:
                listed = chunks.borrowed.get(pack.blob.digest) or (Listed(index, at) if index is not None else None)
                self.listed[known] = listed if self.packs[known].chunks == pack.chunks else None

    def _readable(self, packs: Sequence[ChunkPack], new: set[int]) -> set[int]:
        """Those of `new` of which all that their differences are to is known, or new."""
        while True:
            left = {
                at
                for at in new
                if all(other in new or self.same(packs[other], n) for other, n in packs[at].chunks.bases.values())
            }
            if left == new:
                return left
            new = left

    def same(self, pack: ChunkPack, number: int) -> Where | None:
        """Chunk `number` of a pack in the list that is known here of its blob; None where that has it not."""
        known = self.number(pack.blob.digest)
        if known is None or self.packs[known].chunks.digest(number) != pack.chunks.digest(number):
            return None
        return Where(known, number)

    def contradicts(self, pack: ChunkPack) -> bool:
        """Whether another list is known of the same blob."""
        known = self.number(pack.blob.digest)
        chunks = self.packs[known].chunks if known is not None else pack.chunks
        return (chunks.digests, chunks.sizes) != (pack.chunks.digests, pack.chunks.sizes)

    def find(self, digest: bytes, size: int) -> Where | None:
        """Where a chunk of `size` bytes is, None when nowhere."""
        found = self._chunks.get(digest)
        # Whoever made the list may have lied: then a file of ours would have another size.
        return found if found is not None and self.packs[found.pack].chunks.sizes[found.number] == size else None

    def number(self, digest: Digest) -> int | None:
        """The number of the pack that is this blob."""
        return self._numbers.get(digest)

    def needed(self, numbers: Iterable[int]) -> set[int]:
        """These packs, and those that must be listed with them because something in them is a difference to those."""
        found, waiting = set[int](), set(numbers)
        while waiting:
            found |= waiting
            bases = (base for number in waiting for base in self.packs[number].chunks.bases.values())
            waiting = {pack for pack, _ in bases} - found
        return found

    def beside(self, where: Where, step: int) -> tuple[Where, int, bytes] | None:
        """The chunk after or before another one in its pack, with its size and digest."""
        chunks, number = self.packs[where.pack].chunks, where.number + step
        if not 0 <= number < len(chunks):
            return None
        return Where(where.pack, number), chunks.sizes[number], chunks.digest(number)


@dataclass(slots=True)
class Large:
    """A large file of the tree: its path, size in bytes, digest, and how it is cut."""

    path: str
    size: int
    digest: Digest
    chunker: str
    cuts: list[Cut]

    @property
    def fresh(self) -> int:
        """Bytes of it that the repository does not hold."""
        return sum(cut.size for cut in self.cuts if cut.where is None)


def cut(path: str, digest: Digest, chunker: str, chunks: ChunkList, known: Known, hash_at: HashAt) -> Large:
    """Cut a file as its list says, and where it only grew as the version before was cut.

    :param chunks: the list of the file itself.
    """
    cuts, at = [], 0
    for number, size in enumerate(chunks.sizes):
        found = chunks.digest(number)
        cuts.append(Cut(at, size, found, known.find(found, size)))
        at += size
    return Large(path, at, digest, chunker, _grown(cuts, known, hash_at))


def _grown(cuts: Sequence[Cut], known: Known, hash_at: HashAt) -> list[Cut]:
    found: list[Cut] = []
    at = 0
    while at < len(cuts):
        if cuts[at].where is not None:
            found.append(cuts[at])
            at += 1
            continue
        stop = at
        while stop < len(cuts) and cuts[stop].where is None:
            stop += 1
        before = found[-1].where if found else None
        after = cuts[stop].where if stop < len(cuts) else None
        found += _followed(cuts[at:stop], before, after, known, hash_at)
        at = stop
    return found


def _followed(
    run: Sequence[Cut], before: Where | None, after: Where | None, known: Known, hash_at: HashAt
) -> Iterator[Cut]:
    """Unknown chunks between known ones: where the old neighbours of those are still there, cut as they were."""
    start, stop = run[0].start, run[-1].start + run[-1].size
    first, last = list(_neighbours(before, 1, start, stop, known, hash_at)), list[Cut]()
    start += sum(each.size for each in first)
    last = list(_neighbours(after, -1, start, stop, known, hash_at))
    stop -= sum(each.size for each in last)
    yield from first
    if start < stop:
        edges = [start, *(each.start for each in run if start < each.start < stop), stop]
        untouched = {(each.start, each.size): each for each in run}
        for one, two in pairwise(edges):
            same = untouched.get((one, two - one))
            digest = same.digest if same else hash_at(one, two - one)
            yield same or Cut(one, two - one, digest, known.find(digest, two - one))
    yield from reversed(last)


def _neighbours(where: Where | None, step: int, start: int, stop: int, known: Known, hash_at: HashAt) -> Iterator[Cut]:
    """Chunks that follow `where` in its pack (or come before it), as long as the file has them there too."""
    while where is not None and start < stop:
        beside = known.beside(where, step)
        if beside is None or beside[1] > stop - start:
            return
        where, size, digest = beside
        at = start if step > 0 else stop - size
        if hash_at(at, size) != digest:
            return
        yield Cut(at, size, digest, where)
        if step > 0:
            start += size
        else:
            stop -= size


def pack_size(total: int, *, has_base: bool, most: int | None = None) -> int:
    """Bytes of a new chunk pack: so large that a version of `total` bytes fits its budget.

    :param has_base: most chunks are in whole files: packs hold changes alone. :param most: of one blob there.
    """
    size = max(LEAST_PACK, min(total // 48, MOST_PACK // 4 if has_base else MOST_PACK))
    return min(size, most) if most is not None else size


def idle(files: Iterable[Large], known: Known) -> frozenset[int]:
    """The packs of which so little is in use that it is sent again: each would keep all its bytes in the repository, and
    in every copy of the version.
    """
    return frozenset(
        number
        for number, size in _live(files).items()
        if size <= IDLE_BYTES and size < IDLE_SHARE * sum(known.packs[number].chunks.sizes)
    )


def _live(files: Iterable[Large]) -> dict[int, int]:
    """How many bytes of the files each pack holds."""
    live: dict[int, int] = {}
    for file in files:
        for one in file.cuts:
            if one.where is not None:
                live[one.where.pack] = live.get(one.where.pack, 0) + one.size
    return live


def affordable(lists: Mapping[str, tuple[str, ChunkList]]) -> dict[str, tuple[str, ChunkList]]:
    """The lists that an index has room for: of weights first, then in the order of paths. The other files have none."""
    found: dict[str, tuple[str, ChunkList]] = {}
    left = MOST_LISTED
    for path in sorted(lists, key=lambda path: (lists[path][0].startswith("fastcdc"), path.encode())):
        count = len(lists[path][1])
        if count <= left:
            found[path] = lists[path]
            left -= count
    return {path: found[path] for path in lists if path in found}


def dropped(
    files: Iterable[Large], known: Known, budget: int, target: int, bases: Iterable[int] = ()
) -> frozenset[int]:
    """The packs to give up so that what is left, and what takes their place, fits the budget; none when it does.

    Those of which least is in use, as then their chunks are sent again.

    :param target: bytes of a new pack. :param bases: packs that new chunks are differences to.
    """
    files = list(files)
    live, fresh = _live(files), sum(file.fresh for file in files)
    always = frozenset(bases)

    def count(gone: frozenset[int] | set[int], moved: int) -> int:
        return len(known.needed(always.union(live.keys() - gone))) + -(-(fresh + moved) // target)

    if count(frozenset(), 0) <= budget:
        return frozenset()
    gone: set[int] = set()
    moved = 0
    for number in sorted(live, key=lambda number: live[number]):
        if count(gone, moved) <= budget * 3 // 4:
            break
        gone.add(number)
        moved += live[number]
    return frozenset(gone)


def without(file: Large, gone: Collection[int]) -> Large:
    """The file, with the chunks of packs that are given up unknown again."""
    cuts = [one._replace(where=None) if one.where is not None and one.where.pack in gone else one for one in file.cuts]
    return Large(file.path, file.size, file.digest, file.chunker, cuts)


def is_worth(whole: int, delta: int) -> bool:
    """Whether sending `delta` bytes instead of `whole` ones is worth that other tools cannot read the files."""
    return whole - delta >= WORTH_BYTES and whole - delta >= whole * WORTH_SHARE


@dataclass(slots=True)
class Draft:
    """A chunk map on its way: packs are numbered as they are first named."""

    known: Known
    fresh: Mapping[bytes, tuple[int, int]]
    """By digest of a chunk, the number of the new pack that holds it, and its own."""
    made: Sequence[ChunkPack]
    _packs: list[ChunkPack] = field(default_factory=list)
    _numbers: dict[Digest, int] = field(default_factory=dict)

    def _number(self, pack: ChunkPack) -> int:
        digest = pack.blob.digest
        if digest not in self._numbers:
            self._numbers[digest] = len(self._packs)
            self._packs.append(pack)
        return self._numbers[digest]

    def map(
        self,
        files: Sequence[Large],
        whole: Mapping[str, tuple[str, ChunkPack]],
        earlier: Mapping[Digest, bytes],
        most: int | None = None,
    ) -> ChunkMap:
        """The map of a version.

        :param files: those made of chunks. :param whole: chunker and pack of those that are blobs of their own.
        :param earlier: the indexes that lists can be taken from. :param most: packs and earlier indexes together.
        """
        segments = {file.path: (file.chunker, self._segments(file)) for file in files}
        for path, (chunker, pack) in whole.items():
            number = self._number(pack)
            # A new pack may be that very blob, in a list of its own.
            segments[path] = chunker, ((number, 0, len(self._packs[number].chunks)),)
        self._name_bases()
        packs = tuple(self._renumbered())
        recipes = {path: Recipe(chunker, found, packs) for path, (chunker, found) in segments.items()}
        left = MOST_EARLIER if most is None else max(0, min(MOST_EARLIER, most - len(packs)))
        borrowed = self._borrowed(earlier, left) if files else {}
        used = {listed.index.digest for listed in borrowed.values()}
        return ChunkMap(packs, recipes, {digest: earlier[digest] for digest in sorted(used)}, borrowed)

    def _segments(self, file: Large) -> tuple[Segment, ...]:
        pieces = []
        for one in file.cuts:
            if one.where is not None:
                pieces.append((self._number(self.known.packs[one.where.pack]), one.where.number))
            else:
                pack, number = self.fresh[one.digest]
                pieces.append((self._number(self.made[pack]), number))
        return joined(pieces)

    def _name_bases(self) -> None:
        """Packs that differences are to are named too, and those that others in these are to, as lists are whole."""
        # It grows meanwhile.
        for pack in self._packs:
            for other in sorted({base[0] for base in pack.chunks.bases.values()}):
                self._number(self.known.packs[other])

    def _renumbered(self) -> Iterator[ChunkPack]:
        """The packs, with the numbers that bases have in this map."""
        for pack in self._packs:
            chunks = pack.chunks
            if chunks.bases:
                bases = {
                    number: (self._numbers[self.known.packs[other].blob.digest], at)
                    for number, (other, at) in chunks.bases.items()
                }
                chunks = replace(chunks, bases=bases)
            yield ChunkPack(pack.blob, chunks)

    def _borrowed(self, earlier: Mapping[Digest, bytes], most: int) -> dict[Digest, Listed]:
        """Lists that need not be sent again: those in the indexes that have most of them."""
        found: dict[Digest, dict[Digest, Listed]] = {}
        for pack in self._packs:
            number = self.known.number(pack.blob.digest)
            listed = self.known.listed[number] if number is not None else None
            if listed is not None and not pack.chunks.bases and listed.index.digest in earlier:
                found.setdefault(listed.index.digest, {})[pack.blob.digest] = listed
        chosen = sorted(found.values(), key=lambda group: -len(group))[:most]
        return {digest: listed for group in chosen for digest, listed in group.items()}
