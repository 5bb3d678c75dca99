"""How chunks are stored in chunk packs: byte planes, differences, zstd (facts: delta §2.4, §2.5).

`bpK` is K byte planes, the least significant byte first, the last `len % K` bytes as they are, then one zstd frame that
states its content size: the exponents of neighbouring weights are alike, and only side by side does an entropy coder
see it. `xor` is the difference to as many bytes of another version, taken before the planes. What the encoder chooses is
its own affair; a decoder needs the codec's name and the raw length, and believes nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.chunkmap import CODECS, MAX_CHUNK

if TYPE_CHECKING:
    from zstandard import ZstdCompressor, ZstdDecompressor

Data = bytes | bytearray | memoryview

_STEPS: Mapping[str, tuple[bool, int]] = {
    "zstd": (False, 1),
    "bp2+zstd": (False, 2),
    "bp4+zstd": (False, 4),
    "xor+bp2+zstd": (True, 2),
    "xor+bp4+zstd": (True, 4),
}
"""Whether there is a difference, and how many planes."""

_ALONE = ("zstd", "bp2+zstd", "bp4+zstd")
"""What needs no base: for numbers of one byte, of two, of four and more."""
_BY_TYPE: Mapping[str, str] = {
    **dict.fromkeys("BOOL I8 U8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ".split(), "zstd"),
    **dict.fromkeys("BF16 F16 I16 U16".split(), "bp2+zstd"),
    **dict.fromkeys("F32 I32 U32 F64 I64 U64 C64".split(), "bp4+zstd"),
}
_WORTH = 0.95
"""Of the raw length: what shrinks less is stored as it is."""
_DIFFERENCE = 0.5
"""Of the raw length: a difference that shrinks less is not worth that its base has to be there."""
_LEAST, _GLANCE, _PROBE = 4 << 10, 64 << 10, 512 << 10
"""Bytes of a chunk that are looked at first, at least and at most a quarter of it; and where that leaves a doubt."""
_HOPELESS = 0.98
"""Of the bytes looked at first: what shrinks less is not looked at again."""
_DOUBT = 0.03
"""Of the bytes looked at first: codecs that are closer than this may turn out the other way round."""
_PARTS, _ALIGNMENT = 4, 8
"""How many parts are looked at, and what the beginning of each is a multiple of: planes stay planes."""
_BLOCK = 128 << 10
"""Bytes of the longest block of a frame (RFC 8878 §3.1.1.2.4); each block has statistics of its own."""
_SMALLEST_WINDOW = 1 << 10
_LEVEL = 3
_HASH_LOG, _MIN_MATCH = 8, 7
"""The least search that the library does. On bf16 twice as fast as with hashLog 12 (facts: delta §2.4), and 1 % smaller."""


def encode(raw: Data, codec: str, base: Data | None = None) -> bytes:
    """`raw` as a pack stores it. The same bytes each time that the same zstd library is used: they follow from the
    arguments alone, so that a pack can be made again by those who know its list and nothing of its tensors.

    :param base: as many bytes of another version as `raw` has; for the codecs that begin with ``xor``.
    :raises ValueError: no such codec, or no such base.
    """
    if codec == "none":
        return bytes(raw)
    if codec not in _STEPS:
        raise ValueError(f"no codec {codec!r}")
    if codec == "zstd":
        return _searched(raw)
    differs, planes = _STEPS[codec]
    if differs:
        if base is None or len(base) != len(raw):
            raise ValueError("a difference needs a base of the same length")
        raw = _xor(raw, base)
    return _compressed(list(_split(raw, planes)), len(raw))


def decode(stored: Data, codec: str, size: int, base: Data | None = None) -> bytes:
    """The `size` raw bytes that `stored` stands for. Takes memory of a few times `size`, whatever `stored` claims.

    :raises Corrupt: `stored` is not exactly that: another length, no frame or several, a frame with a dictionary, bytes
        behind it; or `base` is missing or has another length.
    """
    if not 0 < size <= MAX_CHUNK or codec not in CODECS:
        raise Corrupt(f"no chunk has {size} bytes stored as {codec!r}")
    if codec == "none":
        if len(stored) != size:
            raise Corrupt(f"a chunk of {size} bytes is stored in {len(stored)}")
        return bytes(stored)
    differs, planes = _STEPS[codec]
    if differs and (base is None or len(base) != size):
        raise Corrupt(f"a chunk of {size} bytes has no base of the same length")
    data = _decompressed(stored, size)
    if planes > 1:
        data = _joined(data, planes)
    return _xor(data, base) if differs and base is not None else data


def choose(raw: Data, dtype: str | None, base: Data | None = None) -> tuple[str, bytes]:
    """The codec that suits `raw`, and what it makes of it: ``none`` unless it saves 5 %.

    :param dtype: of the tensor that `raw` is part of, as its format names it; None or a packed type is probed.
    :param base: bytes of another version, to be tried when there are as many.
    """
    codec, stored = _BY_TYPE.get(dtype or ""), None
    if codec is None:
        codec, stored = _probed(raw)
    if base is not None and len(base) == len(raw) > 0:
        differing = "xor+bp4+zstd" if codec == "bp4+zstd" else "xor+bp2+zstd"
        difference = encode(raw, differing, base)
        # A chunk that shrinks as well by itself should not need another one.
        if len(difference) <= _DIFFERENCE * len(raw) and len(difference) < _expected(raw, codec):
            return differing, difference
    if stored is None:
        stored = encode(raw, codec)
    return (codec, stored) if len(stored) <= _WORTH * len(raw) else ("none", bytes(raw))


def _probed(raw: Data) -> tuple[str, bytes | None]:
    """The codec that makes the least of `raw` or of parts of it, and what it makes of `raw` if that was looked at."""
    close: Sequence[str] = _ALONE
    if (glance := _glance(raw)) < len(raw):
        sizes = _looked(raw, glance, close)
        least = min(sizes.values())
        if least > _HOPELESS * glance:
            return "none", None
        close = [codec for codec in close if sizes[codec] <= least + _DOUBT * glance]
    if len(close) > 1 and len(raw) > _PROBE:
        sizes = _looked(raw, _PROBE, close)
        return min(close, key=lambda codec: sizes[codec]), None
    made = [(codec, encode(raw, codec)) for codec in close]
    return min(made, key=lambda each: len(each[1]))


def _glance(raw: Data) -> int:
    return len(raw) if len(raw) <= 2 * _LEAST else min(_GLANCE, max(_LEAST, len(raw) // 4))


def _looked(raw: Data, most: int, tried: Sequence[str]) -> dict[str, int]:
    """What each codec makes of parts of `raw`, in bytes."""
    parts = _parts(raw, most)
    return {codec: sum(len(encode(part, codec)) for part in parts) for codec in tried}


def _expected(raw: Data, codec: str) -> float:
    """The bytes that `raw` takes, going by parts of it."""
    glance = _glance(raw)
    return _looked(raw, glance, [codec])[codec] * len(raw) / glance


def _parts(raw: Data, most: int) -> Sequence[Data]:
    """All of it, or parts of equal length at equal distances, `most` bytes together.

    They are not joined: what is in one block has one statistic.
    """
    if len(raw) <= most:
        return [raw]
    count = _PARTS if most >= _GLANCE else 1
    view, size, distance = memoryview(raw), most // count, len(raw) // count
    first = (distance - size) // 2
    starts = [(first + part * distance) // _ALIGNMENT * _ALIGNMENT for part in range(count)]
    return [view[start : start + size] for start in starts]


def _searched(raw: Data) -> bytes:
    """One frame, with a search for repeats if parts of `raw` have some: texts do, numbers do not."""
    texts, numbers = _text_compressor(), _number_compressor()
    if len(raw) <= _GLANCE:
        return min(numbers.compress(raw), texts.compress(raw), key=len)
    parts = _parts(raw, _GLANCE)
    searched, coded = (sum(len(each.compress(part)) for part in parts) for each in (texts, numbers))
    return (texts if searched < coded else numbers).compress(raw)


def _split(raw: Data, count: int) -> Iterator[Data]:
    # CPython takes every n-th byte of a bytearray faster than of bytes.
    whole = bytearray(raw)
    stop = len(whole) - len(whole) % count
    for plane in range(count):
        yield whole[plane:stop:count]
    if stop < len(whole):
        yield whole[stop:]


def _joined(data: bytes, count: int) -> bytes:
    length = len(data) // count
    planes = [memoryview(data)[plane * length : (plane + 1) * length] for plane in range(count)]
    if count == 2:
        # Puts a zero before every byte, ten times as fast as an assignment to every second one.
        whole = bytearray(str(planes.pop(), "latin-1").encode("utf-16-be"))
    else:
        whole = bytearray(count * length)
    for plane, part in enumerate(planes):
        whole[plane::count] = part
    whole += data[count * length :]
    return bytes(whole)


def _xor(one: Data, other: Data) -> bytes:
    # The fastest way of the standard library: six times as fast as an array and `operator.xor`.
    number = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return number.to_bytes(len(one), "little")


class _Kept(threading.local):
    """What takes memory to make and only one thread at a time may use."""

    text: ZstdCompressor | None = None
    numbers: ZstdCompressor | None = None
    decompressor: ZstdDecompressor | None = None


_kept = _Kept()


def _text_compressor() -> ZstdCompressor:
    if _kept.text is None:
        from zstandard import ZstdCompressor  # noqa: PLC0415  few runs need it

        _kept.text = ZstdCompressor(level=_LEVEL)
    return _kept.text


def _number_compressor() -> ZstdCompressor:
    if _kept.numbers is None:
        from zstandard import (  # noqa: PLC0415  few runs need it
            STRATEGY_FAST,
            ZstdCompressionParameters,
            ZstdCompressor,
        )

        parameters = ZstdCompressionParameters(strategy=STRATEGY_FAST, min_match=_MIN_MATCH, hash_log=_HASH_LOG)
        _kept.numbers = ZstdCompressor(compression_params=parameters)
    return _kept.numbers


def _compressed(planes: Sequence[Data], size: int) -> bytes:
    """One frame; planes are not in one block with others, because their statistics differ."""
    compressor = _number_compressor()
    if all(len(plane) % _BLOCK == 0 for plane in planes):
        return compressor.compress(b"".join(planes))
    from zstandard import COMPRESSOBJ_FLUSH_BLOCK  # noqa: PLC0415  few runs need it

    frame = compressor.compressobj(size=size)
    parts: list[bytes] = []
    for plane in planes[:-1]:
        parts += frame.compress(plane), frame.flush(COMPRESSOBJ_FLUSH_BLOCK)
    parts += frame.compress(planes[-1]), frame.flush()
    return b"".join(parts)


def _decompressed(stored: Data, size: int) -> bytes:
    from zstandard import ZstdDecompressor, ZstdError, get_frame_parameters  # noqa: PLC0415  few runs need it

    if _kept.decompressor is None:
        _kept.decompressor = ZstdDecompressor(max_window_size=MAX_CHUNK)
    window = max(_SMALLEST_WINDOW, 1 << (size - 1).bit_length())
    try:
        # Before anything is allocated for what a frame claims.
        frame = get_frame_parameters(stored)
        if frame.content_size != size or frame.window_size > window:
            raise Corrupt(f"a stored chunk is no frame of {size} bytes")
        return _kept.decompressor.decompress(stored, allow_extra_data=False)
    except ZstdError as error:
        raise Corrupt(f"a stored chunk is damaged: {error}") from error
