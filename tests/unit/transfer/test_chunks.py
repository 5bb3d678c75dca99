"""Chunks on their way out of packs: every byte looked at, no more asked for than needed."""

from __future__ import annotations

from random import Random

import pytest
from blake3 import blake3

from modelops_bundle.errors import Corrupt, NotFound
from modelops_bundle.transfer import chunks
from modelops_bundle.transfer.chunks import decoded, matches, reading
from tests.support import chunked
from tests.support.chunked import Held

PIECES = [Random(number).randbytes(700) + b"\0" * 300 for number in range(10)]
OLD = chunked.plain({"m.bin": PIECES})
NEAR = bytes(PIECES[4][:-1]) + b"\1"
NEW = [PIECES[0], b"new" * 400, *PIECES[3:6], NEAR, PIECES[1], PIECES[0]]


VERSIONS = {
    "plain": (OLD, PIECES),
    "none": (chunked.delta({"m.bin": NEW}, OLD), NEW),
    "zstd": (chunked.delta({"m.bin": NEW}, OLD, codec="zstd", per_pack=1), NEW),
    "planes": (chunked.delta({"m.bin": NEW}, OLD, codec="bp4+zstd"), NEW),
    "xor": (chunked.delta({"m.bin": NEW}, OLD, codec="xor+bp2+zstd", xor={NEAR: PIECES[4]}), NEW),
}


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("span", [None, (0, 0), (0, 1), (999, 1001), (1500, 5000), (2200, 2201), (7100, 10**9)])
def test_any_part_of_a_file_can_be_read(name: str, span: tuple[int, int] | None) -> None:
    version, pieces = VERSIONS[name]
    whole = b"".join(pieces)
    start, stop = span or (0, len(whole))
    store = Held(dict(version.blobs))
    with reading(store, version.recipe("m.bin"), start, stop) as found:
        assert b"".join(found) == whole[start:stop]
    if stop == 0:
        assert store.asked == []


def test_neighbours_come_by_one_request_and_no_request_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Held(dict(OLD.blobs))
    with reading(store, OLD.recipe("m.bin"), 500, 6500) as found:
        b"".join(found)
    assert store.asked == [(0, 7000)]
    monkeypatch.setattr(chunks, "SPAN", 2500)
    store.asked.clear()
    with reading(store, OLD.recipe("m.bin"), 500, 6500) as found:
        b"".join(found)
    assert store.asked == [(0, 2000), (2000, 4000), (4000, 6000), (6000, 7000)]


@pytest.mark.parametrize("name", VERSIONS)
def test_a_flipped_bit_in_any_blob_is_found(name: str) -> None:
    version, pieces = VERSIONS[name]
    recipe = version.recipe("m.bin")
    for number in recipe.named():
        blob = recipe.packs[number].blob
        first = next(piece for piece in recipe.pieces() if piece.pack == number)
        at = recipe.packs[number].chunks.offsets()[first.number]
        damaged = bytearray(version.blobs[blob.digest])
        damaged[at] ^= 1
        with (
            pytest.raises(Corrupt),
            reading(Held({**version.blobs, blob.digest: bytes(damaged)}), recipe, 0, 10**9) as found,
        ):
            assert len(b"".join(found)) == len(b"".join(pieces))


def test_a_pack_that_ends_early_is_corrupt() -> None:
    blob = OLD.recipe("m.bin").packs[0].blob.digest
    short = OLD.blobs[blob][:-1]
    with (
        pytest.raises(Corrupt, match="ended early"),
        reading(Held({blob: short}), OLD.recipe("m.bin"), 0, 10**9) as found,
    ):
        b"".join(found)


def test_a_pack_that_is_gone_is_not_found() -> None:
    with pytest.raises(NotFound), reading(Held({}), OLD.recipe("m.bin"), 0, 1) as found:
        b"".join(found)


def test_a_difference_is_decoded_with_its_base() -> None:
    version, _ = VERSIONS["xor"]
    pack = next(pack for pack in version.chunks.packs if pack.chunks.bases)
    (number, place), offsets = next(iter(pack.chunks.bases.items())), pack.chunks.offsets()
    stored = version.blobs[pack.blob.digest][offsets[number] : offsets[number + 1]]
    assert decoded(pack, number, stored, lambda *at: PIECES[4] if at == place else b"") == NEAR
    with pytest.raises(Corrupt):
        decoded(pack, number, stored, lambda *_: PIECES[5])


def test_a_chunk_is_known_by_its_digest() -> None:
    assert matches(b"x", blake3(b"x").digest())
    assert matches(memoryview(b"x"), blake3(b"x").digest())
    assert not matches(b"y", blake3(b"x").digest())


def test_bases_that_follow_one_another_come_by_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full fine-tune has a difference for each chunk: they must not cost a request each."""
    near = [bytes([piece[0] ^ 1]) + piece[1:] for piece in PIECES]
    order = [*near[2:6], PIECES[0], *near[6:8], near[1]]
    pairs = dict(zip(near, PIECES, strict=True))
    version = chunked.delta({"m.bin": order}, OLD, codec="xor+bp2+zstd", xor=pairs)
    recipe, store = version.recipe("m.bin"), Held(dict(version.blobs))
    old = next(number for number, pack in enumerate(recipe.packs) if not pack.chunks.bases)
    with reading(store, recipe, 0, 10**9) as found:
        assert b"".join(found) == b"".join(order)
    assert old == 0
    assert [span for span in store.asked if span[1] - span[0] >= 1000] == [
        (2000, 6000),
        (0, 1000),
        (6000, 8000),
        (1000, 2000),
    ]
    monkeypatch.setattr(chunks, "SPAN", 2000)
    store.asked.clear()
    with reading(store, recipe, 0, 10**9) as found:
        assert b"".join(found) == b"".join(order)
    assert max(stop - start for start, stop in store.asked) == 2000
