"""Tar archives of content that anybody may have made, read once from front to back: names, digests, and where each file is.

Wider than `tar`, which knows the archives of layouts: symbolic links, and the long names of GNU tar (tar(5), "GNU Tar Archives").
There is one reading of an accepted archive all the same. Nothing is ever extracted here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from modelops_bundle.errors import Corrupt, UnsafePath
from modelops_bundle.formats import tar
from modelops_bundle.formats.coding import Stream
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display
from modelops_bundle.model.snapshot import Entry

_LINK, _LONG_NAME, _LONG_TARGET = b"2", b"L", b"K"
_MOST_NAME = 8192
"""Bytes of a name or target that has a member of its own: more than any path can have."""
_MOST_NAMES = 64 << 20
"""Characters of all names and targets together: they are held in memory."""
_MEANT = ("path", "linkpath", "size")
# They change what a member is, or the letters of its name: an archive with them has several readings.
_CHANGING = re.compile(r"GNU\.sparse\..*|hdrcharset|charset|SCHILY\.(?:realsize|filetype)")
_OWNER_EXECUTES = 0o100


@dataclass(frozen=True, slots=True)
class Found:
    """A member: its name as it stands there without a leading `./`, what it is, and where in the archive its bytes begin."""

    name: str
    entry: Entry
    offset: int


def scan(chunks: Iterable[bytes], limit: int, check: Callable[[], None] = lambda: None) -> Iterator[Found]:
    """The members in order; the caller believes them at the end only.

    :param limit: the most bytes that the archive can have.
    :param check: called now and then; what it raises ends the reading.
    :raises Corrupt: it is no archive, cut off, or can be read in two ways.
    :raises UnsafePath: a hard link, a device, anything that is neither file, directory nor symbolic link.
    """
    stream, count, names = Stream(chunks), 0, 0
    while True:
        check()
        head = stream.read(tar.BLOCK)
        if head == bytes(tar.BLOCK):
            _check_end(stream)
            return
        records: dict[str, str] = {}
        while tar.kind_of(head) in (tar.PAX, tar.PAX_GLOBAL, _LONG_NAME, _LONG_TARGET):
            _extend(records, head, stream)
            head = stream.read(tar.BLOCK)
        count += 1
        if count > tar.MOST_MEMBERS:
            raise Corrupt(f"the archive holds more than {tar.MOST_MEMBERS} members")
        found = _member(head, records, stream, limit, check)
        if found is not None:
            names += len(found.name) + len(found.entry.target or "")
            if names > _MOST_NAMES:
                raise Corrupt(f"the archive has more than {_MOST_NAMES} bytes of names")
            yield found


def _extend(records: dict[str, str], head: bytes, stream: Stream) -> None:
    """Take in what stands before a member, and belongs to it."""
    kind, size = tar.kind_of(head), tar.number_of(head[124:136])
    long = kind in (_LONG_NAME, _LONG_TARGET)
    if size > (_MOST_NAME if long else tar.MOST_PAX):
        raise Corrupt(f"the archive has {size} bytes of names or records before one member")
    data = stream.read(tar.padded(size))
    if len(data) < tar.padded(size):
        raise Corrupt("the archive is cut off")
    if long:
        name = tar.text_of(data[:size].removesuffix(b"\0"))
        _note(records, "path" if kind == _LONG_NAME else "linkpath", name)
        return
    for raw_key, raw in tar.records_of(data[:size]):
        key = tar.text_of(raw_key)
        if _CHANGING.fullmatch(key) or (kind == tar.PAX_GLOBAL and key in _MEANT):
            raise Corrupt(f"the archive has a pax record that changes what it is: {display(key[:80])}")
        if key in _MEANT:
            _note(records, key, tar.text_of(raw))


def _note(records: dict[str, str], key: str, value: str) -> None:
    if key in records or "\0" in value:
        raise Corrupt(f"the archive says twice what the {key} of a member is, or with a NUL")
    if len(value) > _MOST_NAME:
        raise Corrupt(f"the archive has a {key} of {len(value)} characters")
    records[key] = value


def _member(
    head: bytes, records: dict[str, str], stream: Stream, limit: int, check: Callable[[], None]
) -> Found | None:
    kind = tar.kind_of(head)
    name = records.get("path", tar.text_of(tar.raw_name(head)))
    size = tar.decimal_of(records["size"]) if "size" in records else tar.number_of(head[124:136])
    if kind in tar.FILES and not name.endswith("/"):
        if size > limit - stream.at:
            raise Corrupt(f"the archive is cut off in {display(name)}, or says that it is larger than it can be")
        executable = bool(tar.number_of(head[100:108]) & _OWNER_EXECUTES)
        return Found(_plain(name), *_content(stream, size, executable, name, check))
    if size:
        raise Corrupt(f"the archive holds a directory or link with content, {display(name)}")
    if kind in (*tar.FILES, tar.DIRECTORY):
        plain = _plain(name.removesuffix("/"))
        # The directory that everything is in.
        return None if plain in (".", "") and not name.startswith("/") else Found(plain, Entry.directory(), stream.at)
    if kind == _LINK:
        target = records.get("linkpath", tar.text_of(head[157:257].partition(b"\0")[0]))
        return Found(_plain(name), Entry.link(target), stream.at)
    what = tar.OTHERS.get(kind, "something that is neither file, directory nor link")
    raise UnsafePath(f"the archive holds {what}, {display(name)}", path=display(name))


def _plain(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name


def _content(stream: Stream, size: int, executable: bool, name: str, check: Callable[[], None]) -> tuple[Entry, int]:
    hasher, offset = hashlib.sha256(), stream.at
    for piece in stream.pieces(size):
        check()
        hasher.update(piece)
    padding = tar.padded(size) - size
    if stream.at != offset + size or len(stream.read(padding)) < padding:
        raise Corrupt(f"the archive is cut off in {display(name)}")
    return Entry("file", Digest("sha256", hasher.hexdigest()), size, executable), offset


def _check_end(stream: Stream) -> None:
    """Zeros end an archive; what follows them could be another one that other parsers read."""
    while data := stream.read(1 << 20):
        if data.strip(b"\0"):
            raise Corrupt("something follows the end of the archive")
