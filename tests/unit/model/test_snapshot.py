"""Snapshots: the same value from wherever it comes."""

from __future__ import annotations

import json

import pytest

from modelops_bundle.errors import Corrupt
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from tests.support.things import file

A, B = file("a"), file("b")


def test_paths_come_in_byte_order() -> None:
    assert list(Snapshot({"b": A, "a/x": A, "a": A, "é": A, "Z": A, "a.b": A})) == ["Z", "a", "a.b", "a/x", "b", "é"]


def test_it_is_a_mapping() -> None:
    found = Snapshot([("a", A), ("b", B)])
    assert (found["a"], found.get("c"), len(found), dict(found)) == (A, None, 2, {"a": A, "b": B})
    assert found == {"a": A, "b": B}
    assert repr(found) == "<Snapshot of 2 paths>"


def test_size_counts_files_only() -> None:
    assert Snapshot({"a": file("abc"), "l": Entry.link("a"), "d": Entry.directory()}).size == 3


def test_the_content_digest_is_the_documented_listing() -> None:
    rows = [
        {"path": "a", "kind": "file", "digest": str(A.digest), "size": 1, "executable": False},
        {"path": "l", "kind": "link", "digest": str(Digest.of(b"a")), "size": 1, "executable": False},
    ]
    expected = Digest.of(json.dumps(rows, sort_keys=True, separators=(",", ":")).encode())
    assert Snapshot({"l": Entry.link("a"), "a": A}).content == expected


@pytest.mark.parametrize(
    "other",
    [
        {"a": B},
        {"b": A},
        {"a": file("a", executable=True)},
        {"a": Entry.link("a")},
        {"a": A, "b": A},
        {},
        {"a": Entry.directory()},
    ],
)
def test_whatever_differs_changes_the_content_digest(other: dict[str, Entry]) -> None:
    assert Snapshot(other).content != Snapshot({"a": A}).content


def test_the_role_is_no_part_of_the_content() -> None:
    weight = file("a", role="weight")
    assert weight == A
    assert Snapshot({"a": weight}).content == Snapshot({"a": A}).content


def test_a_link_is_its_target_text() -> None:
    link = Entry.link("é/x")
    assert (link.digest, link.size, link.target) == (Digest.of("é/x".encode()), 4, "é/x")
    assert Entry.link("a") != Entry.link("b")


def test_an_odd_link_target_can_be_looked_at() -> None:
    assert Entry.link("\udcff").size == 1


def test_changes_are_made_on_a_copy() -> None:
    old = Snapshot({"a": A, "b": B})
    assert old.replaced({"a": None, "c": A}) == {"b": B, "c": A}
    assert old == {"a": A, "b": B}
    assert old.replaced({"zz": None}) == old


@pytest.mark.parametrize(
    "entry", [A, file("x", executable=True, role="weight"), Entry.link("../x"), Entry.directory(), file("")]
)
def test_json_round_trip(entry: Entry) -> None:
    again = Snapshot.from_json(json.loads(json.dumps(Snapshot({"p": entry}).to_json())))["p"]
    assert again == entry
    assert (again.role, again.target) == (entry.role, entry.target)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"a": None},
        {"a": []},
        {"a": {}},
        {"a": {"kind": "socket"}},
        {"a": {"kind": "link"}},
        {"a": {"kind": "link", "target": 3}},
        {"a": {"kind": "file", "digest": str(A.digest), "size": -1}},
        {"a": {"kind": "file", "digest": str(A.digest), "size": 1.5}},
        {"a": {"kind": "file", "digest": "x", "size": 1}},
        {"a": {"kind": "file", "size": 1}},
        {"a": {"kind": "file", "digest": str(A.digest), "size": 1, "role": 3}},
    ],
)
def test_anything_else_is_corrupt(value: object) -> None:
    with pytest.raises(Corrupt):
        Snapshot.from_json(value)


@pytest.mark.parametrize("value", [None, [], "file", 3])
def test_an_entry_that_is_no_object_is_corrupt(value: object) -> None:
    with pytest.raises(Corrupt):
        Entry.from_json(value)
