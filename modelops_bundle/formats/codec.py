"""How chunks are stored in chunk packs: byte planes, differences, zstd (docs: chunk maps; facts: delta §2.4, §2.5).

`bpK` is K byte planes, the least significant byte first, the last `len % K` bytes as they are, then one zstd frame:
the exponents of neighbouring weights are alike, and only side by side does an entropy coder see it. `xor` is the
difference to the same bytes of another version, taken before the planes. What the encoder chooses is its own affair; a
decoder needs the codec's name and the raw length, and believes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelops_bundle.errors import Corrupt

Data = bytes | bytearray | memoryview

LARGEST = 16 << 20
"""Bytes of the longest chunk."""
CODECS = ("none", "zstd", "bp2+zstd", "bp4+zstd", "xor+bp2+zstd", "xor+bp4+zstd")
"""By the numbers that chunk maps use."""
_STEPS: Mapping[str, tuple[bool, int]] = {
    "zstd": (False, 1),
    "bp2+zstd": (False, 2),
    "bp4+zstd": (False, 4),
    "xor+bp2+zstd": (True, 2),
    "xor+bp4+zstd": (True, 4),
}
"""Whether there is a difference, and how many planes."""
_BY_TYPE: Mapping[str, str] = {
    **dict.fromkeys("BF16 F16 I16 U16".split(), "bp2+zstd"),
    **dict.fromkeys("F32 I32 U32 F64 I64 U64 C64".split(), "bp4+zstd"),
    **dict.fromkeys("BOOL I8 U8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ".split(), "zstd"),
}
_KEPT = 0.95
"""Of the raw length: what shrinks less is stored as it is."""
_DIFFERENCE = 0.5
"""Of the raw length: a difference that shrinks less is not worth needing its base."""
_PROBE = 64 << 10
_MAGIC = b"\x28\xb5\x2f\xfd"
_SMALLEST_WINDOW = 1 << 10
_LEVEL = 3
_HASH_LOG, _MIN_MATCH = 8, 7


def encode(raw: Data, codec: str, base: Data | None = None) -> bytes:
    """`raw` as a pack stores it. The same bytes each time that the same zstd library is used.

    :param base: as many bytes as `raw` of another version; for the codecs that begin with ``xor``.
    :raises ValueError: no such codec, or no such base.
    """
    if codec == "none":
        return bytes(raw)
    if codec not in _STEPS:
        raise ValueError(f"no codec {codec}")
    differs, planes = _STEPS[codec]
    if differs:
        if base is None or len(base) != len(raw):
            raise ValueError("a difference needs a base of the same length")
        raw = _xor(raw, base)
    return _compressed(raw) if planes == 1 else _compressed_planes(_split(raw, planes))


def decode(stored: Data, codec: str, size: int, base: Data | None = None) -> bytes:
    """The `size` raw bytes that `stored` stands for. Takes memory of a few times `size`, whatever `stored` claims.

    :raises Corrupt: `stored` is not exactly that: another length, no frame or several, a frame with a dictionary, bytes
        behind it; or `base` is missing or has another length.
    """
    if not 0 < size <= LARGEST or codec not in CODECS:
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
    codec = _BY_TYPE.get(dtype or "") or _probed(raw)
    if base is not None and len(base) == len(raw) > 0:
        differing = "xor+bp4+zstd" if codec == "bp4+zstd" else "xor+bp2+zstd"
        stored = encode(raw, differing, base)
        # A chunk that shrinks as well by itself should not need another one.
        if len(stored) <= _DIFFERENCE * len(raw) and len(stored) < _expected(raw, codec):
            return differing, stored
    stored = encode(raw, codec)
    return (codec, stored) if len(stored) < _KEPT * len(raw) else ("none", bytes(raw))


def _probed(raw: Data) -> str:
    sample = _sample(raw)
    sizes = {codec: len(encode(sample, codec)) for codec in ("zstd", "bp2+zstd", "bp4+zstd")}
    best = min(sizes, key=lambda codec: sizes[codec])
    return best if sizes[best] < _KEPT * len(sample) else "none"


def _expected(raw: Data, codec: str) -> float:
    """The bytes that `raw` takes, going by a part of it."""
    sample = _sample(raw)
    return len(encode(sample, codec)) * len(raw) / len(sample)


def _sample(raw: Data) -> Data:
    """The middle of it, beginning where a number does: headers and padding are at the ends."""
    start = max(0, len(raw) - _PROBE) // 2 & ~15
    return memoryview(raw)[start : start + _PROBE]


def _split(raw: Data, count: int) -> bytes:
    # CPython takes every n-th byte of a bytearray faster than of bytes.
    whole = bytearray(raw)
    stop = len(whole) - len(whole) % count
    return b"".join([*(whole[plane:stop:count] for plane in range(count)), whole[stop:]])


def _joined(data: bytes, count: int) -> bytes:
    length = len(data) // count
    stop = length * count
    planes = [memoryview(data)[plane * length : (plane + 1) * length] for plane in range(count)]
    if count == 2:
        # Puts a zero before every byte, six times as fast as an assignment to every second one.
        whole = bytearray(str(planes.pop(), "latin-1").encode("utf-16-be"))
    else:
        whole = bytearray(stop)
    for plane, part in enumerate(planes):
        whole[plane::count] = part
    whole += data[stop:]
    return bytes(whole)


def _xor(one: Data, other: Data) -> bytes:
    # The fastest way of the standard library: twice an array's, six times a loop's.
    number = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return number.to_bytes(len(one), "little")


def _compressed(data: Data) -> bytes:
    import zstandard  # noqa: PLC0415  few runs need it

    return zstandard.ZstdCompressor(level=_LEVEL).compress(data)


def _compressed_planes(data: Data) -> bytes:
    """As little matching as the library does: planes of weights have no repeats, and looking for them costs time and bytes."""
    import zstandard  # noqa: PLC0415  few runs need it

    parameters = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST, min_match=_MIN_MATCH, hash_log=_HASH_LOG
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _decompressed(stored: Data, size: int) -> bytes:
    import zstandard  # noqa: PLC0415  few runs need it

    window = max(_SMALLEST_WINDOW, 1 << (size - 1).bit_length())
    try:
        # The claims of the frame are looked at before anything is allocated for them.
        frame = zstandard.get_frame_parameters(stored)
        if bytes(stored[:4]) != _MAGIC or frame.content_size != size or frame.dict_id or frame.window_size > window:
            raise Corrupt(f"a stored chunk is no frame of {size} bytes")
        data = zstandard.ZstdDecompressor(max_window_size=window).decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt(f"a stored chunk is damaged: {error}") from error
    if len(data) != size:
        raise Corrupt(f"a stored chunk of {size} bytes has {len(data)}")
    return data
