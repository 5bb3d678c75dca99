"""Chunks as packs store them: what is made of them, and everything that is not a stored chunk."""

from __future__ import annotations

import random
import struct
import threading
import tracemalloc
from array import array
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt
from modelops_bundle.formats import codec as codec_module
from modelops_bundle.formats.codec import choose, decode, encode
from modelops_bundle.model.chunkmap import CODECS, MAX_CHUNK

FRAME = b"\x28\xb5\x2f\xfd"


def bf16(seed: int, count: int, near: bytes | None = None) -> bytes:
    """Weights: their high bytes are alike, their low ones are not. Some of `near`, if given, change a little."""
    chance = random.Random(seed)
    if near is not None:
        changed = bytearray(near)
        for at in chance.sample(range(0, len(near), 2), len(near) // 40):
            changed[at] ^= 1
        return bytes(changed)
    return b"".join(struct.pack("<f", chance.gauss(0, 0.02))[2:] for _ in range(count))


def unpacked(stored: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)


# ---------------------------------------------------------------------------------------------------------- the layout


@pytest.mark.parametrize(
    ("codec", "raw", "planes"),
    [
        ("zstd", b"abcdefg", b"abcdefg"),
        ("bp2+zstd", b"", b""),
        ("bp2+zstd", b"a", b"a"),
        ("bp2+zstd", b"aAbBcC", b"abcABC"),
        ("bp2+zstd", b"aAbBcC!", b"abcABC!"),
        ("bp4+zstd", b"0aA.1bB,", b"01abAB.,"),
        ("bp4+zstd", b"0aA.1bB,xyz", b"01abAB.,xyz"),
        ("bp4+zstd", b"xyz", b"xyz"),
    ],
)
def test_planes_are_written_one_after_another(codec: str, raw: bytes, planes: bytes) -> None:
    assert unpacked(encode(raw, codec)) == planes


def test_differences_are_taken_before_the_planes() -> None:
    raw, base = b"aAbBc", bytes([1, 2, 4, 8, 16])
    assert unpacked(encode(raw, "xor+bp2+zstd", base)) == bytes(
        [ord("a") ^ 1, ord("b") ^ 4, ord("A") ^ 2, ord("B") ^ 8, ord("c") ^ 16]
    )


@pytest.mark.parametrize("codec", CODECS[1:])
@pytest.mark.parametrize("size", [7, 65536, 70001])
def test_one_frame_that_states_its_size_and_no_dictionary(codec: str, size: int) -> None:
    raw = random.Random(size).randbytes(size)
    stored = encode(raw, codec, raw[::-1])
    frame = zstandard.get_frame_parameters(stored)
    assert (frame.content_size, frame.dict_id) == (size, 0)
    unpacked(stored)


@given(
    st.sampled_from(CODECS),
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.builds(lambda size, byte: byte * size, st.integers(1, 5000), st.binary(min_size=1, max_size=9)),
    ),
    st.randoms(use_true_random=False),
)
def test_what_was_stored_comes_back(codec: str, raw: bytes, chance: random.Random) -> None:
    base = chance.randbytes(len(raw))
    stored = encode(memoryview(raw), codec, base)
    assert stored == encode(bytearray(raw), codec, memoryview(base))
    assert decode(stored, codec, len(raw), base) == raw
    assert decode(memoryview(stored), codec, len(raw), bytearray(base)) == raw


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(128 << 10) * 4, (1 << 20) + 3, MAX_CHUNK])
def test_long_chunks_come_back(codec: str, size: int) -> None:
    raw = (bf16(1, 5000) * (size // 10_000 + 1))[:size]
    base = raw[1:] + b"\0"
    assert decode(encode(raw, codec, base), codec, size, base) == raw


def test_planes_of_short_chunks_shrink_as_those_of_long_ones() -> None:
    """In one block with the low bytes, the high ones would hardly shrink."""
    raw = bf16(2, 20_000)
    assert len(encode(raw, "bp2+zstd")) < 0.7 * len(raw)
    assert len(zstandard.ZstdCompressor().compress(raw[0::2] + raw[1::2])) > 0.7 * len(raw)


@pytest.mark.parametrize("base", [None, b"", b"123", b"12345"])
def test_a_difference_needs_a_base_of_its_length(base: bytes | None) -> None:
    with pytest.raises(ValueError, match="same length"):
        encode(b"1234", "xor+bp2+zstd", base)
    with pytest.raises(Corrupt):
        decode(encode(b"1234", "xor+bp2+zstd", b"4321"), "xor+bp2+zstd", 4, base)


@pytest.mark.parametrize("codec", ["", "gzip", "xor+zstd", "bp8+zstd", "xor"])
def test_unknown_codecs(codec: str) -> None:
    with pytest.raises(ValueError, match="no codec"):
        encode(b"1234", codec, b"1234")
    with pytest.raises(Corrupt):
        decode(b"1234", codec, 4)


# ------------------------------------------------------------------------------------------------------ hostile frames


def frame(size: int, blocks: bytes, *, window: int | None = None, dictionary: int = 0) -> bytes:
    """A frame by hand (RFC 8878 §3.1.1): of one segment, or with a window of 2^(10 + `window`) bytes."""
    segment = window is None
    descriptor = 0b11000000 | (0b00100000 if segment else 0) | (1 if dictionary else 0)
    return (
        FRAME
        + bytes([descriptor])
        + (b"" if window is None else bytes([window << 3]))
        + (bytes([dictionary]) if dictionary else b"")
        + struct.pack("<Q", size)
        + blocks
    )


def block(kind: int, size: int, data: bytes, *, last: bool = True) -> bytes:
    """Kind 0 is raw, 1 one byte many times, 2 compressed."""
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + data


def skippable(size: int) -> bytes:
    return struct.pack("<II", 0x184D2A50, size) + bytes(size)


GOOD = frame(4, block(0, 4, b"abcd"))


def test_a_frame_by_hand_is_read() -> None:
    assert decode(GOOD, "zstd", 4) == b"abcd"
    assert decode(frame(4, block(1, 4, b"x")), "zstd", 4) == b"xxxx"
    assert decode(frame(2000, block(1, 2000, b"x"), window=1), "zstd", 2000) == b"x" * 2000


WRONG: dict[str, bytes] = {
    "nothing": b"",
    "three bytes": FRAME[:3],
    "only the magic": FRAME,
    "no frame": b"abcd",
    "cut off in its header": GOOD[:8],
    "cut off in its block": GOOD[:-1],
    "no last block": frame(4, block(0, 4, b"abcd", last=False)),
    "a block of a kind that is reserved": frame(4, block(3, 4, b"abcd")),
    "a byte behind it": GOOD + b"\0",
    "a second frame": GOOD + GOOD,
    "an empty frame behind it": GOOD + frame(0, block(0, 0, b"")),
    "a skippable frame behind it": GOOD + skippable(3),
    "a skippable frame before it": skippable(3) + GOOD,
    "a skippable frame": skippable(4),
    "one byte too few": frame(3, block(0, 3, b"abc")),
    "one byte too many": frame(5, block(0, 5, b"abcde")),
    "claims less than it holds": frame(4, block(0, 5, b"abcde")),
    "claims more than it holds": frame(4, block(0, 3, b"abc")),
    "claims 2^60 bytes": frame(1 << 60, block(0, 4, b"abcd")),
    "claims 2^64-1 bytes": frame((1 << 64) - 1, block(0, 4, b"abcd")),
    "claims 2^64-2 bytes": frame((1 << 64) - 2, block(0, 4, b"abcd")),
    "a dictionary": frame(4, block(0, 4, b"abcd"), dictionary=7),
    "a window of 4 GiB": frame(4, block(0, 4, b"abcd"), window=22),
    "a window of 2 KiB": frame(4, block(0, 4, b"abcd"), window=1),
    "a window of 2^41 bytes": frame(4, block(0, 4, b"abcd"), window=31),
    "no content size": zstandard.ZstdCompressor(write_content_size=False).compress(b"abcd"),
    "a wrong checksum": zstandard.ZstdCompressor(write_checksum=True).compress(b"abcd")[:-1] + b"\0",
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0",
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_stored_chunk_is_refused(case: str) -> None:
    with pytest.raises(Corrupt):
        decode(WRONG[case], "zstd", 4)


def test_a_checksum_may_be_there() -> None:
    assert decode(zstandard.ZstdCompressor(write_checksum=True).compress(b"abcd"), "zstd", 4) == b"abcd"


@pytest.mark.parametrize("size", [-1, 0, MAX_CHUNK + 1, 1 << 62])
def test_sizes_that_no_chunk_has(size: int) -> None:
    for codec in CODECS:
        with pytest.raises(Corrupt):
            decode(b"", codec, size, b"")


@pytest.mark.parametrize("stored", [b"", b"abc", b"abcde"])
def test_what_is_stored_as_it_is_has_its_length(stored: bytes) -> None:
    with pytest.raises(Corrupt):
        decode(stored, "none", 4)


BOMBS: dict[str, bytes] = {
    "more than it claims": frame(1000, b"".join(block(1, 128 << 10, b"x", last=False) for _ in range(500))),
    "claims a gibibyte": frame(1 << 30, b"".join(block(1, 128 << 10, b"x", last=False) for _ in range(8192))),
    "says nothing": zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 << 20)),
    "wants a window": frame(1000, block(1, 128 << 10, b"x"), window=17),
    "a long frame behind it": frame(1000, block(1, 1000, b"x")) + zstandard.ZstdCompressor().compress(bytes(64 << 20)),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_take_no_memory(case: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt):
            decode(BOMBS[case], "bp2+zstd", 1000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=60), st.sampled_from(CODECS), st.integers(0, 70))
def test_garbage_is_refused_in_our_words(data: bytes, codec: str, size: int) -> None:
    for stored in (data, FRAME + data):
        try:
            assert len(decode(stored, codec, size, bytes(size))) == size
        except Corrupt as error:
            assert error.message


@given(st.data())
def test_damage_is_refused_or_has_the_length_at_least(data: st.DataObject) -> None:
    stored = bytearray(encode(bf16(3, 60), "bp2+zstd"))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert len(decode(stored, "bp2+zstd", 120)) == 120
    except Corrupt:
        return


# ---------------------------------------------------------------------------------------------------------- the choice

WEIGHTS = bf16(4, 40_000)
NOISE = random.Random(5).randbytes(80_000)
TEXT = " ".join(random.Random(10).choices([f"{word}" * (word % 3 + 1) for word in range(100, 900)], k=20_000)).encode()
FLOATS = b"".join(struct.pack("<f", value) for value in map(random.Random(6).gauss, [0.0] * 20_000, [0.02] * 20_000))


@pytest.mark.parametrize(
    ("raw", "dtype", "codec"),
    [
        (WEIGHTS, "BF16", "bp2+zstd"),
        (WEIGHTS, "F16", "bp2+zstd"),
        (WEIGHTS, "U16", "bp2+zstd"),
        (FLOATS, "F32", "bp4+zstd"),
        (FLOATS, "I64", "bp4+zstd"),
        (WEIGHTS[1::2], "F8_E4M3", "zstd"),
        (WEIGHTS[1::2], "I8", "zstd"),
        (WEIGHTS, None, "bp2+zstd"),
        (FLOATS, None, "bp4+zstd"),
        (FLOATS, "Q4_K", "bp4+zstd"),
        (TEXT, None, "zstd"),
        (TEXT, "a type of tomorrow", "zstd"),
        (NOISE, None, "none"),
        (NOISE, "Q4_K", "none"),
        (NOISE, "BF16", "none"),
        (NOISE, "F32", "none"),
        (NOISE, "I8", "none"),
        (b"", None, "none"),
        (b"", "BF16", "none"),
        (b"x", "BF16", "none"),
    ],
)
def test_the_codec_that_suits(raw: bytes, dtype: str | None, codec: str) -> None:
    chosen, stored = choose(memoryview(raw), dtype)
    assert chosen == codec
    assert len(stored) <= 0.95 * len(raw) or (codec == "none" and stored == raw)
    assert (chosen, stored) == choose(raw, dtype)
    if raw:
        assert decode(stored, chosen, len(raw)) == raw


def test_texts_are_searched_for_repeats_and_numbers_are_not() -> None:
    level = zstandard.ZstdCompressor(level=3)
    assert encode(TEXT, "zstd") == level.compress(TEXT)
    exponents = b"".join(bf16(seed, 30_000)[1::2] for seed in range(3))
    for numbers in (exponents, exponents[:50_000]):
        assert len(encode(numbers, "zstd")) < len(level.compress(numbers))


INGREDIENTS = [WEIGHTS, NOISE, TEXT, FLOATS, WEIGHTS[1::2], bytes(70_000)]
TYPES = [None, "BF16", "F32", "I8", "U8", "F8_E4M3", "I64", "BOOL", "Q4_K", "a type of tomorrow"]
PARTS = st.tuples(st.sampled_from(INGREDIENTS), st.integers(0, 60_000), st.integers(1, 90_000))


@settings(max_examples=40)
@given(st.lists(PARTS, min_size=1, max_size=6), st.sampled_from(TYPES), st.booleans())
def test_a_chunk_is_encoded_again_without_its_type(
    parts: list[tuple[bytes, int, int]], dtype: str | None, similar: bool
) -> None:
    raw = b"".join(what[start : start + size] for what, start, size in parts)
    base = bytes(byte ^ (at % 50 == 0) for at, byte in enumerate(raw)) if similar else None
    codec, stored = choose(raw, dtype, base)
    assert encode(raw, codec, base) == stored
    # Each codec makes one thing of it, whoever asks.
    found = {choose(raw, other) for other in TYPES}
    assert len(dict(found)) == len(found)


def test_what_hardly_shrinks_is_kept() -> None:
    hardly = NOISE + bytes(len(NOISE) // 24)
    assert len(encode(hardly, "zstd")) < len(hardly)
    assert choose(hardly, "I8")[0] == "none"
    assert choose(NOISE + bytes(len(NOISE) // 15), "I8")[0] == "zstd"


def test_a_probe_that_promised_too_much() -> None:
    """A place where it looks is all zeros, the rest is noise."""
    raw = random.Random(7).randbytes(2 << 20)
    raw = raw[: 225 << 10] + bytes(64 << 10) + raw[225 << 10 :]
    assert choose(raw, None) == ("none", raw)


class Costs:
    """The bytes that are encoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        monkeypatch.setattr(codec_module, "encode", self._encode)

    def _encode(self, raw: bytes, codec: str, base: bytes | None = None) -> bytes:
        self.bytes += len(raw) if codec != "none" else 0
        return encode(raw, codec, base)


def gaussians(size: int) -> bytes:
    chance = random.Random(11)
    numbers = array("f", (chance.gauss(0, 0.02) for _ in range(1 << 14)))
    # The same exponents again and again, and other mantissas.
    found = bytearray(numbers.tobytes() * (size // 65536 + 1))
    for plane in range(3):
        found[plane::4] = chance.randbytes(len(found) // 4)
    return bytes(found[:size])


MADE: dict[str, Callable[[int], bytes]] = {
    "floats": gaussians,
    "weights": lambda size: bytes(byte for at, byte in enumerate(gaussians(2 * size)) if at % 4 > 1),
    "text": lambda size: (TEXT * 9)[:size],
    "half": lambda size: random.Random(11).randbytes(size // 2) + bytes(size - size // 2),
    "a little of floats": lambda size: random.Random(11).randbytes(size * 2 // 3) + gaussians(size // 3),
    "as bytes or as words": lambda size: bytes(random.Random(11).choices(range(40), k=size)),
}


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + (200 << 10) + 4])
@pytest.mark.parametrize("numbers", MADE)
def test_a_probe_finds_what_is_least(monkeypatch: pytest.MonkeyPatch, numbers: str, size: int) -> None:
    raw = MADE[numbers](size)
    costs = Costs(monkeypatch)
    stored = choose(raw, None)[1]
    assert costs.bytes <= 3 * (64 << 10) + 3 * (512 << 10) + size
    assert len(stored) <= 1.01 * min(len(encode(raw, codec)) for codec in CODECS[:4])


def test_noise_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = Costs(monkeypatch)
    assert choose(random.Random(12).randbytes(1 << 20), None)[0] == "none"
    assert costs.bytes == 3 * (64 << 10)


@pytest.mark.parametrize("size", [20 << 10, 64 << 10, 70 << 10, 300_000])
@pytest.mark.parametrize(("numbers", "encodes"), [("floats", 1), ("weights", 2), ("text", 1), ("noise", 0)])
def test_short_chunks_take_no_more(monkeypatch: pytest.MonkeyPatch, numbers: str, encodes: int, size: int) -> None:
    """A quarter in each way, and all of it in those that are as good."""
    costs = Costs(monkeypatch)
    raw = random.Random(13).randbytes(size) if numbers == "noise" else MADE[numbers](size)
    codec, stored = choose(raw, None)
    assert costs.bytes <= 3 * (size // 4) + encodes * size
    assert len(stored) <= 1.01 * min(len(encode(raw, codec)) for codec in CODECS[:4])
    assert encode(raw, codec) == stored


def test_the_shortest_chunks_are_tried_in_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = Costs(monkeypatch)
    choose(FLOATS[: 8 << 10], None)
    assert costs.bytes == 3 * (8 << 10)


def test_a_small_difference_is_stored() -> None:
    after = bf16(8, 0, near=WEIGHTS)
    codec, stored = choose(after, "BF16", WEIGHTS)
    assert codec == "xor+bp2+zstd"
    assert len(stored) < 0.2 * len(after)
    assert decode(stored, codec, len(after), WEIGHTS) == after
    assert choose(after, "F32", WEIGHTS)[0] == "xor+bp4+zstd"
    assert choose(after, "Q8_0", WEIGHTS)[0] == "xor+bp2+zstd"


@pytest.mark.parametrize("base", [bf16(9, 40_000), WEIGHTS[2:], b"", None])
def test_a_difference_that_is_no_help_is_not(base: bytes | None) -> None:
    assert choose(WEIGHTS, "BF16", base) == choose(WEIGHTS, "BF16")


def test_a_chunk_that_is_small_by_itself_needs_no_other() -> None:
    assert choose(bytes(5000), "BF16", bytes(4999) + b"x")[0] == "bp2+zstd"


def test_threads_do_not_disturb_each_other() -> None:
    raws = [bf16(seed, 3000) for seed in range(6)]
    wanted = [choose(raw, "BF16") for raw in raws]
    found: dict[int, list[tuple[str, bytes]]] = {}
    begin = threading.Barrier(len(raws))

    def run(which: int) -> None:
        begin.wait()
        found[which] = [choose(raws[which], "BF16") for _ in range(20)]

    threads = [threading.Thread(target=run, args=(which,)) for which in range(len(raws))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {which: [wanted[which]] * 20 for which in range(len(raws))}
