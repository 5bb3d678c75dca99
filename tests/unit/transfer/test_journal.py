"""What a journal tells, and when it tells nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.errors import DiskError
from modelops_bundle.transfer.journal import Journal
from modelops_bundle.transfer.segments import Spans
from tests.support.things import blob

WHAT = blob(bytes(1000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j"


def ranges(path: Path) -> list[tuple[int, int]]:
    return list(Journal(path, WHAT).read())


def test_what_was_appended_is_read_together(path: Path) -> None:
    journal = Journal(path, WHAT)
    assert ranges(path) == []
    journal.start()
    assert ranges(path) == []
    journal.append([(0, 10), (50, 60)])
    journal.append(Spans([(0, 30), (50, 60), (990, 1000)]))
    assert ranges(path) == [(0, 30), (50, 60), (990, 1000)]
    journal.start([(0, 30)])
    assert ranges(path) == [(0, 30)]
    journal.append([(30, 31)])
    assert ranges(path) == [(0, 31)]
    journal.remove()
    journal.remove()
    assert ranges(path) == []


def test_a_torn_end_is_dropped(path: Path) -> None:
    journal = Journal(path, WHAT)
    journal.start()
    journal.append([(0, 10)])
    whole = path.read_bytes()
    journal.append([(10, 20)])
    more = path.read_bytes()
    for end in range(len(whole), len(more)):
        path.write_bytes(more[:end])
        assert ranges(path) == [(0, 10)]


def test_any_damage_means_nothing_is_believed(path: Path) -> None:
    journal = Journal(path, WHAT)
    journal.start()
    journal.append([(0, 10), (20, 30)])
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert ranges(path) == [], at


@pytest.mark.parametrize("other", [blob(b"x" * 1000), blob(bytes(999))])
def test_the_journal_of_another_content_tells_nothing(path: Path, other: object) -> None:
    foreign = Journal(path, other)  # type: ignore[arg-type]
    foreign.start()
    foreign.append([(0, 10)])
    assert ranges(path) == []
    # Nor do its records under our header.
    mine = path.with_name("mine")
    Journal(mine, WHAT).start()
    mine.write_bytes(mine.read_bytes() + path.read_bytes()[len(mine.read_bytes()) :])
    assert ranges(mine) == []


@pytest.mark.parametrize("bad", [(10, 10), (20, 10), (0, 1001), (2**63, 2**64 - 1)])
def test_ranges_that_cannot_be_are_damage(path: Path, bad: tuple[int, int]) -> None:
    journal = Journal(path, WHAT)
    journal.start()
    journal.append([(0, 10), bad])
    assert ranges(path) == []


def test_nothing_can_be_appended_to_what_was_not_begun(path: Path) -> None:
    with pytest.raises(DiskError):
        Journal(path, WHAT).append([(0, 1)])
    assert not path.exists()


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    path.symlink_to(victim)
    journal = Journal(path, WHAT)
    for use in (journal.start, journal.read, lambda: journal.append([(0, 1)])):
        with pytest.raises(DiskError):
            use()
    assert victim.read_bytes() == b"mine"
