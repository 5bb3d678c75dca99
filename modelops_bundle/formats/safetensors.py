"""The header of a safetensors file (huggingface/safetensors, "Format"), and whether it is true.

Accepts what the format's own library accepts: no holes, no overlaps, no bytes left over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any, TypeGuard

from modelops_bundle.errors import Corrupt
from modelops_bundle.formats.tensors import Header, Read, Tensor
from modelops_bundle.model.paths import display

MOST = 100_000_000
"""Bytes of a header, by the format's own limit."""
BITS: Mapping[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
_LENGTH = 8


def is_safetensors(path: str) -> bool:
    """Whether a file of this name is said to be one."""
    return path.lower().endswith(".safetensors")


def read_header(read: Read, size: int) -> Header:
    """The header of a file of `size` bytes.

    :raises Corrupt: it is no safetensors file, or says what cannot be true.
    """
    length = int.from_bytes(read(0, _LENGTH), "little") if size >= _LENGTH else 0
    if not 2 <= length <= min(MOST, size - _LENGTH):
        raise Corrupt(f"not a safetensors file: a header of {length} bytes in {size}")
    data = read(_LENGTH, length)
    if len(data) < length:
        raise Corrupt("the safetensors file is cut off in its header")
    value = _parsed(data)
    metadata = value.pop("__metadata__", None)
    if metadata is not None and not _is_text_map(metadata):
        raise Corrupt("the metadata of the safetensors file is no map of texts")
    first = _LENGTH + length
    tensors = sorted((_tensor(name, about, first) for name, about in value.items()), key=lambda tensor: tensor.stop)
    _check_order(sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop)), first, size)
    return Header("safetensors", first, tuple(tensors), metadata or {})


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Corrupt(f"the header of the safetensors file is not JSON: {error}") from error
    if not data.startswith(b"{") or not isinstance(value, dict):
        raise Corrupt("the header of the safetensors file is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Corrupt("the header of the safetensors file has a name twice")
    return found


def _is_text_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _tensor(name: str, about: object, first: int) -> Tensor:
    wrong = Corrupt(f"the safetensors file describes {display(name)} in a way that cannot be true", tensor=name)
    if not isinstance(about, dict):
        raise wrong
    dtype, shape, offsets = (about.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in BITS or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise wrong
    start, stop = offsets
    bits = BITS[dtype] * prod(shape)
    if bits % 8 or start > stop or stop - start != bits // 8:
        raise wrong
    return Tensor(name, dtype, tuple(shape), first + start, first + stop)


def _are_counts(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 64 for item in value)


def _check_order(tensors: list[Tensor], first: int, size: int) -> None:
    at = first
    for tensor in tensors:
        if tensor.start != at:
            raise Corrupt(f"the safetensors file leaves a hole or an overlap before {display(tensor.name)}")
        at = tensor.stop
    if at != size:
        raise Corrupt(f"the safetensors file has {size} bytes; its header describes {at}")
