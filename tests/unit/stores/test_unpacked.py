"""Archives under every compression read alike, without filling memory or disk."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import pytest
import zstandard

from modelops_bundle.errors import BundleError, Corrupt, DiskFull, Interrupted, NotFound
from modelops_bundle.events import Run
from modelops_bundle.formats import coding
from modelops_bundle.model import packs
from modelops_bundle.stores import unpacked

SIZES = (0, 1, 65534, 65535, 65536, 131070, 131071, 1_000_000)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def framed(data: bytes) -> bytes:
    return b"".join(packs.framed([data], len(data)))


def opened(tmp_path: Path, data: bytes, run: Run | None = None) -> unpacked.Readable:
    file = tmp_path / "file"
    file.write_bytes(data)
    return unpacked.opened(file, tmp_path / "scratch", run or Run())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "pack", [bytes, framed, gzip.compress, zstandard.compress], ids=["plain", "ours", "gzip", "zstd"]
)
def test_the_bytes_are_there_at_random(tmp_path: Path, pack: object, size: int) -> None:
    data = os.urandom(size)
    found = opened(tmp_path, pack(data))  # type: ignore[operator]
    assert found.size == size
    assert found.read(0, size) == data
    assert found.read(0, size + 100) == data
    for start, stop in ((0, 1), (65530, 65540), (131000, 131075), (size - 1, size), (size, size + 1)):
        assert found.read(max(start, 0), stop - max(start, 0)) == data[max(start, 0) : stop]
    found.close()


@pytest.mark.parametrize("size", SIZES)
def test_our_own_gzip_needs_no_disk(tmp_path: Path, size: int, scratch: Path) -> None:
    opened(tmp_path, framed(bytes(size))).close()
    assert not scratch.exists()


def test_members_after_each_other_are_one(tmp_path: Path) -> None:
    assert opened(tmp_path, gzip.compress(b"a" * 10) + gzip.compress(b"b" * 10)).read(0, 20) == b"a" * 10 + b"b" * 10
    assert opened(tmp_path, zstandard.compress(b"a") + zstandard.compress(b"b")).read(0, 2) == b"ab"


@pytest.mark.parametrize("at", [2, 9, 10, 11, 12, 14])
def test_a_frame_that_is_not_ours_is_unpacked_or_refused(tmp_path: Path, at: int) -> None:
    data = bytearray(framed(b"x" * 100_000))
    data[at] ^= 1
    try:
        found = opened(tmp_path, bytes(data))
    except Corrupt:
        return
    assert type(found).__name__ != "_Framed"


def test_a_damaged_gzip(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(os.urandom(100_000)))
    data[50_000] ^= 0xFF
    with pytest.raises(Corrupt, match="damaged"):
        opened(tmp_path, bytes(data))


def test_a_gzip_that_is_cut_off(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="cut off"):
        opened(tmp_path, gzip.compress(os.urandom(100_000))[:-500])


def test_a_damaged_zstd(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="damaged"):
        opened(tmp_path, zstandard.compress(b"x" * 1000)[:4] + b"\xff" * 30)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_ends_where_the_room_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: Path, pack: object
) -> None:
    monkeypatch.setattr(unpacked, "free_bytes", lambda _: unpacked._RESERVE + 5_000_000)
    with pytest.raises(DiskFull, match="unpacks to more"):
        opened(tmp_path, pack(bytes(50_000_000)))  # type: ignore[operator]
    assert list(scratch.iterdir()) == []


def test_pieces_are_small_however_much_they_unpack_to() -> None:
    bomb = zlib.compress(bytes(20_000_000), wbits=31)
    assert max(len(piece) for piece in coding.gunzipped(iter([bomb]))) <= 1 << 20
    bomb = zstandard.compress(bytes(20_000_000))
    assert max(len(piece) for piece in coding.unzstd(iter([bomb]))) <= 1 << 20


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        unpacked.opened(tmp_path / "none", tmp_path, Run())


def test_unpacking_can_be_stopped(tmp_path: Path, scratch: Path) -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Interrupted):
        opened(tmp_path, gzip.compress(b"x" * 100), run)
    assert list(scratch.iterdir()) == []


def test_garbage_is_refused_in_our_words(tmp_path: Path) -> None:
    for head in (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"):
        with pytest.raises(BundleError):
            opened(tmp_path, head + os.urandom(1000))
