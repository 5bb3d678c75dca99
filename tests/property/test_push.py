"""Push: the next release, the lease, and plans as values."""

from __future__ import annotations

import json
from typing import get_args

from hypothesis import assume, given
from hypothesis import strategies as st

from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan import semver
from modelops_bundle.plan.push import Loss, PushPlan, Standing, TagMove, standing
from tests.support.strategies import snapshots, texts, worlds

parts = st.sampled_from(get_args(semver.Part))
numbers = st.integers(0, 10**6)
releases = st.builds(lambda v, a, b, c: f"{v}{a}.{b}.{c}", st.sampled_from(["", "v"]), numbers, numbers, numbers)
others = st.sampled_from(["latest", "1.0.0-rc.1", "v2.0.0-alpha", "1.0", "v1", "01.2.3", "1.2.3+b", "x1.0.0"]) | texts


def order(release: str) -> tuple[int, ...]:
    return tuple(int(n) for n in release.removeprefix("v").split("."))


@given(st.lists(releases), st.lists(others), parts)
def test_the_next_release_is_above_all_others(tags: list[str], noise: list[str], part: semver.Part) -> None:
    assume(not any(semver._RELEASE.fullmatch(tag) for tag in noise))
    found = semver.bump([*tags, *noise], part)
    assert found not in tags
    assert all(order(found) > order(tag) for tag in tags)
    assert found == semver.bump(tags, part), "pre-releases and other tags do not count"
    assert order(semver.bump([*tags, found], part)) > order(found)


@given(st.lists(releases, min_size=1), parts)
def test_exactly_one_part_grows_by_one_and_the_lower_ones_are_zero(tags: list[str], part: semver.Part) -> None:
    highest = max(order(tag) for tag in tags)
    place = ("major", "minor", "patch").index(part)
    expected = (*highest[:place], highest[place] + 1, *([0] * (2 - place)))
    found = semver.bump(tags, part)
    assert order(found) == expected
    assert found.startswith("v") == any(tag.startswith("v") for tag in tags if order(tag) == highest)


digests = st.sampled_from([Digest.of(bytes([n])) for n in range(4)])
maybe = st.none() | digests


@given(maybe, maybe, digests, maybe)
def test_a_push_never_moves_a_tag_that_this_clone_does_not_know(
    found: Digest | None, seen: Digest | None, ours: Digest, expected: Digest | None
) -> None:
    verdict = standing(found, seen, ours, expected)
    known = {ours, expected if expected is not None else seen}
    assert (verdict == "moved") == (found not in known if expected is None or found == ours else found != expected)
    assert (verdict == "adopted") == (found == ours)
    if verdict == "new":
        assert found is None


moves = st.builds(TagMove, texts, maybe, st.sampled_from(get_args(Standing)), maybe)


@given(
    st.lists(moves, min_size=1, max_size=3),
    snapshots(max_size=6),
    worlds(),
    st.dictionaries(texts.filter(lambda key: not key.startswith("dev.")), texts, max_size=3),
    st.lists(st.builds(Loss, texts, texts), max_size=3),
    st.booleans(),
)
def test_a_plan_survives_its_file(
    tags: list[TagMove],
    snapshot: Snapshot,
    base: dict[str, Entry],
    annotations: dict[str, str],
    losses: list[Loss],
    force: bool,
) -> None:
    keys = dict.fromkeys(snapshot, (1, 2, 3, 4, 5))
    plan = PushPlan(
        "reg.io/m", tuple(tags), snapshot, annotations, keys, Snapshot(base), tuple(losses), tuple(base), force=force
    )
    again = PushPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.artifact.digest == plan.artifact.digest
    assert [entry.role for entry in again.snapshot.values()] == [entry.role for entry in snapshot.values()]
