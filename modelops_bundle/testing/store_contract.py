"""What every store must do. Inherit `StoreContract` in a test module and give it the fixture `store`.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

Each test gets a fresh, empty store. Override `another` when a second handle can look at the same data: the suite then
also checks what one handle sees of the other's writes. The tests of optional ports (`Atomic`, `Lister`, `Untagger`,
`Dated`, `Upload`, `Mounter`, `Deleter`, `Referrers`) pass at once when the store has them not: a skip would say that something is missing where the test runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from modelops_bundle.errors import BundleError, Corrupt, NotFound, TagMoved, Unavailable, WorkspaceChanged
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import (
    ABSENT,
    ANYTHING,
    Atomic,
    Dated,
    Lister,
    Mounter,
    Store,
    Untagger,
    Upload,
)
from modelops_bundle.testing.contents import InFile
from modelops_bundle.testing.organise_contract import OrganiseContract
from modelops_bundle.testing.stored import (
    BLOB,
    THREADS,
    Pieces,
    describe,
    make_manifest,
    make_referrer,
    put,
    read,
    together,
)

__all__ = ["BLOB", "Pieces", "StoreContract", "describe", "make_manifest", "make_referrer", "put", "read", "together"]


class StoreContract(OrganiseContract):
    """The suite."""

    @pytest.fixture
    def store(self) -> Store:
        """A fresh, empty store: yours to give."""
        raise NotImplementedError("give a fixture named store")

    @pytest.fixture
    def another(self, store: Store) -> Store:
        """Another handle on the data of `store`, or the same one."""
        return store

    # --- content

    def test_what_was_put_is_there_and_comes_back(self, store: Store, another: Store) -> None:
        what = put(store, b"some content")
        assert store.has(what)
        assert another.has(what)
        assert read(store, what) == b"some content"
        assert read(another, what) == b"some content"

    def test_what_was_not_put_is_absent(self, store: Store) -> None:
        put(store, b"something else")
        assert not store.has(describe(b"never stored"))

    def test_opening_what_is_absent_raises(self, store: Store) -> None:
        put(store, b"something else")
        with pytest.raises(NotFound), store.open(describe(b"never stored")) as chunks:
            list(chunks)

    def test_another_size_under_a_known_digest_is_not_there(self, store: Store) -> None:
        what = put(store, b"some content")
        assert not store.has(Descriptor(what.media_type, what.digest, what.size + 1))

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 4), (3, 9), (5, None), (9, 10), (0, None), (4, 4), (10, None), (3, 99)]
    )
    def test_ranges_are_exact(self, store: Store, start: int, stop: int | None) -> None:
        what = put(store, b"0123456789")
        assert read(store, what, start, stop) == b"0123456789"[start:stop]

    def test_the_empty_blob_is_content(self, store: Store) -> None:
        what = describe(b"")
        assert not store.has(what)
        store.put(what, [])
        assert store.has(what)
        assert read(store, what) == b""

    def test_empty_pieces_mean_nothing(self, store: Store) -> None:
        what = describe(b"ab")
        store.put(what, [b"", b"a", b"", b"b", b""])
        assert read(store, what) == b"ab"

    def test_putting_twice_is_putting_once(self, store: Store) -> None:
        assert put(store, b"twice") == put(store, b"twice")
        assert read(store, describe(b"twice")) == b"twice"

    def test_an_iterator_is_enough(self, store: Store) -> None:
        what = describe(b"abc")
        store.put(what, iter([b"a", b"b", b"c"]))
        assert read(store, what) == b"abc"

    def test_five_megabytes_stream(self, store: Store) -> None:
        data = os.urandom(5 * 1024 * 1024 + 17)
        what, pieces = describe(data), Pieces(data, 256 * 1024)
        store.put(what, pieces)
        assert pieces.started == 1
        with store.open(what) as chunks:
            got = list(chunks)
        assert b"".join(got) == data
        assert max(map(len, got)) <= 1024 * 1024
        assert read(store, what, 1_000_001, 4_000_003) == data[1_000_001:4_000_003]

    def test_leaving_early_is_fine(self, store: Store) -> None:
        data = os.urandom(3 * 1024 * 1024)
        what = put(store, data)
        with store.open(what) as chunks:
            assert data.startswith(next(chunks))
        assert read(store, what) == data

    @pytest.mark.parametrize("size", [0, 1, 1000, 3 * 1024 * 1024 + 5])
    def test_content_in_a_file_arrives(self, store: Store, tmp_path: Path, size: int) -> None:
        data = os.urandom(size)
        what = describe(data)
        store.put(what, InFile(tmp_path / "content", data))
        assert read(store, what) == data

    # --- lies

    @pytest.mark.parametrize("size", [1000, 3 * 1024 * 1024])
    def test_a_file_with_other_bytes_is_refused_and_not_stored(self, store: Store, tmp_path: Path, size: int) -> None:
        truth = os.urandom(size)
        told = truth[:-1] + bytes([truth[-1] ^ 1])
        with pytest.raises(Corrupt):
            store.put(describe(truth), InFile(tmp_path / "content", told))
        assert not store.has(describe(truth))
        assert not store.has(describe(told))

    def test_a_file_that_changes_ends_the_upload(self, store: Store, tmp_path: Path) -> None:
        data = os.urandom(3 * 1024 * 1024)
        with pytest.raises(WorkspaceChanged):
            store.put(describe(data), InFile(tmp_path / "content", data, changes=True))
        assert not store.has(describe(data))

    @pytest.mark.parametrize("size", [12, 3 * 1024 * 1024])
    @pytest.mark.parametrize("lie", ["other bytes", "too short", "too long", "nothing"])
    def test_wrong_bytes_are_refused_and_not_stored(self, store: Store, lie: str, size: int) -> None:
        truth = os.urandom(size)
        told = {
            "other bytes": truth[:-1] + bytes([truth[-1] ^ 1]),
            "too short": truth[:-1],
            "too long": truth + b"x",
            "nothing": b"",
        }[lie]
        what = describe(truth)
        with pytest.raises(Corrupt):
            store.put(what, Pieces(told, 256 * 1024))
        assert not store.has(what)
        assert not store.has(describe(told))
        store.put(what, [truth])
        assert read(store, what) == truth

    def test_a_source_that_fails_stores_nothing(self, store: Store) -> None:
        data = os.urandom(3 * 1024 * 1024)
        what = describe(data)

        def failing() -> Iterator[bytes]:
            yield data[: 2 * 1024 * 1024]
            raise NotFound("the file went away")

        with pytest.raises(NotFound, match="the file went away"):
            store.put(what, failing())
        assert not store.has(what)

    def test_a_manifest_with_wrong_bytes_is_refused(self, store: Store) -> None:
        what, data = make_manifest(store, b"layer")
        with pytest.raises(Corrupt):
            store.put(what, [data + b" "])
        with pytest.raises(Corrupt):
            store.tag("v1", what, data + b" ", ANYTHING)
        assert store.resolve(str(what.digest)) is None
        assert store.resolve("v1") is None

    # --- manifests and names

    def test_nothing_is_named_in_an_empty_store(self, store: Store) -> None:
        assert store.resolve("latest") is None
        assert store.resolve("latest", data=True) is None
        assert store.resolve(str(Digest.of(b"no manifest"))) is None

    def test_a_manifest_put_by_digest_resolves_by_digest_only(self, store: Store, another: Store) -> None:
        what, data = make_manifest(store, b"layer")
        store.put(what, [data])
        assert store.has(what)
        assert another.resolve(str(what.digest)) == what
        assert store.resolve("latest") is None
        assert read(store, what) == data
        if isinstance(store, Lister):
            assert list(store.tags()) == []

    def test_resolving_can_bring_the_bytes(self, store: Store) -> None:
        what, data = make_manifest(store, b"layer")
        store.tag("v1", what, data, ABSENT)
        for name in ("v1", str(what.digest)):
            assert store.resolve(name) == what
            found = store.resolve(name, data=True)
            assert found is not None
            assert (found.media_type, found.digest, found.size, found.data) == (*_facts(what), data)

    def test_a_blob_is_no_manifest(self, store: Store) -> None:
        what = put(store, b"just bytes")
        # distribution 2.8 answers 500 here, which must not be read as an absence.
        with contextlib.suppress(Unavailable):
            assert store.resolve(str(what.digest)) is None

    def test_a_tag_moves(self, store: Store, another: Store) -> None:
        first, data = make_manifest(store, b"one")
        second, more = make_manifest(store, b"two")
        store.tag("latest", first, data, ABSENT)
        assert another.resolve("latest") == first
        store.tag("latest", second, more, first)
        assert another.resolve("latest") == second
        store.tag("latest", first, data, ANYTHING)
        assert another.resolve("latest") == first
        assert store.resolve(str(second.digest)) == second

    def test_several_tags_for_one_manifest(self, store: Store) -> None:
        what, data = make_manifest(store, b"one")
        for name in ("v1", "latest", "v1.0.0"):
            store.tag(name, what, data, ABSENT)
        assert [store.resolve(name) for name in ("v1", "latest", "v1.0.0")] == [what] * 3

    @pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-x", "a b", "ü", "x" * 129, "a\nb", "a?b=c"])
    def test_odd_names_are_refused(self, store: Store, name: str) -> None:
        what, data = make_manifest(store, b"one")
        with pytest.raises(BundleError):
            store.resolve(name)
        with pytest.raises(BundleError):
            store.tag(name, what, data, ANYTHING)

    @pytest.mark.parametrize("name", ["sha256:", "sha256:abc", "sha256:" + "A" * 64, "sha256:../" + "a" * 61])
    def test_odd_digests_are_refused(self, store: Store, name: str) -> None:
        with pytest.raises(BundleError):
            store.resolve(name)

    def test_long_and_dotted_tags_work(self, store: Store) -> None:
        what, data = make_manifest(store, b"one")
        names = ["x" * 128, "_i.latest.abc", "1.0.0-rc_1", "A"]
        for name in names:
            store.tag(name, what, data, ABSENT)
            assert store.resolve(name) == what

    # --- optional ports

    def test_tags_are_sorted_and_complete(self, store: Store, another: Store) -> None:
        if not isinstance(store, Lister) or not isinstance(another, Lister):
            return
        assert list(store.tags()) == []
        what, data = make_manifest(store, b"one")
        names = [f"v{number}" for number in range(12)] + ["latest", "_i.latest.x", "B", "a"]
        for name in names:
            store.tag(name, what, data, ABSENT)
        assert list(another.tags()) == sorted(names)

    def test_a_tag_that_is_not_as_expected_stays(self, store: Store) -> None:
        if not isinstance(store, Atomic):
            return
        first, data = make_manifest(store, b"one")
        second, more = make_manifest(store, b"two")
        with pytest.raises(TagMoved):
            store.tag("latest", second, more, first)
        assert store.resolve("latest") is None
        store.tag("latest", first, data, ABSENT)
        with pytest.raises(TagMoved):
            store.tag("latest", second, more, ABSENT)
        with pytest.raises(TagMoved):
            store.tag("latest", second, more, second)
        assert store.resolve("latest") == first

    def test_a_tag_can_be_removed(self, store: Store) -> None:
        if not isinstance(store, Untagger):
            return
        first, data = make_manifest(store, b"one")
        second, more = make_manifest(store, b"two")
        store.tag("gone", first, data, ABSENT)
        store.tag("stays", second, more, ABSENT)
        assert not store.untag("gone", second), "it stands for something else"
        assert store.resolve("gone") == first
        if store.untag("gone", first):
            assert store.resolve("gone") is None
        assert store.untag("never-there", first)
        assert store.resolve("stays") == second

    def test_removing_a_tag_leaves_other_tags_of_its_manifest(self, store: Store) -> None:
        if not isinstance(store, Untagger):
            return
        what, data = make_manifest(store, b"one")
        store.tag("gone", what, data, ABSENT)
        store.tag("stays", what, data, ABSENT)
        store.untag("gone", what)
        assert store.resolve("stays") == what

    def test_a_clock_tells_a_time(self, store: Store) -> None:
        if not isinstance(store, Dated):
            return
        store.resolve("latest")
        told = store.now()
        assert told is None or told > 1_500_000_000

    @pytest.mark.parametrize("size", [0, 1, 1000, 3 * 1024 * 1024 + 5])
    @pytest.mark.parametrize("kind", ["pieces", "iterator", "file"])
    def test_content_of_unknown_digest_is_stored_under_its_own(
        self, store: Store, another: Store, tmp_path: Path, kind: str, size: int
    ) -> None:
        if not isinstance(store, Upload):
            return
        data = os.urandom(size)
        pieces = Pieces(data, 256 * 1024)
        file = InFile(tmp_path / "content", data)
        chunks: Iterable[bytes] = file if kind == "file" else pieces if kind == "pieces" else iter(pieces)
        assert store.upload("name", size, chunks) == Digest.of(data)
        assert another.has(describe(data))
        assert read(another, describe(data)) == data

    @pytest.mark.parametrize("wrong", [-1, 1])
    def test_an_upload_of_another_size_is_refused(self, store: Store, wrong: int) -> None:
        if not isinstance(store, Upload):
            return
        data = os.urandom(2_000_000)
        with pytest.raises(Corrupt):
            store.upload("name", len(data) + wrong, Pieces(data, 256 * 1024))
        assert not store.has(describe(data))
        assert not store.has(describe(data[: len(data) + wrong]))

    def test_an_upload_whose_source_fails_stores_nothing(self, store: Store, tmp_path: Path) -> None:
        if not isinstance(store, Upload):
            return
        data = os.urandom(3 * 1024 * 1024)
        with pytest.raises(WorkspaceChanged):
            store.upload("name", len(data), InFile(tmp_path / "content", data, changes=True))
        assert not store.has(describe(data))

    def test_a_mount_that_cannot_be_done_is_a_put(self, store: Store) -> None:
        if not isinstance(store, Mounter):
            return
        data = os.urandom(1000)
        assert store.mount(describe(data), [data], ["nobody/has-this"]) is False
        assert read(store, describe(data)) == data

    # --- several at once

    def test_the_same_blob_from_many_sides(self, store: Store, another: Store) -> None:
        data = os.urandom(2 * 1024 * 1024)
        what = describe(data)
        sides = [store, another] * (THREADS // 2)
        raised = together([lambda side=side: side.put(what, Pieces(data, 65536)) for side in sides])  # type: ignore[misc]
        assert raised == [None] * THREADS
        assert read(store, what) == data

    def test_many_blobs_at_once(self, store: Store) -> None:
        blobs = [os.urandom(1000 + number) for number in range(40)]
        assert together([lambda data=data: store.put(describe(data), [data]) for data in blobs]) == [None] * 40  # type: ignore[misc]
        assert [read(store, describe(data)) for data in blobs] == blobs

    def test_no_tag_is_lost_among_writers(self, store: Store, another: Store) -> None:
        manifests = [make_manifest(store, f"content {number}".encode()) for number in range(16)]

        def tagger(number: int) -> Callable[[], None]:
            side = (store, another)[number % 2]
            return lambda: side.tag(f"t{number}", *manifests[number], ABSENT)

        assert together([tagger(number) for number in range(16)]) == [None] * 16
        assert [store.resolve(f"t{number}") for number in range(16)] == [what for what, _ in manifests]

    def test_one_winner_of_a_race(self, store: Store, another: Store) -> None:
        if not isinstance(store, Atomic):
            return
        manifests = [make_manifest(store, f"content {number}".encode()) for number in range(THREADS)]

        def tagger(number: int) -> Callable[[], None]:
            side = (store, another)[number % 2]
            return lambda: side.tag("latest", *manifests[number], ABSENT)

        raised = together([tagger(number) for number in range(THREADS)])
        assert [type(error) for error in raised if error is not None] == [TagMoved] * (THREADS - 1)
        assert store.resolve("latest") == manifests[raised.index(None)][0]


def _facts(what: Descriptor) -> tuple[str, Digest, int]:
    return what.media_type, what.digest, what.size
