"""The header of a GGUF file (ggml, docs/gguf.md): its metadata, and where its tensors are.

Read in pieces, because nothing says beforehand how long it is.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from typing import Any

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.formats.tensors import Header, Read, Tensor
from modelops_bundle.model.paths import display

MAGIC = b"GGUF"
MOST = 256 << 20
"""Bytes of a header: the largest vocabularies take a few MiB."""
_PIECE, _LARGEST = 256 << 10, 1 << 20
_MOST_TENSORS = 1 << 20
_MOST_TEXT = 64 << 20
_MOST_ITEMS = 1 << 26
_SHOWN = 1024
_DIMENSIONS = 4
_ALIGNMENT = 32

_STRING, _ARRAY = 8, 9
_NUMBERS: Mapping[int, str] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}

TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}
"""By number: the name, the numbers of one block, and its bytes (ggml, `ggml_type`)."""


def is_gguf(path: str) -> bool:
    """Whether a file of this name is said to be one."""
    return path.lower().endswith(".gguf")


class _Bytes:
    """The file from its beginning, fetched as far as it is read."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._held = bytearray()
        self.at = 0

    def take(self, count: int) -> bytes:
        stop = self.at + count
        if stop > min(self._size, MOST):
            raise Corrupt("the GGUF file is cut off in its header, or its header has no end")
        while len(self._held) < stop:
            # Twice as much each time: vocabularies take megabytes, and each piece may be a request.
            data = self._read(len(self._held), max(_PIECE, min(len(self._held), _LARGEST), stop - len(self._held)))
            if not data:
                raise Corrupt("the GGUF file is cut off in its header")
            self._held += data
        data = bytes(self._held[self.at : stop])
        self.at = stop
        return data

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self) -> str:
        length = self.number("<Q")
        if length > _MOST_TEXT:
            raise Corrupt(f"the GGUF file has a text of {length} bytes in its header")
        return self.take(length).decode("utf-8", "replace")


def read_header(read: Read, size: int) -> Header:
    """The header of a file of `size` bytes.

    :raises Corrupt: it is no GGUF file, or says what cannot be true. :raises Unsupported: a version nobody wrote yet.
    """
    data = _Bytes(read, size)
    if size < 24 or data.take(4) != MAGIC:
        raise Corrupt("not a GGUF file")
    version = data.number("<I")
    if version not in (2, 3):
        raise Unsupported(f"a GGUF file of version {version}; 2 and 3 are known")
    count, keys = data.number("<Q"), data.number("<Q")
    if count > _MOST_TENSORS or keys > _MOST_TENSORS:
        raise Corrupt(f"the GGUF file claims to hold {count} tensors and {keys} keys")
    metadata = _metadata(data, keys)
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise Corrupt("the GGUF file has an alignment that is no power of two")
    found = [_described(data) for _ in range(count)]
    first = data.at + -data.at % alignment
    return Header("gguf", first, _placed(found, first, size, alignment), metadata)


def _metadata(data: _Bytes, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(count):
        key = data.text()
        if key in found:
            raise Corrupt(f"the GGUF file has the key {display(key)} twice")
        found[key] = _value(data, data.number("<I"))
    return found


def _value(data: _Bytes, kind: int) -> Any:
    """A value; of long texts and arrays what they are."""
    if kind == _STRING:
        text = data.text()
        return text if len(text) <= _SHOWN else f"({len(text)} characters)"
    if kind == _ARRAY:
        return _array(data, data.number("<I"), data.number("<Q"))
    if kind not in _NUMBERS:
        raise Corrupt(f"the GGUF file has a value of the unknown type {kind}")
    return data.number(_NUMBERS[kind])


def _array(data: _Bytes, kind: int, count: int) -> Any:
    if count > _MOST_ITEMS:
        raise Corrupt(f"the GGUF file has an array of {count} values in its header")
    if kind == _STRING:
        for _ in range(count):
            data.take(data.number("<Q"))
    elif kind in _NUMBERS:
        width = struct.calcsize(_NUMBERS[kind])
        taken = data.take(width * count)
        if count <= 64:
            return [value for (value,) in struct.iter_unpack(_NUMBERS[kind], taken)]
    else:
        # Arrays in arrays are in the format, and in no file.
        raise Corrupt(f"the GGUF file has an array of the type {kind}")
    return f"({count} values)"


_Described = tuple[str, int, tuple[int, ...], int]


def _described(data: _Bytes) -> _Described:
    name, dimensions = data.text(), data.number("<I")
    if dimensions > _DIMENSIONS:
        raise Corrupt(f"the GGUF file has a tensor of {dimensions} dimensions, {display(name)}")
    shape = tuple(data.number("<Q") for _ in range(dimensions))
    return name, data.number("<I"), shape, data.number("<Q")


def _placed(found: list[_Described], first: int, size: int, alignment: int) -> tuple[Tensor, ...]:
    names = {name for name, _, _, _ in found}
    if len(names) != len(found):
        raise Corrupt("the GGUF file has a tensor twice")
    tensors: list[Tensor] = []
    for name, kind, shape, offset in sorted(found, key=lambda each: each[3]):
        if kind not in TYPES:
            raise Unsupported(f"the GGUF file has a tensor of the unknown type {kind}, {display(name)}")
        dtype, block, width = TYPES[kind]
        numbers = prod(shape)
        start, stop = first + offset, first + offset + numbers // block * width
        if offset % alignment or (shape and shape[0] % block) or stop > size or (tensors and start < tensors[-1].stop):
            raise Corrupt(f"the GGUF file describes {display(name)} in a way that cannot be true", tensor=name)
        # GGUF has the fastest dimension first.
        tensors.append(Tensor(name, dtype, tuple(reversed(shape)), start, stop))
    return tuple(tensors)
