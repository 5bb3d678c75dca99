"""What is remembered of uploads under way."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from modelops_bundle.stores.unfinished import Begun, Unfinished

DIGEST = "sha256:" + "a" * 64
BEGUN = Begun("https://registry.example", "team/model", DIGEST, 1000, "https://registry.example/x?_state=canary", 512)
KEY = (BEGUN.registry, BEGUN.repository, BEGUN.digest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "uploads"


def test_another_process_finds_what_was_kept(folder: Path) -> None:
    Unfinished(folder).keep(BEGUN)
    assert Unfinished(folder).find(*KEY, 1000) == BEGUN
    later = replace(BEGUN, offset=600)
    Unfinished(folder).keep(later)
    assert Unfinished(folder).find(*KEY, 1000) == later


def test_nobody_else_may_read_it(folder: Path) -> None:
    Unfinished(folder).keep(BEGUN)
    [file] = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "canary" not in file.name


def test_what_was_forgotten_is_gone(folder: Path) -> None:
    notes = Unfinished(folder)
    notes.keep(BEGUN)
    notes.forget(*KEY)
    notes.forget(*KEY)
    assert notes.find(*KEY, 1000) is None
    assert list(folder.iterdir()) == []


def test_without_a_folder_it_lasts_as_long_as_the_object() -> None:
    notes = Unfinished()
    notes.keep(BEGUN)
    assert notes.find(*KEY, 1000) == BEGUN
    assert Unfinished().find(*KEY, 1000) is None
    notes.forget(*KEY)
    assert notes.find(*KEY, 1000) is None


@pytest.mark.parametrize(
    "key",
    [
        ("https://other.example", "team/model", DIGEST, 1000),
        (BEGUN.registry, "team/other", DIGEST, 1000),
        (BEGUN.registry, "team/model", "sha256:" + "b" * 64, 1000),
        (*KEY, 999),
    ],
)
def test_only_the_same_content_in_the_same_place_is_gone_on_with(folder: Path, key: tuple[str, str, str, int]) -> None:
    Unfinished(folder).keep(BEGUN)
    assert Unfinished(folder).find(*key) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"size": true}', b"\xff", b"x" * 70_000])
def test_a_damaged_note_is_no_note(folder: Path, data: bytes) -> None:
    Unfinished(folder).keep(BEGUN)
    [file] = folder.iterdir()
    file.write_bytes(data)
    assert Unfinished(folder).find(*KEY, 1000) is None
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert Unfinished(folder).find(*KEY, 1000) is None


def test_a_note_copied_to_another_name_is_not_believed(folder: Path) -> None:
    notes = Unfinished(folder)
    notes.keep(BEGUN)
    other = replace(BEGUN, repository="team/other")
    [file] = folder.iterdir()
    data = file.read_bytes()
    Unfinished(folder).keep(other)
    [second] = [one for one in folder.iterdir() if one != file]
    second.write_bytes(data)
    assert Unfinished(folder).find(other.registry, other.repository, DIGEST, 1000) is None
