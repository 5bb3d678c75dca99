"""Sending content before its digest is known."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from modelops_bundle.errors import Corrupt, Interrupted, WorkspaceChanged
from modelops_bundle.events import Advanced, Event, Finished, ItemStarted, Run
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.store_contract import read
from modelops_bundle.transfer.openended import send_open

DATA = os.urandom(700_001)
KIND = "application/octet-stream"


class DigestFirst(MemoryStore):
    """Wants to know the digest first."""

    def upload(self, name: str, size: int, chunks: Iterable[bytes]) -> Digest | None:
        return None


def pieces() -> AbstractContextManager[Chunks]:
    return nullcontext(iter([DATA[:300_000], DATA[300_000:]]))


@pytest.mark.parametrize("store", [MemoryStore(), DigestFirst()], ids=["open", "digest first"])
@pytest.mark.parametrize("in_file", [False, True])
def test_the_content_is_there_under_its_digest(store: MemoryStore, tmp_path: Path, in_file: bool) -> None:
    got: list[Event] = []
    source = InFile(tmp_path / "f", DATA).open if in_file else pieces
    what = send_open("big.bin", len(DATA), KIND, source, store, Run(emit=got.append))
    assert what == Descriptor(KIND, Digest.of(DATA), len(DATA))
    assert read(store, what) == DATA
    assert got[0] == ItemStarted("big.bin", "big.bin", len(DATA))
    assert sum(event.amount for event in got if isinstance(event, Advanced)) == len(DATA)
    assert got[-1] == Finished("big.bin", "copied")


@pytest.mark.parametrize("store", [MemoryStore(), DigestFirst()], ids=["open", "digest first"])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_another_size_is_refused(store: MemoryStore, wrong: int) -> None:
    with pytest.raises(Corrupt):
        send_open("big.bin", len(DATA) + wrong, KIND, pieces, store, Run())


@pytest.mark.parametrize("store", [MemoryStore(), DigestFirst()], ids=["open", "digest first"])
def test_a_file_that_changes_is_not_stored(store: MemoryStore, tmp_path: Path) -> None:
    file = InFile(tmp_path / "f", os.urandom(50_000), changes=True)
    with pytest.raises(WorkspaceChanged):
        send_open("big.bin", 50_000, KIND, file.open, store, Run())


@pytest.mark.parametrize("store", [MemoryStore(), DigestFirst()], ids=["open", "digest first"])
def test_a_cancelled_run_stops(store: MemoryStore) -> None:
    run = Run()
    run.cancel()
    with pytest.raises(Interrupted):
        send_open("big.bin", len(DATA), KIND, pieces, store, run)


class Watcher:
    """Notes what it saw, and the digest it was told at the end."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.digests: list[Digest] = []

    def feed(self, data: bytes | memoryview) -> None:
        self.data += data

    def finish(self, digest: Digest) -> None:
        self.digests.append(digest)


class Watch:
    """Makes a watcher for each reading."""

    def __init__(self) -> None:
        self.made: list[Watcher] = []

    def __call__(self) -> Watcher:
        self.made.append(Watcher())
        return self.made[-1]


@pytest.mark.parametrize("store", [MemoryStore(), DigestFirst()], ids=["open", "digest first"])
def test_who_watches_sees_it_once(store: MemoryStore, tmp_path: Path) -> None:
    watch = Watch()
    send_open("big.bin", len(DATA), KIND, InFile(tmp_path / "f", DATA).open, store, Run(), watch)
    [watcher] = watch.made
    assert watcher.data == DATA
    assert watcher.digests == [Digest.of(DATA)]


class Stumbling(MemoryStore):
    """Its first attempt ends in the middle."""

    def upload(self, name: str, size: int, chunks: Iterable[bytes]) -> Digest | None:
        next(iter(chunks))
        return super().upload(name, size, chunks)


def test_another_attempt_is_watched_from_the_start() -> None:
    watch = Watch()
    send_open("big.bin", len(DATA), KIND, pieces, Stumbling(), Run(), watch)
    assert [bytes(watcher.data) for watcher in watch.made] == [DATA[:300_000], DATA]
    assert [watcher.digests for watcher in watch.made] == [[], [Digest.of(DATA)]]


@pytest.mark.parametrize("store", [MemoryStore(), DigestFirst()], ids=["open", "digest first"])
def test_of_what_did_not_arrive_nothing_is_said(store: MemoryStore) -> None:
    watch = Watch()
    with pytest.raises(Corrupt):
        send_open("big.bin", len(DATA) + 1, KIND, pieces, store, Run(), watch)
    assert all(not watcher.digests for watcher in watch.made)


def test_nobody_need_watch(tmp_path: Path) -> None:
    what = send_open("big.bin", len(DATA), KIND, InFile(tmp_path / "f", DATA).open, MemoryStore(), Run(), lambda: None)
    assert what.digest == Digest.of(DATA)
