"""Headers of safetensors files: those that are true, and every way in which they are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError, Corrupt
from modelops_bundle.formats.safetensors import BITS, is_safetensors, read_header
from modelops_bundle.formats.tensors import Header


def made(header: Any, data: bytes = b"", pad: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * pad
    return len(text).to_bytes(8, "little") + text + data


def read(file: bytes) -> Header:
    return read_header(lambda at, size: file[at : at + size], len(file))


def tensor(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_tensors_in_the_order_of_their_bytes() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": tensor("F16", [2, 3], 4, 16),
        "a": tensor("U8", [4], 0, 4),
        "empty": tensor("F32", [0, 9], 16, 16),
        "scalar": tensor("I64", [], 16, 24),
    }
    found = read(made(header, bytes(24), pad=5))
    assert [each.name for each in found.tensors if each.parameters] == ["a", "b", "scalar"]
    assert found.metadata == {"format": "pt"}
    assert found.size == 8 + len(json.dumps(header)) + 5
    assert (found.tensors[0].start, found.tensors[0].stop) == (found.size, found.size + 4)
    assert found.parameters == 4 + 6 + 1


def test_no_tensors_at_all() -> None:
    assert read(made({})).tensors == ()


def test_halves_of_bytes() -> None:
    assert read(made({"a": tensor("F4", [2], 0, 1)}, b"x")).parameters == 2
    with pytest.raises(Corrupt):
        read(made({"a": tensor("F4", [3], 0, 1)}, b"x"))
    with pytest.raises(Corrupt):
        read(made({"a": tensor("F4", [3], 0, 2)}, b"xx"))


@pytest.mark.parametrize("dtype", BITS)
def test_every_type(dtype: str) -> None:
    size = BITS[dtype] * 8 // 8
    assert read(made({"a": tensor(dtype, [8], 0, size)}, bytes(size))).tensors[0].dtype == dtype


GOOD = tensor("U8", [4], 0, 4)

WRONG: dict[str, bytes] = {
    "empty": b"",
    "short": b"\x02\0\0",
    "header longer than the file": (100).to_bytes(8, "little") + b"{}",
    "header of no bytes": made(b""),
    "header of 2^63 bytes": (1 << 63).to_bytes(8, "little") + b"{}",
    "header over the limit": (100_000_001).to_bytes(8, "little") + b"{}",
    "no JSON": made(b"{x}"),
    "no object": made([1]),
    "blanks first": made(b"  {}"),
    "no UTF-8": made(b'{"\xff": 1}'),
    "deep": made(b'{"a":' * 100_000),
    "a name twice": made(
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    ),
    "metadata of numbers": made({"__metadata__": {"a": 1}}),
    "metadata is a list": made({"__metadata__": []}),
    "a tensor that is none": made({"a": 1}),
    "unknown type": made({"a": {**GOOD, "dtype": "X8"}}, bytes(4)),
    "type is a list": made({"a": {**GOOD, "dtype": ["U8"]}}, bytes(4)),
    "shape too large": made({"a": {**GOOD, "shape": [5]}}, bytes(4)),
    "shape negative": made({"a": {**GOOD, "shape": [-4]}}, bytes(4)),
    "shape of texts": made({"a": {**GOOD, "shape": ["4"]}}, bytes(4)),
    "shape of truth": made({"a": {**GOOD, "shape": [True, 4]}}, bytes(4)),
    "shape that overflows": made({"a": {**GOOD, "shape": [1 << 40, 1 << 40]}}, bytes(4)),
    "three offsets": made({"a": {**GOOD, "data_offsets": [0, 4, 8]}}, bytes(4)),
    "offsets backwards": made({"a": {**GOOD, "data_offsets": [4, 0]}}, bytes(4)),
    "beyond the end": made({"a": {**GOOD, "data_offsets": [4, 8]}}, bytes(4)),
    "a hole": made({"a": GOOD, "b": tensor("U8", [4], 5, 9)}, bytes(9)),
    "an overlap": made({"a": GOOD, "b": tensor("U8", [4], 3, 7)}, bytes(7)),
    "bytes left over": made({"a": GOOD}, bytes(5)),
    "too few bytes": made({"a": GOOD}, bytes(3)),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_true_is_refused(case: str) -> None:
    with pytest.raises(Corrupt):
        read(WRONG[case])


@given(st.binary(max_size=300))
def test_garbage_is_refused_in_our_words(data: bytes) -> None:
    try:
        read(data)
    except BundleError as error:
        assert error.exit_code == 9


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "__metadata__", "dtype", "shape", "data_offsets"]), x, max_size=4)
        ),
    )
)
def test_headers_of_any_shape_are_refused_in_our_words(value: object) -> None:
    try:
        read(made(value, bytes(16)))
    except Corrupt:
        return


def test_names() -> None:
    assert is_safetensors("a/MODEL.SafeTensors")
    assert not is_safetensors("a.safetensors.index.json")
