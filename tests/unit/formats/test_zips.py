"""Directories of ZIP files: those of the standard library, and every way in which they lie."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import Corrupt
from modelops_bundle.formats import zips
from modelops_bundle.formats.zips import Directory, data_start, read_directory


class Unseekable(io.BytesIO):
    """What zipfile writes data descriptors to."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError


def made(
    members: list[tuple[str, bytes]],
    method: int = zipfile.ZIP_STORED,
    *,
    into: io.BytesIO | None = None,
    zip64: bool = False,
    comment: bytes = b"",
) -> bytes:
    target = into if into is not None else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.comment = comment
        for name, data in members:
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(data)
    return target.getvalue()


def read(data: bytes) -> Directory:
    return read_directory(reader(data), len(data))


def reader(data: bytes) -> Callable[[int, int], bytes]:
    def read(at: int, count: int) -> bytes:
        assert 0 <= at < 1 << 63, "what pread(2) takes"
        return data[at : at + count]

    return read


MEMBERS = [
    ("a/data.pkl", b"pickle"),
    ("a/data/0", random.Random(1).randbytes(3000)),
    ("é", b""),
    ("a/data/1", bytes(99)),
]


def large(data: bytes) -> bytes:
    """The same file with the records of ZIP64, as torch writes them always."""
    at = data.rindex(b"PK\x05\x06")
    count, length, start = struct.unpack_from("<HLL", data, at + 10)
    end = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    absent = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:at] + end + locator + absent


def absent(data: bytes) -> bytes:
    """The same file with all numbers of its only member in the ZIP64 field."""
    at, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    packed, raw, name = struct.unpack_from("<LLH", data, at + 20)
    field = struct.pack("<HHHH", 0xCAFE, 2, 7, 1) + struct.pack("<HQQQ", 24, raw, packed, 0)
    entry = bytearray(data[at:end])
    struct.pack_into("<LLHH", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF, name, len(field))
    struct.pack_into("<L", entry, 42, 0xFFFFFFFF)
    tail = bytearray(data[end:])
    struct.pack_into("<L", tail, 12, len(entry) + len(field))
    return data[:at] + bytes(entry) + field + bytes(tail)


FILES: dict[str, bytes] = {
    "plain": made(MEMBERS),
    "deflated": made(MEMBERS, zipfile.ZIP_DEFLATED),
    "with data descriptors": made(MEMBERS, into=Unseekable()),
    "with zip64 members": made(MEMBERS, zip64=True),
    "with zip64 members and data descriptors": made(MEMBERS, into=Unseekable(), zip64=True),
    "with a comment": made(MEMBERS, comment=b"PK\x03\x04 and more" * 20),
    "with a zip64 end": large(made(MEMBERS)),
}


@pytest.mark.parametrize("case", FILES)
def test_members_are_where_the_library_says(case: str) -> None:
    data = FILES[case]
    found = read(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        assert found.start == archive.start_dir
    assert [(each.start, each.size, each.stored) for each in found.members] == [
        (info.header_offset, info.compress_size, info.compress_type == zipfile.ZIP_STORED) for info in infos
    ]
    assert [each.stop for each in found.members] == [*(info.header_offset for info in infos[1:]), found.start]
    if case != "deflated":
        for member, (_, content) in zip(found.members, MEMBERS, strict=True):
            at = data_start(reader(data), member)
            assert data[at : at + member.size] == content


def test_all_numbers_in_the_field_of_zip64() -> None:
    data = absent(made([("only", b"abc")]))
    member = read(data).members[0]
    assert (member.start, member.size) == (0, 3)
    assert zipfile.ZipFile(io.BytesIO(data)).infolist()[0].compress_size == 3


def test_encrypted_members_are_not_stored() -> None:
    data = bytearray(made([("a", b"abc")]))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    assert not read(bytes(data)).members[0].stored


def test_only_the_ends_are_read() -> None:
    data = made([("a", bytes(1 << 20)), ("b", bytes(1 << 20))])
    asked: list[tuple[int, int]] = []

    def part(at: int, count: int) -> bytes:
        asked.append((at, count))
        return data[at : at + count]

    found = read_directory(part, len(data))
    data_start(part, found.members[1])
    assert sum(count for _, count in asked) < 70_000


def edited(where: bytes, at: int, layout: str, *values: int, data: bytes = FILES["plain"]) -> bytes:
    """`data` with other values `at` bytes behind the last `where`."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, data.rindex(where) + at, *values)
    return bytes(changed)


def unlisted(data: bytes) -> bytes:
    """`data` without the first member in its directory; its bytes are still there."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start, first = archive.start_dir, 46 + len(archive.namelist()[0])
        count = len(archive.namelist()) - 1
    end = data.rindex(END)
    changed = bytearray(data[:start] + data[start + first :])
    struct.pack_into("<HHL", changed, end - first + 8, count, count, end - start - first)
    return bytes(changed)


END, END64, LOCATOR, CENTRAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
LARGE = FILES["with a zip64 end"]

WRONG: dict[str, bytes] = {
    "empty": b"",
    "only a magic": b"PK\x03\x04",
    "no members": made([]),
    "something before it": b"#!/bin/sh\n" + FILES["plain"],
    "a member before it": made([("x", b"y")])[:32] + FILES["plain"],
    "a member before it that is not listed": unlisted(FILES["plain"]),
    "bytes behind it": FILES["plain"] + b"\0",
    "cut off": FILES["plain"][:-1],
    "cut off in its directory": FILES["plain"][:-60],
    "no end": FILES["plain"][: FILES["plain"].rindex(END)],
    "several disks": edited(END, 4, "<H", 1),
    "members on other disks": edited(END, 8, "<H", 1),
    "more members than there are": edited(END, 8, "<HH", 5, 5),
    "members without end": edited(END, 8, "<HH", 0xFFFF, 0xFFFF),
    "a directory beyond the end": edited(END, 16, "<L", 0xFFFFFF00),
    "a directory over the end": edited(END, 12, "<L", 0x7FFF0000),
    "a directory into the end": FILES["plain"][:-10]
    + struct.pack("<L", struct.unpack_from("<L", FILES["plain"], len(FILES["plain"]) - 10)[0] + 4)
    + FILES["plain"][-6:],
    "a directory of no bytes": edited(END, 12, "<L", 0),
    "a directory elsewhere": edited(END, 16, "<L", 0),
    "a member that is none": edited(CENTRAL, 0, "<L", 0),
    "a member with a long name": edited(CENTRAL, 28, "<H", 0xFFFF),
    "a member larger than the file": edited(CENTRAL, 20, "<L", 0x7FFFFFFF),
    "a member of 2^32-1 bytes": edited(CENTRAL, 20, "<L", 0xFFFFFFFF),
    "a member beyond the directory": edited(CENTRAL, 42, "<L", 0x7FFFFFFF),
    "two members in one place": edited(CENTRAL, 42, "<L", 0),
    "a member inside another": edited(CENTRAL, 42, "<L", 50),
    "zip64: an end elsewhere": edited(LOCATOR, 8, "<Q", 0, data=LARGE),
    "zip64: an end at 2^64-1": edited(LOCATOR, 8, "<Q", (1 << 64) - 1, data=LARGE),
    "zip64: 2^64-1 members": edited(END64, 24, "<QQ", (1 << 64) - 1, (1 << 64) - 1, data=LARGE),
    "zip64: a directory of 2^64-1 bytes": edited(END64, 40, "<Q", (1 << 64) - 1, data=LARGE),
    "zip64: a directory at 2^64-1": edited(END64, 48, "<Q", (1 << 64) - 1, data=LARGE),
    "zip64: several disks": edited(END64, 16, "<L", 1, data=LARGE),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_true_is_refused(case: str) -> None:
    with pytest.raises(Corrupt):
        read(WRONG[case])


def test_directories_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MOST", 100)
    with pytest.raises(Corrupt, match="claims a directory"):
        read(FILES["plain"])


@pytest.mark.parametrize("case", ["no header", "a long name", "cut off"])
def test_local_headers_that_cannot_be_true(case: str) -> None:
    data = bytearray(FILES["plain"])
    member = read(bytes(data)).members[1]
    if case == "no header":
        data[member.start] = 0
    elif case == "a long name":
        struct.pack_into("<H", data, member.start + 26, 5000)
    else:
        del data[member.start + 20 :]
    with pytest.raises(Corrupt):
        data_start(reader(bytes(data)), member)


@given(st.sampled_from(sorted(FILES)), st.integers(0, 1 << 20), st.binary(min_size=1, max_size=9))
def test_damage_is_refused_in_our_words(case: str, at: int, damage: bytes) -> None:
    data = FILES[case]
    at %= len(data)
    changed = data[:at] + damage + data[at + len(damage) :]
    try:
        found = read(changed)
        ends = [data_start(reader(changed), member) + member.size for member in found.members]
    except Corrupt:
        return
    assert all(end <= member.stop <= len(changed) for end, member in zip(ends, found.members, strict=True))
