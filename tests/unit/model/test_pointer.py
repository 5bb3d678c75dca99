"""What stands at the path of a file that is stored as chunks."""

from __future__ import annotations

import pytest

from modelops_bundle.model import pointer
from modelops_bundle.model.digest import Digest

DIGEST = Digest.of(b"weights")


def test_a_pointer_is_frozen_to_the_byte() -> None:
    assert pointer.pointer("a/ü.bin", 12, DIGEST) == (
        b"\xff\x00 modelops-bundle delta pointer v1\n"
        b"path a/\xc3\xbc.bin\n"
        b"size 12\n"
        b"sha256 " + DIGEST.hex.encode() + b"\n"
        b"This is not the file. Run: bundle materialize .\n"
    )


@pytest.mark.parametrize("path", ["model.safetensors", "a b/ü/$x", "x" * 4096])
@pytest.mark.parametrize("size", [0, 1, 10**18])
def test_what_is_written_can_be_read(path: str, size: int) -> None:
    data = pointer.pointer(path, size, DIGEST)
    assert pointer.is_pointer(data)
    assert pointer.read(data) == (path, size, DIGEST)
    assert len(data) <= pointer.MOST


def test_it_is_no_text_and_no_safetensors_header() -> None:
    data = pointer.pointer("m", 1, DIGEST)
    with pytest.raises(UnicodeDecodeError):
        data.decode()
    assert int.from_bytes(data[:8], "little") > 2**60


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        pointer.START[:-1],
        b" " + pointer.pointer("m", 1, DIGEST),
        pointer.pointer("m", 1, DIGEST).replace(b"v1", b"v2"),
    ],
)
def test_anything_else_is_none(data: bytes) -> None:
    assert not pointer.is_pointer(data)
    assert pointer.read(data) is None


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"path m\n",
        b"path m\nsize -1\nsha256 " + b"0" * 64 + b"\n",
        b"path m\nsize 1\nsha256 " + b"0" * 63 + b"\n",
        b"path m\nsize 1\nsha256 " + b"Z" * 64 + b"\n",
        b"path \xff\nsize 1\nsha256 " + b"0" * 64 + b"\n",
        b"path m\nsize " + b"9" * 20 + b"\nsha256 " + b"0" * 64 + b"\n",
    ],
)
def test_a_damaged_one_names_nothing(rest: bytes) -> None:
    assert pointer.is_pointer(pointer.START + rest)
    assert pointer.read(pointer.START + rest) is None
