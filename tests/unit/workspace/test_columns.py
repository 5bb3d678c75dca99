"""Entries as columns of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan.changes import difference
from modelops_bundle.workspace.columns import DIRECTORY, EXECUTABLE, FILE, LINK, Columns, encoded, in_order, kind_of
from tests.support.strategies import names
from tests.support.things import file, snapshot

entries = st.one_of(
    st.sampled_from(["", "a", "b", "content"]).map(file),
    st.sampled_from(["", "a"]).map(lambda text: file(text, executable=True, role="weight")),
    st.sampled_from(["x", "y/z", "é"]).map(Entry.link),
    st.just(Entry.directory()),
)
snapshots = st.dictionaries(names, entries, max_size=8).map(Snapshot)


@given(snapshots)
def test_what_goes_in_comes_out(tree: Snapshot) -> None:
    columns = Columns.of(tree)
    assert len(columns) == len(tree)
    assert columns.snapshot() == tree
    assert {path: entry.role for path, entry in columns.snapshot().items()} == {p: e.role for p, e in tree.items()}
    assert columns.snapshot().links() == tree.links()
    assert columns.size == tree.size


@given(snapshots, snapshots)
def test_differences_are_those_of_the_snapshots(one: Snapshot, two: Snapshot) -> None:
    assert Columns.of(one).differing(Columns.of(two)) == {change.path for change in difference(one, two)}


@pytest.mark.parametrize("place", [0, 255, 256, 699])
def test_one_difference_among_many_is_found_wherever_it_is(place: int) -> None:
    tree = {f"{number:04}": file(str(number)) for number in range(700)}
    one = Columns.of(Snapshot(tree))
    assert one.differing(Columns.of(Snapshot(tree))) == set()
    path = f"{place:04}"
    for other in (file("other"), file(str(place), executable=True), Entry.link("x"), Entry.directory()):
        assert one.differing(Columns.of(Snapshot({**tree, path: other}))) == {path}


def test_the_role_may_be_said_by_the_caller() -> None:
    columns = Columns.of(snapshot(a="1", b=Entry.link("a")))
    assert [entry.role for entry in columns.snapshot(lambda path: f"of {path}").values()] == ["of a", ""]


def test_kinds_have_letters_of_their_own() -> None:
    kinds = [kind_of(e) for e in (file("1"), file("1", executable=True), Entry.link("a"), Entry.directory())]
    assert kinds == [FILE, EXECUTABLE, LINK, DIRECTORY]
    assert Columns.of(snapshot(a="1", b=Entry.link("a"), c="2")).of_kind(FILE) == [0, 2]


@given(st.lists(st.text(st.sampled_from("aé日\U0001f469\ue000\udcff\udc80/."), min_size=1), max_size=6))
def test_paths_are_ordered_as_their_bytes_are(paths: list[str]) -> None:
    raw = sorted(path.encode("utf-8", "surrogateescape") for path in paths)
    assert [path.encode("utf-8", "surrogateescape") for path in in_order(paths)] == raw
    assert encoded(in_order(paths)) == b"".join(path + b"\0" for path in raw)
