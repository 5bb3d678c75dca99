"""The shelf of inventories: it gives back what was put, or nothing, and stays small."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.inventory import Inventory
from modelops_bundle.stores import shelf
from modelops_bundle.stores.shelf import Shelf

CONFIG = Descriptor.of("application/config", b"{}")


def made(text: str = "a") -> Inventory:
    return Inventory(Digest.of(text.encode()), CONFIG, (), ())


def test_it_gives_back_what_was_put(tmp_path: Path) -> None:
    here = Shelf(tmp_path / "inventories")
    assert here.get(made().of) is None
    assert here.put(made()) == made()
    assert here.get(made().of) == made()
    assert here.get(made("b").of) is None


def test_platforms_are_kept_apart(tmp_path: Path) -> None:
    here = Shelf(tmp_path)
    here.put(made(), "linux/amd64")
    assert here.get(made().of, "linux/arm64") is None
    assert here.get(made().of, "linux/amd64") == made()


def test_damage_and_impostors_are_nothing(tmp_path: Path) -> None:
    here = Shelf(tmp_path)
    here.put(made())
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    for data in (b"", b"inventory 1 ", whole[:-1], whole.replace(b"config", b"confis"), made("b").to_bytes()):
        kept.write_bytes(data)
        assert here.get(made().of) is None


def test_it_stays_small(tmp_path: Path) -> None:
    here = Shelf(tmp_path)
    for number in range(shelf.MOST + 5):
        here.put(made(str(number)))
    assert len(list(tmp_path.iterdir())) == shelf.MOST


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    here = Shelf(None)
    here.put(made())
    assert here.get(made().of) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    here = Shelf(tmp_path / "file" / "inventories")
    here.put(made())
    assert here.get(made().of) is None


def test_what_is_too_large_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "LARGEST", 10)
    assert Shelf(tmp_path).put(made()) == made()
    assert Shelf(tmp_path).get(made().of) is None
