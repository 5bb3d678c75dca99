"""The central directory of a ZIP file (PKWARE APPNOTE 6.3.10): what members there are, and where.

Torch checkpoints and .npz files are ZIP files. The standard library's reader keeps an object for each member and wants a
file; this one wants the few bytes that it needs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from modelops_bundle.errors import Corrupt
from modelops_bundle.formats.tensors import Read

MAGIC = b"PK\x03\x04"
MOST = 16 << 20
"""Bytes of a central directory: 150,000 members."""
_LOCAL = struct.Struct("<4s22xHH")
_CENTRAL = struct.Struct("<4s4xHH8xLLHHHH6xL")
_END = struct.Struct("<4sHHHHLLH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LONGEST_COMMENT = 0xFFFF
_ENCRYPTED = 1
_STORED = 0
_ZIP64 = 1
_ABSENT = 0xFFFFFFFF


class Member(NamedTuple):
    """One member.

    :param start: of its local header. :param stop: of what is not another's: its header, its bytes, what is behind them.
    :param size: its bytes. :param stored: they are neither compressed nor encrypted.
    """

    start: int
    stop: int
    size: int
    stored: bool


@dataclass(frozen=True, slots=True)
class Directory:
    """The members in the order of their bytes, and where the central directory begins."""

    start: int
    members: tuple[Member, ...]


def read_directory(read: Read, size: int) -> Directory:
    """The members of a file of `size` bytes.

    :raises Corrupt: it is no ZIP file, one that has something before it, or says what cannot be true.
    """
    if size < _END.size or read(0, len(MAGIC)) != MAGIC:
        raise Corrupt("not a ZIP file with members")
    count, length, start, stop = _end(read, size)
    if length > MOST or start + length > stop:
        raise Corrupt(f"the ZIP file claims a directory of {length} bytes")
    data = read(start, length)
    if len(data) < length:
        raise Corrupt("the ZIP file is cut off in its directory")
    return Directory(start, tuple(_placed(sorted(_members(data, count)), start)))


def data_start(read: Read, member: Member) -> int:
    """Where the bytes of `member` begin.

    :raises Corrupt: there is no local header, or one that leaves no room for them.
    """
    data = read(member.start, _LOCAL.size)
    if len(data) < _LOCAL.size:
        raise Corrupt("the ZIP file is cut off in a header")
    magic, name, extra = _LOCAL.unpack(data)
    if magic != MAGIC:
        raise Corrupt("the ZIP file has a member without a header")
    start = member.start + _LOCAL.size + int(name) + int(extra)
    if start + member.size > member.stop:
        raise Corrupt("the ZIP file has members that overlap")
    return start


def _end(read: Read, size: int) -> tuple[int, int, int, int]:
    """The number of members, the length and start of the directory, and where it has to end."""
    first = max(0, size - _END.size - _LONGEST_COMMENT - _LOCATOR.size)
    tail = read(first, size - first)
    at = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    if at < 0:
        raise Corrupt("the ZIP file is cut off: it has no end")
    _, disk, first_disk, here, count, length, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise Corrupt("the ZIP file has bytes behind its end")
    if at >= _LOCATOR.size and tail.startswith(b"PK\x06\x07", at - _LOCATOR.size):
        return _end64(read, _LOCATOR.unpack_from(tail, at - _LOCATOR.size)[2], first + at - _LOCATOR.size)
    if disk or first_disk or here != count:
        raise Corrupt("the ZIP file is one part of several")
    return count, length, start, first + at


def _end64(read: Read, at: int, stop: int) -> tuple[int, int, int, int]:
    data = read(at, _END64.size) if at + _END64.size <= stop else b""
    if len(data) < _END64.size:
        raise Corrupt("the ZIP file is cut off: it has no end")
    magic, _, _, _, disk, first_disk, here, count, length, start = _END64.unpack(data)
    if magic != b"PK\x06\x06" or disk or first_disk or here != count:
        raise Corrupt("the ZIP file is one part of several")
    return count, length, start, at


def _placed(found: list[tuple[int, int, bool]], end: int) -> Iterator[Member]:
    if not found or found[0][0] != 0:
        raise Corrupt("the ZIP file begins with something else than a member")
    following = [*(start for start, _, _ in found[1:]), end]
    for (start, size, stored), stop in zip(found, following, strict=True):
        if start + _LOCAL.size + size > stop:
            raise Corrupt("the ZIP file has members that overlap")
        yield Member(start, stop, size, stored)


def _members(data: bytes, count: int) -> Iterator[tuple[int, int, bool]]:
    """Of each where it begins, its bytes, and whether they are stored."""
    at = 0
    for _ in range(count):
        entry = data[at : at + _CENTRAL.size]
        if len(entry) < _CENTRAL.size or not entry.startswith(b"PK\x01\x02"):
            raise Corrupt("the ZIP file has fewer members than it claims")
        _, flags, method, packed, raw, name, extra, comment, _, start = _CENTRAL.unpack(entry)
        fields = at + _CENTRAL.size + name
        at = fields + extra + comment
        if at > len(data):
            raise Corrupt("the ZIP file is cut off in its directory")
        if _ABSENT in (packed, start):
            packed, start = _large(data[fields : fields + extra], raw, packed, start)
        yield start, packed, method == _STORED and not flags & _ENCRYPTED


def _large(fields: bytes, raw: int, packed: int, start: int) -> tuple[int, int]:
    """The length and the offset that 32 bits cannot hold: those that are absent, in this order (APPNOTE 4.5.3)."""
    at = 0
    while at + 4 <= len(fields):
        kind, length = struct.unpack_from("<HH", fields, at)
        if kind == _ZIP64:
            body = fields[at + 4 : at + 4 + length]
            numbers = (int.from_bytes(body[place : place + 8], "little") for place in range(0, len(body) - 7, 8))
            if raw == _ABSENT:
                next(numbers, 0)
            if packed == _ABSENT:
                packed = next(numbers, packed)
            if start == _ABSENT:
                start = next(numbers, start)
            break
        at += 4 + length
    return packed, start
