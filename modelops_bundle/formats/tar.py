"""Reading tar archives (POSIX.1-2001 pax, "ustar Interchange Format") that anybody may have made.

Only what archives of content need is accepted: regular files and directories, under names that the caller allows. There is
one reading of an accepted archive: what parsers differ in is refused (facts: reliability §3.7 and §4, I1 to I3). Nothing is
ever extracted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelops_bundle.errors import Corrupt, UnsafePath
from modelops_bundle.model.paths import display

BLOCK = 512
MOST_MEMBERS = 200_000
MOST_PAX = 1 << 20
"""Bytes of pax records before one member."""
_MAGIC = (b"ustar\x0000", b"ustar  \x00")
DIRECTORY, PAX, PAX_GLOBAL = b"5", b"x", b"g"
_LINK = b"2"
FILES = (b"0", b"\x00")
OTHERS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"K": "a long link name of GNU tar",
    b"L": "a long name of GNU tar",
    b"S": "a sparse file",
}
_OCTAL = re.compile(rb"[ \x00]*([0-7]*)[ \x00]*")
_HARMLESS = re.compile(r"(?:atime|ctime|mtime|uid|gid|uname|gname|comment|SCHILY\.[\w.]+|LIBARCHIVE\.[\w.]+)")

Read = Callable[[int, int], bytes]
"""The bytes from an offset on, as many as asked for; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file, or a directory (`size` 0, its name without a slash at the end), and where its content begins."""

    name: str
    is_file: bool
    size: int
    offset: int


def members(
    read: Read, size: int, allowed: Callable[[str, bool], bool], is_link: Callable[[str], bool] = lambda _: False
) -> Iterator[Member]:
    """The members of an archive of `size` bytes, in order; the caller believes them at the end only.

    :param allowed: whether a name may be that of a file (True) or a directory (False).
    :param is_link: whether a name may be that of a symbolic link, which is shown like a directory and never followed.
    :raises Corrupt: it is no archive, cut off, or can be read in two ways.
    :raises UnsafePath: a member that such an archive does not have.
    """
    at, seen = 0, set[str]()
    while True:
        head = read(at, BLOCK)
        if head == bytes(BLOCK):
            _check_end(read, at, size)
            return
        records: dict[str, str] = {}
        if kind_of(head) in (PAX, PAX_GLOBAL):
            records, at = _pax(read, head, at)
            head = read(at, BLOCK)
        member = _member(head, at, records, is_link)
        _check(member, allowed, seen, size)
        seen.add(member.name)
        yield member
        at = member.offset + padded(member.size)


def _check(member: Member, allowed: Callable[[str, bool], bool], seen: set[str], size: int) -> None:
    shown = display(member.name)
    if not allowed(member.name, member.is_file):
        raise UnsafePath(f"the archive holds {shown}, which does not belong in one", path=member.name)
    if member.name in seen:
        raise Corrupt(f"the archive holds {shown} twice", path=member.name)
    if len(seen) >= MOST_MEMBERS:
        raise Corrupt(f"the archive holds more than {MOST_MEMBERS} members")
    if member.offset + member.size > size:
        raise Corrupt(f"the archive is cut off in {shown}", path=member.name)


def kind_of(head: bytes) -> bytes:
    """The type of the member that a header is of. :raises Corrupt: it is no header."""
    if len(head) < BLOCK:
        raise Corrupt("the archive is cut off")
    if head[257:265] not in _MAGIC or number_of(head[148:156]) != _checksum(head):
        raise Corrupt("not a tar archive, or damaged")
    return head[156:157]


def _member(head: bytes, at: int, records: dict[str, str], is_link: Callable[[str], bool]) -> Member:
    kind = kind_of(head)
    name = records.get("path", text_of(raw_name(head)))
    if kind == _LINK and is_link(name):
        kind = DIRECTORY
    if kind not in (*FILES, DIRECTORY):
        what = OTHERS.get(kind, "something that is neither file nor directory")
        raise UnsafePath(f"the archive holds {what}, {display(name)}", path=name)
    size = number_of(head[124:136])
    if "size" in records:
        size = decimal_of(records["size"])
    is_file = kind in FILES and not name.endswith("/")
    if kind == DIRECTORY and size:
        raise Corrupt(f"the archive holds a directory with content, {display(name)}")
    return Member(name.removesuffix("/").removeprefix("./"), is_file, size, at + BLOCK)


def raw_name(head: bytes) -> bytes:
    """The name in a header."""
    name = head[:100].partition(b"\0")[0]
    # GNU tar has other things where POSIX has the first part of the name.
    prefix = head[345:500].partition(b"\0")[0] if head[257:265] == _MAGIC[0] else b""
    return prefix + b"/" + name if prefix else name


def text_of(name: bytes) -> str:
    """A name as text. :raises UnsafePath: it is none."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsafePath(f"the archive holds a name that is no text: {name[:100]!r}") from error


def _pax(read: Read, head: bytes, at: int) -> tuple[dict[str, str], int]:
    """The records before a member, and where its own header is.

    :raises Corrupt: records that change what the archive is.
    """
    size = number_of(head[124:136])
    if size > MOST_PAX:
        raise Corrupt(f"the archive has {size} bytes of pax records before one member")
    data = read(at + BLOCK, size)
    if len(data) < size:
        raise Corrupt("the archive is cut off")
    records = dict(_records(data))
    if kind_of(head) == PAX_GLOBAL and records.keys() - {"comment"}:
        raise Corrupt("the archive changes all its members by a global pax record")
    return records, at + BLOCK + padded(size)


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for key, value in records_of(data):
        name, text = text_of(key), text_of(value)
        if name in seen or not (name in ("path", "size") or _HARMLESS.fullmatch(name)):
            raise Corrupt(f"the archive has a pax record that means nothing here: {display(name[:80])}")
        seen.add(name)
        if not _HARMLESS.fullmatch(name):
            yield name, text
        elif name == "comment":
            yield name, ""


def records_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of pax records, as they stand there.

    :raises Corrupt: they are damaged.
    """
    at = 0
    while at < len(data):
        digits, blank, _ = data[at : at + 20].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        record = data[at : at + length]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if not equals or not value.endswith(b"\n") or len(record) < length:
            raise Corrupt("the archive has a damaged pax record")
        yield key, value[:-1]
        at += length


def _check_end(read: Read, at: int, size: int) -> None:
    """Two blocks of zeros end an archive; what follows them could be another one that other parsers read."""
    while at < size:
        data = read(at, 1 << 20)
        if data.strip(b"\0"):
            raise Corrupt("something follows the end of the archive")
        if not data:
            break
        at += len(data)


def _checksum(head: bytes) -> int:
    # The field itself counts as eight blanks.
    return sum(head[:148]) + 8 * 32 + sum(head[156:])


def number_of(data: bytes) -> int:
    """The number in a field of a header. :raises Corrupt: there is none."""
    if data[0] & 0x80:
        # Base 256, of GNU tar; a set second bit is a negative number.
        value = int.from_bytes(bytes([data[0] & 0x7F]) + data[1:], "big")
        if data[0] & 0x40 or value >> 63:
            raise Corrupt("the archive has a number that nothing can have")
        return value
    found = _OCTAL.fullmatch(data)
    if found is None:
        raise Corrupt("the archive has a number that is none")
    return int(found[1] or b"0", 8)


def decimal_of(text: str) -> int:
    """The number in a pax record. :raises Corrupt: there is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Corrupt("the archive has a size that is none")
    return int(text)


def padded(size: int) -> int:
    """Bytes that content of `size` bytes takes: whole blocks."""
    return size + -size % BLOCK
