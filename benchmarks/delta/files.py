"""Files that models and data come in, written from start to end in little memory."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Data = Callable[[], Iterator[bytes]]
_GGUF_ALIGNMENT = 32
_GGUF_UINT32, _GGUF_STRING, _GGUF_ARRAY = 4, 8, 9
_ZIP_ALIGNMENT = 64
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor to write: `kind` is the format's name or number of its type, `size` the bytes of `data`."""

    name: str
    kind: str
    shape: tuple[int, ...]
    size: int
    data: Data


def safetensors(path: Path, entries: Sequence[Entry], metadata: Mapping[str, str]) -> None:
    """A safetensors file, its header padded to 8 bytes as the library does."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for entry in entries:
        end = offset + entry.size
        header[entry.name] = {"dtype": entry.kind, "shape": list(entry.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in entries:
            _expect(entry, sum(map(file.write, entry.data())))


# GGUF 3, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

GGUF_TYPES = {"F32": 0, "F16": 1, "BF16": 30}


def gguf(path: Path, entries: Sequence[Entry], metadata: Mapping[str, str | int | Sequence[str]]) -> None:
    """A GGUF file; `metadata` holds strings, unsigned numbers and lists of strings."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(entries), len(metadata))
    head += b"".join(_gguf_string(key) + _gguf_value(value) for key, value in metadata.items())
    offset = 0
    for entry in entries:
        # Innermost dimension first.
        sizes = struct.pack(f"<I{len(entry.shape)}Q", len(entry.shape), *reversed(entry.shape))
        head += _gguf_string(entry.name) + sizes + struct.pack("<IQ", GGUF_TYPES[entry.kind], offset)
        offset += _aligned(entry.size)
    with path.open("wb") as file:
        file.write(head.ljust(_aligned(len(head)), b"\0"))
        for entry in entries:
            written = sum(map(file.write, entry.data()))
            _expect(entry, written)
            file.write(b"\0" * (_aligned(written) - written))


def _aligned(size: int) -> int:
    return size + -size % _GGUF_ALIGNMENT


def _gguf_string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _gguf_value(value: str | int | Sequence[str]) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _GGUF_STRING) + _gguf_string(value)
    if isinstance(value, int):
        return struct.pack("<II", _GGUF_UINT32, value)
    return struct.pack("<IIQ", _GGUF_ARRAY, _GGUF_STRING, len(value)) + b"".join(map(_gguf_string, value))


# Checkpoints of torch


def checkpoint(path: Path, entries: Sequence[Entry]) -> None:
    """A zip file laid out as `torch.save` does: members stored, data at multiples of 64 bytes, the index first.

    The index is a plain pickle of names, types and shapes; torch's rebuilds tensors with its own classes.
    """
    stem = path.stem
    index = {entry.name: (entry.kind, str(number), entry.shape) for number, entry in enumerate(entries)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _member(archive, f"{stem}/data.pkl", [pickle.dumps(index, protocol=2)])
        _member(archive, f"{stem}/byteorder", [b"little"])
        for number, entry in enumerate(entries):
            _expect(entry, _member(archive, f"{stem}/data/{number}", entry.data(), entry.size))
        _member(archive, f"{stem}/version", [b"3\n"])
        _member(archive, f"{stem}/.data/serialization_id", [b"0636067350929434286400000000000000000000"])


def _member(archive: zipfile.ZipFile, name: str, data: Iterable[bytes], size: int = 0) -> int:
    """Bytes written. `size` tells zipfile beforehand whether it needs the fields of large files."""
    info = zipfile.ZipInfo(name, _ZIP_EPOCH)
    info.file_size = size
    assert archive.fp is not None
    start = archive.fp.tell() + 30 + len(name.encode()) + 4
    padding = -start % _ZIP_ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    with archive.open(info, "w") as member:
        return sum(map(member.write, data))


def _expect(entry: Entry, written: int) -> None:
    if written != entry.size:
        raise ValueError(f"{entry.name}: {written} bytes instead of {entry.size}")
