"""Compressed streams: whatever the pieces they come in, what they hold; and nothing that holds too much."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt
from modelops_bundle.formats import coding

Pack = Callable[[bytes], bytes]
PACKERS: dict[str, Pack] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "gzip-stored": lambda data: gzip.compress(data, 0, mtime=0),
    "gzip-members": lambda data: gzip.compress(data[:10]) + gzip.compress(b"") + gzip.compress(data[10:]),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "zstd-frames": lambda data: b"".join(zstandard.compress(part) for part in (data[:10], data[10:])),
}


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())
@given(data=st.binary(max_size=3000), size=st.integers(1, 4000))
def test_what_was_packed_comes_out(pack: Pack, data: bytes, size: int) -> None:
    data = b"content: " + data
    assert b"".join(coding.decoded(pieces(pack(data), size))) == data


@pytest.mark.parametrize("name", ["gzip", "gzip-stored", "zstd"])
def test_pieces_are_never_large(name: str) -> None:
    packed = PACKERS[name](bytes(5 << 20))
    assert max(len(piece) for piece in coding.decoded([packed])) <= 1 << 20


@pytest.mark.parametrize("name", ["gzip", "gzip-stored"])
def test_a_gzip_cut_anywhere_is_corrupt(name: str) -> None:
    packed = PACKERS[name](b"some content" * 20)
    for size in range(4, len(packed)):
        with pytest.raises(Corrupt):
            list(coding.decoded([packed[:size]]))


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_damage_is_corrupt(name: str) -> None:
    packed = bytearray(PACKERS[name](zlib.compress(b"x") * 300))
    packed[len(packed) // 2 :] = bytes(len(packed) - len(packed) // 2)
    with pytest.raises(Corrupt):
        list(coding.decoded([bytes(packed)]))


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_what_unpacks_to_much_more_than_it_is_stops_early(name: str) -> None:
    packed = PACKERS[name](bytes(256 << 20))
    came = 0
    with pytest.raises(Corrupt, match="honest"):
        for piece in coding.decoded([packed]):
            came += len(piece)
    assert came <= coding.most(len(packed)) < 256 << 20


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(0, 30)))
def test_a_stream_gives_portions(chunks: list[bytes], sizes: list[int]) -> None:
    stream, whole, at = coding.Stream(chunks), b"".join(chunks), 0
    for number, size in enumerate(sizes):
        if number % 3 == 2:
            stream.skip(size)
        else:
            assert stream.read(size) == whole[at : at + size]
        at = min(at + size, len(whole))
        assert stream.at == at
