"""Versions whose large files are made of chunks, small enough for a test: made with the model alone, put into any store."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from modelops_bundle.errors import NotFound
from modelops_bundle.events import Run
from modelops_bundle.model import artifact, media
from modelops_bundle.model.artifact import Artifact
from modelops_bundle.model.chunkmap import CODECS, FIRST_XOR, ChunkList, ChunkMap, ChunkPack, Listed, Recipe, joined
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import ANYTHING, Store
from modelops_bundle.model.reference import parse
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations.session import Session
from tests.support.things import file

CHUNKER = "fastcdc2020/64k"
ANY = "application/octet-stream"


@dataclass(frozen=True)
class Version:
    """A version with every blob that it names, and what is known of its chunks."""

    artifact: Artifact
    chunks: ChunkMap
    blobs: Mapping[Digest, bytes] = field(repr=False)

    @property
    def digest(self) -> str:
        """Of its manifest."""
        return str(self.artifact.digest)

    def recipe(self, path: str) -> Recipe:
        """How a file of it is put together."""
        return self.chunks.files[path]


def cut(data: bytes, size: int = 1000) -> list[bytes]:
    """`data` in chunks of `size` bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def listed(chunks: Sequence[bytes]) -> ChunkList:
    """The list of a blob that is these chunks, stored as they are."""
    return ChunkList(array("I", map(len, chunks)), b"".join(blake3(chunk).digest() for chunk in chunks))


def plain(
    files: Mapping[str, bytes | Sequence[bytes]], annotations: Mapping[str, str] | None = None, chunker: str = CHUNKER
) -> Version:
    """A plain version; a file that is given as a sequence has a chunk map of those chunks."""
    chunked = {path: each for path, each in files.items() if not isinstance(each, bytes)}
    whole = {path: each if isinstance(each, bytes) else b"".join(each) for path, each in files.items()}
    packs: dict[Digest, ChunkPack] = {}
    for path, chunks in chunked.items():
        entry = file(whole[path])
        packs[entry.digest] = ChunkPack(Descriptor(ANY, entry.digest, entry.size), listed(chunks))
    order, shared = list(packs), tuple(packs.values())
    recipes = {
        path: Recipe(chunker, ((order.index(Digest.of(whole[path])), 0, len(chunks)),), shared)
        for path, chunks in chunked.items()
    }
    return _version(whole, ChunkMap(shared, recipes), {}, annotations)


def delta(
    files: Mapping[str, bytes | Sequence[bytes]],
    base: Version,
    *,
    codec: str = "none",
    xor: Mapping[bytes, bytes] | None = None,
    per_pack: int = 1000,
    borrow: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> Version:
    """A delta version on top of `base`: files that are given as sequences of chunks are made of the chunks of `base` and
    of new packs.

    :param codec: how chunks that `base` lacks are stored; one that begins with ``xor`` only for those in `xor`, others
        then as they are.
    :param xor: by chunk, the chunk of `base` that it is stored as a difference to.
    :param per_pack: chunks in a new pack, at most.
    :param borrow: lists of packs of `base` are taken from its index instead of repeated.
    """
    packs = list(base.chunks.packs)
    known = {
        pack.chunks.digest(number): (at, number) for at, pack in enumerate(packs) for number in range(len(pack.chunks))
    }
    chunked = {path: each for path, each in files.items() if not isinstance(each, bytes)}
    new = {blake3(chunk).digest(): chunk for chunks in chunked.values() for chunk in chunks}
    waiting = [(digest, chunk) for digest, chunk in new.items() if digest not in known]
    blobs: dict[Digest, bytes] = {}
    for start in range(0, len(waiting), per_pack):
        members = waiting[start : start + per_pack]
        data, pack = _pack(members, codec, xor or {}, known)
        blobs[pack.blob.digest] = data
        known.update((digest, (len(packs), number)) for number, (digest, _) in enumerate(members))
        packs.append(pack)
    pieces = {path: [known[blake3(chunk).digest()] for chunk in chunks] for path, chunks in chunked.items()}
    # Only packs that are needed, each with the number that it has then.
    used = {at for each in pieces.values() for at, _ in each}
    used |= {other for at in used for other, _ in packs[at].chunks.bases.values()}
    numbers = {old: number for number, old in enumerate(sorted(used))}
    shared = tuple(_renumbered(packs[old], numbers) for old in sorted(used))
    recipes = {
        path: Recipe(CHUNKER, joined([(numbers[at], number) for at, number in each]), shared)
        for path, each in pieces.items()
    }
    held = {pack.blob.digest: base.blobs[pack.blob.digest] for pack in shared if pack.blob.digest in base.blobs}
    earlier, lists = _borrowed(base, shared) if borrow else ({}, {})
    whole = {path: each if isinstance(each, bytes) else b"".join(each) for path, each in files.items()}
    return _version(whole, ChunkMap(shared, recipes, earlier, lists), {**held, **blobs}, annotations)


def _pack(
    members: Iterable[tuple[bytes, bytes]],
    codec: str,
    xor: Mapping[bytes, bytes],
    known: Mapping[bytes, tuple[int, int]],
) -> tuple[bytes, ChunkPack]:
    stored: list[bytes] = []
    codecs, sizes, digests = bytearray(), array("I"), b""
    bases: dict[int, tuple[int, int]] = {}
    for number, (digest, chunk) in enumerate(members):
        name = codec if CODECS.index(codec) < FIRST_XOR or chunk in xor else "none"
        made = _encoded(chunk, name, xor.get(chunk))
        if len(made) > len(chunk):
            # No list may say that encoding made it longer.
            name, made = "none", chunk
        if CODECS.index(name) >= FIRST_XOR:
            bases[number] = known[blake3(xor[chunk]).digest()]
        stored.append(made)
        codecs.append(CODECS.index(name))
        sizes.append(len(chunk))
        digests += digest
    data = b"".join(stored)
    chunks = ChunkList(sizes, digests, array("I", map(len, stored)), bytes(codecs), bases)
    return data, ChunkPack(Descriptor(ANY, Digest.of(data), len(data)), chunks)


def _encoded(chunk: bytes, name: str, base: bytes | None) -> bytes:
    if name == "none":
        return chunk
    from modelops_bundle.formats import codec

    return codec.encode(chunk, name, base if name.startswith("xor") else None)


def _renumbered(pack: ChunkPack, numbers: Mapping[int, int]) -> ChunkPack:
    old = pack.chunks
    bases = {number: (numbers[at], other) for number, (at, other) in old.bases.items()}
    return ChunkPack(pack.blob, ChunkList(old.sizes, old.digests, old.stored, old.codecs, bases))


def _borrowed(base: Version, shared: Sequence[ChunkPack]) -> tuple[dict[Digest, bytes], dict[Digest, Listed]]:
    index = Descriptor(media.layer_type("doc"), Digest.of(base.artifact.index), len(base.artifact.index))
    literal = {
        pack.blob.digest: Listed(index, number)
        for number, pack in enumerate(base.chunks.packs)
        if pack.blob.digest not in base.chunks.borrowed and not pack.chunks.bases
    }
    lists = {pack.blob.digest: literal[pack.blob.digest] for pack in shared if pack.blob.digest in literal}
    return ({index.digest: base.artifact.index} if lists else {}), lists


def _version(
    whole: Mapping[str, bytes], chunks: ChunkMap, packs: Mapping[Digest, bytes], annotations: Mapping[str, str] | None
) -> Version:
    snapshot = Snapshot({path: file(data) for path, data in whole.items()})
    made = artifact.build(snapshot, annotations, chunks=chunks)
    by_digest = {Digest.of(data): data for data in whole.values()}
    held = {what.digest: data for what, data in made.generated()} | dict(packs)
    held |= {what.digest: by_digest[what.digest] for what in made.manifest.layers if what.digest in by_digest}
    return Version(made, chunks, held)


def lying(version: Version, path: str, chunks: Sequence[bytes], *, swapped: bool = False) -> Version:
    """`version` with a list for the plain file at `path` that is of other chunks, as large; or, `swapped`, with the first
    two chunks of the file the other way round.
    """
    recipe, packs = version.recipe(path), list(version.chunks.packs)
    if swapped:
        (pack, first, count), *others = recipe.segments
        turned = ((pack, first + 1, 1), (pack, first, 1), (pack, first + 2, count - 2), *others)
        recipe = Recipe(recipe.chunker, turned, recipe.packs)
    else:
        number = recipe.segments[0][0]
        packs[number] = ChunkPack(packs[number].blob, listed(chunks))
        recipe = Recipe(recipe.chunker, recipe.segments, tuple(packs))
    lie = ChunkMap(
        tuple(packs), {**version.chunks.files, path: recipe}, version.chunks.earlier, version.chunks.borrowed
    )
    made = artifact.build(version.artifact.snapshot, chunks=lie)
    return Version(made, lie, {**version.blobs, **{what.digest: data for what, data in made.generated()}})


def publish(place: str, version: Version) -> str:
    """Put a version into the store that `place` names, which has a tag; its digest."""
    reference = parse(place)
    with Session(None, Run(), cwd=Path.cwd()) as session:
        store: Store = session.store(reference, create=True)
        manifest = version.artifact.manifest
        for what in {what.digest: what for what in (manifest.config, *manifest.layers)}.values():
            store.put(what, [version.blobs[what.digest]])
        data = manifest.to_bytes()
        assert reference.tag is not None, place
        store.tag(reference.tag, Descriptor.of(manifest.media_type, data), data, ANYTHING)
    return version.digest


class Held:
    """Blobs, and what was asked of them."""

    def __init__(self, blobs: dict[Digest, bytes]) -> None:
        self.blobs = blobs
        self.asked: list[tuple[int, int]] = []

    def has(self, what: Descriptor) -> bool:
        return what.digest in self.blobs

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Iterator[bytes]]:
        if what.digest not in self.blobs:
            raise NotFound("gone")
        assert stop is not None
        self.asked.append((start, stop))
        data = self.blobs[what.digest][start:stop]
        yield iter([data[at : at + 333] for at in range(0, len(data), 333)])
