"""Packs: many small files, links and modes in one layer that plain `oras pull` unpacks (DESIGN §4; facts: format §3).

A pack is a tar in a gzip of stored blocks: its bytes follow from its members alone, never from a compressor's version,
and the place of every member's bytes can be computed.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal

from modelops_bundle.model import canonical, paths
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry

Mode = Literal["auto", "always", "never"]
Member = tuple[str, Entry]

SMALL = 256 * 1024
"""Bytes below which a file is small."""
MANY = 128
"""Small files from which `auto` packs them."""
MOST_LAYER_BYTES = 3_500 * 1024
"""Bytes of layer descriptors from which `auto` packs: registries take manifests of 4 MiB (facts: OCI §2.6)."""
_DESCRIPTOR = 245
"""Bytes of a raw layer's descriptor besides its path, which it holds twice."""
_SMALLEST_PACK = 1024 * 1024
_PACKS = 64

_WELL_KNOWN = re.compile(
    r"(readme|licen[cs]e|notice|tokenizer|chat_template|vocab|merges|special_tokens|"
    r"(generation_|preprocessor_|adapter_)?config|model_index|modelfile)([._].*)?",
    re.IGNORECASE,
)

_LAYOUT = 1
"""To be raised when the same members make other bytes."""
_BLOCK = 512
_END = bytes(2 * _BLOCK)
"""The trailer, and nothing after it: Go's reader stops there, and oras hashes what it has read."""
STORED = 65535
"""Bytes of a stored block (RFC 1951 §3.2.4)."""
_FLUSH = 16 * STORED
"""Bytes of tar that are framed at once."""
GZIP_HEAD = bytes.fromhex("1f8b08000000000000ff")
_LARGEST_OCTAL = 8**11 - 1


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack's members, and the digest and size in bytes of the blob that holds them.

    :param tar: the digest of what the gzip holds, where somebody asked for it.
    :param offsets: where its files begin in the tar, of a pack that is in a version already: then `members` need not
        name its links and directories.
    """

    members: tuple[Member, ...]
    digest: Digest
    size: int
    tar: Digest | None = None
    offsets: Mapping[str, int] | None = None


def listing(members: Sequence[Member]) -> Digest:
    """A digest of everything that a pack's bytes depend on."""
    rows = [[path, entry.kind, str(entry.digest), entry.executable] for path, entry in members]
    return Digest.of(canonical.dumps([_LAYOUT, rows]))


# --- what is packed, and how it is cut


def cut(snapshot: Mapping[str, Entry], mode: str, layers: int | None = None) -> tuple[tuple[Member, ...], ...]:
    """The members of each pack of `snapshot`: one sequence for the whole tree, links in a last one of their own.

    Where a pack ends is decided by the hash of a path, so that an edit, an addition or a deletion changes one pack
    and leaves the others alone.

    :param layers: the most layers that the registry takes.
    """
    chosen = _chosen(snapshot, mode, layers)
    rest = [(path, entry) for path, entry in chosen if entry.kind != "link"]
    packs = _cut(rest, _target(sum(_room(entry) for _, entry in rest)))
    links = {path: entry for path, entry in chosen if entry.kind == "link"}
    if links:
        packs.append(tuple((path, links[path]) for path in _users_first(links)))
    return tuple(packs)


def cut_all(members: Sequence[Member], alone: int, most: int) -> tuple[tuple[Member, ...], ...]:
    """The members of each pack when everything is packed: large files by themselves, links in a last one.

    :param alone: the size in bytes from which a file has a pack of its own, while there are not too many of them.
    :param most: the most packs.
    """
    links = {path: entry for path, entry in members if entry.kind == "link"}
    rest = [member for member in members if member[1].kind != "link"]
    target = _SMALLEST_PACK
    while True:
        packs: list[tuple[Member, ...]] = [(member,) for member in rest if member[1].size >= max(alone, target)]
        others = [member for member in rest if member[1].size < max(alone, target)]
        packs += _cut(others, max(target, _target(sum(_room(entry) for _, entry in others))))
        if len(packs) + bool(links) <= most:
            break
        target *= 2
    if links:
        packs.append(tuple((path, links[path]) for path in _users_first(links)))
    return tuple(packs)


def _chosen(snapshot: Mapping[str, Entry], mode: str, layers: int | None) -> list[Member]:
    if mode == "never":
        return []
    small = _threshold(snapshot, mode, layers)
    return [
        (path, entry)
        for path, entry in snapshot.items()
        if entry.kind != "file" or (may_pack(path, entry) and (entry.executable or entry.size < small))
    ]


def may_pack(path: str, entry: Entry) -> bool:
    """Whether ModelPack readers can do without finding the file in a layer of its own."""
    return entry.role != "weight" and ("/" in path or _WELL_KNOWN.fullmatch(path) is None)


def _threshold(snapshot: Mapping[str, Entry], mode: str, layers: int | None) -> int:
    """The size in bytes below which a file is packed for being small, 0 when none is."""
    raw = [
        (entry.size, len(path.encode()) * 2 + _DESCRIPTOR, may_pack(path, entry))
        for path, entry in snapshot.items()
        if entry.kind == "file"
    ]
    most_layers = len(raw) if layers is None else layers - 2 * _PACKS
    small = 0
    if mode == "always" or sum(1 for size, _, movable in raw if movable and size < SMALL) > MANY:
        small = SMALL
    # What is left over must fit: larger and larger files are packed until it does, or until none is left to pack.
    largest = max((size for size, _, movable in raw if movable), default=0)
    while small <= largest:
        left = [cost for size, cost, movable in raw if not (movable and size < small)]
        if sum(left) <= MOST_LAYER_BYTES and len(left) <= most_layers:
            break
        small = small * 4 or SMALL
    return small


def _target(total: int) -> int:
    """The size in bytes that packs have on average.

    A power of two, so that it stays the same while a tree grows a little: another one cuts every pack anew.
    """
    target = _SMALLEST_PACK
    while target * _PACKS < total:
        target *= 2
    return target


def _cut(members: Sequence[Member], target: int) -> list[tuple[Member, ...]]:
    packs: list[tuple[Member, ...]] = []
    current: list[Member] = []
    size = 0
    for member in members:
        room = _room(member[1])
        if current and size + room > 2 * target:
            packs.append(tuple(current))
            current, size = [], 0
        current.append(member)
        size += room
        if size >= target // 2 and _ends_pack(member[0], room, target // 2):
            packs.append(tuple(current))
            current, size = [], 0
    if current:
        packs.append(tuple(current))
    return packs


def _ends_pack(path: str, room: int, mean: int) -> bool:
    """True for one in `mean` bytes: likelier for large members, the same for one that grew a little."""
    draw = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big")
    return draw * mean < (1 << room.bit_length()) << 64


def room(size: int) -> int:
    """Bytes that a member of `size` bytes takes in its tar, about: directories and long names are not counted."""
    return _BLOCK + _padded(size)


def _room(entry: Entry) -> int:
    return room(_content(entry))


def _users_first(links: Mapping[str, Entry]) -> list[str]:
    """The links in path order, but each before those that its target passes through.

    oras refuses to write a link whose way leads through one that is there already (facts: format §2.3).
    """
    passed = {path: set(_passed(path, entry.target or "")) & links.keys() for path, entry in links.items()}
    users = Counter(other for used in passed.values() for other in used)
    free = sorted(path for path in links if not users[path])
    # Links that use each other in a ring lead nowhere; any order does.
    rest = iter(sorted(links))
    ordered: dict[str, None] = {}
    while len(ordered) < len(links):
        path = heappop(free) if free else next(path for path in rest if path not in ordered)
        ordered[path] = None
        for other in passed[path]:
            users[other] -= 1
            if not users[other] and other not in ordered:
                heappush(free, other)
    return list(ordered)


def _passed(path: str, target: str) -> Iterator[str]:
    """The paths inside the tree that the target of the link at `path` leads through."""
    steps = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            steps = steps[:-1]
        elif part not in ("", "."):
            steps = [*steps, part]
            yield "/".join(steps)


def title(number: int) -> str:
    """The title of the `number`-th pack: the root, spelled differently each time, as no two titles may be equal."""
    return "./" * number + "."


# --- the tar


def directories(members: Iterable[Member]) -> list[str]:
    """Every directory that the members need, or are: oras makes no parents by itself."""
    found = {path if entry.kind == "dir" else path.rpartition("/")[0] for path, entry in members}
    found |= {parent for path in found for parent in paths.parents(path)}
    return sorted(found - {""}, key=lambda path: path.encode())


def pieces(members: Sequence[Member]) -> Iterator[bytes | str]:
    """The tar in order: bytes as they are, and the path of a file where its content goes, before its padding."""
    yield b"".join(header(path, Entry.directory()) for path in directories(members))
    pending = b""
    for path, entry in members:
        if entry.kind == "dir":
            continue
        pending += header(path, entry)
        if entry.kind == "file" and entry.size:
            yield pending
            yield path
            pending = bytes(-entry.size % _BLOCK)
    yield pending + _END


def offsets(members: Sequence[Member]) -> dict[str, int]:
    """Where in the tar each file's content begins, in bytes."""
    at = sum(len(header(path, Entry.directory())) for path in directories(members))
    found: dict[str, int] = {}
    for path, entry in members:
        if entry.kind == "dir":
            continue
        at += _header_size(path, entry)
        if entry.kind == "file":
            found[path] = at
            at += _padded(entry.size)
    return found


def _padded(size: int) -> int:
    return size + -size % _BLOCK


_TYPES = {"file": b"0", "link": b"2", "dir": b"5"}


def header(path: str, entry: Entry) -> bytes:
    """The header of a member (POSIX.1-2001 pax, "ustar Interchange Format"), a pax record before it where it needs one.

    Nobody owns it and it has no time: what is not in the snapshot is not in the pack.
    """
    if entry.kind == "file" and _is_plain(path, entry.size):
        return _file_header(path.encode(), entry)
    name = path.encode() + (b"/" if entry.kind == "dir" else b"")
    target = (entry.target or "").encode() if entry.kind == "link" else b""
    size = entry.size if entry.kind == "file" else 0
    mode = b"0000777" if entry.kind == "link" else b"0000755" if entry.kind == "dir" or entry.executable else b"0000644"
    plain = _ustar(name[:100], mode, min(size, _LARGEST_OCTAL), _TYPES[entry.kind], target[:100])
    if len(name) <= 100 and len(target) <= 100 and path.isascii() and target.isascii() and size <= _LARGEST_OCTAL:
        return plain
    return _pax_header(name, target, size) + plain


def _header_size(path: str, entry: Entry) -> int:
    return _BLOCK if entry.kind == "file" and _is_plain(path, entry.size) else len(header(path, entry))


def _is_plain(path: str, size: int) -> bool:
    """Whether a file needs no pax record."""
    return len(path) <= 100 and path.isascii() and size <= _LARGEST_OCTAL


def _ustar(name: bytes, mode: bytes, size: int, kind: bytes, target: bytes) -> bytes:
    before, after = name.ljust(100, b"\0") + mode + _NOBODY + b"%011o" % size, _NO_TIME
    last = kind + target.ljust(100, b"\0") + _USTAR
    return before + after + _checksum(sum(before) + sum(after) + sum(last)) + last


def _checksum(total: int) -> bytes:
    # The field itself counts as eight blanks.
    return b"%06o\x00 " % (total + 8 * 32)


_NOBODY = b"\x000000000\x000000000\x00"
_NO_TIME = b"\x0000000000000\x00"
_USTAR = b"ustar\x0000" + bytes(64) + b"0000000\x000000000\x00" + bytes(167)
_FILE_START = (b"0000644" + _NOBODY, b"0000755" + _NOBODY)
_FILE_END = b"0" + bytes(100) + _USTAR
_FILE_SUMS = tuple(sum(start) + sum(_NO_TIME) + sum(_FILE_END) for start in _FILE_START)


def _file_header(name: bytes, entry: Entry) -> bytes:
    """As `_ustar` makes it: most members are files, and most of a file's header is always the same."""
    size = b"%011o" % entry.size
    total = _FILE_SUMS[entry.executable] + sum(name) + sum(size)
    start = _FILE_START[entry.executable]
    return name.ljust(100, b"\0") + start + size + _NO_TIME + _checksum(total) + _FILE_END


def _pax_header(name: bytes, target: bytes, size: int) -> bytes:
    records = b""
    if len(name) > 100 or not name.isascii():
        records += _pax_record(b"path", name)
    if len(target) > 100 or not target.isascii():
        records += _pax_record(b"linkpath", target)
    if size > _LARGEST_OCTAL:
        records += _pax_record(b"size", str(size).encode())
    return _ustar(b"././@PaxHeader", b"0000000", len(records), b"x", b"") + records + bytes(-len(records) % _BLOCK)


def _pax_record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


# --- the gzip


def tar_size(members: Sequence[Member]) -> int:
    """Bytes of the members' tar."""
    heads = sum(len(header(path, Entry.directory())) for path in directories(members))
    files = sum(_header_size(path, entry) + _padded(_content(entry)) for path, entry in members if entry.kind != "dir")
    return heads + files + len(_END)


def _content(entry: Entry) -> int:
    return entry.size if entry.kind == "file" else 0


def gzip_size(tar: int) -> int:
    """Bytes of a gzip of stored blocks that holds `tar` bytes."""
    return len(GZIP_HEAD) + 5 * max(1, -(-tar // STORED)) + tar + 8


def framed(tar: Iterable[bytes | memoryview], size: int) -> Iterator[bytes]:
    """The gzip (RFC 1952) of the `size` bytes that `tar` yields, in stored blocks (RFC 1951 §3.2.4).

    :raises ValueError: they are not `size` bytes.
    """
    crc, left = 0, size
    buffer = bytearray()
    yield GZIP_HEAD
    for piece in tar:
        crc = zlib.crc32(piece, crc)
        buffer += piece
        # The last block is marked as such, so it waits for the end.
        if len(buffer) > _FLUSH:
            full = (len(buffer) - 1) // STORED * STORED
            yield _blocks(buffer, full)
            del buffer[:full]
            left -= full
    if left != len(buffer):
        raise ValueError(f"a pack has {size - left + len(buffer)} bytes of tar instead of {size}")
    full = max(0, left - 1) // STORED * STORED
    last = left - full
    head = block_head(last)
    tail = crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
    yield b"".join((_blocks(buffer, full), head, buffer[full:], tail))


def _blocks(data: bytearray, size: int) -> bytes:
    """The first `size` bytes of `data`, a multiple of a block, as blocks that are not the last."""
    with memoryview(data) as view:
        return b"".join(
            piece for at in range(0, size, STORED) for piece in (b"\x00\xff\xff\x00\x00", view[at : at + STORED])
        )


def block_head(left: int) -> bytes:
    """What stands before a block, when `left` bytes of the tar are still to come (RFC 1951 §3.2.4)."""
    if left > STORED:
        return b"\x00\xff\xff\x00\x00"
    return b"\x01" + left.to_bytes(2, "little") + (left ^ 0xFFFF).to_bytes(2, "little")


def position(offset: int) -> int:
    """Where in the gzip the tar's byte `offset` is."""
    return len(GZIP_HEAD) + 5 * (1 + offset // STORED) + offset


def unframed(chunks: Iterable[bytes], start: int, stop: int) -> Iterator[bytes]:
    """The tar's bytes `start` to `stop`, from the gzip's bytes `position(start)` on."""
    left, room, skip = stop - start, STORED - start % STORED, 0
    for chunk in chunks:
        at = 0
        while at < len(chunk) and left:
            if skip:
                taken = min(skip, len(chunk) - at)
                skip -= taken
                at += taken
                continue
            taken = min(room, left, len(chunk) - at)
            yield chunk[at : at + taken]
            at += taken
            left -= taken
            room -= taken
            if not room:
                room, skip = STORED, 5
