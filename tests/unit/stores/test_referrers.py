"""The list that clients keep: nothing of ours is lost, nothing of others either where it can be helped. No clock runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from modelops_bundle.errors import Corrupt, NotFound, TagMoved, Unavailable, Unsupported
from modelops_bundle.events import Event, Notice, Run
from modelops_bundle.model import media, referrers
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import ANYTHING, Expected
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.stores.referrers import QUIET, ROUNDS, Fallback, Pace, _Seen

SUBJECT = Digest.of(b"subject")
TAG = referrers.fallback_tag(SUBJECT)


class Clock:
    """Time that passes only when somebody sleeps; what others do meanwhile is in `meanwhile`, one act for each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.meanwhile: list[Callable[[], None]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        if self.meanwhile:
            self.meanwhile.pop(0)()

    @property
    def pace(self) -> Pace:
        return Pace(self.sleep, lambda: self.now, lambda: 0.5)


class Names(MemoryStore):
    """A store whose tags anybody may overwrite, and that tells what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.before_tag: list[Callable[[], None]] = []

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None:
        self.written += 1
        if self.before_tag:
            self.before_tag.pop(0)()
        super().tag(name, what, data, ANYTHING)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def fallback(names: Names, clock: Clock) -> Fallback:
    return Fallback(names, SUBJECT, "h/r", clock.pace)


def entry(store: MemoryStore, text: str) -> Descriptor:
    """The entry of a manifest that is stored."""
    data = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "text": text}).encode()
    what = Descriptor.of(media.OCI_MANIFEST, data)
    store.put(what, [data])
    return what


def overwrite(store: MemoryStore, *entries: Descriptor | dict[str, Any]) -> Callable[[], None]:
    """Somebody who did not look writes a list."""

    def act() -> None:
        data = referrers.write_list({}, [each if isinstance(each, dict) else each.to_json() for each in entries])
        MemoryStore.tag(store, TAG, Descriptor.of(media.OCI_INDEX, data), data, ANYTHING)

    return act


def listed(fallback: Fallback) -> list[Descriptor]:
    return fallback.read()


def test_an_absent_list_is_empty_and_made_by_the_first_entry(fallback: Fallback, names: Names) -> None:
    assert listed(fallback) == []
    one = entry(names, "one")
    fallback.add(one)
    assert listed(fallback) == [one]
    assert names.written == 1


def test_it_is_watched_for_a_while_after_writing(fallback: Fallback, names: Names, clock: Clock) -> None:
    fallback.add(entry(names, "one"))
    assert clock.now >= QUIET
    assert len(clock.slept) > 2
    assert sorted(clock.slept) == clock.slept


def test_what_is_listed_already_costs_one_look(fallback: Fallback, names: Names, clock: Clock) -> None:
    one = entry(names, "one")
    overwrite(names, one)()
    fallback.add(one)
    assert names.written == 0
    assert clock.slept == []


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_an_entry_that_somebody_drops_is_written_again(fallback: Fallback, names: Names, clock: Clock, at: int) -> None:
    """However late in the watch it happens: one more look after the write would not have seen it."""
    one, theirs = entry(names, "one"), entry(names, "theirs")
    clock.meanwhile = [lambda: None] * at + [overwrite(names, theirs)]
    fallback.add(one)
    assert {each.digest for each in listed(fallback)} == {one.digest, theirs.digest}


def test_a_third_ones_entry_that_a_second_drops_is_written_again(
    fallback: Fallback, names: Names, clock: Clock
) -> None:
    one, second, third = (entry(names, text) for text in ("one", "second", "third"))
    overwrite(names, third)()
    clock.meanwhile = [overwrite(names, second)]
    fallback.add(one)
    assert {each.digest for each in listed(fallback)} == {one.digest, second.digest, third.digest}


def test_what_was_deleted_meanwhile_does_not_come_back(fallback: Fallback, names: Names, clock: Clock) -> None:
    one, gone = entry(names, "one"), entry(names, "gone")
    overwrite(names, gone)()

    def delete() -> None:
        names.delete(gone)
        overwrite(names, one)()

    clock.meanwhile = [delete, overwrite(names)]
    fallback.add(one)
    assert listed(fallback) == [one]


def test_a_registry_that_compares_makes_it_look_again(fallback: Fallback, names: Names) -> None:
    one, theirs = entry(names, "one"), entry(names, "theirs")

    def refuse() -> None:
        overwrite(names, theirs)()
        raise TagMoved("412")

    names.before_tag = [refuse]
    fallback.add(one)
    assert {each.digest for each in listed(fallback)} == {one.digest, theirs.digest}


def test_entries_that_were_deleted_do_not_stand_in_the_way(fallback: Fallback, names: Names) -> None:
    """distribution 2.8 refuses a list that names what is not there."""
    one, gone, stays = (entry(names, text) for text in ("one", "gone", "stays"))
    overwrite(names, gone, stays)()
    names.delete(gone)

    def refuse() -> None:
        raise NotFound("unknown", blobs=[str(gone.digest)])

    names.before_tag = [refuse]
    fallback.add(one)
    assert {each.digest for each in listed(fallback)} == {one.digest, stays.digest}


def test_a_refusal_for_another_reason_is_raised(fallback: Fallback, names: Names) -> None:
    def refuse() -> None:
        raise NotFound("the repository is gone")

    names.before_tag = [refuse]
    with pytest.raises(NotFound, match="the repository is gone"):
        fallback.add(entry(names, "one"))


def test_what_nobody_here_understands_stays(fallback: Fallback, names: Names, clock: Clock) -> None:
    odd = {"mediaType": "x/y", "digest": "sha512:" + "a" * 128, "size": 1, "new": {"a": [1]}}
    odder = {"no": "digest"}
    overwrite(names, odd, odder)()
    one = entry(names, "one")
    clock.meanwhile = [overwrite(names)]
    fallback.add(one)
    held = names.resolve(TAG, data=True)
    assert held is not None
    written = json.loads(held.data or b"")["manifests"]
    assert odd in written
    assert listed(fallback) == [one]


def test_removing_takes_one_and_leaves_the_rest(fallback: Fallback, names: Names, clock: Clock) -> None:
    gone, stays = entry(names, "gone"), entry(names, "stays")
    overwrite(names, gone, stays)()
    clock.meanwhile = [overwrite(names, gone, stays)]
    fallback.remove(gone.digest)
    assert listed(fallback) == [stays]


def test_removing_from_no_list_makes_none(fallback: Fallback, names: Names) -> None:
    fallback.remove(Digest.of(b"never there"))
    assert names.written == 0
    assert names.resolve(TAG) is None


def test_something_else_under_its_tag_is_neither_read_nor_replaced(fallback: Fallback, names: Names) -> None:
    what = entry(names, "a manifest")
    held = names.resolve(str(what.digest), data=True)
    assert held is not None
    MemoryStore.tag(names, TAG, what, held.data or b"", ANYTHING)
    for act in (fallback.read, lambda: fallback.add(entry(names, "one"))):
        with pytest.raises(Corrupt, match="something else"):
            act()
    assert names.resolve(TAG) == what


def test_a_full_list_is_told(fallback: Fallback, names: Names) -> None:
    overwrite(names, {"fill": "x" * (media.MAX_MANIFEST - 100)})()
    with pytest.raises(Unsupported, match="full"):
        fallback.add(entry(names, "one"))
    assert names.written == 0


def test_others_who_never_stop_end_in_an_error(fallback: Fallback, names: Names, clock: Clock) -> None:
    clock.meanwhile = [overwrite(names)] * (2 * ROUNDS)
    with pytest.raises(Unavailable, match="others keep changing"):
        fallback.add(entry(names, "one"))


def test_an_old_look_is_not_written_upon(fallback: Fallback, names: Names, clock: Clock) -> None:
    """A slow answer: somebody wrote and went away before ours is written."""
    one, theirs = entry(names, "one"), entry(names, "theirs")
    real, looks = names.resolve, []

    def resolve(name: str, *, data: bool = False) -> Descriptor | None:
        found = real(name, data=data)
        if name == TAG and not looks:
            clock.now += QUIET
            overwrite(names, theirs)()
        looks.append(name)
        return found

    names.resolve = resolve  # type: ignore[method-assign]
    fallback.add(one)
    names.resolve = real  # type: ignore[method-assign]
    assert {each.digest for each in listed(fallback)} == {one.digest, theirs.digest}
    assert names.written == 1


def test_slow_requests_make_the_watch_longer_and_a_slow_write_is_told(names: Names, clock: Clock) -> None:
    events: list[Event] = []
    fallback = Fallback(names, SUBJECT, "h/r", clock.pace, Run(emit=events.append))

    def slow() -> None:
        clock.now += 2.0

    names.before_tag = [slow]
    fallback.add(entry(names, "one"))
    assert sum(clock.slept) >= 8 * 2.0
    assert [each.code for each in events if isinstance(each, Notice)] == ["referrers-slow"]


def test_a_long_list_is_gone_through_once_a_look(
    names: Names, fallback: Fallback, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for every entry made seconds of a list of some thousands, at every look."""
    overwrite(names, *(entry(names, f"{number}") for number in range(50)))()
    original, counted = _Seen.digests, []

    def digests(seen: _Seen) -> set[str]:
        counted.append(seen)
        assert original.fget is not None
        return original.fget(seen)  # type: ignore[no-any-return]

    monkeypatch.setattr(_Seen, "digests", property(digests))
    fallback.add(entry(names, "one"))
    assert len(listed(fallback)) == 51
    assert len(counted) <= 2 * (len(clock.slept) + 2)
