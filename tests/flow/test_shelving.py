"""Bringing a version into the shared cache."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from modelops_bundle.errors import DiskFull, Interrupted, NotFound
from modelops_bundle.events import Notice, Run
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.operations import shelving
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session
from modelops_bundle.operations.shelving import Counts, Waiting, shelved
from modelops_bundle.stores.cache import Cache
from modelops_bundle.stores.layout import LayoutStore
from tests.support.bundle import Bundle


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(None, Run(), Options(cache=tmp_path / "cache"), cwd=tmp_path)


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    """A version of which the index is a blob of its own."""
    files: dict[str, str | bytes] = {f"{'long' * 20}-{number:04}.txt": f"{number}" for number in range(400)}
    author = Bundle.create(tmp_path / "author", f"layout:{tmp_path / 'remote'}", files)
    digest = author.push("--pack", "always", "--tag", "v1")
    return parse(f"layout:{tmp_path / 'remote'}:v1").at("v1", Digest.parse(digest))


def test_a_version_comes_once_and_is_a_layout_for_other_tools(
    session: Session, cache: Cache, reference: Reference, tmp_path: Path
) -> None:
    counts, again = Counts(), Counts()
    with shelved(session, cache, reference, counts) as first:
        assert len(first.contents.snapshot) == 400
    with shelved(session, cache, reference, again) as second:
        assert second.contents.snapshot == first.contents.snapshot
    assert counts.fetched >= 3 and counts.cached == 0
    assert (again.fetched, again.size, again.cached) == (0, 0, counts.size)
    assert [what.digest for what in cache.versions()] == [reference.digest]
    copy = Bundle.clone(f"layout:{tmp_path / 'cache'}@{reference.digest}", tmp_path / "copy")
    assert copy.tree() == Bundle(tmp_path / "author").tree()
    assert list((tmp_path / "cache/parts").iterdir()) == []


def test_it_is_held_meanwhile_and_not_afterwards(session: Session, cache: Cache, reference: Reference) -> None:
    assert reference.digest is not None
    with shelved(session, cache, reference, Counts()):
        assert cache.hold(reference.digest) is None
        assert cache.needs(reference.digest) <= cache.held()
    assert cache.held() == set()


def test_what_was_read_once_is_known(
    session: Session, cache: Cache, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with shelved(session, cache, reference, Counts()):
            pass
    for path in cache.blobs.iterdir():
        os.utime(path, (1, 1))  # another state: it is read again, and noted
    read: list[str] = []
    real = shelving.hash_file
    monkeypatch.setattr(
        shelving, "hash_file", lambda tree, path, *more: (read.append(path), real(tree, path, *more))[1]
    )
    monkeypatch.setattr("modelops_bundle.workspace.index.settled", lambda _key, _taken: True)
    with shelved(session, cache, reference, Counts()):
        assert read
    read.clear()
    with shelved(session, cache, reference, Counts()):
        assert not read


def test_a_damaged_index_is_fetched_again(session: Session, cache: Cache, reference: Reference) -> None:
    with shelved(session, cache, reference, Counts()):
        pass
    manifest = cache.manifest(reference.digest)  # type: ignore[arg-type]
    assert manifest is not None
    [index] = shelving.indexes_of(manifest)
    path = cache.blobs / index.digest.hex
    path.chmod(0o644)
    path.write_bytes(b"x" * index.size)
    # One blob is gone as well, so that it cannot be seen by looking at the names.
    next(each for each in cache.blobs.iterdir() if each != path and each.name != reference.digest.hex).unlink()  # type: ignore[union-attr]
    counts = Counts()
    with shelved(session, cache, reference, counts) as found:
        assert len(found.contents.snapshot) == 400
    assert counts.fetched == 2


def test_what_is_not_there(session: Session, cache: Cache, reference: Reference) -> None:
    with pytest.raises(NotFound), shelved(session, cache, reference.at(None, Digest.of(b"x")), Counts()):
        pytest.fail("it does not exist")
    assert cache.held() == set()


def test_no_room_is_known_before_the_first_byte(
    session: Session, cache: Cache, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelving, "free_bytes", lambda _path: 10)
    with pytest.raises(DiskFull, match="the cache needs"), shelved(session, cache, reference, Counts()):
        pytest.fail("no room")
    assert list(cache.parts.iterdir()) == []


def test_a_blob_that_is_removed_before_it_is_listed_comes_again(
    session: Session, cache: Cache, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, struck = LayoutStore.put, []

    def put(self: LayoutStore, what: Descriptor, chunks: Iterable[bytes]) -> None:
        if what.media_type in media.MANIFEST_TYPES and not struck:
            struck.append(1)
            next(path for path in cache.blobs.iterdir() if path.name != what.digest.hex).unlink()
        real(self, what, chunks)

    monkeypatch.setattr(LayoutStore, "put", put)
    with shelved(session, cache, reference, Counts()) as found:
        assert struck
        assert all(found.blobs.path(digest).exists() for digest in found.keys)
    assert [what.digest for what in cache.versions()] == [reference.digest]


def test_waiting_is_told_once_and_ends_with_the_run(tmp_path: Path) -> None:
    said: list[object] = []
    run = Run(emit=said.append)
    counts = Counts()
    wait = Waiting(Session(None, run, cwd=tmp_path), counts, "it")
    wait()
    wait()
    assert [event for event in said if isinstance(event, Notice)] == [
        Notice("ensure-waiting", "another process is at work on it; waiting for it")
    ]
    assert counts.waited > 0
    run.cancel()
    with pytest.raises(Interrupted):
        wait()
