"""Three-way comparison (DESIGN §6)."""

from __future__ import annotations

import json

import pytest

from modelops_bundle.model.snapshot import Entry
from modelops_bundle.plan.changes import Action, Change, Rename, Side, action, compare, difference, lost, renames
from tests.support.things import file, snapshot

A, B, C = file("a"), file("b"), file("c")
X = file("a", executable=True)


@pytest.mark.parametrize(
    ("base", "here", "there", "side"),
    [
        (None, A, None, Side.HERE),
        (None, None, A, Side.THERE),
        (None, A, A, Side.BOTH_SAME),
        (None, A, B, Side.CONFLICT),
        (A, A, A, Side.NOBODY),
        (A, B, A, Side.HERE),
        (A, A, B, Side.THERE),
        (A, B, B, Side.BOTH_SAME),
        (A, B, C, Side.CONFLICT),
        (A, None, A, Side.HERE),
        (A, A, None, Side.THERE),
        (A, None, None, Side.BOTH_SAME),
        (A, None, B, Side.CONFLICT),
        (A, B, None, Side.CONFLICT),
        (A, X, A, Side.HERE),
        (A, X, B, Side.CONFLICT),
        (None, None, None, Side.NOBODY),
    ],
)
def test_the_truth_table(base: Entry | None, here: Entry | None, there: Entry | None, side: Side) -> None:
    assert Change("p", base, here, there).side is side


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (None, None, Action.NONE),
        (A, A, Action.NONE),
        (None, A, Action.ADDED),
        (A, None, Action.DELETED),
        (A, B, Action.MODIFIED),
        (A, X, Action.MODE),
        (X, A, Action.MODE),
        (A, file("b", executable=True), Action.MODIFIED),
        (A, Entry.link("a"), Action.MODIFIED),
        (file(""), Entry.directory(), Action.MODIFIED),
    ],
)
def test_actions(old: Entry | None, new: Entry | None, what: Action) -> None:
    assert action(old, new) is what


def test_a_change_of_role_alone_is_none() -> None:
    assert action(file("a", role="doc"), file("a", role="weight")) is Action.NONE


def test_compare_lists_only_what_differs_in_path_order() -> None:
    base = snapshot(same="1", z="1", a="1")
    found = compare(base, snapshot(same="1", z="2", a="1", n="1"), snapshot(same="1", z="1"))
    assert [(c.path, c.side) for c in found] == [("a", Side.THERE), ("n", Side.HERE), ("z", Side.HERE)]


def test_difference_is_a_change_made_here() -> None:
    (change,) = difference({"p": A}, {"p": B})
    assert (change.side, change.local, change.remote) == (Side.HERE, Action.MODIFIED, Action.NONE)


def test_a_change_as_json() -> None:
    value = json.loads(json.dumps(Change("p", A, None, B).to_json()))
    assert (value["change"], value["local"], value["remote"]) == ("conflict", "deleted", "modified")
    assert value["here"] is None
    assert Entry.from_json(value["there"]) == B


def test_a_rename_is_a_deletion_and_an_addition_of_one_content() -> None:
    assert renames(difference({"old": A}, {"new": A})) == (Rename("old", "new"),)


def test_each_deletion_is_used_once_in_path_order() -> None:
    found = renames(difference({"a": A, "b": A}, {"x": A, "y": A, "z": A}))
    assert found == (Rename("a", "x"), Rename("b", "y"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": file("")}, {"b": file("")}),
        ({"a": Entry.link("t")}, {"b": Entry.link("t")}),
        ({"a": Entry.directory()}, {"b": Entry.directory()}),
        ({"a": A}, {"b": B}),
        ({"a": A}, {"a": A, "b": A}),
        ({"a": A, "b": B}, {"b": A}),
    ],
)
def test_what_is_no_rename(old: dict[str, Entry], new: dict[str, Entry]) -> None:
    assert renames(difference(old, new)) == ()


def test_remote_renames_are_not_ours() -> None:
    assert renames(compare({"a": A}, {"a": A}, {"b": A})) == ()


def test_a_path_back_at_its_value_from_before_our_push_is_lost() -> None:
    pushed = {
        "kept": ((A,), B),
        "undone": ((A,), B),
        "added": ((None,), A),
        "deleted": ((A,), None),
        "moved-on": ((A,), B),
        "twice": ((A, B), C),
    }
    there = {"kept": B, "undone": A, "deleted": A, "moved-on": C, "twice": B}
    assert lost(pushed, there) == ("added", "deleted", "twice", "undone")


def test_a_path_that_is_back_because_we_put_it_back_is_not_lost() -> None:
    assert lost({"p": ((A, B), A)}, {"p": A}) == ()


def test_a_push_that_changed_nothing_loses_nothing() -> None:
    assert lost({"p": ((A,), A), "q": ((None,), None)}, {"p": A}) == ()
