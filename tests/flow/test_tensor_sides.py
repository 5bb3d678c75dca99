"""The sides of a comparison of tensors: what is known of their bytes, and what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import Corrupt, WorkspaceChanged
from modelops_bundle.events import Run
from modelops_bundle.formats.tensors import Tensor
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.chunkmap import ChunkPack, Recipe
from modelops_bundle.operations.tensor_sides import Cuts, Slot, stored_file, tree_file
from modelops_bundle.stores.memory import MemoryStore
from tests.support.chunked import cut, listed
from tests.support.things import blob, file

DATA = bytes(range(200))


def tensor(start: int, stop: int) -> Tensor:
    return Tensor("t", "U8", (stop - start,), start, stop)


def recipe(*segments: tuple[int, int, int], sizes: tuple[int, ...] = (30, 30, 30, 30, 30, 30, 20)) -> Recipe:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(DATA[at : at + size])
        at += size
    pack = ChunkPack(blob(DATA), listed(chunks))
    return Recipe("safetensors/1m", segments or ((0, 0, len(sizes)),), (pack,))


@pytest.mark.parametrize(
    ("start", "stop", "spans"),
    [
        (30, 90, [(0, 30), (30, 30)]),
        (31, 90, [(-1, 30), (29, 30)]),
        (40, 50, [(-10, 30)]),
        (0, 200, [(0, 30), (30, 30), (60, 30), (90, 30), (120, 30), (150, 30), (180, 20)]),
        (180, 200, [(0, 20)]),
    ],
)
def test_the_chunks_that_hold_a_tensor(start: int, stop: int, spans: list[tuple[int, int]]) -> None:
    found = Cuts.of(recipe()).within(tensor(start, stop))
    assert list(found) == spans
    for (first, size), digest in found.items():
        assert digest == blake3(DATA[start + first : start + first + size]).digest()


def test_segments_in_another_order() -> None:
    found = Cuts.of(recipe((0, 5, 2), (0, 0, 1))).within(tensor(50, 80))
    assert found == {(0, 30): blake3(DATA[:30]).digest()}


def test_what_reaches_beyond_the_file_is_not_hashed(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(DATA)
    with Tree(tmp_path) as tree:
        key = StatKey.of((tmp_path / "m.safetensors").stat())
        opened = tree_file(tree, "m.safetensors", file(DATA), key, Run())
        found = opened.hashed(tensor(10, 190), [(-11, 5), (-10, 5), (170, 20), (171, 20)])
    assert found == {(-10, 5): blake3(DATA[:5]).digest(), (170, 20): blake3(DATA[180:]).digest()}


def test_a_tree_that_changes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(DATA)
    with Tree(tmp_path) as tree:
        opened = tree_file(tree, "m.safetensors", file(DATA), StatKey.of(path.stat()), Run())
        path.write_bytes(DATA + b"more")
        with pytest.raises(WorkspaceChanged):
            opened.hashed(tensor(0, 200), [(0, 200)])


class Counting(MemoryStore):
    opened = 0

    def open(self, *words, **named):  # type: ignore[no-untyped-def]
        self.opened += 1
        return super().open(*words, **named)


def test_one_small_file_is_held_at_a_time() -> None:
    store = Counting()
    slot = Slot(store)
    entries = []
    for data in (DATA, DATA[::-1]):
        store.put(blob(data), [data])
        entries.append(stored_file(slot, "m.safetensors", file(data), Place(blob(data)), smallest=1000, name="v1"))
    store.opened = 0
    for opened, times in ((entries[0], 1), (entries[0], 1), (entries[1], 2), (entries[0], 3)):
        assert len(opened.hashed(tensor(0, 10), [(0, 10)])) == 1
        assert store.opened == times


def test_bytes_that_are_not_the_file_are_refused() -> None:
    store = MemoryStore()
    store.put(blob(DATA), [DATA])
    store._blobs[blob(DATA).digest] = DATA[::-1]
    opened = stored_file(Slot(store), "m.safetensors", file(DATA), Place(blob(DATA)), smallest=1000, name="v1")
    with pytest.raises(Corrupt):
        opened.hashed(tensor(0, 10), [(0, 10)])


def test_files_that_are_too_large_are_not_brought() -> None:
    store = MemoryStore()
    store.put(blob(DATA), [DATA])
    place = Place(blob(DATA), recipe=Recipe("x", ((0, 0, 2),), (ChunkPack(blob(DATA), listed(cut(DATA, 100))),)))
    opened = stored_file(Slot(store), "m.safetensors", file(DATA), place, smallest=200, name="v1")
    assert not opened.readable
    assert list(opened.known(tensor(0, 100))) == [(0, 100)]
