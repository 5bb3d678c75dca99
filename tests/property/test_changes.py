"""Three-way comparison, losses, and what was lost: laws that hold for all trees."""

from __future__ import annotations

from hypothesis import given

from modelops_bundle.model.snapshot import Entry
from modelops_bundle.plan.changes import Action, Change, Side, compare, difference, lost, renames
from modelops_bundle.plan.push import drops_most, losses
from tests.support.strategies import worlds

SWAPPED = {Side.HERE: Side.THERE, Side.THERE: Side.HERE}
Tree = dict[str, Entry]


@given(worlds(), worlds(), worlds())
def test_swapping_here_and_there_swaps_the_sides(base: Tree, here: Tree, there: Tree) -> None:
    swapped = [Change(c.path, c.base, c.there, c.here) for c in compare(base, here, there)]
    assert tuple(swapped) == compare(base, there, here)
    for one, other in zip(compare(base, here, there), compare(base, there, here), strict=True):
        assert SWAPPED.get(one.side, one.side) is other.side
        assert (one.local, one.remote) == (other.remote, other.local)


@given(worlds(), worlds(), worlds())
def test_exactly_the_paths_that_differ_are_listed_in_order(base: Tree, here: Tree, there: Tree) -> None:
    listed = [change.path for change in compare(base, here, there)]
    every = base.keys() | here.keys() | there.keys()
    assert listed == sorted(p for p in every if not base.get(p) == here.get(p) == there.get(p))


@given(worlds(), worlds())
def test_nothing_of_ours_means_no_conflict(base: Tree, there: Tree) -> None:
    assert {change.side for change in compare(base, base, there)} <= {Side.THERE}
    assert {change.side for change in compare(base, there, there)} <= {Side.BOTH_SAME}


@given(worlds(), worlds())
def test_a_difference_applied_makes_the_other_tree(old: Tree, new: Tree) -> None:
    made = dict(old)
    for change in difference(old, new):
        assert change.local is not Action.NONE
        if change.here is None:
            del made[change.path]
        else:
            made[change.path] = change.here
    assert made == new


@given(worlds(), worlds())
def test_renames_pair_equal_content_once(old: Tree, new: Tree) -> None:
    pairs = renames(difference(old, new))
    assert len({pair.old for pair in pairs}) == len({pair.new for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.old not in new
        assert pair.new not in old
        assert old[pair.old].digest == new[pair.new].digest


@given(worlds(), worlds(), worlds())
def test_a_push_loses_what_they_changed_and_it_does_not_have(base: Tree, ours: Tree, theirs: Tree) -> None:
    found = {loss.path for loss in losses(base, ours, theirs)}
    sides = {change.path: change.side for change in compare(base, ours, theirs)}
    assert found == {path for path, side in sides.items() if side in (Side.THERE, Side.CONFLICT)}


@given(worlds(), worlds())
def test_nothing_is_lost_when_they_changed_nothing_or_we_have_it_all(base: Tree, theirs: Tree) -> None:
    assert losses(base, theirs, theirs) == ()
    assert losses(theirs, base, theirs) == ()
    assert len(losses(base, base, theirs)) == len(difference(base, theirs))


@given(worlds(), worlds(), worlds())
def test_a_push_that_is_still_there_is_not_lost_and_one_undone_is(before: Tree, after: Tree, there: Tree) -> None:
    pushed = {change.path: ((change.base,), change.here) for change in difference(before, after)}
    assert lost(pushed, after) == ()
    assert lost(pushed, before) == tuple(sorted(pushed))
    found = lost(pushed, there)
    assert set(found) <= set(pushed)
    assert all(there.get(path) == before.get(path) for path in found)


@given(worlds(), worlds())
def test_keeping_every_path_never_counts_as_dropping_most(base: Tree, snapshot: Tree) -> None:
    assert not drops_most(base, {**snapshot, **base})
    assert drops_most(base, {}) is bool(base)
