"""The chunks that others are differences to: from a directory, or by few requests from the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import Corrupt, NotFound
from modelops_bundle.transfer import bases
from modelops_bundle.transfer.bases import Bases
from tests.support import chunked
from tests.support.chunked import Held

PIECES = [Random(number).randbytes(1000) for number in range(100)]
VERSION = chunked.plain({"m.bin": PIECES})
BLOB = VERSION.chunks.packs[0].blob.digest


@pytest.fixture
def store() -> Held:
    return Held(dict(VERSION.blobs))


@pytest.fixture
def found(store: Held) -> Bases:
    return Bases(VERSION.chunks.packs, store)


def test_a_chunk_comes_from_the_store(found: Bases, store: Held) -> None:
    assert found(0, 40) == PIECES[40]
    assert store.asked == [(40_000, 41_000)], "alone: nobody said that more are wanted"


def test_those_who_go_through_a_pack_cause_few_requests(
    found: Bases, store: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "SPAN", 20_000)
    assert [found(0, number) for number in range(100)] == PIECES
    assert store.asked == [(0, 1000), *((at, min(at + 20_000, 100_000)) for at in range(1000, 100_000, 20_000))]


def test_those_who_jump_get_what_they_ask_for(found: Bases, store: Held) -> None:
    for number in range(0, 100, 20):
        assert found(0, number) == PIECES[number]
    assert store.asked == [(at, at + 1000) for at in range(0, 100_000, 20_000)]


def test_not_quite_in_order_brings_hardly_anything_twice(
    found: Bases, store: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "SPAN", 20_000)
    order = [number ^ 1 for number in range(100)]
    assert [found(0, number) for number in order] == [PIECES[number] for number in order]
    assert sum(stop - start for start, stop in store.asked) <= 102_000
    assert len(store.asked) < 20


def test_what_nobody_asked_for_is_let_go(found: Bases, store: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "SPAN", 5000)
    for number in range(0, 100, 4):
        assert found(0, number) == PIECES[number]
        assert sum(map(len, found._ahead.values())) <= 2 * 5000


def test_several_threads_get_their_own(found: Bases) -> None:
    order = list(range(100)) * 3
    Random(1).shuffle(order)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: found(0, number), order)) == [PIECES[number] for number in order]


def test_a_directory_is_asked_first(found: Bases, store: Held, tmp_path: Path) -> None:
    (tmp_path / "old.bin").write_bytes(b"".join(PIECES))
    with Tree(tmp_path) as tree:
        found.beside(tree)
        found.at((0, 3), "old.bin", 3000)
        found.at((0, 3), "elsewhere", 0)
        assert found(0, 3) == PIECES[3]
        assert store.asked == []
        assert found(0, 5) == PIECES[5], "nobody said where that is"
        assert store.asked == [(5000, 6000)]


@pytest.mark.parametrize("content", [None, b"", b"short", b"\0" * 100_000])
def test_a_directory_that_holds_something_else_is_left(
    found: Bases, store: Held, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "old.bin").write_bytes(content)
    with Tree(tmp_path) as tree:
        found.beside(tree)
        found.at((0, 3), "old.bin", 3000)
        assert found(0, 3) == PIECES[3]
    assert store.asked == [(3000, 4000)]


def test_a_store_that_holds_something_else_is_corrupt() -> None:
    for data in (bytes(100_000), b"".join(PIECES)[:2500]):
        with pytest.raises(Corrupt):
            Bases(VERSION.chunks.packs, Held({BLOB: data}))(0, 2)
    with pytest.raises(NotFound):
        Bases(VERSION.chunks.packs, Held({}))(0, 2)


def test_a_base_that_is_encoded_is_decoded() -> None:
    version = chunked.delta({"m.bin": [*PIECES[:2], b"text " * 200]}, VERSION, codec="zstd")
    store = Held(dict(version.blobs))
    pack = next(n for n, pack in enumerate(version.chunks.packs) if pack.blob.digest != BLOB)
    assert Bases(version.chunks.packs, store)(pack, 0) == b"text " * 200
