"""Which ranges of a part are on the disk for certain, written down beside it.

A header that binds the file to one content, then records that are only appended:

    header  magic (8), size (u64), SHA-256 of the content (32), CRC-32 of these (u32)
    record  start (u64), stop (u64), CRC-32 of these, begun with the header's (u32)

All little-endian. A record is appended after the bytes it tells of were synced; losing one costs only their transfer.
Believing a wrong one would cost no more: the content's own digest decides at the end.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from modelops_bundle.disk.files import read_file, remove_file, write_all, write_file
from modelops_bundle.disk.problems import translated
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.transfer.segments import Range, Spans

_MAGIC = b"bpart01\n"
_HEADER = struct.Struct("<8sQ32s")
_RECORD = struct.Struct("<QQ")
_CRC = struct.Struct("<I")
_LENGTH = _RECORD.size + _CRC.size


class Journal:
    """The journal of one part.

    :param path: where it is kept.
    :param what: the content that the part is to become.
    """

    def __init__(self, path: Path, what: Descriptor) -> None:
        self._path = path
        self._size = what.size
        head = _HEADER.pack(_MAGIC, what.size, bytes.fromhex(what.digest.hex))
        self._seed = crc32(head)
        self._head = head + _CRC.pack(self._seed)

    def read(self) -> Spans:
        """The ranges it tells of; none when it is absent, damaged, or of another content.

        :raises DiskError: the file cannot be read.
        """
        data = read_file(self._path) or b""
        if not data.startswith(self._head):
            return Spans()
        body = memoryview(data)[len(self._head) :]
        ranges: list[Range] = []
        # A record that was being appended when the writer died may be short. It is always the last.
        for at in range(0, len(body) - _LENGTH + 1, _LENGTH):
            record = body[at : at + _RECORD.size]
            start, stop = _RECORD.unpack(record)
            [crc] = _CRC.unpack_from(body, at + _RECORD.size)
            if crc != crc32(record, self._seed) or not start < stop <= self._size:
                return Spans()
            ranges.append((start, stop))
        return Spans(ranges)

    def start(self, ranges: Iterable[Range] = ()) -> None:
        """Begin it anew, with `ranges` that are on the disk.

        :raises DiskError, DiskFull: it cannot be written.
        """
        records = self._records(ranges)
        if records:
            write_file(self._path, self._head + records)
        else:
            self._write(os.O_TRUNC | os.O_CREAT, self._head)

    def append(self, ranges: Iterable[Range]) -> None:
        """Tell that the bytes of `ranges` are on the disk, after they were synced.

        :raises DiskError, DiskFull: it cannot be written.
        """
        self._write(os.O_APPEND, self._records(ranges))

    def _write(self, flags: int, data: bytes) -> None:
        with translated(f"write {self._path}"):
            out = os.open(self._path, flags | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
            try:
                write_all(out, data)
            finally:
                os.close(out)

    def _records(self, ranges: Iterable[Range]) -> bytes:
        records = [_RECORD.pack(*one) for one in ranges]
        return b"".join(record + _CRC.pack(crc32(record, self._seed)) for record in records)

    def remove(self) -> None:
        """Forget everything.

        :raises DiskError: the system refuses.
        """
        remove_file(self._path)
