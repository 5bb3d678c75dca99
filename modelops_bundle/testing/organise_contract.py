"""The part of the store contract about deleting and referring: `StoreContract` has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelops_bundle.errors import NotFound
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import ABSENT, Deleter, Referrers, Store, Untagger
from modelops_bundle.testing.stored import THREADS, describe, make_manifest, make_referrer, read, together


class OrganiseContract:
    """Deleting, untagging, referring. The fixtures `store` and `another` are those of `StoreContract`."""

    def test_what_was_deleted_is_gone_with_its_tags(self, store: Store, another: Store) -> None:
        if not isinstance(store, Deleter):
            return
        what, data = make_manifest(store, b"one")
        stays, more = make_manifest(store, b"two")
        for name in ("v1", "latest"):
            store.tag(name, what, data, ABSENT)
        store.tag("stays", stays, more, ABSENT)
        store.delete(what)
        assert [another.resolve(name) for name in ("v1", "latest", str(what.digest))] == [None, None, None]
        assert another.resolve("stays") == stays
        assert read(another, describe(b"two")) == b"two"
        with pytest.raises(NotFound):
            store.delete(what)
        store.put(describe(b"one"), [b"one"])
        store.tag("v1", what, data, ABSENT)
        assert another.resolve("v1") == what

    def test_a_tag_can_go_and_its_manifest_stay(self, store: Store) -> None:
        if not isinstance(store, Untagger):
            return
        what, data = make_manifest(store, b"one")
        store.tag("gone", what, data, ABSENT)
        if store.untag("gone", what, keep=True):
            assert store.resolve("gone") is None
        assert store.resolve(str(what.digest)) == what

    def test_nothing_refers_to_what_is_not_there(self, store: Store) -> None:
        if isinstance(store, Referrers):
            assert list(store.referrers(Digest.of(b"never stored"))) == []

    def test_what_refers_to_a_manifest_is_listed(self, store: Store, another: Store) -> None:
        if not isinstance(store, Referrers) or not isinstance(another, Referrers):
            return
        subject, data = make_manifest(store, b"one")
        store.tag("v1", subject, data, ABSENT)
        first, bytes_of_first = make_referrer(store, subject, "application/x-sbom", "first")
        second, bytes_of_second = make_referrer(store, subject, "application/x-signature")
        store.refer(subject.digest, first, bytes_of_first)
        store.refer(subject.digest, second, bytes_of_second)
        store.refer(subject.digest, first, bytes_of_first)
        found = {one.digest: one for one in another.referrers(subject.digest)}
        assert found.keys() == {first.digest, second.digest}
        listed = found[first.digest]
        assert (listed.media_type, listed.size, listed.artifact_type) == (
            first.media_type,
            first.size,
            "application/x-sbom",
        )
        assert listed.annotations == {"note": "first"}
        assert [one.digest for one in another.referrers(subject.digest, "application/x-signature")] == [second.digest]
        assert list(another.referrers(subject.digest, "application/x-other")) == []
        assert list(another.referrers(first.digest)) == []
        assert another.resolve(str(first.digest)) == first
        assert another.resolve("v1") == subject

    def test_a_referrer_that_was_deleted_is_not_listed(self, store: Store, another: Store) -> None:
        if not isinstance(store, Referrers) or not isinstance(another, Referrers) or not isinstance(store, Deleter):
            return
        subject, data = make_manifest(store, b"one")
        store.tag("v1", subject, data, ABSENT)
        gone, stays = (make_referrer(store, subject, "application/x-sbom", note) for note in ("gone", "stays"))
        for one in (gone, stays):
            store.refer(subject.digest, *one)
        store.delete(gone[0])
        assert [one.digest for one in another.referrers(subject.digest)] == [stays[0].digest]

    def test_no_referrer_is_lost_among_writers(self, store: Store, another: Store) -> None:
        if not isinstance(store, Referrers) or not isinstance(another, Referrers):
            return
        subject, data = make_manifest(store, b"one")
        store.tag("v1", subject, data, ABSENT)
        made = [make_referrer(store, subject, "application/x-sbom", f"{number}") for number in range(THREADS)]

        def attacher(number: int) -> Callable[[], None]:
            side = (store, another)[number % 2]
            return lambda: side.refer(subject.digest, *made[number])

        assert together([attacher(number) for number in range(THREADS)]) == [None] * THREADS
        assert {one.digest for one in store.referrers(subject.digest)} == {what.digest for what, _ in made}
