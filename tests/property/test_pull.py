"""Pull plans on small worlds in which everything meets everything: a disk with tracked and untracked paths, a merge
base, a remote, and every way to settle what stands against it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from modelops_bundle.errors import Conflict, WouldOverwrite
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import parents
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan.changes import compare
from modelops_bundle.plan.pull import PLAIN, Choices, PullPlan, plan_pull
from tests.support.strategies import UNIVERSE, worlds
from tests.support.things import blob

D = Digest.of(b"manifest")
Tree = dict[str, Entry]


@dataclass
class Disk:
    """Files, links and empty directories by path, and which of them are tracked."""

    entries: Tree
    tracked: frozenset[str]

    def at(self, wanted: set[str]) -> Tree:
        """What `operations.local_state.entries_at` says of these paths: directories with content count as empty ones
        unless something below them is asked for as well."""
        found = {path: self.entries[path] for path in wanted if path in self.entries}
        for path in wanted - found.keys():
            if self.below(path) and not any(other.startswith(f"{path}/") for other in found):
                found[path] = Entry.directory()
        return found

    def below(self, path: str) -> set[str]:
        return {other for other in self.entries if other.startswith(f"{path}/")}

    def obstacles(self, there: Tree, here: Tree) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for path, entry in there.items():
            if path in here and here[path].kind == entry.kind:
                continue
            blocking = {p for p in parents(path) if p in self.entries and self.entries[p].kind != "dir"}
            if entry.kind != "dir":
                blocking |= self.below(path)
            if blocking:
                found[path] = blocking
        return found

    def apply(self, plan: PullPlan) -> Disk:
        """What `transfer.land` makes of it."""
        after = dict(self.entries)
        for step in plan.steps:
            if step.after is None:
                after.pop(step.path, None)
        for step in plan.steps:
            if step.after is not None:
                for parent in parents(step.path):
                    if parent in after and after[parent].kind == "dir":
                        del after[parent]
                assert not any(parent in after for parent in parents(step.path)), "written through a file"
                content = {p for p in after if p.startswith(f"{step.path}/")}
                if step.after.kind == "dir" and content:
                    continue
                assert not content, "written over a directory with content"
                after[step.path] = step.after
        tracked = (self.tracked | set(plan.track)) - set(plan.untrack)
        return Disk(after, frozenset(tracked))


def make(base: Tree, disk: Disk, there: Tree, choices: Choices = PLAIN) -> PullPlan:
    here = disk.at(set(disk.tracked))
    found = disk.at(there.keys() - disk.tracked)
    # As `operations.pull`: a directory where something else is to be is no entry, but what is in it may be in the way.
    untracked = {path: entry for path, entry in found.items() if entry.kind != "dir" or there[path].kind == "dir"}
    return plan_pull(
        "reg.io/m:t",
        D,
        Snapshot(base),
        Snapshot(here),
        Snapshot(there),
        tracked=disk.tracked,
        untracked=untracked,
        obstacles=disk.obstacles(there, {**untracked, **here}),
        places={path: Place(blob(path.encode())) for path, entry in there.items() if entry.kind == "file"},
        choices=choices,
    )


@st.composite
def disks(draw: st.DrawFn) -> Disk:
    entries = draw(worlds())
    # A tracked path may be gone from the disk; an untracked one may be on it.
    tracked = draw(st.sets(st.sampled_from(UNIVERSE)))
    return Disk(entries, frozenset(tracked))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Tree, Disk, Tree, Choices]:
    base, disk, there = draw(worlds()), draw(disks()), draw(worlds())
    if draw(st.booleans()):
        # Near worlds, as in life: most of it unchanged.
        for tree in (disk.entries, there):
            for path in draw(st.sets(st.sampled_from(UNIVERSE))):
                tree.pop(path, None)
                free = not any(p in tree for p in parents(path)) and not any(p.startswith(f"{path}/") for p in tree)
                if path in base and free:
                    tree[path] = base[path]
    listed = [c.path for c in compare(base, disk.at(set(disk.tracked)), there)]
    some = st.sets(st.sampled_from(listed)) if listed else st.just(set())
    ours = draw(some)
    choices = Choices(merge=draw(st.booleans()), overwrite=draw(st.booleans()), ours=ours, theirs=draw(some) - ours)
    return base, disk, there, draw(st.just(PLAIN) | st.just(choices))


MORE = settings(max_examples=200)


def affected(plan: PullPlan) -> set[str]:
    return {change.path for change in plan.conflicts} | set(plan.collisions)


@MORE
@given(situations())
def test_no_plan_touches_a_path_that_is_neither_tracked_nor_remote(case: tuple[Tree, Disk, Tree, Choices]) -> None:
    base, disk, there, choices = case
    plan = make(base, disk, there, choices)
    assert {step.path for step in plan.steps} <= disk.tracked | there.keys()
    after = disk.apply(plan)
    for path in disk.entries.keys() - disk.tracked - there.keys():
        if disk.entries[path].kind != "dir" or not any(p.startswith(f"{path}/") for p in after.entries):
            assert after.entries.get(path) == disk.entries[path]


@MORE
@given(situations())
def test_a_plan_is_refused_exactly_when_something_stands_against_it(case: tuple[Tree, Disk, Tree, Choices]) -> None:
    base, disk, there, choices = case
    plan = make(base, disk, there, choices)
    against = bool(plan.conflicts or plan.collisions)
    assert plan.refused is (against and not choices.merge)
    assert plan.complete is (not against)
    try:
        plan.check()
    except (Conflict, WouldOverwrite):
        assert plan.refused
    else:
        assert not plan.refused


@MORE
@given(situations())
def test_applying_makes_every_path_the_remotes_but_for_what_is_kept_or_disputed(
    case: tuple[Tree, Disk, Tree, Choices],
) -> None:
    base, disk, there, choices = case
    plan = make(base, disk, there, choices)
    if plan.refused:
        return
    after = disk.apply(plan)
    here = after.at(set(after.tracked))
    spared = set(plan.kept) | affected(plan)
    # A directory that only untracked content keeps alive is nobody's entry.
    alive = {path for path in disk.tracked if path not in after.entries and after.below(path)}
    for path in (there.keys() | disk.tracked) - spared - alive:
        if any(path.startswith(f"{other}/") or other.startswith(f"{path}/") for other in spared):
            continue
        assert here.get(path) == there.get(path), path


@MORE
@given(situations())
def test_nothing_of_ours_goes_unless_it_was_asked_for(case: tuple[Tree, Disk, Tree, Choices]) -> None:
    """Work is what differs from the merge base, or is not tracked: only `theirs` and `overwrite` may replace it, and
    then it is listed."""
    base, disk, there, choices = case
    plan = make(base, disk, there, choices)
    for step in plan.steps:
        before = disk.entries.get(step.path)
        if before == Entry.directory() and step.path not in disk.tracked:
            continue  # empty, and nobody's
        work = before is not None and before != step.after and before != base.get(step.path)
        if work:
            assert choices.overwrite or step.path in choices.theirs
            assert step.path in plan.discards
    assert set(plan.discards) <= {step.path for step in plan.steps}
    for path in plan.kept:
        assert path not in {step.path for step in plan.steps}


@MORE
@given(situations())
def test_pulling_again_after_a_complete_pull_does_nothing(case: tuple[Tree, Disk, Tree, Choices]) -> None:
    base, disk, there, choices = case
    plan = make(base, disk, there, choices)
    if not plan.complete:
        return
    after = disk.apply(plan)
    again = make(dict(plan.base), after, there)
    assert (again.steps, again.conflicts, again.collisions) == ((), (), ())
    assert again.base == plan.base
    assert (again.track, again.untrack) == ((), ())


@MORE
@given(situations())
def test_the_base_moves_to_the_remote_exactly_where_it_is_settled(case: tuple[Tree, Disk, Tree, Choices]) -> None:
    base, disk, there, choices = case
    plan = make(base, disk, there, choices)
    for change in plan.conflicts:
        assert plan.base.get(change.path) == base.get(change.path)
    for path in base.keys() | there.keys() | plan.base.keys():
        assert plan.base.get(path) in (base.get(path), there.get(path))
    if plan.complete:
        assert {p: plan.base.get(p) for p in there} == there


@MORE
@given(situations())
def test_a_merge_leaves_exactly_the_conflicts_and_a_second_one_finds_them_again(
    case: tuple[Tree, Disk, Tree, Choices],
) -> None:
    base, disk, there, _ = case
    merge = Choices(merge=True)
    plan = make(base, disk, there, merge)
    again = make(dict(plan.base), disk.apply(plan), there, merge)
    # A file replaced by a directory on both sides settles itself once its content is there.
    lasting = {c.path for c in plan.conflicts if not disk.below(c.path) and not Disk(there, frozenset()).below(c.path)}
    assert lasting <= {c.path for c in again.conflicts} | set(again.collisions)
    assert again.steps == ()


@given(situations())
def test_a_plan_survives_its_file(case: tuple[Tree, Disk, Tree, Choices]) -> None:
    plan = make(*case)
    assert PullPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_the_worlds_are_rich() -> None:
    """The strategy really reaches what the laws are about."""
    found: Mapping[str, list[int]] = {
        name: [0] for name in ("conflict", "collision", "kept", "adopted", "complete", "step")
    }

    @settings(max_examples=200, database=None)
    @given(situations())
    def count(case: tuple[Tree, Disk, Tree, Choices]) -> None:
        plan = make(*case)
        found["conflict"][0] += bool(plan.conflicts)
        found["collision"][0] += bool(plan.collisions)
        found["kept"][0] += bool(plan.kept)
        found["adopted"][0] += bool(plan.adopted)
        found["complete"][0] += plan.complete
        found["step"][0] += bool(plan.steps)

    count()
    assert min(number for (number,) in found.values()) >= 8, found
