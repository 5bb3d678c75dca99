"""What a push will do: the lease, the losses, and the plan as a value."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from modelops_bundle.errors import ConfigError, TagMoved
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan.changes import Action
from modelops_bundle.plan.push import Loss, PushPlan, Standing, TagMove, drops_most, losses, standing
from tests.support.things import file, snapshot

OURS, SEEN, OTHER, TOLD = (Digest.of(text) for text in (b"ours", b"seen", b"other", b"told"))


# --- the lease -------------------------------------------------------------------------------------------------------


def rule(found: Digest | None, seen: Digest | None, expected: Digest | None) -> Standing:
    """DESIGN §6, spelled out once more."""
    if found == OURS:
        return "adopted"
    if expected is not None:
        return "current" if found is not None and found == expected else "moved"
    if found is None and seen is None:
        return "new"
    if found is not None and found == seen:
        return "current"
    return "moved"


@pytest.mark.parametrize(
    ("found", "seen", "expected"),
    list(itertools.product([None, OURS, SEEN, OTHER, TOLD], [None, OURS, SEEN, OTHER], [None, OURS, SEEN, TOLD])),
)
def test_the_lease_truth_table(found: Digest | None, seen: Digest | None, expected: Digest | None) -> None:
    assert standing(found, seen, OURS, expected) == rule(found, seen, expected)


def test_a_tag_that_vanished_has_moved() -> None:
    assert standing(None, SEEN, OURS, None) == "moved"


def test_expecting_something_of_an_absent_tag_is_moved() -> None:
    assert standing(None, None, OURS, TOLD) == "moved"


# --- losses ----------------------------------------------------------------------------------------------------------


def test_losses_are_their_changes_that_ours_lacks() -> None:
    base = snapshot(both="0", theirs="0", mine="0", gone="0", same="0")
    ours = snapshot(both="1", theirs="0", mine="1", gone="0", same="2")
    theirs = snapshot(both="2", theirs="1", mine="0", same="2", new="1")
    assert losses(base, ours, theirs) == (
        Loss("both", "modified"),
        Loss("gone", "deleted"),
        Loss("new", "added"),
        Loss("theirs", "modified"),
    )


def test_a_mode_change_of_theirs_is_a_loss() -> None:
    assert losses(snapshot(a="0"), snapshot(a="0"), snapshot(a=file("0", executable=True))) == (Loss("a", "mode"),)


@pytest.mark.parametrize(
    ("base", "kept", "most"),
    [
        ("", "", False),
        ("a", "a", False),
        ("a", "", True),
        ("ab", "a", False),
        ("abc", "a", False),
        ("abcd", "ab", False),
        ("abcd", "a", True),
        ("abcde", "ab", True),
        ("ab", "", True),
    ],
)
def test_dropping_all_or_most_is_noticed(base: str, kept: str, most: bool) -> None:
    entries = {name: file(name) for name in base}
    assert drops_most(entries, {name: entries[name] for name in kept}) is most
    assert drops_most(entries, {**{name: entries[name] for name in kept}, "new": file("x")}) is most


# --- the plan --------------------------------------------------------------------------------------------------------

TREE = snapshot(a="1", bin=file("x", executable=True), l=Entry.link("a"), d=Entry.directory())
PLAN = PushPlan(
    "reg.io/m",
    (TagMove("latest", None, "new"), TagMove("v1", OTHER, "moved", SEEN)),
    TREE,
    {"note": "é"},
    {"a": (1, 2, 3, 4, 5)},
    snapshot(a="0", dropped="1"),
    (Loss("a", "modified"),),
    ("dropped",),
    frozenset([str(OTHER)]),
    "strict",
)


def test_json_round_trip() -> None:
    again = PushPlan.from_json(json.loads(json.dumps(PLAN.to_json())))
    assert again == PLAN
    assert again.artifact.digest == PLAN.artifact.digest


@pytest.mark.parametrize("change", [{"version": 1}, {"version": 3}, {"version": None}, {"manifest": str(OTHER)}])
def test_a_plan_that_would_make_another_manifest_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="another version"):
        PushPlan.from_json({**PLAN.to_json(), **change})


def test_an_edited_snapshot_is_noticed() -> None:
    value = PLAN.to_json()
    value["snapshot"]["a"]["size"] = 2
    with pytest.raises(ConfigError):
        PushPlan.from_json(value)


def test_a_moved_tag_refuses_and_names_what_would_be_lost() -> None:
    with pytest.raises(TagMoved, match=r"reg.io/m:v1 .* would lose: a \(modified there\)") as caught:
        PLAN.check()
    assert caught.value.facts["tags"] == [{"tag": "v1", "digest": str(OTHER), "seen": str(SEEN)}]
    assert caught.value.facts["losses"] == [{"path": "a", "action": "modified"}]


@pytest.mark.parametrize(
    ("found", "seen", "told"),
    [
        (OTHER, SEEN, f"t is sha256:{OTHER.short}, this clone last saw sha256:{SEEN.short}"),
        (None, SEEN, f"t is gone, this clone last saw sha256:{SEEN.short}"),
        (OTHER, None, f"t is sha256:{OTHER.short}, this clone has never seen it"),
    ],
)
def test_both_sides_of_a_moved_tag_are_named(found: Digest | None, seen: Digest | None, told: str) -> None:
    assert TagMove("t", found, "moved", seen).told() == told


@pytest.mark.parametrize(
    ("moves", "hinted"),
    [
        ([("t", None, SEEN)], "reg.io/m:t"),
        ([("t", None, SEEN), ("u", None, SEEN)], "reg.io/m:t reg.io/m:u"),
        ([("t", None, SEEN), ("u", OTHER, SEEN)], None),
        ([("t", None, None)], None),
    ],
)
def test_who_can_pull_nothing_is_told_how_to_go_on(
    moves: list[tuple[str, Digest | None, Digest | None]], hinted: str | None
) -> None:
    with pytest.raises(TagMoved) as caught:
        replace(PLAN, tags=tuple(TagMove(tag, found, "moved", seen) for tag, found, seen in moves)).check()
    forgets = f"push --force makes it anew; bundle untag {hinted} --missing-ok forgets it"
    assert caught.value.hint == (forgets if hinted else None)


def test_force_does_not_refuse() -> None:
    replace(PLAN, force=True).check()


@pytest.mark.parametrize("good", ["new", "current", "adopted"])
def test_a_tag_that_stands_well_does_not_refuse(good: Standing) -> None:
    replace(PLAN, tags=(TagMove("t", None, good),)).check()


def test_a_long_list_of_losses_is_cut_in_the_text_and_whole_in_the_facts() -> None:
    many = tuple(Loss(f"f{n:02}", "modified") for n in range(30))
    with pytest.raises(TagMoved) as caught:
        replace(PLAN, losses=many).check()
    assert "f09" in caught.value.message
    assert "f10" not in caught.value.message
    assert len(caught.value.facts["losses"]) == 30


def test_changes_and_dropped_are_against_the_base() -> None:
    assert PLAN.dropped == ("dropped",)
    assert [(path, what) for path, what, _ in PLAN.changes()] == [
        ("a", Action.MODIFIED),
        ("bin", Action.ADDED),
        ("d", Action.ADDED),
        ("dropped", Action.DELETED),
        ("l", Action.ADDED),
    ]


def test_there_is_nothing_to_do_when_every_tag_stands_for_it() -> None:
    done = TagMove("a", PLAN.artifact.digest, "adopted")
    assert replace(PLAN, tags=(done, done)).nothing
    assert not replace(PLAN, tags=(done, TagMove("b", None, "new"))).nothing


def test_the_artifact_has_nothing_of_the_place() -> None:
    other = replace(PLAN, place="elsewhere.io/x", tags=(), base=Snapshot(), keys={}, force=True)
    assert other.artifact.digest == PLAN.artifact.digest
