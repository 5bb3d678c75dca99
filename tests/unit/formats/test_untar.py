"""Archives of content: the same members that Python's parser finds, with digests, and one reading or none."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import BundleError, Corrupt
from modelops_bundle.formats import untar
from modelops_bundle.formats.untar import Found
from modelops_bundle.model.snapshot import Entry
from tests.support.foreign import directory, file, link, tar

STYLES = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def scan(data: bytes, size: int = 1000) -> list[Found]:
    return list(untar.scan((data[at : at + size] for at in range(0, len(data), size)), len(data)))


@pytest.mark.parametrize("style", STYLES)
def test_members_and_where_they_are(style: int) -> None:
    data = tar(
        directory("./"),
        directory("./d"),
        file("./d/a", b"a" * 600, mode=0o755),
        file("empty", b""),
        link("l", "d/a"),
        file("/".join(["n" * 60] * 3), b"long"),
        style=style,
    )
    found = scan(data)
    assert [one.name for one in found] == ["d", "d/a", "empty", "l", "/".join(["n" * 60] * 3)]
    assert [one.entry.kind for one in found] == ["dir", "file", "file", "link", "file"]
    assert [one.entry.executable for one in found if one.entry.kind == "file"] == [True, False, False]
    assert found[3].entry == Entry.link("d/a")
    for one in found:
        if one.entry.kind == "file":
            content = data[one.offset : one.offset + one.entry.size]
            assert hashlib.sha256(content).hexdigest() == one.entry.digest.hex


names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=150)


@given(
    st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=5), st.sampled_from(STYLES[1:]), st.integers(1, 2000)
)
def test_it_reads_what_pythons_parser_reads(files: list[tuple[str, bytes]], style: int, size: int) -> None:
    data = tar(*(file(f"d/{name}", content) for name, content in files), style=style)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(each.name, each.size) for each in archive.getmembers()]
    assert [(one.name, one.entry.size) for one in scan(data, size)] == expected


@given(st.binary(max_size=2000), st.integers(0, 3000), st.integers(0, 255))
def test_damage_is_refused_or_harmless(content: bytes, at: int, value: int) -> None:
    data = bytearray(tar(file("a", content), link("b", "a")))
    data[at % len(data)] = value
    try:
        found = scan(bytes(data))
    except BundleError as error:
        assert error.exit_code == 9
    else:
        assert all(one.offset + one.entry.size <= len(data) for one in found)


def test_an_archive_cut_anywhere_is_refused() -> None:
    data = tar(file("a", b"x" * 700), file("b", b"y"))
    for size in range(len(data) - 512):
        with pytest.raises(Corrupt):
            scan(data[:size])


def test_a_size_beyond_all_bytes_is_refused_before_they_are_awaited() -> None:
    info, _ = file("a", b"")
    info.size = 1 << 40
    with pytest.raises(Corrupt, match="larger than it can be"):
        list(untar.scan([info.tobuf()], 1 << 30))


def test_names_are_bounded_one_by_one_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for member in (file("n" * 9000, b""), link("l", "n" * 9000)):
        with pytest.raises(Corrupt):
            scan(tar(member, style=tarfile.PAX_FORMAT))
    monkeypatch.setattr(untar, "_MOST_NAMES", 1000)
    with pytest.raises(Corrupt, match="of names"):
        scan(tar(*(file(f"{number}{'n' * 300}", b"") for number in range(4)), style=tarfile.PAX_FORMAT))
