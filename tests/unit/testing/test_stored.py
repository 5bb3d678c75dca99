from __future__ import annotations

import json

from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.testing.stored import Pieces, describe, make_manifest, make_referrer, put, read, together


def test_what_is_made_can_be_stored() -> None:
    store = MemoryStore()
    assert read(store, put(store, b"blob")) == b"blob"
    subject, data = make_manifest(store, b"layer")
    store.put(subject, [data])
    what, data = make_referrer(store, subject, "application/x-note", "a note")
    value = json.loads(data)
    assert value["subject"] == subject.to_json()
    assert (value["artifactType"], value["annotations"]) == ("application/x-note", {"note": "a note"})
    store.put(what, [data])
    assert store.has(describe(b"layer"))


def test_pieces_start_over_and_are_counted() -> None:
    pieces = Pieces(b"abcde", 2)
    assert [list(pieces), list(pieces)] == [[b"ab", b"cd", b"e"]] * 2
    assert pieces.started == 2


def test_what_each_raised_is_told() -> None:
    error = ValueError()

    def fail() -> None:
        raise error

    assert together([lambda: None, fail]) == [None, error]
