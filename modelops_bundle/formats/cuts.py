"""Where files are cut into chunks.

Model files say where their tensors are, so they are cut there: an edit then changes the chunks of the tensors that it
changed, wherever they move in the file. Everything else is cut where its content says (FastCDC). Cuts follow from a
file's bytes alone; the name only tells compressed media.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelops_bundle.errors import Corrupt, Unsupported
from modelops_bundle.formats import gguf, safetensors, zips
from modelops_bundle.formats.tensors import Header, Read
from modelops_bundle.model.chunkmap import MAX_CHUNK

if TYPE_CHECKING:
    from pyfastcdc import FastCDC

SMALLEST = 64 << 20
"""Bytes of the smallest file that is cut."""
MOST = 1 << 22
"""Chunks of one file."""
STEP = 1 << 20
"""Bytes of a chunk of a tensor."""
TAIL = 256 << 10
"""Bytes of the shortest last chunk of a longer tensor."""
SHORT = 64 << 10
"""Bytes of the longest header that is one chunk. Vocabularies take megabytes, and an edit changes little of them."""

Parameters = tuple[int, int, int]
"""Of FastCDC: the shortest chunk, the average, the longest."""
FASTCDC: Mapping[str, Parameters] = {
    "fastcdc2020/16k": (4 << 10, 16 << 10, 64 << 10),
    "fastcdc2020/64k": (16 << 10, 64 << 10, 256 << 10),
    "fastcdc2020/256k": (64 << 10, 256 << 10, 1 << 20),
    "fastcdc2020/1m": (256 << 10, 1 << 20, 4 << 20),
}
_BY_SIZE = (
    (64 << 30, "fastcdc2020/1m"),
    (8 << 30, "fastcdc2020/256k"),
    (1 << 30, "fastcdc2020/64k"),
    (0, "fastcdc2020/16k"),
)
"""From more bytes than these on."""
_HEADER = FASTCDC["fastcdc2020/16k"]

_SUFFIXES = tuple(
    ".gz .tgz .zst .tzst .xz .txz .lzma .bz2 .tbz2 .7z .rar .br .lz4 .lz .lzo .z "
    ".mp4 .m4v .m4a .mov .mkv .webm .avi .wmv .mpg .mpeg .mp3 .aac .ogg .oga .ogv .opus .flac .wma "
    ".jpg .jpeg .png .gif .webp .avif .heic .heif .jxl .jp2 .age .gpg .pgp".split()
)
_MAGICS = (
    b"\x1f\x8b\x08",  # gzip
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\xfd7zXZ\0",
    b"BZh",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x04\x22\x4d\x18",  # lz4
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n",
    b"GIF8",
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"OggS",
    b"fLaC",
    b"ID3",
    b"age-encryption.org/",
)
_MAGIC_AT: tuple[tuple[int, bytes], ...] = ((4, b"ftyp"), (8, b"WEBP"), (8, b"AVI "))
_HEAD = 32
_LONGEST_JSON, _LONGEST_GGUF = 16 << 20, 32 << 20
"""Bytes of headers; those of known models take a third of it. Parsed JSON takes up to thirty times its length."""

Run = tuple[int, int, str | None]
"""Where bytes begin and end, and the type of their numbers if it is known."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is cut.

    :param chunker: the name of the way, as the index has it. :param sizes: the bytes of each chunk; None: content decides.
    :param parameters: of FastCDC, where content decides. :param runs: the types of numbers, in order, without overlaps.
    """

    chunker: str
    sizes: array[int] | None = None
    parameters: Parameters = (0, 0, 0)
    runs: tuple[Run, ...] = ()

    def dtype_at(self, offset: int) -> str | None:
        """The type of the numbers there, as the file's format names it; None: not said."""
        at = bisect_right(self.runs, offset, key=_start) - 1
        if at < 0 or offset >= self.runs[at][1]:
            return None
        return self.runs[at][2]


def is_compressed(path: str) -> bool:
    """Whether a file's name says that its bytes are compressed."""
    return path.lower().endswith(_SUFFIXES)


def chunker_for(path: str, size: int, read: Read, *, smallest: int = SMALLEST) -> Plan | None:
    """How to cut a file of `size` bytes; None: not at all, it is small or compressed.

    Reads headers only, and a header that cannot be true means that content decides.
    """
    if size < max(smallest, 1) or is_compressed(path):
        return None
    head = read(0, _HEAD)
    if head.startswith(_MAGICS) or any(head.startswith(magic, at) for at, magic in _MAGIC_AT):
        return None
    try:
        if head.startswith(zips.MAGIC):
            return _zip(read, size)
        if head.startswith(gguf.MAGIC):
            some = _limited(read, _LONGEST_GGUF)
            return _tensors(gguf.read_header(some, size), "gguf/1m", some, size)
        if head[8:9] == b"{":
            some = _limited(read, _LONGEST_JSON)
            return _tensors(safetensors.read_header(some, size), "safetensors/1m", some, size)
    except (Corrupt, Unsupported, _TooMuch):
        pass  # It is not what it looks like, or nobody knows how to read it yet.
    return by_content(size)


def by_content(size: int) -> Plan:
    """How to cut a file of `size` bytes of which nothing is known."""
    chunker = next(name for above, name in _BY_SIZE if size > above or not above)
    return Plan(chunker, parameters=FASTCDC[chunker])


def fastcdc(parameters: Parameters) -> FastCDC:
    """What cuts by content: FastCDC (Xia et al. 2020) with normalization 1, as pyfastcdc has it."""
    from pyfastcdc import FastCDC  # noqa: PLC0415  few runs need it

    smallest, average, longest = parameters
    return FastCDC(average, min_size=smallest, max_size=longest, normalized_chunking=1, seed=0)


def _start(run: Run) -> int:
    return run[0]


class _TooMuch(Exception):
    pass


def _limited(read: Read, most: int) -> Read:
    """Only the first `most` bytes."""

    def limited(offset: int, count: int) -> bytes:
        if offset + count > most:
            raise _TooMuch
        return read(offset, count)

    return limited


class _Cuts:
    """Lengths of chunks, as they are found from the beginning of a file on."""

    def __init__(self) -> None:
        self.sizes = array("I")
        self.at = 0

    def whole(self, stop: int) -> None:
        """One chunk up to `stop`, if it is not too long for one."""
        if stop - self.at > MAX_CHUNK:
            self.steps(stop)
        elif stop > self.at:
            self._chunk(stop - self.at)

    def steps(self, stop: int) -> None:
        """Chunks of the usual length up to `stop`."""
        while (left := stop - self.at) > 0:
            self._chunk(left if left < STEP + TAIL else STEP)

    def content(self, data: bytes) -> None:
        """Chunks where `data`, the next bytes, says."""
        for chunk in fastcdc(_HEADER).cut_buf(data):
            self._chunk(chunk.length)

    def _chunk(self, size: int) -> None:
        if len(self.sizes) >= MOST:
            raise _TooMuch
        self.sizes.append(size)
        self.at += size


def _tensors(header: Header, chunker: str, read: Read, size: int) -> Plan:
    cuts, runs = _Cuts(), _Runs()
    if header.size > SHORT:
        cuts.content(read(0, min(header.size, size)))
    for tensor in header.tensors:
        # Tensors without numbers are in no order.
        if tensor.start < tensor.stop:
            # A short header, or what aligns this tensor.
            cuts.whole(tensor.start)
            cuts.steps(tensor.stop)
            runs.add(tensor.start, tensor.stop, tensor.dtype)
    cuts.whole(size)
    return Plan(chunker, cuts.sizes, runs=runs.found())


class _Runs:
    """Types of numbers; neighbours of one type are one run."""

    def __init__(self) -> None:
        self._found: list[Run] = []

    def add(self, start: int, stop: int, dtype: str) -> None:
        if self._found and self._found[-1][1:] == (start, dtype):
            start = self._found.pop()[0]
        self._found.append((start, stop, dtype))

    def found(self) -> tuple[Run, ...]:
        return tuple(self._found)


def _zip(read: Read, size: int) -> Plan | None:
    """Around and in the members; None where most bytes are compressed."""
    directory = zips.read_directory(read, size)
    if 2 * sum(member.size for member in directory.members if not member.stored) > size:
        return None
    cuts = _Cuts()
    for member in directory.members:
        if member.size < TAIL:
            cuts.whole(member.stop)
            continue
        # Headers name the archive and the time: apart from them, the same numbers are the same chunks.
        start = zips.data_start(read, member)
        cuts.whole(start)
        cuts.steps(start + member.size)
    cuts.whole(directory.start)
    cuts.whole(size)
    return Plan("zip/1m", cuts.sizes)
