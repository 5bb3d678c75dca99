"""Files out of packs: whole packs, ranges, and no byte believed before it was verified."""

from __future__ import annotations

import errno
import gzip
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.errors import Corrupt, DiskError, Interrupted
from modelops_bundle.events import Run
from modelops_bundle.model import packs
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.transfer import pack
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.transfer.unpack import (
    IN_MEMORY,
    SMALL_PACK,
    Member,
    Staged,
    fetch_members,
    others,
    reading,
    take_out,
    take_out_of_archive,
    wants_whole,
)
from tests.support import foreign
from tests.support.things import blob, file

RANDOM = Random(7)
BLOCK = 65535
SIZES = [0, 1, 511, 512, 513, BLOCK - 1, BLOCK, BLOCK + 1, 200_000, 3 * BLOCK, 400_000, 0, 90_000, IN_MEMORY + 1]
DATA = {f"f/{number:02}": RANDOM.randbytes(size) for number, size in enumerate(SIZES)}


class Remote:
    """Serves one pack in pieces of a size; notes the ranges it was asked for."""

    def __init__(self, contents: Mapping[str, bytes], piece: int = 10_000) -> None:
        self.listed = tuple(Snapshot({path: file(data) for path, data in contents.items()}).items())
        self.data = b"".join(pack.blob(self.listed, lambda path: [contents[path]]))
        self.what = blob(self.data)
        self.piece = piece
        self.asked: list[tuple[int, int]] = []
        offsets = packs.offsets(self.listed)
        self.members = {path: Member(entry.digest, entry.size, offsets[path]) for path, entry in self.listed}

    def has(self, what: Descriptor) -> bool:
        return what == self.what

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        end = len(self.data) if stop is None else stop
        self.asked.append((start, end))
        yield (self.data[at : min(at + self.piece, end)] for at in range(start, end, self.piece))


@pytest.fixture
def remote() -> Remote:
    return Remote(DATA)


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    (tmp_path / "parts").mkdir()
    return Staging(tmp_path / "parts")


def fetch(remote: Remote, staging: Staging, *paths: str) -> int:
    told: list[int] = []
    chosen = [remote.members[path] for path in paths]
    received = fetch_members(remote.what, chosen, remote, staging, Run(), told.append)
    assert sum(told) == received == sum(stop - start for start, stop in remote.asked)
    return received


# --- ranges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1_000, 65_535, 65_540, 10**9])
def test_every_member_alone(staging: Staging, piece: int) -> None:
    remote = Remote(DATA, piece)
    for path, data in DATA.items():
        remote.asked.clear()
        received = fetch(remote, staging, path)
        assert staging.path(remote.members[path].digest).read_bytes() == data
        assert len(remote.asked) == (1 if data else 0)
        assert received <= len(data) + 5 * (len(data) // BLOCK + 1)


def test_near_members_come_by_one_request_and_far_ones_by_two(remote: Remote, staging: Staging) -> None:
    fetch(remote, staging, "f/01", "f/02", "f/04")
    assert len(remote.asked) == 1
    remote.asked.clear()
    fetch(remote, staging, "f/01", "f/12")
    assert len(remote.asked) == 2


def test_all_of_them_in_any_order(remote: Remote, staging: Staging) -> None:
    fetch(remote, staging, *sorted(DATA, reverse=True))
    for path, data in DATA.items():
        assert staging.path(remote.members[path].digest).read_bytes() == data


def test_empty_files_ask_nobody(remote: Remote, staging: Staging) -> None:
    assert fetch(remote, staging, "f/00", "f/11") == 0
    assert remote.asked == []
    assert staging.path(Digest.of(b"")).read_bytes() == b""


def test_no_index_makes_us_hold_much_in_memory(remote: Remote, staging: Staging) -> None:
    """A row that spans the whole pack with others inside it is received as a stream by itself."""
    huge = Remote({"a": RANDOM.randbytes(9_000_000), "b": b"b" * 100})
    inner = Member(Digest.of(huge.data[2_000:2_010]), 10, 2_000)
    with pytest.raises(Corrupt):
        fetch_members(huge.what, [huge.members["a"], inner], huge, staging, Run(), lambda _: None)
    assert len(huge.asked) == 2


def wrong(member: Member, **changes: int) -> Member:
    return Member(member.digest, changes.get("size", member.size), changes.get("offset", member.offset))


@pytest.mark.parametrize(
    "changes",
    [{"offset": 0}, {"offset": 600}, {"size": 512}, {"size": 2_000_000}, {"offset": 10**7}, {"offset": 1 << 70}],
)
def test_a_place_that_is_not_that_of_the_file_is_corrupt(
    remote: Remote, staging: Staging, changes: dict[str, int]
) -> None:
    member = wrong(remote.members["f/04"], **changes)
    with pytest.raises(Corrupt):
        fetch_members(remote.what, [member], remote, staging, Run(), lambda _: None)
    assert staging.names() == frozenset()


def test_members_at_one_offset_are_believed_by_their_digests(remote: Remote, staging: Staging) -> None:
    good = remote.members["f/02"]
    other = Member(Digest.of(b"?"), 511, good.offset)
    for members in ([good, other], [other, good]):
        with pytest.raises(Corrupt):
            fetch_members(remote.what, members, remote, staging, Run(), lambda _: None)
    assert not staging.path(other.digest).exists()


def test_a_pack_that_is_another_one_or_cut_short_is_corrupt(remote: Remote, staging: Staging) -> None:
    for data in (bytes(len(remote.data)), remote.data[:1_000], b""):
        remote.data = data
        with pytest.raises(Corrupt):
            fetch_members(remote.what, [remote.members["f/08"]], remote, staging, Run(), lambda _: None)
    assert staging.names() == frozenset()


def test_a_stop_leaves_nothing_half(remote: Remote, staging: Staging) -> None:
    run = Run()
    run.cancelled.set()
    with pytest.raises(Interrupted):
        fetch_members(remote.what, [remote.members["f/08"]], remote, staging, run, lambda _: None)
    assert staging.names() == frozenset()


# --- whole packs -----------------------------------------------------------------------------------------------------


def stage(remote: Remote, staging: Staging) -> None:
    staging.path(remote.what.digest).write_bytes(remote.data)


def test_small_packs_and_those_of_which_most_is_wanted_come_whole(remote: Remote) -> None:
    members = remote.members
    assert not wants_whole(remote.what, [members["f/08"]])
    assert wants_whole(remote.what, members.values())
    small = Descriptor("x", remote.what.digest, SMALL_PACK)
    assert wants_whole(small, [members["f/01"]])


def test_a_pack_of_tiny_files_comes_whole_when_all_are_wanted() -> None:
    """Most of it is headers and padding then; taken one by one, each would be synced by itself."""
    tiny = Remote({f"t/{number:04}": b"%d" % number for number in range(600)})
    assert tiny.what.size > 2 * SMALL_PACK
    members = list(tiny.members.values())
    assert wants_whole(tiny.what, members)
    assert not wants_whole(tiny.what, members[:250])


def test_large_members_are_taken_out_and_small_ones_looked_at(remote: Remote, staging: Staging) -> None:
    stage(remote, staging)
    take_out(remote.what, list(remote.members.values()), staging, Run())
    large = remote.members["f/13"]
    assert staging.names() == {remote.what.digest.hex, large.digest.hex}
    assert staging.path(large.digest).read_bytes() == DATA["f/13"]


@pytest.mark.parametrize("path", ["f/04", "f/13"])
@pytest.mark.parametrize("changes", [{"offset": 0}, {"offset": 10**8}, {"size": 3}])
def test_an_index_that_lies_of_a_whole_pack_is_found_before_the_tree_is_touched(
    remote: Remote, staging: Staging, path: str, changes: dict[str, int]
) -> None:
    stage(remote, staging)
    members = [*remote.members.values(), wrong(remote.members[path], **changes)]
    if path == "f/13" and "offset" in changes:
        members.pop(-2)
    with pytest.raises(Corrupt):
        take_out(remote.what, members, staging, Run())


def staged(remote: Remote, staging: Staging) -> Staged:
    return Staged(staging, {m.digest: (remote.what.digest, m.offset) for m in remote.members.values()})


def test_staged_packs_are_read_by_digest(remote: Remote, staging: Staging) -> None:
    stage(remote, staging)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    with staged(remote, staging) as source:
        for path, data in DATA.items():
            member = remote.members[path]
            assert source.has(member.digest)
            assert source.read(member.digest, member.size) == (data if len(data) <= IN_MEMORY else None)
        assert not source.has(Digest.of(b"?"))
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)


def test_a_staged_pack_that_was_damaged_gives_nothing(remote: Remote, staging: Staging) -> None:
    member = remote.members["f/08"]
    at = member.raw[0] + 7
    spoiled = remote.data[:at] + bytes([remote.data[at] ^ 1]) + remote.data[at + 1 :]
    for data in (spoiled, remote.data[:at], b""):
        staging.path(remote.what.digest).write_bytes(data)
        with staged(remote, staging) as source:
            assert source.read(member.digest, member.size) is None
    staging.path(remote.what.digest).unlink()
    with staged(remote, staging) as source:
        assert source.read(member.digest, member.size) is None


def test_a_disk_that_cannot_be_read_is_no_damage(
    remote: Remote, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(remote, staging)
    member = remote.members["f/08"]

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(os, "pread", fail)
    with staged(remote, staging) as source, pytest.raises(DiskError):
        source.read(member.digest, member.size)


# --- one file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DATA)
def test_reading_one_file(remote: Remote, path: str) -> None:
    member = remote.members[path]
    with reading(remote, Place(remote.what, member.offset), member.size) as chunks:
        assert b"".join(chunks) == DATA[path]
    assert len(remote.asked) <= 1


def test_reading_a_blob_of_its_own(remote: Remote) -> None:
    with reading(remote, Place(remote.what), remote.what.size) as chunks:
        assert b"".join(chunks) == remote.data


def test_threads_may_stage_from_one_pack(remote: Remote, staging: Staging) -> None:
    """Two packs may hold the same content: both stage it, and it is whole."""
    threads = [
        threading.Thread(
            target=fetch_members, args=(remote.what, [remote.members["f/10"]], remote, staging, Run(), lambda _: None)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert staging.path(remote.members["f/10"].digest).read_bytes() == DATA["f/10"]
    assert staging.names() == {remote.members["f/10"].digest.hex}


# --- looking at all of a pack


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [7_001, 65_535, 1_000_000, 1 << 30])
def test_an_honest_pack_holds_no_others(size: int) -> None:
    remote = Remote(DATA)
    assert others(pieces(remote.data, size), remote.members.values()) == []


@pytest.mark.parametrize("size", [7_001, 1 << 30])
@pytest.mark.parametrize("path", [path for path, data in DATA.items() if data])
def test_each_one_that_is_spoiled_is_found(path: str, size: int) -> None:
    remote = Remote(DATA)
    member = remote.members[path]
    at = packs.position(member.offset + member.size - 1)
    spoiled = remote.data[:at] + bytes([remote.data[at] ^ 1]) + remote.data[at + 1 :]
    assert others(pieces(spoiled, size), remote.members.values()) == [member]


@pytest.mark.parametrize("where", ["within another", "behind the end", "swapped"])
def test_places_that_lie_are_found(where: str) -> None:
    remote = Remote(DATA)
    listed = dict(remote.members)
    one, other = listed["f/08"], listed["f/12"]
    if where == "within another":
        listed["f/12"] = Member(other.digest, other.size, one.offset + 512)
    elif where == "behind the end":
        listed["f/12"] = Member(other.digest, other.size, len(remote.data))
    else:
        listed["f/08"] = Member(one.digest, one.size, other.offset)
        listed["f/12"] = Member(other.digest, other.size, one.offset)
    found = others(pieces(remote.data, 10_000), listed.values())
    assert listed["f/12"] in found


def test_a_pack_cut_short_lacks_the_rest() -> None:
    remote = Remote(DATA)
    found = others([remote.data[:100_000]], remote.members.values())
    assert {member.digest for member in found} >= {remote.members[path].digest for path in ("f/08", "f/13")}


# --- archives of other tools

CODINGS = {"none": bytes, "gzip": gzip.compress, "zstd": foreign.zst}


class Archive(Remote):
    """Serves an archive that somebody else made."""

    def __init__(self, contents: Mapping[str, bytes], coding: Callable[[bytes], bytes]) -> None:
        tar = foreign.tar(*(foreign.file(path, data) for path, data in contents.items()))
        self.data = coding(tar)
        self.what, self.piece, self.asked = blob(self.data), 10_000, []
        at, self.members = 0, {}
        for path, data in contents.items():
            self.members[path] = Member(Digest.of(data), len(data), at + 512, archive=True)
            at += 512 + len(data) + -len(data) % 512


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS.keys())
def test_members_are_taken_out_of_archives(staging: Staging, coding: Callable[[bytes], bytes]) -> None:
    remote = Archive(DATA, coding)
    staging.path(remote.what.digest).write_bytes(remote.data)
    chosen = [member for path, member in remote.members.items() if path != "f/05"]
    take_out_of_archive(remote.what, chosen, staging, Run())
    for path, data in DATA.items():
        assert staging.has(remote.members[path].content) is (path != "f/05" or not data)
        if staging.has(remote.members[path].content):
            assert staging.path(Digest.of(data)).read_bytes() == data


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS.keys())
def test_one_member_of_an_archive_is_read(coding: Callable[[bytes], bytes]) -> None:
    remote = Archive(DATA, coding)
    for path, member in remote.members.items():
        with reading(remote, Place(remote.what, member.offset, archive=True), member.size) as chunks:
            assert b"".join(chunks) == DATA[path]


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (0, 0), (1, 2), (65_000, 66_000), (5, None), (10**9, None), (7, 3)]
)
def test_a_part_of_a_file_is_read_wherever_it_is(start: int, stop: int | None) -> None:
    pack, archive = Remote(DATA), Archive(DATA, gzip.compress)
    for path, data in DATA.items():
        alone = Archive({}, lambda _, data=data: data)  # type: ignore[misc]
        for remote, place in (
            (pack, Place(pack.what, pack.members[path].offset)),
            (archive, Place(archive.what, archive.members[path].offset, archive=True)),
            (alone, Place(alone.what)),
        ):
            with reading(remote, place, len(data), start, stop) as chunks:
                assert b"".join(chunks) == data[start:stop]


def test_an_archive_with_other_bytes_gives_nothing(staging: Staging) -> None:
    remote = Archive(DATA, gzip.compress)
    staging.path(remote.what.digest).write_bytes(remote.data)
    lie = Member(Digest.of(b"other"), 5, remote.members["f/04"].offset)
    with pytest.raises(Corrupt):
        take_out_of_archive(remote.what, [lie], staging, Run())
    assert not staging.has(lie.content)


def test_members_within_each_other_are_refused(staging: Staging) -> None:
    remote = Archive({"a": b"abcdef"}, bytes)
    staging.path(remote.what.digest).write_bytes(remote.data)
    inner = Member(Digest.of(b"bc"), 2, 513, archive=True)
    with pytest.raises(Corrupt):
        take_out_of_archive(remote.what, [remote.members["a"], inner], staging, Run())


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS.keys())
def test_what_an_archive_does_not_hold_is_told(coding: Callable[[bytes], bytes]) -> None:
    remote = Archive(DATA, coding)
    members = list(remote.members.values())
    assert others([remote.data], members) == []
    lie = Member(Digest.of(b"other"), 5, members[4].offset, archive=True)
    assert others([remote.data], [*members[:4], lie, *members[5:]]) == [lie]


def test_a_blob_of_which_nothing_is_asked_is_only_read(remote: Remote) -> None:
    chunks = iter([b"\x1f\x8b\x08 and no gzip", b"more"])
    assert others(chunks, []) == []
    assert next(chunks, None) is None
