"""Inventories: kept as they were, believed when they are whole."""

from __future__ import annotations

import pytest

from modelops_bundle.errors import Corrupt, UnsafePath
from modelops_bundle.model import inventory
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.inventory import Inventory, Row, merged, without_full_directories
from modelops_bundle.model.snapshot import Entry
from tests.support import foreign as made

CONFIG = Descriptor.of("application/config", b"{}")
LAYER = Descriptor.of("application/layer", b"x" * 2000, {"a": "b"})
FILE = Entry("file", Digest.of(b"a"), 1, True, "doc")


def row(path: str, entry: Entry = FILE, offset: int | None = 512) -> Row:
    return path, entry, Place(LAYER, offset, archive=offset is not None) if entry.kind == "file" else None


ROWS = (row("a"), row("b", offset=None), row("d", Entry.directory()), row("l", Entry.link("a")))
INDEX = made.index((made.manifest([]), None)).manifest


def test_it_comes_back_as_it_was() -> None:
    kept = Inventory(Digest.of(INDEX), CONFIG, (LAYER,), ROWS, "linux/amd64")
    data = kept.to_bytes()
    assert inventory.is_one(data)
    assert not inventory.is_one(b'{"files":[]}')
    found = inventory.read(data, kept.of)
    assert found == kept
    assert found.contents().places["a"] == Place(LAYER, 512, archive=True)
    assert found.manifest(INDEX).layers == (LAYER,)
    assert found.manifest(INDEX).digest == kept.of


def test_any_damage_is_found() -> None:
    data = Inventory(Digest.of(INDEX), CONFIG, (LAYER,), ROWS).to_bytes()
    for at in range(len(b"inventory 1 "), len(data)):
        with pytest.raises(Corrupt):
            inventory.read(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], Digest.of(INDEX))


def test_that_of_another_version_is_not_believed() -> None:
    data = Inventory(Digest.of(INDEX), CONFIG, (LAYER,), ROWS).to_bytes()
    with pytest.raises(Corrupt, match="another version"):
        inventory.read(data, Digest.of(b"other"))


def test_paths_are_looked_at_when_it_is_read() -> None:
    kept = Inventory(Digest.of(INDEX), CONFIG, (LAYER,), (row("../a"),))
    with pytest.raises(UnsafePath):
        kept.contents()


def test_parts_may_share_what_is_the_same() -> None:
    assert merged([[row("a")], [row("a"), row("b")]]) == [row("a"), row("b")]
    with pytest.raises(UnsafePath, match="not the same"):
        merged([[row("a")], [row("a", Entry.link("x"))]])


def test_only_empty_directories_are_kept() -> None:
    rows = [row("d", Entry.directory()), row("d/e", Entry.directory()), row("d/e", Entry.directory()), row("x/a")]
    rows.append(row("x", Entry.directory()))
    assert [path for path, _, _ in without_full_directories(rows)] == ["d/e", "x/a"]
