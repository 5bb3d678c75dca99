"""Whatever is edited and however it is pushed: every version reads back, of blobs that it names itself."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from modelops_bundle.events import Run
from modelops_bundle.model import artifact
from modelops_bundle.model.artifact import Artifact, Contents
from modelops_bundle.model.chunkmap import ChunkList, ChunkMap, ChunkPack, Recipe
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.plan import delta
from modelops_bundle.plan.delta import Draft, Known, Large
from modelops_bundle.transfer import encode
from modelops_bundle.transfer.bases import Bases
from modelops_bundle.transfer.chunks import reading
from modelops_bundle.transfer.encode import ChunkPacks, Fresh
from tests.support.things import file

LONGEST = 120
"""Bytes of a chunk."""


def cut(data: bytes) -> ChunkList:
    """Cut after every zero, and where that takes too long."""
    sizes, digests, at = array("I"), b"", 0
    while at < len(data):
        found = data.find(0, at, at + LONGEST)
        end = found + 1 if found >= 0 else min(at + LONGEST, len(data))
        sizes.append(end - at)
        digests += blake3(data[at:end]).digest()
        at = end
    return ChunkList(sizes, digests)


class Layers:
    """The blobs that a manifest names, and no others."""

    def __init__(self, blobs: Mapping[Digest, bytes], manifest: Manifest) -> None:
        self._blobs, self._named = blobs, {layer.digest: layer for layer in manifest.layers}

    def fetch(self, what: Descriptor) -> bytes:
        assert self._named[what.digest].size == len(self._blobs[what.digest])
        return self._blobs[what.digest]

    def has(self, what: Descriptor) -> bool:
        return what.digest in self._named

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Iterator[bytes]]:
        data = self.fetch(what)
        assert 0 <= start <= (stop if stop is not None else len(data)) <= len(data)
        yield iter([data[start:stop]])


class Pushed(NamedTuple):
    """A version as its registry has it, and what was pushed."""

    manifest: bytes
    files: Mapping[str, bytes]


@dataclass
class World:
    """A repository, and the tree of whoever pushes to it."""

    files: dict[str, bytes]
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    versions: list[Pushed] = field(default_factory=list)

    def read(self, path: str, start: int, size: int) -> bytes:
        return self.files[path][start : start + size]

    def contents(self, version: Pushed) -> tuple[Contents, Layers]:
        manifest = Manifest.from_bytes(version.manifest)
        layers = Layers(self.blobs, manifest)
        return artifact.read(manifest, layers.fetch), layers

    def known(self) -> tuple[Known, dict[Digest, bytes]]:
        known, earlier = Known(), dict[Digest, bytes]()
        for version in reversed(self.versions):
            contents, layers = self.contents(version)
            assert contents.index is not None
            known.add_map(contents.chunks, contents.index)
            earlier |= contents.chunks.earlier
            earlier[contents.index.digest] = layers.fetch(contents.index)
        return known, earlier

    def push(self, mode: str, target: int, budget: int) -> None:
        snapshot = Snapshot({path: file(data) for path, data in self.files.items()})
        known, earlier = self.known()
        if mode == "plain":
            packs = tuple(ChunkPack(entry.content, cut(self.files[path])) for path, entry in snapshot.items())
            distinct = tuple({pack.blob.digest: pack for pack in packs}.values())
            numbers = {pack.blob.digest: number for number, pack in enumerate(distinct)}
            recipes = {
                path: Recipe("c", ((numbers[entry.digest], 0, len(cut(self.files[path]))),), distinct)
                for path, entry in snapshot.items()
            }
            self._store(artifact.build(snapshot, chunks=ChunkMap(distinct, recipes)), None, snapshot)
            return
        files = [self._large(path, entry.digest, known) for path, entry in snapshot.items()]
        pairs = self._pairs(files, known) if mode == "xor" else {}
        gone = delta.dropped(files, known, budget, target, {place[0] for place in pairs.values()})
        files = [delta.without(each, gone) for each in files]
        todo = {
            one.digest: Fresh(each.path, one.start, one.size, one.digest, "BF16", pairs.get(one.digest))
            for each in files
            for one in each.cuts
            if one.where is None
        }
        every = Layers(self.blobs, Manifest(Descriptor("x/y", Digest.of(b""), 0), tuple(p.blob for p in known.packs)))
        bases = Bases(known.packs, every)
        made = [
            pack for pack, _ in encode.encode(todo.values(), self.read, bases, target, Run(), taken=known.contradicts)
        ]
        assert all(pack.blob.size <= max(target, LONGEST) for pack in made)
        places = {pack.chunks.digest(n): (at, n) for at, pack in enumerate(made) for n in range(len(pack.chunks))}
        chunks = Draft(known, places, made).map(files, {}, earlier)
        new = frozenset(pack.blob.digest for pack in made)
        source = ChunkPacks(chunks, new, self.read, Bases(chunks.packs, every), {})
        self._store(artifact.build(snapshot, chunks=chunks), source, snapshot)

    def _large(self, path: str, digest: Digest, known: Known) -> Large:
        data = self.files[path]
        return delta.cut(path, digest, "c", cut(data), known, lambda at, size: blake3(data[at : at + size]).digest())

    def _pairs(self, files: Sequence[Large], known: Known) -> dict[bytes, tuple[int, int]]:
        """What stood at the same place in the version before."""
        found: dict[bytes, tuple[int, int]] = {}
        contents = self.contents(self.versions[-1])[0].places if self.versions else {}
        for each in files:
            recipe = contents[each.path].recipe if each.path in contents else None
            there = {(piece.start, piece.size): piece for piece in recipe.pieces()} if recipe is not None else {}
            for one in each.cuts:
                piece = there.get((one.start, one.size)) if one.where is None else None
                if recipe is None or piece is None:
                    continue
                where = known.same(recipe.packs[piece.pack], piece.number)
                assert where is not None
                chunks = known.packs[where.pack].chunks
                found[one.digest] = chunks.bases.get(where.number, (where.pack, where.number))
        return found

    def _store(self, made: Artifact, source: ChunkPacks | None, snapshot: Snapshot) -> None:
        whole = {entry.digest: self.files[path] for path, entry in snapshot.items()}
        self.blobs.update((what.digest, data) for what, data in made.generated())
        for what, _ in made.file_blobs():
            if what.digest in whole:
                self.blobs[what.digest] = whole[what.digest]
            elif source is not None and source.has(what):
                with source.open(what) as chunks:
                    self.blobs[what.digest] = b"".join(chunks)
            assert Digest.of(self.blobs[what.digest]) == what.digest
            assert len(self.blobs[what.digest]) == what.size
        self.versions.append(Pushed(made.manifest.to_bytes(), dict(self.files)))
        contents, _ = self.contents(self.versions[-1])
        said = artifact.index_bytes(snapshot, chunks=contents.chunks)
        assert said == made.index, "what is read is what was written"

    def check(self) -> None:
        """Every version ever pushed is what it was."""
        for version in self.versions:
            contents, layers = self.contents(version)
            assert contents.snapshot.keys() == version.files.keys()
            for path, data in version.files.items():
                place = contents.places[path]
                assert all(layers.has(blob) for blob in place.blobs)
                assert place.recipe is not None
                with reading(layers, place.recipe, 0, len(data)) as chunks:
                    assert b"".join(chunks) == data
                if place.blob is not None:
                    assert layers.fetch(place.blob) == data


texts = st.builds(lambda seed, size: Random(seed).randbytes(size), st.integers(0, 9), st.integers(1, 500)) | st.builds(
    lambda data, count: data * count, st.binary(min_size=1, max_size=40), st.integers(1, 9)
)
paths = st.sampled_from(["a.bin", "b.bin", "c.bin"])
spots = st.integers(0, 400)
Edit = tuple[str, str, int, int, bytes]
edits: st.SearchStrategy[Edit] = st.tuples(
    st.sampled_from(["replace", "append", "copy", "new", "nudge", "nudge"]), paths, spots, st.integers(0, 200), texts
)
pushes = st.tuples(
    st.sampled_from(["plain", "delta", "xor", "xor"]), st.sampled_from([1, 200, 10**6]), st.integers(1, 9)
)


def apply(files: dict[str, bytes], edit: Edit) -> None:
    kind, path, at, count, data = edit
    old = files.get(path, b"x")
    if kind == "replace":
        files[path] = old[:at] + data + old[at + count :]
    elif kind == "append":
        files[path] = old + data
    elif kind == "copy":
        files["b.bin"] = old
    elif kind == "new":
        files[path] = data
    else:
        files[path] = bytes(byte ^ (2 * (number % 60 == at % 60)) for number, byte in enumerate(old))


@settings(deadline=None, max_examples=100)
@given(texts, st.lists(st.tuples(st.lists(edits, max_size=3), pushes), min_size=1, max_size=7))
def test_every_version_reads_back(first: bytes, steps: list[tuple[list[Edit], tuple[str, int, int]]]) -> None:
    world = World({"a.bin": first})
    for changes, (mode, target, budget) in steps:
        for change in changes:
            apply(world.files, change)
        world.push(mode, target, budget)
    world.check()
