"""Archives of all kinds: what is read is what every parser reads, the rest is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError, Corrupt, UnsafePath
from modelops_bundle.formats import tar
from modelops_bundle.formats.tar import Member, members

ALLOWED = ("index.json", "oci-layout", "blobs/a", "blobs/b")


def allowed(name: str, is_file: bool) -> bool:
    return name in ALLOWED if is_file else name in ("blobs", ".")


def read(data: bytes) -> list[Member]:
    return list(members(lambda at, size: data[at : at + size], len(data), allowed))


def made(*infos: tuple[tarfile.TarInfo, bytes], style: int = tarfile.USTAR_FORMAT, **attributes: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style, **attributes) as archive:  # type: ignore[call-overload]
        for info, content in infos:
            info.size = len(content) if info.isreg() else info.size
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    for key, value in fields.items():
        setattr(found, key, value)
    return found


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_and_directories(style: int) -> None:
    data = made(
        (info("./", tarfile.DIRTYPE), b""),
        (info("blobs/", tarfile.DIRTYPE), b""),
        (info("./blobs/a", mtime=1.5, pax_headers={"comment": "x"}), b"content"),
        (info("blobs/b"), b""),
        (info("index.json"), b"{}" * 1000),
        style=style,
    )
    found = read(data)
    assert [(one.name, one.is_file, one.size) for one in found] == [
        (".", False, 0),
        ("blobs", False, 0),
        ("blobs/a", True, 7),
        ("blobs/b", True, 0),
        ("index.json", True, 2000),
    ]
    assert data[found[2].offset : found[2].offset + 7] == b"content"


def test_an_empty_archive() -> None:
    assert read(bytes(1024)) == []


REFUSED_KINDS = [
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CONTTYPE,
    b"S",
    b"V",
    b"M",
    b"Z",
]


@pytest.mark.parametrize("kind", REFUSED_KINDS)
def test_other_kinds_are_refused(kind: bytes) -> None:
    with pytest.raises(UnsafePath):
        read(made((info("blobs/a", kind, linkname="oci-layout"), b"")))


@pytest.mark.parametrize(
    "name",
    [
        "../blobs/a",
        "/blobs/a",
        "blobs/../blobs/a",
        "blobs//a",
        "blobs/./a",
        "blobs/c",
        "BLOBS/a",
        "blobs\\a",
        "blobs/a\x1b[31m",
        "blobs/a\n",
        "blobs/a ",
        ".git/hooks/post-checkout",
        "x" * 99,
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UnsafePath):
        read(made((info(name), b"x")))


def test_a_directory_in_the_place_of_a_file() -> None:
    with pytest.raises(UnsafePath):
        read(made((info("index.json", tarfile.DIRTYPE), b"")))


def test_a_name_that_is_no_text() -> None:
    with pytest.raises(UnsafePath, match="no text"):
        read(made((info("blobs/\udcff"), b"x")))


def test_a_member_twice() -> None:
    with pytest.raises(Corrupt, match="twice"):
        read(made((info("blobs/a"), b"1"), (info("./blobs/a"), b"2")))


def test_long_names_of_gnu_tar() -> None:
    with pytest.raises(UnsafePath, match="long name"):
        read(made((info("blobs/" + "a" * 200), b"x"), style=tarfile.GNU_FORMAT))


def test_a_path_from_a_pax_record_counts() -> None:
    data = made((info("blobs/a", pax_headers={"path": "../../evil"}), b"x"), style=tarfile.PAX_FORMAT)
    with pytest.raises(UnsafePath, match="evil"):
        read(data)


def test_a_size_from_a_pax_record_counts() -> None:
    with tarfile.open(fileobj=io.BytesIO(sized("3"))) as opened:
        assert opened.getmembers()[0].size == 3
    assert read(sized("3"))[0].size == 3


def sized(size: str) -> bytes:
    """A pax record that says another size than the header behind it."""
    return made((info("blobs/a", pax_headers={"size": size}), b"abc"), style=tarfile.PAX_FORMAT)


@pytest.mark.parametrize("size", ["-1", "99999999999999999999", "0x3", "3 ", "", "99999"])
def test_sizes_that_nothing_has(size: str) -> None:
    with pytest.raises(Corrupt):
        read(sized(size))


@pytest.mark.parametrize("record", [{"linkpath": "x"}, {"GNU.sparse.size": "3"}, {"hdrcharset": "BINARY"}])
def test_pax_records_that_change_what_it_is(record: dict[str, str]) -> None:
    with pytest.raises(Corrupt, match="means nothing"):
        read(made((info("blobs/a", pax_headers=record), b"x"), style=tarfile.PAX_FORMAT))


def test_global_pax_records() -> None:
    with pytest.raises(Corrupt, match="global"):
        read(made((info("blobs/a"), b"x"), style=tarfile.PAX_FORMAT, pax_headers={"path": "blobs/b"}))
    assert read(made((info("blobs/a"), b"x"), style=tarfile.PAX_FORMAT, pax_headers={"comment": "0123abcd"}))


def test_a_megabyte_of_pax_records_is_the_most() -> None:
    with pytest.raises(Corrupt, match="pax"):
        read(made((info("blobs/a", pax_headers={"comment": "x" * (2 << 20)}), b"x"), style=tarfile.PAX_FORMAT))


def head(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """The archive with its first header changed, its checksum right."""
    block = bytearray(data[:512])
    change(block)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:]


def number(field: bytes) -> Callable[[bytearray], None]:
    def change(block: bytearray) -> None:
        block[124:136] = field

    return change


@pytest.mark.parametrize(
    "field",
    [
        b"-0000000001\0",
        b"9999999999 \0",
        b"\xff" * 12,
        b"\xc0" + bytes(11),
        b"\x80" + b"\xff" * 11,
        b"00000000003x",
        b"0000 0000003",
    ],
)
def test_numbers_that_are_none(field: bytes) -> None:
    with pytest.raises(Corrupt):
        read(head(made((info("blobs/a"), b"abc")), number(field)))


def test_base_256_sizes_of_large_files() -> None:
    assert read(head(made((info("blobs/a"), b"abc")), number(b"\x80" + bytes(10) + b"\x03")))[0].size == 3


def test_a_directory_with_content() -> None:
    data = head(made((info("blobs", tarfile.DIRTYPE), b"")), number(b"00000001000\0"))
    with pytest.raises(Corrupt, match="directory"):
        read(data)


@pytest.mark.parametrize("at", range(0, 512, 13))
def test_every_damage_to_a_header_is_seen(at: int) -> None:
    data = bytearray(made((info("blobs/a"), b"abc")))
    data[at] ^= 0x15
    with pytest.raises((Corrupt, UnsafePath)):
        read(bytes(data))


@pytest.mark.parametrize("kept", [0, 100, 511, 512, 513, 515, 1023])
def test_cut_off(kept: int) -> None:
    with pytest.raises(Corrupt):
        read(made((info("blobs/a"), b"abc" * 300))[:kept])


def test_an_archive_behind_an_archive() -> None:
    with pytest.raises(Corrupt, match="follows"):
        read(made((info("blobs/a"), b"x")) + made((info("blobs/b"), b"y")))


def test_more_members_than_anything_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MOST_MEMBERS", 3)
    with pytest.raises(Corrupt, match="more than 3"):
        read(made(*((info(name), b"") for name in ALLOWED)))


@given(st.binary(max_size=2000))
def test_garbage_is_refused_in_our_words(data: bytes) -> None:
    try:
        read(data)
    except BundleError as error:
        assert error.exit_code in (9, 10)


@given(st.data())
def test_a_damaged_archive_is_read_as_before_or_refused(draws: st.DataObject) -> None:
    whole = made((info("blobs/", tarfile.DIRTYPE), b""), (info("blobs/a"), b"abc"), (info("blobs/b"), b"x" * 600))
    before = read(whole)
    data = bytearray(whole)
    for _ in range(draws.draw(st.integers(1, 3))):
        data[draws.draw(st.integers(0, len(data) - 1))] = draws.draw(st.integers(0, 255))
    try:
        after = read(bytes(data))
    except (Corrupt, UnsafePath):
        return
    assert after == before
