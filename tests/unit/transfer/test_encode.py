"""Chunks on their way into packs: in order, in bounded memory, and the same each time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from blake3 import blake3

from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import Interrupted, NotFound, Unsupported, WorkspaceChanged
from modelops_bundle.events import Advanced, Event, Finished, ItemStarted, Run
from modelops_bundle.model.chunkmap import CODECS, ChunkMap, ChunkPack, Recipe, joined, list_from_json
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.transfer import encode
from modelops_bundle.transfer.chunks import decoded
from modelops_bundle.transfer.encode import ChunkPacks, Fresh, sampled
from tests.support.large import nudged, weights

STEP = 4000
FILES = {"m.bin": weights(1, 20_000), "noise.bin": Random(2).randbytes(30_000)}
OLD = weights(7, 20_000)


def read(path: str, start: int, size: int) -> bytes:
    return FILES[path][start : start + size]


def fresh(path: str, *, dtype: str | None = "BF16", step: int = STEP) -> list[Fresh]:
    data = FILES[path]
    return [
        Fresh(path, at, len(data[at : at + step]), blake3(data[at : at + step]).digest(), dtype)
        for at in range(0, len(data), step)
    ]


TODO = [*fresh("m.bin"), *fresh("noise.bin", dtype=None)]


def no_base(pack: int, number: int) -> bytes:
    raise AssertionError((pack, number))


def made(
    todo: Sequence[Fresh] = TODO,
    target: int = 10_000,
    run: Run | None = None,
    spool: Callable[[], Spool | None] = lambda: None,
    reader: encode.Read = read,
    base: Callable[[int, int], bytes] = no_base,
) -> list[tuple[ChunkPack, Spool | None]]:
    return list(encode.encode(todo, reader, base, target, run or Run(), spool))


def mapped(packs: Sequence[ChunkPack], todo: Sequence[Fresh] = TODO) -> ChunkMap:
    """The map of files that are made of these packs alone."""
    places = {pack.chunks.digest(n): (at, n) for at, pack in enumerate(packs) for n in range(len(pack.chunks))}
    files = {}
    for path in {what.path for what in todo}:
        pieces = [places[what.digest] for what in todo if what.path == path]
        files[path] = Recipe("c", joined(pieces), tuple(packs))
    return ChunkMap(tuple(packs), files)


# --- packs -----------------------------------------------------------------------------------------------------------


def test_packs_hold_the_chunks_in_order(tmp_path: Path) -> None:
    packs = made(spool=lambda: Spool(tmp_path))
    assert len(packs) > 3
    digests = []
    for pack, spool in packs:
        assert spool is not None
        assert spool.is_whole
        with open(spool.fileno(), "rb", closefd=False) as file:
            file.seek(0)
            data = file.read()
        assert (Digest.of(data), len(data)) == (pack.blob.digest, pack.blob.size)
        assert list_from_json(pack.chunks.to_json(), pack.blob.size) == pack.chunks
        offsets = pack.chunks.offsets()
        for number in range(len(pack.chunks)):
            raw = decoded(pack, number, data[offsets[number] : offsets[number + 1]], no_base)
            digests.append(blake3(raw).digest())
    assert digests == [what.digest for what in TODO]


def test_weights_shrink_and_noise_stays_as_it_is() -> None:
    [(weighty, _)] = made(fresh("m.bin"), 10**9)
    assert set(weighty.chunks.codecs or b"") == {CODECS.index("bp2+zstd")}
    assert weighty.blob.size < 0.85 * len(FILES["m.bin"])
    [(noisy, _)] = made(fresh("noise.bin", dtype=None), 10**9)
    assert (noisy.chunks.codecs, noisy.chunks.stored) == (None, None)
    assert noisy.blob.digest == Digest.of(FILES["noise.bin"]), "a pack of chunks as they are is those bytes"


@pytest.mark.parametrize("target", [4000, 8000, 8001, 11_999, 12_000])
def test_no_pack_is_larger_than_it_may_be(target: int) -> None:
    packs = [pack for pack, _ in made(fresh("noise.bin", dtype=None), target)]
    assert max(pack.blob.size for pack in packs) == target // STEP * STEP
    assert sum(pack.blob.size for pack in packs) == len(FILES["noise.bin"])


def test_a_chunk_that_is_larger_has_a_pack_of_its_own() -> None:
    assert [pack.blob.size for pack, _ in made(fresh("noise.bin", dtype=None), 1)] == [4000] * 7 + [2000]


def test_nothing_makes_no_pack() -> None:
    assert made([]) == []


def test_the_same_chunks_make_the_same_packs() -> None:
    assert [pack for pack, _ in made()] == [pack for pack, _ in made()]


def test_differences_are_stored_with_their_bases() -> None:
    data = nudged(OLD, 3)
    chunks = [data[at : at + STEP] for at in range(0, len(data), STEP)]
    todo = [
        Fresh("m", n * STEP, len(chunk), blake3(chunk).digest(), "BF16", (5, 40 + n)) for n, chunk in enumerate(chunks)
    ]
    asked = []

    def base(pack: int, number: int) -> bytes:
        asked.append((pack, number))
        at = (number - 40) * STEP
        return OLD[at : at + STEP]

    [(pack, _)] = made(todo, 10**9, base=base, reader=lambda _, start, size: data[start : start + size])
    assert pack.chunks.bases == {n: (5, 40 + n) for n in range(len(chunks))}
    assert set(pack.chunks.codecs or b"") == {CODECS.index("xor+bp2+zstd")}
    assert pack.blob.size < 0.3 * len(data)
    assert set(asked) == {(5, 40 + n) for n in range(len(chunks))}
    [(other, _)] = made(todo, 10**9, base=lambda *_: Random(1).randbytes(STEP), reader=lambda _, s, n: data[s : s + n])
    assert other.chunks.bases == {}, "none that does not pay"


def test_a_blob_never_has_two_lists() -> None:
    # The same difference to two things is the same bytes: whoever knows one of the lists would read the other file.
    size = 8000
    first, flip = weights(5, size), bytes(number % 2 * 128 for number in range(STEP))
    parts = [first[at : at + STEP] for at in range(0, len(first), STEP)]
    negated = {f"{n}": bytes(a ^ b for a, b in zip(part, flip, strict=True)) for n, part in enumerate(parts)}
    todo = [Fresh(path, 0, STEP, blake3(data).digest(), "BF16", (0, int(path))) for path, data in negated.items()]

    def packs(taken: Callable[[ChunkPack], bool] = lambda _: False, most: int = 10) -> list[ChunkPack]:
        reader: encode.Read = lambda path, start, count: negated[path][start : start + count]  # noqa: E731
        found = encode.encode(todo[:most], reader, lambda _, number: parts[number], 1, Run(), taken=taken)
        return [pack for pack, _ in found]

    found = packs()
    assert [bool(pack.chunks.bases) for pack in found] == [True, False, False, False]
    assert len({pack.blob.digest for pack in found}) == 4
    assert {pack.chunks.digest(0) for pack in found} == {what.digest for what in todo}
    [one] = packs(most=1)
    [other] = packs(lambda pack: pack.blob.digest == one.blob.digest, 1)
    assert (bool(one.chunks.bases), bool(other.chunks.bases)) == (True, False)
    with pytest.raises(Unsupported):
        packs(lambda _: True)


# --- under way -------------------------------------------------------------------------------------------------------


def test_no_more_is_under_way_than_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "WINDOW", 4 * STEP)
    lock, state = threading.Lock(), {"read": 0, "most": 0, "written": 0}

    def recording(path: str, start: int, size: int) -> bytes:
        with lock:
            state["read"] += size
            state["most"] = max(state["most"], state["read"] - state["written"])
        return read(path, start, size)

    def emit(event: Event) -> None:
        if isinstance(event, Advanced):
            with lock:
                state["written"] += event.amount

    packs = made(reader=recording, run=Run(emit))
    assert state["read"] == state["written"] == sum(what.size for what in TODO)
    # One more: that which is being written has left the window.
    assert STEP < state["most"] <= 5 * STEP
    assert [pack for pack, _ in packs] == [pack for pack, _ in made()]


def test_a_chunk_that_is_larger_than_the_window_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "WINDOW", 1)
    assert sum(len(pack.chunks) for pack, _ in made()) == len(TODO)


def test_what_happens_is_told() -> None:
    events: list[Event] = []
    packs = made(run=Run(events.append))
    assert sum(each.amount for each in events if isinstance(each, Advanced)) == sum(what.size for what in TODO)
    started = [each.key for each in events if isinstance(each, ItemStarted)]
    assert started == [each.key for each in events if isinstance(each, Finished)]
    assert len(started) == len(set(started)) == len(packs)


def test_a_file_that_changed_stops_it() -> None:
    def changed(path: str, start: int, size: int) -> bytes:
        data = read(path, start, size)
        return data if start != 12_000 or path != "m.bin" else data[:-1] + b"!"

    with pytest.raises(WorkspaceChanged, match=r"m\.bin") as error:
        made(reader=changed)
    assert error.value.facts["path"] == "m.bin"
    with pytest.raises(WorkspaceChanged):
        made(reader=lambda path, start, size: read(path, start, size - 1))


def test_whoever_asks_to_stop_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "WINDOW", 2 * STEP)
    run = Run()
    packs = encode.encode(TODO, read, no_base, 4000, run)
    next(packs)
    run.cancel()
    with pytest.raises(Interrupted):
        list(packs)


def test_whoever_leaves_early_leaves_no_threads() -> None:
    before = set(threading.enumerate())
    packs = encode.encode(TODO, read, no_base, 4000, Run())
    next(packs)
    packs.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


# --- made again ------------------------------------------------------------------------------------------------------


def of(
    packs: Sequence[ChunkPack], reader: encode.Read = read, spooled: dict[Digest, Spool] | None = None
) -> ChunkPacks:
    chosen = frozenset(pack.blob.digest for pack in packs)
    return ChunkPacks(mapped(packs), chosen, reader, no_base, spooled or {})


def test_a_pack_made_again_is_the_same(tmp_path: Path) -> None:
    packs = made(spool=lambda: Spool(tmp_path))
    source = of([pack for pack, _ in packs])
    kept = of([pack for pack, _ in packs], no_base, {pack.blob.digest: spool for pack, spool in packs if spool})  # type: ignore[arg-type]
    for pack, _ in packs:
        assert source.has(pack.blob)
        with source.open(pack.blob) as chunks:
            data = b"".join(chunks)
        assert Digest.of(data) == pack.blob.digest
        with kept.open(pack.blob) as chunks:
            assert b"".join(chunks) == data, "not read again"


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 1), (10, 15), (3000, 3001), (2999, 9000), (1, None), (9_990, 10**9)]
)
def test_a_part_of_a_pack(tmp_path: Path, start: int, stop: int | None) -> None:
    packs = made(spool=lambda: Spool(tmp_path))
    [pack, spool] = packs[1]
    assert spool is not None
    readers = of([each for each, _ in packs]), of([each for each, _ in packs], spooled={pack.blob.digest: spool})
    with readers[0].open(pack.blob) as chunks:
        whole = b"".join(chunks)
    for reader in readers:
        with reader.open(pack.blob, start, None if stop is None else min(stop, pack.blob.size)) as chunks:
            assert b"".join(chunks) == whole[start:stop]


def test_a_pack_is_not_made_of_a_file_that_changed() -> None:
    packs = [pack for pack, _ in made()]
    source = of(packs, lambda path, start, size: bytes(size))
    with pytest.raises(WorkspaceChanged), source.open(packs[0].blob) as chunks:
        b"".join(chunks)


def test_only_new_packs_are_made() -> None:
    packs = [pack for pack, _ in made()]
    source = ChunkPacks(mapped(packs), {packs[0].blob.digest}, read, no_base, {})
    assert source.has(packs[0].blob)
    assert not source.has(packs[1].blob), "somebody else's, by another zstd perhaps"
    assert not source.has(Descriptor("x/y", Digest.of(b""), 0))
    with pytest.raises(NotFound), source.open(packs[1].blob):
        pass


def test_a_pack_of_which_a_chunk_is_nowhere_is_not_made() -> None:
    packs = [pack for pack, _ in made()]
    chunks = mapped(packs)
    less = ChunkMap(chunks.packs, {"noise.bin": chunks.files["noise.bin"]})
    assert not ChunkPacks(less, {packs[0].blob.digest}, read, no_base, {}).has(packs[0].blob)


# --- about -----------------------------------------------------------------------------------------------------------


def test_a_sample_says_about_what_everything_takes() -> None:
    todo = fresh("m.bin", step=100)
    [(pack, _)] = made(todo, 10**9)
    assert abs(sampled(todo, read, no_base) - pack.blob.size / len(FILES["m.bin"])) < 0.1
    assert sampled(fresh("noise.bin", dtype=None), read, no_base) == 1.0
    assert sampled([], read, no_base) == 1.0


def test_a_sample_reads_few_chunks() -> None:
    asked = []

    def recording(path: str, start: int, size: int) -> bytes:
        asked.append(start)
        return read(path, start, size)

    sampled(fresh("m.bin", step=100), recording, no_base, 5)
    assert asked == [0, 8000, 16_000, 24_000, 32_000]
