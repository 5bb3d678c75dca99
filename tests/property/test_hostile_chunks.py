"""Chunk maps that lie: read as something consistent or refused, and never a byte that no list promised.

A version whose index was changed in one thing or several, and whose manifest says so, goes the way of a pull: parse, then
read every file through the packs. The reader writes down what it is asked for; memory is measured.
"""

from __future__ import annotations

import base64
import copy
import random
import struct
import threading
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt, UnsafePath, Unsupported
from modelops_bundle.events import Run
from modelops_bundle.model import artifact, canonical, chunkmap, media
from modelops_bundle.model.artifact import Contents
from modelops_bundle.model.chunkmap import CODECS, FIRST_XOR, MAX_CHUNK, ChunkMap, list_from_json
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.ports import Chunks, Reader
from modelops_bundle.transfer.assemble import assemble
from modelops_bundle.transfer.chunks import SPAN, reading
from modelops_bundle.transfer.hosts import Host
from modelops_bundle.transfer.ranges import NoRanges, Room
from modelops_bundle.transfer.seeds import Seeds
from tests.support import chunked
from tests.support.campaign import rounds
from tests.support.chunked import Version
from tests.support.strategies import json_values

PEAK = 2 << 20
"""Bytes that reading a small version may take, whatever it claims."""
PEAK_PER_BYTE = 128
"""Bytes that one of the index may take, parsed."""


def _versions() -> list[Version]:
    """Every form that a map has: a plain file with a list; old and new packs; differences; borrowed lists; several files."""
    old = [bytes([number]) * (100 + number) for number in range(12)]
    base = chunked.plain({"a.bin": old, "b.bin": old[::-1], "c.txt": b"text"})
    edited = [*old[:4], b"new" * 99, *old[6:]]
    near = old[5][:-1] + b"!"
    return [
        base,
        chunked.delta({"a.bin": edited, "b.bin": [b"x" * 500, *old], "c.txt": b"text"}, base, codec="zstd", per_pack=1),
        chunked.delta({"a.bin": [*old[:5], near, *old[6:]]}, base, codec="xor+bp2+zstd", xor={near: old[5]}),
        chunked.delta({"a.bin": edited}, base, codec="bp4+zstd", borrow=True),
    ]


VERSIONS = _versions()


class Recorder:
    """Serves the blobs of a version, and no byte outside of them."""

    def __init__(self, version: Version) -> None:
        self._blobs = version.blobs
        self._named = {what.digest: what.size for what in version.artifact.manifest.layers}

    def has(self, what: Descriptor) -> bool:
        return what.digest in self._blobs

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        assert what.size == self._named[what.digest]
        assert stop is not None
        assert 0 <= start < stop <= what.size, f"{start} to {stop} of {what.size} bytes"
        assert stop - start <= SPAN + chunkmap.MOST_STORED
        yield iter([self._blobs[what.digest][start:stop]])


def forged(version: Version, index: bytes) -> Manifest:
    """The manifest of a version with another index."""
    manifest = version.artifact.manifest
    what = Descriptor.of(media.layer_type("doc"), index, {media.FILEPATH: artifact.INDEX_PATH}, inline=True)
    layers = tuple(
        what if each.annotations.get(media.FILEPATH) == artifact.INDEX_PATH else each for each in manifest.layers
    )
    annotations = {**manifest.annotations, media.INDEX: str(what.digest)}
    return replace(manifest, layers=layers, annotations=annotations, received=None)


def look(version: Version, index: bytes) -> Contents | None:
    """Read a version through another index, and each of its files; None when it is refused."""

    def fetch(what: Descriptor) -> bytes:
        return version.blobs[what.digest]

    try:
        contents = artifact.read(forged(version, index), fetch)
    except (Corrupt, Unsupported, UnsafePath):
        return None
    check(contents)
    for path, place in contents.places.items():
        if place.recipe is not None:
            read_through(version, contents, path)
    return contents


def check(contents: Contents) -> None:
    """What is promised of everything that was read."""
    for pack in contents.chunks.packs:
        chunks = pack.chunks
        assert len(chunks.sizes) == len(chunks.room) == len(chunks.digests) // 32
        assert chunks.offsets()[-1] == pack.blob.size
        assert max(chunks.sizes) <= MAX_CHUNK
        assert max(chunks.room) <= chunkmap.MOST_STORED
        for number, (other, at) in chunks.bases.items():
            base = contents.chunks.packs[other].chunks
            assert chunks.codec(number) >= FIRST_XOR > base.codec(at)
            assert base.sizes[at] == chunks.sizes[number]
    for path, place in contents.places.items():
        if place.recipe is not None:
            assert place.recipe.packs == contents.chunks.packs
            assert place.recipe.size == contents.snapshot[path].size
            assert {blob.digest for blob in place.blobs}


def read_through(version: Version, contents: Contents, path: str) -> None:
    """What comes out is what the list promises, chunk by chunk, until it is refused."""
    recipe = contents.places[path].recipe
    assert recipe is not None
    promised = recipe.pieces()
    with suppress(Corrupt), reading(Recorder(version), recipe, 0, recipe.size) as chunks:
        for data in chunks:
            piece = next(promised)
            assert (blake3(data).digest(), len(data)) == (piece.digest, piece.size)
        assert next(promised, None) is None


# --- mutations

Index = dict[str, Any]
Mutation = Callable[[random.Random, Index], None]


def _numbers(text: str) -> list[int]:
    return list(array("I", base64.b64decode(text)))


def _column(numbers: list[int]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}I", *(number & 0xFFFFFFFF for number in numbers))).decode()


def _pack(chance: random.Random, index: Index) -> dict[str, Any]:
    return chance.choice(index["chunks"]["packs"])  # type: ignore[no-any-return]


def _odd(chance: random.Random) -> Any:
    return chance.choice(
        [-1, 0, 1, 2, 7, 12, 1 << 31, 1 << 32, 1 << 64, 1.0, True, None, "", "1", "AAAA", "====", [], {}, [0], [0, 0]]
    )


def _count(chance: random.Random) -> int:
    return chance.choice([-1, 0, 0, 1, 1, 2, 3, 5, 11, 12, 13, 1 << 22, 1 << 31, (1 << 32) - 1, 1 << 63])


def column(chance: random.Random, index: Index) -> None:
    """A column of numbers gets other ones; their sum stays, or not."""
    pack = _pack(chance, index)
    names = [name for name in ("raw", "stored") if name in pack]
    if not names:
        return
    name = chance.choice(names)
    numbers = _numbers(pack[name])
    at, other = (chance.randrange(len(numbers)) for _ in range(2))
    if chance.random() < 0.5:
        amount = chance.choice([1, numbers[at] - 1, numbers[at], numbers[at] + 1, 1 << 24])
        numbers[at] -= amount
        numbers[other] += amount
    else:
        numbers[at] = chance.choice([0, 1, MAX_CHUNK, MAX_CHUNK + 1, (1 << 32) - 1])
    pack[name] = _column(numbers)


def bits(chance: random.Random, index: Index) -> None:
    """A column gets another byte, or is longer or shorter, or is no base64."""
    pack = _pack(chance, index)
    names = [name for name in ("raw", "stored", "digests", "codec") if isinstance(pack.get(name), str)]
    if not names:
        return
    name = chance.choice(names)
    data = bytearray(base64.b64decode(pack[name]))
    match chance.randrange(5):
        case 0:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 1:
            del data[-chance.randint(1, 40) :]
        case 2:
            data += bytes(chance.randint(1, 40))
        case 3:
            chance.shuffle(data)
    text = base64.b64encode(data).decode()
    pack[name] = text if chance.random() < 0.8 else text.replace("A", chance.choice(["\n", "é", "=", " ", "-"]))


def codecs(chance: random.Random, index: Index) -> None:
    """Chunks are said to be stored otherwise."""
    pack = _pack(chance, index)
    if "raw" in pack:
        count = len(_numbers(pack["raw"]))
        each = base64.b64encode(bytes(chance.randrange(7) for _ in range(count))).decode()
        pack["codec"] = chance.choice([0, 1, 2, 3, 4, 5, 6, 255, 256, -1, True, each])


def bases(chance: random.Random, index: Index) -> None:
    """Differences to what is no base: deep, cyclic, of another length, not there."""
    pack = _pack(chance, index)
    if "raw" not in pack:
        return
    count = len(_numbers(pack["raw"]))
    numbers = [str(chance.choice([0, 1, 2, count - 1, count, 1 << 40])) for _ in range(chance.randint(1, 3))]
    pack["base"] = {number: chance.choice([[_count(chance), _count(chance)], _odd(chance)]) for number in numbers}
    if chance.random() < 0.5:
        # Differences to chunks that are differences, themselves among them.
        here = index["chunks"]["packs"].index(pack)
        pack["codec"] = chance.choice([4, 5])
        pack["base"] = {str(number): [here, chance.randrange(count)] for number in range(count)}


def borrowed(chance: random.Random, index: Index) -> None:
    """A list is said to be in another index, or in what is none."""
    pack = _pack(chance, index)
    for name in ("raw", "digests", "stored", "codec", "base"):
        if chance.random() < 0.8:
            pack.pop(name, None)
    pack["list"] = chance.choice([[chance.randrange(len(index["blobs"])), _count(chance)], _odd(chance)])


def segments(chance: random.Random, index: Index) -> None:
    """A file is made of other chunks, of none, of chunks that are not there, of the same ones again and again."""
    row = chance.choice([row for row in index["files"] if "chunker" in row])
    found = row.setdefault("segments", [[0, 0, 1]])
    match chance.randrange(6):
        case 0:
            found.append([_count(chance) for _ in range(chance.choice([3, 3, 3, 2, 4]))])
        case 1:
            chance.shuffle(found)
        case 2:
            row["segments"] = found * chance.choice([0, 2, 300])
        case 3:
            found[chance.randrange(len(found))] = _odd(chance)
        case 4:
            found[chance.randrange(len(found))][chance.randrange(3)] = _count(chance)
        case 5:
            row["at"] = chance.choice([[0], [len(index["blobs"]) - 1], _odd(chance)])
    if chance.random() < 0.5:
        # Claims the size that these chunks have.
        with suppress(Exception):
            sizes = [_numbers(pack["raw"]) for pack in index["chunks"]["packs"]]
            row["size"] = sum(sum(sizes[pack][first : first + count]) for pack, first, count in row["segments"])


def blob(chance: random.Random, index: Index) -> None:
    """A list is of another blob, or of none, or of one that has another already."""
    _pack(chance, index)["blob"] = chance.choice([chance.randrange(len(index["blobs"])), _odd(chance)])


def repeated(chance: random.Random, index: Index) -> None:
    """Packs again, left out, in another order."""
    packs = index["chunks"]["packs"]
    match chance.randrange(3):
        case 0:
            packs += [copy.deepcopy(_pack(chance, index)) for _ in range(chance.choice([1, 50]))]
        case 1:
            packs.remove(_pack(chance, index))
        case 2:
            chance.shuffle(packs)


def anything(chance: random.Random, index: Index) -> None:
    """Any value of the index is another one, or is not there."""
    value: Any = index
    while True:
        key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.2:
            break
        value = inner
    if isinstance(value, dict) and chance.random() < 0.3:
        del value[key]
    else:
        value[key] = _odd(chance)


MUTATIONS: list[Mutation] = [column, bits, codecs, bases, borrowed, segments, blob, repeated, anything]


def mutated(chance: random.Random) -> tuple[Version, bytes, str]:
    """A version, an index for it that was changed in one thing or several, and what they were."""
    version = chance.choice(VERSIONS)
    index = canonical.loads(version.artifact.index, "the index", limit=1 << 20)
    assert isinstance(index, dict)
    index = copy.deepcopy(index)
    chosen = [chance.choice(MUTATIONS) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    for change in chosen:
        # What was changed before may leave no place for the next one.
        with suppress(LookupError, AttributeError, TypeError, ValueError):
            change(chance, index)
    return version, canonical.dumps(index), "+".join(change.__name__ for change in chosen)


@contextmanager
def measured(index: bytes) -> Iterator[None]:
    """Fails when more memory was taken at any moment than reading such an index may take."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < PEAK + PEAK_PER_BYTE * len(index), f"{peak} bytes for an index of {len(index)}"


@pytest.mark.campaign
def test_mutated_maps_are_refused_or_consistent() -> None:
    count, read = rounds(20_000), 0
    for number in range(count):
        version, index, what = mutated(random.Random(number))
        try:
            # Following every allocation takes several times as long as all the rest.
            with measured(index) if number % 10 == 0 else nullcontext():
                read += look(version, index) is not None
        except Exception as error:
            raise AssertionError(f"round {number}: {what}") from error
    # Both ends were met: the mutations neither spoil everything nor nothing.
    assert 0.02 * count < read < 0.9 * count


class Everywhere:
    """Where packs are for `assemble`: in the version, and here once they were staged."""

    def __init__(self, version: Version) -> None:
        self.lanes = threading.Semaphore(4)
        self.room = Room()
        self._store = Recorder(version)
        self._host = Host()
        self._staged: set[Digest] = set()

    def reader(self, pack: Descriptor) -> tuple[Reader, Host | None]:
        return self._store, None if pack.digest in self._staged else self._host

    def distrust(self, _pack: Descriptor, _reader: Reader) -> bool:
        return False

    def stage(self, pack: Descriptor) -> int:
        self._staged.add(pack.digest)
        return pack.size


@pytest.mark.campaign
def test_nothing_wrong_is_put_together(tmp_path: Path) -> None:
    count, made, refusals = rounds(4_000), 0, 0
    for number in range(count):
        version, index, what = mutated(random.Random(f"files {number}"))
        contents = look(version, index)
        for path, place in contents.places.items() if contents is not None else ():
            if place.recipe is None:
                continue
            entry, at = contents.snapshot[path], tmp_path / "it.assembly"  # type: ignore[union-attr]
            try:
                assemble(at, entry.content, place.recipe, Seeds(), Everywhere(version), Run(), lambda _: None)
            except (Corrupt, NoRanges):
                refusals += 1
            else:
                made += 1
                assert Digest.of(at.read_bytes()) == entry.digest, f"round {number}: {what}"
            at.unlink(missing_ok=True)
    assert made > 0.02 * count
    assert refusals > 0.02 * count


def test_the_versions_themselves_are_read() -> None:
    for version in VERSIONS:
        with measured(version.artifact.index):
            contents = look(version, version.artifact.index)
        assert contents is not None
        assert said(contents.chunks) == said(version.chunks)


def said(chunks: ChunkMap) -> object:
    """All of a map but the media types of its blobs, which are the manifest's affair."""
    return (
        [(pack.blob.digest, pack.blob.size, pack.chunks) for pack in chunks.packs],
        {path: (recipe.chunker, recipe.segments) for path, recipe in chunks.files.items()},
        chunks.earlier,
        {digest: (listed.index.digest, listed.number) for digest, listed in chunks.borrowed.items()},
    )


def test_the_reader_would_tell_of_bytes_outside() -> None:
    version = VERSIONS[1]
    pack = version.chunks.packs[0]
    longer = replace(pack.chunks, sizes=array("I", [size + 1 for size in pack.chunks.sizes]))
    recipe = replace(version.recipe("a.bin"), packs=(pack._replace(chunks=longer), *version.chunks.packs[1:]))
    with (
        pytest.raises(AssertionError, match="bytes"),
        reading(Recorder(version), recipe, 0, recipe.size) as chunks,
        suppress(Corrupt),
    ):
        for _ in chunks:
            pass


# --- what a few bytes can claim


def changed(version: Version, change: Callable[[Index], None]) -> bytes:
    index = canonical.loads(version.artifact.index, "the index", limit=1 << 20)
    change(index)  # type: ignore[arg-type]
    return canonical.dumps(index)


def refused(version: Version, change: Callable[[Index], None]) -> str:
    index = changed(version, change)
    with measured(index), pytest.raises((Corrupt, Unsupported)) as caught:
        artifact.read(forged(version, index), lambda what: version.blobs[what.digest])
    return caught.value.message


@pytest.mark.parametrize("codecs", [None, 5, "none", {}, ["none"], [*CODECS[1:], "none"]])
def test_codecs_that_are_not_ours(codecs: object) -> None:
    assert "of a kind" in refused(VERSIONS[1], lambda index: index["chunks"].update(codecs=codecs))


def test_one_list_for_a_thousand_packs() -> None:
    borrowing = VERSIONS[3]
    assert "twice" in refused(borrowing, lambda index: index["chunks"]["packs"].extend(index["chunks"]["packs"] * 1000))


def test_rows_of_a_few_bytes_that_name_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunkmap, "MOST_IN_ALL", 1000)

    def change(index: Index) -> None:
        row = next(row for row in index["files"] if "segments" in row)
        for number in range(100):
            index["files"].append({**row, "path": f"again/{number}"})

    assert "too many chunks" in refused(VERSIONS[1], change)


def test_a_chunk_that_takes_more_room_than_it_can() -> None:
    def change(index: Index) -> None:
        pack = next(pack for pack in index["chunks"]["packs"] if "stored" in pack)
        # One byte, stored in all the others.
        pack.update(raw=_column([1]), stored=_column([sum(_numbers(pack["stored"]))]), codec=1)
        pack["digests"] = base64.b64encode(blake3(b"x").digest()).decode()

    assert "cannot be true" in refused(chunked.delta({"a": [b"%d" % n * 99 for n in range(99)]}, VERSIONS[0]), change)


# --- any JSON, and maps that are true


@given(st.data())
def test_any_json_in_place_of_a_value_is_an_error_of_ours(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(VERSIONS))
    value = data.draw(json_values)

    def change(index: Index) -> None:
        place: Any = index
        for _ in range(data.draw(st.integers(0, 3))):
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
            if inner:
                place = place[data.draw(st.sampled_from(inner))]
        place[data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))] = value

    look(version, changed(version, change))


chunks_of_files = st.lists(
    st.one_of(st.binary(min_size=1, max_size=40), st.integers(0, 255).map(lambda byte: bytes([byte]) * 300)),
    min_size=1,
    max_size=12,
)


@st.composite
def versions(draw: st.DrawFn) -> Version:
    """A plain version, or a delta one on top of it."""
    old = draw(chunks_of_files)
    base = chunked.plain({"a.bin": old, "sub/b.bin": draw(chunks_of_files), "c.txt": b"text"})
    if draw(st.booleans()):
        return base
    codec = draw(st.sampled_from(CODECS))
    new = draw(chunks_of_files)
    xor = {}
    if codec.startswith("xor"):
        xor = {bytes(byte ^ 1 for byte in old[0]): old[0]}
        new = [*xor, *new, *old]
    borrow = draw(st.booleans())
    per_pack = draw(st.integers(1, 5))
    return chunked.delta({"a.bin": new, "d": b"d"}, base, codec=codec, xor=xor, per_pack=per_pack, borrow=borrow)


@given(versions())
def test_a_true_map_survives(version: Version) -> None:
    contents = look(version, version.artifact.index)
    assert contents is not None
    assert contents.snapshot == version.artifact.snapshot
    assert said(contents.chunks) == said(version.chunks)
    again = artifact.index_bytes(contents.snapshot, chunks=contents.chunks)
    assert again == version.artifact.index
    for pack in contents.chunks.packs:
        assert list_from_json(pack.chunks.to_json(), pack.blob.size) == pack.chunks


@given(versions(), st.data())
def test_any_part_of_a_file_is_what_is_there(version: Version, data: st.DataObject) -> None:
    recipe = version.recipe("a.bin")
    store = Recorder(version)
    with reading(store, recipe, 0, recipe.size) as chunks:
        whole = b"".join(chunks)
    assert Digest.of(whole) == version.artifact.snapshot["a.bin"].digest
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    with reading(store, recipe, start, stop) as chunks:
        assert b"".join(chunks) == whole[start:stop]


@given(versions(), st.data())
def test_a_damaged_blob_yields_no_wrong_byte(version: Version, data: st.DataObject) -> None:
    recipe = version.recipe("a.bin")
    pack = recipe.packs[data.draw(st.sampled_from(sorted(recipe.named())))]
    bad = bytearray(version.blobs[pack.blob.digest])
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    spoilt = replace(version, blobs={**version.blobs, pack.blob.digest: bytes(bad)})
    promised = recipe.pieces()
    with suppress(Corrupt), reading(Recorder(spoilt), recipe, 0, recipe.size) as chunks:
        for got in chunks:
            assert blake3(got).digest() == next(promised).digest
