"""The digest cache: never believed when in doubt (facts: reliability §5.1)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelops_bundle.disk.filesystems import COARSE_TICK, FINE_TICK
from modelops_bundle.disk.hashing import Hashed
from modelops_bundle.disk.tree import StatKey
from modelops_bundle.model.digest import Digest
from modelops_bundle.workspace import index as module
from modelops_bundle.workspace.index import Index, settled, tick

SECOND = 10**9
T = 1_700_000_000 * SECOND
D = Digest.of(b"content")


def key(mtime: int = T + 1, ctime: int = T + 1, size: int = 7, inode: int = 11, device: int = 0) -> StatKey:
    """A state with stamps finer than a second, on a device that nobody knows."""
    return StatKey(size, mtime, ctime, inode, device)


LATER = T + 10 * SECOND


class Clock:
    def __init__(self, now: int = LATER) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def index(tmp_path: Path, clock: Clock) -> Index:
    return Index(tmp_path / "index", clock)


def reopened(tmp_path: Path, clock: Clock, hashed: Hashed, path: str = "p") -> Index:
    """The cache as the next command finds it."""
    first = Index(tmp_path / "index", clock)
    first.put(path, hashed)
    first.save()
    return Index(tmp_path / "index", clock)


# --- the rules -------------------------------------------------------------------------------------------------------


def test_an_unchanged_settled_file_is_not_read_again(tmp_path: Path, clock: Clock) -> None:
    found = reopened(tmp_path, clock, Hashed(D, key(), LATER))
    assert found.get("p", key(), strict=True) == D
    assert found.get("q", key(), strict=True) is None


@pytest.mark.parametrize("field", StatKey._fields)
@pytest.mark.parametrize("saved", [True, False])
def test_rule_a_any_difference_counts(tmp_path: Path, clock: Clock, field: str, saved: bool) -> None:
    hashed = Hashed(D, key(), LATER)
    if saved:
        found = reopened(tmp_path, clock, hashed)
    else:
        found = Index(tmp_path / "index", clock)
        found.put("p", hashed)
    assert found.get("p", key(), strict=True) == D
    for step in (-1, 1):
        assert found.get("p", key()._replace(**{field: getattr(key(), field) + step}), strict=False) is None


@pytest.mark.parametrize(
    ("mtime", "ctime", "age", "trusted"),
    [
        (1, 1, FINE_TICK, False),
        (1, 1, FINE_TICK + 2, True),
        (1, 1, 0, False),
        (0, 1, COARSE_TICK, False),
        (1, 0, COARSE_TICK, False),
        (0, 0, FINE_TICK + 2, False),
        (0, 0, COARSE_TICK + 2, True),
        (0, 1, COARSE_TICK + 2, True),
        (-5 * SECOND + 1, 1, FINE_TICK, False),
        (1, -5 * SECOND + 1, FINE_TICK, False),
        (60 * SECOND + 1, 1, COARSE_TICK + 2, False),
    ],
)
@pytest.mark.parametrize("saved", [True, False])
def test_rule_b_a_write_in_the_same_tick_cannot_hide(
    tmp_path: Path, clock: Clock, mtime: int, ctime: int, age: int, trusted: bool, saved: bool
) -> None:
    state = key(T + mtime, T + ctime)
    hashed = Hashed(D, state, T + age)
    if saved:
        found = reopened(tmp_path, clock, hashed)
    else:
        found = Index(tmp_path / "index", clock)
        found.put("p", hashed)
    assert found.get("p", state, strict=False) == (D if trusted else None)


def test_whole_seconds_may_be_rounded_ones() -> None:
    assert tick(key(T + 1, T + 1)) == FINE_TICK
    assert tick(key(T, T + 1)) == tick(key(T + 1, T)) == COARSE_TICK
    assert settled(key(), T + COARSE_TICK)


@pytest.mark.parametrize("saved", [True, False])
def test_rule_d_blind_file_systems_count_for_status_only(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    monkeypatch.setattr(module, "stamps_every_change", lambda device: device != 66)
    state = key(device=66)
    hashed = Hashed(D, state, LATER)
    if saved:
        found = reopened(tmp_path, clock, hashed)
    else:
        found = Index(tmp_path / "index", clock)
        found.put("p", hashed)
    assert found.get("p", state, strict=True) is None
    assert found.get("p", state, strict=False) == D


def test_a_clock_that_went_back_makes_the_cache_worthless(tmp_path: Path, clock: Clock) -> None:
    reopened(tmp_path, clock, Hashed(D, key(), LATER))
    clock.now = LATER - 1
    assert Index(tmp_path / "index", clock).get("p", key(), strict=False) is None


def test_even_rows_older_than_the_clock_that_went_back(tmp_path: Path, clock: Clock) -> None:
    """Between saving and now the clock may have been at any moment again, that of the last write among them."""
    clock.now = LATER + 10 * SECOND
    reopened(tmp_path, clock, Hashed(D, key(), LATER))
    assert Index(tmp_path / "index", clock).get("p", key(), strict=False) == D
    clock.now = LATER + 5 * SECOND
    assert Index(tmp_path / "index", clock).get("p", key(), strict=False) is None


def test_rows_from_the_future_are_not_written_again(tmp_path: Path, clock: Clock) -> None:
    found = reopened(tmp_path, clock, Hashed(D, key(), LATER))
    assert found.get("p", key(), strict=False) == D
    found.put("fresh", Hashed(D, key(), LATER))
    clock.now = LATER - SECOND
    found.put("now", Hashed(D, key(), clock.now))
    found.save()
    clock.now = LATER + SECOND
    later = Index(tmp_path / "index", clock)
    assert [later.get(path, key(), strict=False) for path in ("p", "fresh", "now")] == [None, None, D]


def test_a_clock_that_goes_back_during_a_run_does_too(tmp_path: Path, clock: Clock) -> None:
    found = reopened(tmp_path, clock, Hashed(D, key(), LATER))
    found.put("fresh", Hashed(D, key(), LATER))
    assert found.get("p", key(), strict=False) == found.get("fresh", key(), strict=False) == D
    clock.now = LATER - 1
    assert found.get("p", key(), strict=False) is None
    assert found.get("fresh", key(), strict=False) is None


def test_what_was_put_last_counts(tmp_path: Path, clock: Clock) -> None:
    found = reopened(tmp_path, clock, Hashed(D, key(), LATER))
    other = Digest.of(b"other")
    found.put("p", Hashed(other, key(size=8), LATER))
    assert found.get("p", key(size=8), strict=True) == other
    assert found.get("p", key(), strict=True) is None


# --- the file --------------------------------------------------------------------------------------------------------


def test_many_rows_survive(tmp_path: Path, clock: Clock, index: Index) -> None:
    rows = {f"d{n % 7}/é{n}": (Digest.of(str(n).encode()), key(inode=n, size=n)) for n in range(1000)}
    for path, (digest, state) in rows.items():
        index.put(path, Hashed(digest, state, LATER))
    index.save()
    found = Index(tmp_path / "index", clock)
    assert {path: found.get(path, state, strict=True) for path, (_, state) in rows.items()} == {
        path: digest for path, (digest, _) in rows.items()
    }


def test_names_that_are_not_utf8_survive(tmp_path: Path, clock: Clock) -> None:
    found = reopened(tmp_path, clock, Hashed(D, key(), LATER), "a/\udcff\nb")
    assert found.get("a/\udcff\nb", key(), strict=True) == D


def test_an_absent_cache_is_cold(index: Index) -> None:
    assert index.get("p", key(), strict=False) is None


def test_nothing_new_writes_nothing(tmp_path: Path, index: Index) -> None:
    index.get("p", key(), strict=True)
    index.save()
    assert not (tmp_path / "index").exists()


def test_saving_keeps_old_rows_and_drops_the_unwanted(tmp_path: Path, clock: Clock, index: Index) -> None:
    for path in ("keep", "drop", "replace"):
        index.put(path, Hashed(D, key(), LATER))
    index.save()
    second = Index(tmp_path / "index", clock)
    other = Digest.of(b"other")
    second.put("replace", Hashed(other, key(size=9), LATER))
    second.save(keep=["keep", "replace"])
    third = Index(tmp_path / "index", clock)
    assert third.get("keep", key(), strict=True) == D
    assert third.get("drop", key(), strict=True) is None
    assert third.get("replace", key(size=9), strict=True) == other


def test_an_empty_cache_can_be_saved_and_loaded(tmp_path: Path, clock: Clock) -> None:
    first = reopened(tmp_path, clock, Hashed(D, key(), LATER))
    first.put("q", Hashed(D, key(), LATER))
    first.save(keep=[])
    found = Index(tmp_path / "index", clock)
    assert found.get("p", key(), strict=True) is None


def test_no_flipped_bit_ever_gives_a_wrong_digest(tmp_path: Path, clock: Clock) -> None:
    rows = {"a": (D, key()), "b": (Digest.of(b"b"), key(inode=2)), "c": (Digest.of(b"c"), key(inode=3))}
    first = Index(tmp_path / "index", clock)
    for path, (digest, state) in rows.items():
        first.put(path, Hashed(digest, state, LATER))
    first.save()
    good = (tmp_path / "index").read_bytes()
    wrong: list[int] = []
    for offset in range(len(good)):
        for flip in (0x01, 0x80, 0xFF):
            bad = bytearray(good)
            bad[offset] ^= flip
            (tmp_path / "index").write_bytes(bad)
            found = Index(tmp_path / "index", clock)
            if any(found.get(path, state, strict=True) not in (None, digest) for path, (digest, state) in rows.items()):
                wrong.append(offset)
    assert wrong == []


def test_a_torn_cache_is_cold(tmp_path: Path, clock: Clock) -> None:
    reopened(tmp_path, clock, Hashed(D, key(), LATER))
    good = (tmp_path / "index").read_bytes()
    for length in range(len(good)):
        (tmp_path / "index").write_bytes(good[:length])
        assert Index(tmp_path / "index", clock).get("p", key(), strict=False) is None, length
    (tmp_path / "index").write_bytes(good + b"\0")
    assert Index(tmp_path / "index", clock).get("p", key(), strict=False) is None


@pytest.mark.parametrize("data", [b"", b"x", b"DIRC" + b"\0" * 200, module._MAGIC, module._MAGIC + b"\xff" * 100])
def test_a_foreign_file_is_cold_and_replaced(tmp_path: Path, clock: Clock, data: bytes) -> None:
    (tmp_path / "index").write_bytes(data)
    found = Index(tmp_path / "index", clock)
    assert found.get("p", key(), strict=False) is None
    found.put("p", Hashed(D, key(), LATER))
    found.save()
    assert Index(tmp_path / "index", clock).get("p", key(), strict=True) == D


def test_a_cache_of_another_format_is_cold_even_when_sealed(tmp_path: Path, clock: Clock) -> None:
    reopened(tmp_path, clock, Hashed(D, key(), LATER))
    body = (tmp_path / "index").read_bytes()[:-32].replace(b"MOBINDEX2", b"MOBINDEX1")
    (tmp_path / "index").write_bytes(body + hashlib.sha256(body).digest())
    assert Index(tmp_path / "index", clock).get("p", key(), strict=False) is None


def test_a_cache_that_cannot_be_read_is_a_cold_one(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "index").symlink_to("elsewhere")
    assert Index(tmp_path / "index", clock).get("p", key(), strict=False) is None


@pytest.mark.parametrize("inode", [2**63 - 1, 2**63, 2**64 - 1])
def test_inodes_with_the_top_bit(tmp_path: Path, inode: int) -> None:
    facts = SimpleNamespace(st_size=3, st_mtime_ns=1, st_ctime_ns=1, st_ino=inode, st_dev=5)
    key = StatKey.of(facts)  # type: ignore[arg-type]
    index = Index(tmp_path / "index")
    index.put("a", Hashed(Digest.of(b"a"), key, 10**18))
    index.save()
    assert Index(tmp_path / "index").get("a", key, strict=False) == Digest.of(b"a")


def test_times_that_no_column_holds_are_not_kept(tmp_path: Path) -> None:
    key = StatKey(1, 2**63, 2**63, 1, 1)
    index = Index(tmp_path / "index")
    index.put("late", Hashed(Digest.of(b"a"), key, 10**18))
    index.put("now", Hashed(Digest.of(b"b"), StatKey(1, 1, 1, 1, 1), 10**18))
    index.save()
    again = Index(tmp_path / "index")
    assert again.get("late", key, strict=False) is None
    assert again.get("now", StatKey(1, 1, 1, 1, 1), strict=False) == Digest.of(b"b")


def test_what_a_pull_placed_counts_from_a_tick_later_on(tmp_path: Path) -> None:
    now = 10**18
    key = StatKey(1, now - 2 * FINE_TICK - 7, now - 7, 1, 1)
    placed = Hashed(Digest.of(b"a"), key, now - 7 + FINE_TICK + 1)
    index = Index(tmp_path / "index", lambda: now)
    index.put("a", placed)
    index.put("much later", Hashed(Digest.of(b"b"), key, now + 2 * FINE_TICK))
    index.save()
    assert Index(tmp_path / "index", lambda: now).get("a", key, strict=False) is None
    after = Index(tmp_path / "index", lambda: now + 2 * FINE_TICK)
    assert after.get("a", key, strict=False) == Digest.of(b"a")
    assert after.get("much later", key, strict=False) is None
