"""The file of the merge base: sealed, and parsed only when somebody asks for an entry."""

from __future__ import annotations

import hashlib

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.workspace.base import At, at_from_bytes, at_to_bytes
from modelops_bundle.workspace.columns import Columns
from tests.support.things import file, snapshot

D = Digest.of(b"manifest")
TREE = snapshot(a="1", x=file("", executable=True, role="weight"), l=Entry.link("é"), d=Entry.directory())


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    "at", [At("reg.io/m:t", D, TREE, "how"), At("reg.io/m:t", None, TREE), At(None, None, Snapshot())]
)
def test_round_trip(at: At) -> None:
    found = at_from_bytes(at_to_bytes(at))
    assert found == at
    assert (found.reference, found.digest, found.recipe) == (at.reference, at.digest, at.recipe)
    assert [entry.role for entry in found.snapshot.values()] == [entry.role for entry in at.snapshot.values()]
    assert at_to_bytes(found) == at_to_bytes(at)
    assert found != At("other", D, TREE)
    assert found != At(at.reference, at.digest, at.snapshot, "other")
    assert found != "an at"


def test_the_columns_are_read_without_an_entry_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    data = at_to_bytes(At("r", D, TREE))
    monkeypatch.setattr(Columns, "entry", lambda *_: pytest.fail("an entry was made"))
    assert at_from_bytes(data).columns.paths == ["a", "d", "l", "x"]


def test_damage_of_any_byte_is_corrupt_and_never_empty() -> None:
    good = at_to_bytes(At("r", D, TREE))
    for offset in range(len(good)):
        bad = bytearray(good)
        bad[offset] ^= 0xFF
        with pytest.raises(Corrupt):
            at_from_bytes(bytes(bad))
        with pytest.raises(Corrupt):
            at_from_bytes(good[:offset])
    with pytest.raises(Corrupt):
        at_from_bytes(good + b"\0")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"roles":[', b'"rules":['),
        (b'"targets":{', b'"tarrets":{'),
        (b'"reference":"r"', b'"reference":123'),
        (b'"recipe":null', b'"recipe":1234'),
        (b"sha256:", b"sha999:"),
        (b"MOBAT1", b"MOBAT2"),
    ],
)
def test_what_somebody_else_sealed_is_corrupt_too(old: bytes, new: bytes) -> None:
    body = at_to_bytes(At("r", D, TREE))[:-32]
    assert old in body
    with pytest.raises(Corrupt):
        at_from_bytes(sealed(body.replace(old, new)))
    with pytest.raises(Corrupt):
        at_from_bytes(sealed(body + b"more"))
