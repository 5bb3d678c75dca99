"""What a pull will do, rule by rule (DESIGN §6)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from modelops_bundle.errors import BundleError, ConfigError, Conflict, NoMatch, UnsafePath, WouldOverwrite
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan.pull import PLAIN, Choices, PullPlan, Step, needs_bytes, plan_pull
from tests.support.things import blob, file

D = Digest.of(b"manifest")
A, B, C = file("a"), file("b"), file("c")
OLD, NEW = file("old"), file("new")


def plan(
    base: Mapping[str, Entry],
    here: Mapping[str, Entry],
    there: Mapping[str, Entry],
    *,
    choices: Choices = PLAIN,
    tracked: set[str] | None = None,
    untracked: Mapping[str, Entry] | None = None,
    obstacles: Mapping[str, set[str]] | None = None,
) -> PullPlan:
    places = {path: Place(blob(path.encode())) for path, entry in there.items() if entry.kind == "file"}
    return plan_pull(
        "reg.io/m:t",
        D,
        Snapshot(base),
        Snapshot(here),
        Snapshot(there),
        tracked=set(here) if tracked is None else tracked,
        untracked=untracked or {},
        obstacles=obstacles or {},
        places=places,
        choices=choices,
    )


# --- one path --------------------------------------------------------------------------------------------------------


def test_a_remote_change_applies() -> None:
    found = plan({"p": A}, {"p": A}, {"p": B})
    assert found.steps == (Step("p", A, B),)
    assert (found.base, found.complete, found.refused, found.discards) == ({"p": B}, True, False, ())
    assert set(found.places) == {"p"}


def test_a_remote_addition_is_tracked() -> None:
    found = plan({}, {}, {"p": A})
    assert (found.steps, found.track, found.untrack) == ((Step("p", None, A),), ("p",), ())


def test_a_remote_deletion_applies_and_untracks() -> None:
    found = plan({"p": A}, {"p": A}, {})
    assert (found.steps, found.untrack, found.base, found.places) == ((Step("p", A, None),), ("p",), {}, {})


@pytest.mark.parametrize("here", [{"p": B}, {}])
def test_a_local_change_keeps(here: dict[str, Entry]) -> None:
    found = plan({"p": A}, here, {"p": A}, tracked={"p"})
    assert (found.steps, found.kept, found.base, found.complete) == ((), ("p",), {"p": A}, True)
    assert (found.track, found.untrack) == ((), ())


def test_the_same_change_on_both_sides_is_adopted() -> None:
    found = plan({"p": A}, {"p": B}, {"p": B})
    assert (found.steps, found.adopted, found.base, found.complete) == ((), ("p",), {"p": B}, True)


@pytest.mark.parametrize(("here", "there"), [({"p": B}, {"p": C}), ({}, {"p": C}), ({"p": B}, {})])
def test_different_changes_conflict(here: dict[str, Entry], there: dict[str, Entry]) -> None:
    found = plan({"p": A}, here, there, tracked={"p"})
    assert [change.path for change in found.conflicts] == ["p"]
    assert (found.steps, found.base, found.refused, found.complete) == ((), {"p": A}, True, False)
    with pytest.raises(Conflict) as caught:
        found.check()
    assert caught.value.facts == {"conflicts": ["p"], "collisions": []}


def test_one_conflict_refuses_the_whole_plan_unless_merging() -> None:
    base, here, there = {"p": A, "q": A}, {"p": B, "q": A}, {"p": C, "q": B}
    assert plan(base, here, there).refused
    merged = plan(base, here, there, choices=Choices(merge=True))
    assert (merged.refused, merged.complete, merged.steps) == (False, False, (Step("q", A, B),))
    assert merged.base == {"p": A, "q": B}
    merged.check()


def test_a_change_of_the_executable_bit_needs_no_bytes() -> None:
    found = plan({"p": A}, {"p": A}, {"p": file("a", executable=True)})
    assert [step.path for step in found.steps] == ["p"]
    assert (found.places, found.size) == ({}, 0)


# --- what is not tracked ---------------------------------------------------------------------------------------------


def test_an_identical_untracked_file_is_adopted() -> None:
    found = plan({}, {}, {"p": A}, untracked={"p": A})
    assert (found.steps, found.adopted, found.track, found.complete) == ((), ("p",), ("p",), True)


def test_another_untracked_file_is_a_collision() -> None:
    found = plan({}, {}, {"p": A}, untracked={"p": B})
    assert (found.collisions, found.steps, found.refused) == (("p",), (), True)
    with pytest.raises(WouldOverwrite, match="in the way: p"):
        found.check()


def test_a_path_removed_from_the_bundle_but_kept_on_disk_stays_out() -> None:
    found = plan({"p": A}, {}, {"p": A}, tracked=set(), untracked={"p": A})
    assert (found.kept, found.adopted, found.steps, found.track, found.base) == (("p",), (), (), (), {"p": A})


def test_such_a_path_conflicts_when_the_remote_changed_it() -> None:
    found = plan({"p": A}, {}, {"p": B}, tracked=set(), untracked={"p": A})
    assert [change.path for change in found.conflicts] == ["p"]


def test_overwriting_brings_it_back() -> None:
    found = plan({"p": A}, {}, {"p": A}, tracked=set(), untracked={"p": A}, choices=Choices(overwrite=True))
    assert (found.steps, found.track, found.complete) == ((), ("p",), True)


# --- settling --------------------------------------------------------------------------------------------------------


def test_theirs_takes_the_remote_and_says_what_is_discarded() -> None:
    found = plan({"p": A}, {"p": B}, {"p": C}, choices=Choices(theirs=("p",)))
    assert (found.steps, found.discards, found.complete, found.refused) == ((Step("p", B, C),), ("p",), True, False)


def test_ours_keeps_the_local_and_moves_the_base() -> None:
    found = plan({"p": A}, {"p": B}, {"p": C}, choices=Choices(ours=("p",)))
    assert (found.steps, found.kept, found.base, found.complete) == ((), ("p",), {"p": C}, True)


def test_ours_of_a_collision_tracks_the_file_that_is_there() -> None:
    found = plan({}, {}, {"p": A}, untracked={"p": B}, choices=Choices(ours=("p",)))
    assert (found.track, found.base, found.steps, found.complete) == (("p",), {"p": A}, (), True)


def test_theirs_of_a_collision_discards_the_file_that_is_there() -> None:
    found = plan({}, {}, {"p": A}, untracked={"p": B}, choices=Choices(theirs=("p",)))
    assert (found.steps, found.discards) == ((Step("p", B, A),), ("p",))


@pytest.mark.parametrize("choices", [Choices(ours=("q",)), Choices(theirs=("q",))])
def test_a_path_that_is_not_in_question_cannot_be_settled(choices: Choices) -> None:
    with pytest.raises(NoMatch, match="q has no conflict"):
        plan({"p": A, "q": A}, {"p": B, "q": A}, {"p": C, "q": A}, choices=choices)


def test_overwrite_makes_every_tracked_and_remote_path_equal_the_remote() -> None:
    found = plan(
        {"both": A, "mine": A, "gone": A, "same": A},
        {"both": B, "mine": B, "same": A, "added": A},
        {"both": C, "mine": A, "gone": A, "same": A, "new": B, "coll": A},
        tracked={"both", "mine", "gone", "same", "added"},
        untracked={"coll": B},
        choices=Choices(overwrite=True),
    )
    assert found.steps == (
        Step("added", A, None),
        Step("both", B, C),
        Step("coll", B, A),
        Step("gone", None, A),
        Step("mine", B, A),
        Step("new", None, B),
    )
    assert found.discards == ("added", "both", "coll", "mine")
    assert (found.complete, found.refused) == (True, False)


# --- what is in the way ----------------------------------------------------------------------------------------------


def test_a_file_that_stays_blocks_a_directory_that_is_needed() -> None:
    found = plan({}, {"d": A}, {"d/x": B}, obstacles={"d/x": {"d"}})
    assert (found.collisions, found.steps, found.base, found.track) == (("d",), (), {}, ())


def test_a_file_that_goes_does_not_block() -> None:
    found = plan({"d": A}, {"d": A}, {"d/x": B}, obstacles={"d/x": {"d"}})
    assert found.steps == (Step("d", A, None), Step("d/x", None, B))
    assert found.complete


def test_untracked_content_blocks_a_file_where_a_directory_is() -> None:
    found = plan({"d/x": A}, {"d/x": A}, {"d": B}, obstacles={"d": {"d/x", "d/mine"}})
    assert found.collisions == ("d/mine",)
    assert found.steps == (Step("d/x", A, None),)


def test_a_blocked_path_stays_as_it_was_in_every_respect() -> None:
    found = plan(
        {"d/x": A},
        {},
        {"d/x": B},
        tracked={"d/x"},
        obstacles={"d/x": {"d"}},
        choices=Choices(merge=True, theirs=["d/x"]),
    )
    assert (found.steps, found.base, found.track, found.untrack, found.discards) == ((), {"d/x": A}, (), (), ())
    assert not found.complete


def test_what_is_blocked_is_not_said_to_be_discarded() -> None:
    found = plan(
        {"p": A}, {"p": Entry.directory()}, {"p": C}, obstacles={"p": {"p/mine"}}, choices=Choices(theirs=("p",))
    )
    assert (found.collisions, found.steps, found.discards) == (("p/mine",), (), ())


def test_a_deletion_is_never_blocked() -> None:
    found = plan({"p": A}, {"p": A}, {}, obstacles={"p": {"other"}})
    assert found.steps == (Step("p", A, None),)


def test_an_empty_directory_of_the_remote_survives_deletions_below_it() -> None:
    directory = Entry.directory()
    found = plan({"d": directory, "d/x": A}, {"d": directory, "d/x": A}, {"d": directory})
    assert found.steps == (Step("d", directory, directory), Step("d/x", A, None))


# --- the plan as a value ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (None, A, True),
        (A, B, True),
        (A, None, False),
        (A, file("a", executable=True), False),
        (Entry.link("x"), A, True),
        (Entry.directory(), A, True),
        (A, Entry.link("x"), False),
        (None, Entry.directory(), False),
        (None, file(""), True),
    ],
)
def test_which_steps_need_bytes(before: Entry | None, after: Entry | None, wanted: bool) -> None:
    assert needs_bytes(Step("p", before, after)) is wanted


FULL = plan(
    {"p": A, "q": A, "c": A},
    {"p": A, "q": A, "c": B},
    {"p": B, "l": Entry.link("p"), "d": Entry.directory(), "c": C, "u": A, "coll": A},
    untracked={"u": A, "coll": B},
    choices=Choices(merge=True),
)


def test_json_round_trip() -> None:
    assert PullPlan.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL
    assert FULL.conflicts
    assert FULL.collisions
    assert FULL.adopted
    assert FULL.steps


def test_size_is_what_has_to_be_written() -> None:
    assert FULL.size == 1
    assert not FULL.nothing
    assert replace(FULL, steps=()).nothing


@pytest.mark.parametrize("version", [None, 1, "1"])
def test_a_plan_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(ConfigError, match="another version"):
        PullPlan.from_json({**FULL.to_json(), "version": version})


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", ".git/hooks/x", "a\nb", ""])
def test_a_plan_from_elsewhere_cannot_lead_out_of_the_tree(path: str) -> None:
    value = FULL.to_json()
    for change in ({"steps": [{"path": path, "before": None, "after": None}]}, {"track": [path]}):
        with pytest.raises(UnsafePath):
            PullPlan.from_json({**value, **change})


def test_a_long_refusal_is_cut_in_the_text_and_whole_in_the_facts() -> None:
    names = [f"f{n:02}" for n in range(30)]
    found = plan(dict.fromkeys(names, A), dict.fromkeys(names, B), dict.fromkeys(names, C))
    with pytest.raises(Conflict) as caught:
        found.check()
    assert "f09" in caught.value.message
    assert "f10" not in caught.value.message
    assert caught.value.facts["conflicts"] == names


@pytest.mark.parametrize(
    "value",
    [{"path": "a", "after": []}, {"path": "a", "after": {"kind": "x"}}, {"path": "a", "before": 3}],
)
def test_a_step_that_cannot_be_read_is_an_error_of_ours(value: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Step.from_json(value)
