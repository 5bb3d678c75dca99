"""Headers of GGUF files, read as far as they go and no further."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError, Corrupt, Unsupported
from modelops_bundle.formats import gguf
from modelops_bundle.formats.gguf import TYPES, is_gguf, read_header
from modelops_bundle.formats.tensors import Header

TEXT, ARRAY, U32, U8, F32, BOOL = 8, 9, 4, 0, 6, 7


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def info(name: str, shape: list[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", kind, offset)


def made(
    pairs: list[bytes] = [],  # noqa: B006
    infos: list[bytes] = [],  # noqa: B006
    data: int = 0,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    tensors, keys = counts or (len(infos), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + b"".join(pairs) + b"".join(infos)
    return head + bytes(-len(head) % alignment) + bytes(data)


def read(file: bytes, asked: list[tuple[int, int]] | None = None) -> Header:
    def part(at: int, size: int) -> bytes:
        if asked is not None:
            asked.append((at, size))
        return file[at : at + size]

    return read_header(part, len(file))


def test_metadata_and_tensors() -> None:
    pairs = [
        pair("general.architecture", TEXT, text("llama")),
        pair("general.quantization_version", U32, struct.pack("<I", 2)),
        pair("a.float", F32, struct.pack("<f", 0.5)),
        pair("a.flag", BOOL, b"\x01"),
        pair("a.list", ARRAY, struct.pack("<IQ", U8, 3) + b"\x01\x02\x03"),
        pair("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", TEXT, 2) + text("a") + text("b")),
        pair("long", TEXT, text("x" * 5000)),
    ]
    found = read(made(pairs, [info("w", [256, 2], 12, 0), info("b", [4], 0, 288)], 288 + 16))
    assert found.metadata == {
        "general.architecture": "llama",
        "general.quantization_version": 2,
        "a.float": 0.5,
        "a.flag": True,
        "a.list": [1, 2, 3],
        "tokenizer.ggml.tokens": "(2 values)",
        "long": "(5000 characters)",
    }
    assert [(each.name, each.dtype, each.shape) for each in found.tensors] == [
        ("w", "Q4_K", (2, 256)),
        ("b", "F32", (4,)),
    ]
    assert found.tensors[0].stop - found.tensors[0].start == 288
    assert found.parameters == 512 + 4


def test_only_the_header_is_read() -> None:
    asked: list[tuple[int, int]] = []
    file = made([pair("a", TEXT, text("x" * 3_000_000))], [info("w", [1 << 20], 24, 0)], 8 << 20)
    read(file, asked)
    assert max(at + size for at, size in asked) < 5 << 20


def test_an_alignment_of_its_own() -> None:
    pairs = [pair("general.alignment", U32, struct.pack("<I", 64))]
    found = read(made(pairs, [info("w", [4], 0, 64)], 80, alignment=64))
    assert found.tensors[0].start % 64 == 0


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_takes_its_bytes(kind: int) -> None:
    _, block, width = TYPES[kind]
    assert read(made([], [info("w", [block * 2], kind, 0)], width * 2)).tensors[0].stop


WRONG: dict[str, bytes] = {
    "empty": b"",
    "another magic": b"GGML" + bytes(100),
    "too many tensors": made(counts=(1 << 40, 0)),
    "too many keys": made(counts=(0, 1 << 40)),
    "cut off in the keys": made([pair("a", U32, b"\x01\0\0\0")])[:30],
    "cut off in the tensors": made([], [info("w", [4], 0, 0)])[:60],
    "a key twice": made([pair("a", BOOL, b"\x01")] * 2),
    "an unknown value": made([pair("a", 99, b"")]),
    "an array of arrays": made([pair("a", ARRAY, struct.pack("<IQ", ARRAY, 1))]),
    "an endless text": made([text("a") + struct.pack("<IQ", TEXT, 1 << 50)]),
    "an endless array": made([pair("a", ARRAY, struct.pack("<IQ", U8, 1 << 50))]),
    "alignment 0": made([pair("general.alignment", U32, bytes(4))]),
    "alignment 3": made([pair("general.alignment", U32, struct.pack("<I", 3))]),
    "alignment is a text": made([pair("general.alignment", TEXT, text("32"))]),
    "five dimensions": made([], [info("w", [1] * 5, 0, 0)], 32),
    "beyond the end": made([], [info("w", [64], 0, 0)], 32),
    "an offset between": made([], [info("w", [1], 0, 4)], 32),
    "an overlap": made([], [info("w", [16], 0, 0), info("v", [16], 0, 32)], 128),
    "half a block": made([], [info("w", [100], 12, 0)], 288),
    "a tensor twice": made([], [info("w", [1], 0, 0), info("w", [1], 0, 32)], 64),
    "a shape that overflows": made([], [info("w", [1 << 62, 1 << 62], 0, 0)], 64),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_true_is_refused(case: str) -> None:
    with pytest.raises(Corrupt):
        read(WRONG[case])


@pytest.mark.parametrize("file", [made(version=1), made(version=4), made([], [info("w", [1], 77, 0)], 32)])
def test_what_nobody_wrote_yet(file: bytes) -> None:
    with pytest.raises(Unsupported):
        read(file)


def test_a_header_without_end_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MOST", 10_000)
    with pytest.raises(Corrupt, match="no end"):
        read(made([pair("a", TEXT, text("x" * 20_000))]))


@given(st.binary(max_size=200))
def test_garbage_is_refused_in_our_words(data: bytes) -> None:
    for file in (data, b"GGUF\x03\0\0\0" + data):
        try:
            read(file)
        except BundleError as error:
            assert error.exit_code in (9, 10)


def test_names() -> None:
    assert is_gguf("model.Q4_K_M.GGUF")
    assert not is_gguf("model.gguf.md")
