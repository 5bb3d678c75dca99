"""Notes of the shared cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.model.digest import Digest
from modelops_bundle.stores.uses import Use, Uses

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def uses(tmp_path: Path, clock: Clock) -> Uses:
    return Uses(tmp_path / "cache", clock)


def test_looking_makes_nothing(uses: Uses, tmp_path: Path) -> None:
    assert (uses.get(ONE), uses.all(), uses.stood("h/r:v")) == (None, [], None)
    assert not (tmp_path / "cache").exists()


def test_the_last_use_and_its_references(uses: Uses, clock: Clock) -> None:
    uses.note(ONE, "h/r:v1")
    clock.now = 5000
    uses.note(ONE, "h/r:latest")
    uses.note(TWO, "h/r:v2")
    assert uses.get(ONE) == Use(5000, ("h/r:latest", "h/r:v1"))
    assert uses.all() == sorted([ONE, TWO])


def test_uses_in_quick_succession_are_written_once(uses: Uses, clock: Clock, tmp_path: Path) -> None:
    uses.note(ONE, "h/r:v1")
    inode = (tmp_path / "cache/uses" / ONE.hex).stat().st_ino
    clock.now += 59
    uses.note(ONE, "h/r:v1")
    assert (tmp_path / "cache/uses" / ONE.hex).stat().st_ino == inode
    clock.now += 2
    uses.note(ONE, "h/r:v1")
    assert uses.get(ONE) == Use(1061, ("h/r:v1",))


def test_only_some_references_are_remembered(uses: Uses) -> None:
    for number in range(100):
        uses.note(ONE, f"h/r:v{number}")
    found = uses.get(ONE)
    assert found is not None and found.references[0] == "h/r:v99" and len(found.references) == 20


def test_what_a_reference_stood_for(uses: Uses) -> None:
    uses.stands("h/r:v", ONE)
    uses.stands("h/r:v", TWO)
    uses.stands("h/r:w", ONE)
    assert (uses.stood("h/r:v"), uses.stood("h/r:w"), uses.stood("h/r:x")) == (TWO, ONE, None)


def test_what_is_gone_is_forgotten(uses: Uses) -> None:
    uses.note(ONE, "h/r:v")
    uses.stands("h/r:v", ONE)
    uses.stands("h/r:w", TWO)
    uses.forget(ONE)
    uses.forget(ONE)
    assert (uses.get(ONE), uses.stood("h/r:v"), uses.stood("h/r:w")) == (None, None, TWO)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"at":"x","references":3}', b"\xff"])
def test_a_damaged_note_is_none(data: bytes, uses: Uses, tmp_path: Path) -> None:
    uses.note(ONE, "h/r:v")
    uses.stands("h/r:v", ONE)
    for path in [*(tmp_path / "cache/uses").iterdir(), *(tmp_path / "cache/references").iterdir()]:
        path.write_bytes(data)
    assert (uses.get(ONE), uses.stood("h/r:v")) == (None, None)
    uses.note(ONE, "h/r:w")
    assert uses.get(ONE) == Use(1000, ("h/r:w",))


def test_a_folder_that_cannot_be_written_costs_only_the_note(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    uses = Uses(tmp_path / "cache")
    uses.note(ONE, "h/r:v")
    uses.stands("h/r:v", ONE)
    assert (uses.get(ONE), uses.stood("h/r:v")) == (None, None)
