"""Moving a tag without losing anybody's update: every interleaving of two writers (facts: reliability §3.10)."""

from __future__ import annotations

import contextvars
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import TagMoved, Unavailable, Unsupported
from modelops_bundle.events import Run, observe_checkpoints
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import check_tag, is_service_tag
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.transfer import publish as module
from modelops_bundle.transfer.publish import INTENT_SECONDS, Note, Wish, lost_tag, publish
from tests.support.interleave import End, Explorer, Link, Registry, UntaggingLink

TAG = "latest"
BASE, ALICE, BOB, EVE = (canonical.dumps({"schemaVersion": 2, "who": who}) for who in ("base", "alice", "bob", "eve"))
NOW = 1_700_000_000.0


def wish(data: bytes, found: bytes | None = BASE, **more: Any) -> Wish:
    return Wish(TAG, None if found is None else Digest.of(found), Descriptor.of(media.OCI_MANIFEST, data), data, **more)


class NoWait:
    """The cancellation of a run whose pauses take no time."""

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float) -> bool:
        assert 0 <= timeout <= 2
        return False


RUN = Run(cancelled=NoWait())  # type: ignore[arg-type]
_who: contextvars.ContextVar[Iterator[str]] = contextvars.ContextVar("who")


class Clock:
    """Time that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.wall = NOW
        self.steady = 0.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module.secrets, "token_hex", lambda _: next(_who.get()))
    return made


def writer(name: str, wanted: Wish, race: str) -> Callable[[Any], None]:
    """A deterministic writer: the same names for its announcements in every run."""

    def write(store: Any) -> None:
        _who.set(f"{name}{number:015x}" for number in itertools.count())
        publish(store, wanted, RUN, race=race)

    return write


def explore(race: str, *, base: bytes | None = BASE, link: type[Link] = UntaggingLink, **more: Any) -> list[End]:
    writers = [writer("a", wish(ALICE, base), race), writer("b", wish(BOB, base), race)]
    explorer = Explorer(writers, {Digest.of(data): data for data in (BASE, ALICE, BOB)}, link, **more)
    found = explorer.ends({} if base is None else {TAG: Digest.of(base)})
    assert explorer.states > 20
    return found


def successes(end: End) -> list[bytes]:
    return [data for data, result in zip((ALICE, BOB), end.results, strict=True) if result is None]


def silently_lost(end: End) -> list[bytes]:
    """Versions whose writer was told that all is well and that the tag does not stand for."""
    return [data for data in successes(end) if end.tags.get(TAG) != Digest.of(data)]


# --- strict ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [Link, UntaggingLink])
@pytest.mark.parametrize("base", [BASE, None])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_strict_loses_nothing_in_any_interleaving(
    monkeypatch: pytest.MonkeyPatch, base: bytes | None, link: type[Link], rounds: int
) -> None:
    monkeypatch.setattr(module, "ROUNDS", rounds)
    ends = explore("strict", base=base, link=link)
    assert [end for end in ends if silently_lost(end)] == []
    for end in ends:
        done = successes(end)
        assert len(done) <= 1
        standing = end.tags.get(TAG)
        assert standing == (Digest.of(done[0]) if done else (Digest.of(base) if base else None))
        for result in end.results:
            assert result is None or isinstance(result, TagMoved | Unavailable)
    assert {len(successes(end)) for end in ends} == {0, 1}, "both outcomes are reached"
    assert {successes(end)[0] for end in ends if successes(end)} == {ALICE, BOB}


@pytest.mark.parametrize("link", [Link, UntaggingLink])
def test_strict_leaves_no_live_announcement(monkeypatch: pytest.MonkeyPatch, link: type[Link]) -> None:
    monkeypatch.setattr(module, "ROUNDS", 1)
    for end in explore("strict", link=link):
        left = [name for name in end.tags if name != TAG]
        if link is UntaggingLink:
            assert left == []
        assert all(is_service_tag(name) for name in left)
        assert not any(b'"live"' in end.manifests[end.tags[name]] for name in left)


def test_one_of_two_always_gets_through_when_it_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the other has ended, whoever failed for want of rounds can run again and succeeds or is told."""
    monkeypatch.setattr(module, "ROUNDS", 1)
    for end in explore("strict"):
        if not successes(end):
            explorer = Explorer([writer("c", wish(ALICE), "strict")], end.manifests)
            assert [again.results for again in explorer.ends(end.tags)] == [(None,)]


def test_a_dead_writer_blocks_until_its_announcement_expires_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(module, "ROUNDS", 1)
    ends = explore("strict", mortal=frozenset([0]))
    assert [end for end in ends if silently_lost(end)] == []
    dead = [end for end in ends if end.results[0] == "died" and isinstance(end.results[1], Unavailable)]
    assert dead, "some deaths leave an announcement that blocks"
    clock.wall = NOW + INTENT_SECONDS + 1
    for end in dead:
        (again,) = Explorer([writer("c", wish(BOB), "strict")], end.manifests).ends(end.tags)
        if end.tags[TAG] == Digest.of(BASE):
            assert again.results == (None,)
            assert again.tags[TAG] == Digest.of(BOB)
        else:
            assert isinstance(again.results[0], TagMoved)


def test_two_who_write_the_same_both_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUNDS", 2)
    for race in ("strict", "default"):
        writers = [writer("a", wish(ALICE), race), writer("b", wish(ALICE), race)]
        ends = Explorer(writers, {Digest.of(data): data for data in (BASE, ALICE)}).ends({TAG: Digest.of(BASE)})
        assert {end.tags[TAG] for end in ends} <= {Digest.of(ALICE), Digest.of(BASE)}
        assert all(not isinstance(result, TagMoved) for end in ends for result in end.results)
        assert any(end.results == (None, None) for end in ends)


# --- strict: the harness can see a broken protocol ---------------------------------------------------------------------


def test_control_without_looking_at_others_updates_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUNDS", 1)
    monkeypatch.setattr(module, "_is_live", lambda *_: False)
    assert any(silently_lost(end) for end in explore("strict"))


def test_control_without_looking_at_the_tag_again_updates_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUNDS", 1)
    real = module.check_tag
    looked = 0

    def first_only(store: Any, wanted: Wish) -> bool:
        nonlocal looked
        looked += 1
        return real(store, wanted) if store.used == 0 else False

    monkeypatch.setattr(module, "check_tag", first_only)
    assert any(silently_lost(end) for end in explore("strict"))


def test_control_announcing_after_looking_loses_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUNDS", 1)

    class Late(UntaggingLink):
        def tags(self) -> list[str]:
            # What a list from before the announcement shows: nobody but ourselves.
            return [name for name in super().tags() if name.endswith("000") and name.split(".")[-1][0] == self.me]

        me = "?"

        def tag(self, name: str, what: Descriptor, data: bytes, expect: Any) -> None:
            if name.startswith("_i."):
                self.me = name.rsplit(".", maxsplit=1)[-1][0]
            super().tag(name, what, data, expect)

    assert any(silently_lost(end) for end in explore("strict", link=Late))


# --- default ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [BASE, None])
def test_default_tells_the_loser_now_or_leaves_what_tells_it_later(base: bytes | None) -> None:
    ends = explore("default", base=base)
    later = [end for end in ends if silently_lost(end)]
    for end in ends:
        standing = end.tags[TAG]
        assert standing in (Digest.of(ALICE), Digest.of(BOB))
        for data, result in zip((ALICE, BOB), end.results, strict=True):
            mine = Digest.of(data)
            if isinstance(result, TagMoved):
                kept = result.facts.get("kept")
                # Told before anything was written, or told after with the version kept.
                assert kept is None or end.tags[kept] == mine
                assert standing != mine or kept is not None
            else:
                assert result is None
    # The one way to lose without being told at once: the other looked before our PUT and wrote after our last look.
    # Then both believe in their success, the tag stands for one of them, and the overwritten one's next command
    # compares what it pushed with what is there (plan.changes.lost).
    assert {len(successes(end)) for end in later} == {2}
    assert 0 < len(later) < len(ends)


def test_default_window_is_exactly_one_order_of_calls() -> None:
    """Of all orders of look, put, look only those with both looks before the first put, and nothing between our put
    and our last look, lose in silence."""
    ends = explore("default")
    assert len([end for end in ends if silently_lost(end)]) == 2


# --- one writer ------------------------------------------------------------------------------------------------------


class Fake:
    """A registry for one writer; `before` runs before the call of that number."""

    def __init__(self, tags: dict[str, Digest] | None = None) -> None:
        self.registry = Registry(
            {TAG: Digest.of(BASE)} if tags is None else tags, {Digest.of(d): d for d in (BASE, ALICE, BOB, EVE)}
        )
        self.calls: list[str] = []
        self.before: dict[int, Callable[[], None]] = {}
        self.expected: list[Any] = []

    def _do(self, method: str, *arguments: Any) -> Any:
        self.before.get(len(self.calls), lambda: None)()
        self.calls.append(method)
        return self.registry.do(method, arguments)

    def has(self, what: Descriptor) -> bool:
        return True

    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Any:
        raise NotImplementedError

    def put(self, what: Descriptor, chunks: Any) -> None:
        pass

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None:
        return self._do("resolve", name, data)  # type: ignore[no-any-return]

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Any) -> None:
        self.expected.append(expect)
        self._do("tag", name, what.digest, data)

    def move(self, data: bytes) -> Callable[[], None]:
        return lambda: self.registry.tags.__setitem__(TAG, Digest.of(data))


class Listing(Fake):
    def tags(self) -> tuple[str, ...]:
        return self._do("tags")  # type: ignore[no-any-return]


class Dated(Listing):
    clock = NOW

    def now(self) -> float | None:
        return self.clock


def go(store: Any, wanted: Wish, race: str = "default", note: Note | None = None) -> None:
    _who.set(f"m{number:015x}" for number in itertools.count())
    publish(store, wanted, RUN, race=race, note=note)


def test_an_atomic_store_is_asked_to_swap() -> None:
    store = MemoryStore()
    go(store, wish(ALICE, None))
    go(store, wish(BOB, ALICE))
    with pytest.raises(TagMoved):
        go(store, wish(EVE, ALICE))
    go(store, wish(EVE, ALICE, force=True))
    found = store.resolve(TAG)
    assert found is not None
    assert found.digest == Digest.of(EVE)


@pytest.mark.parametrize("race", ["default", "strict"])
@pytest.mark.parametrize("found", [BASE, None])
def test_what_stands_there_already_is_not_written_again(race: str, found: bytes | None) -> None:
    store = Listing({TAG: Digest.of(ALICE)})
    go(store, wish(ALICE, found), race)
    assert store.calls == ["resolve"]


@pytest.mark.parametrize("race", ["default", "strict"])
def test_a_tag_that_moved_before_us_refuses_and_nothing_is_written(race: str) -> None:
    store = Listing({TAG: Digest.of(EVE)})
    with pytest.raises(TagMoved) as caught:
        go(store, wish(ALICE), race)
    assert store.calls == ["resolve"]
    assert caught.value.facts["found"] == str(Digest.of(EVE))


def test_a_tag_that_vanished_refuses() -> None:
    with pytest.raises(TagMoved, match="now it is absent"):
        go(Fake({}), wish(ALICE))


def test_the_default_takes_three_calls() -> None:
    store = Fake()
    go(store, wish(ALICE))
    assert store.calls == ["resolve", "tag", "resolve"]
    assert store.registry.tags == {TAG: Digest.of(ALICE)}
    assert [expect.digest for expect in store.expected] == [Digest.of(BASE)]


def test_force_overwrites_whatever_is_there_even_under_strict() -> None:
    store = Fake({TAG: Digest.of(EVE)})
    go(store, wish(ALICE, force=True), "strict")
    assert store.registry.tags == {TAG: Digest.of(ALICE)}


def test_who_is_overtaken_after_the_put_is_told_and_its_version_kept() -> None:
    store = Fake()
    store.before[2] = store.move(EVE)
    with pytest.raises(TagMoved, match="kept as latest-lost-") as caught:
        go(store, wish(ALICE))
    kept = caught.value.facts["kept"]
    assert store.registry.tags == {TAG: Digest.of(EVE), kept: Digest.of(ALICE)}


def test_who_finds_the_tag_gone_after_the_put_is_told_too() -> None:
    store = Fake()
    store.before[2] = lambda: store.registry.tags.pop(TAG) and None
    with pytest.raises(TagMoved):
        go(store, wish(ALICE))
    assert Digest.of(ALICE) in store.registry.tags.values()


@pytest.mark.parametrize("tag", ["latest", "v1", "t" * 128, "t" * 111])
def test_the_tag_that_keeps_a_lost_version_is_a_service_tag(tag: str) -> None:
    kept = lost_tag(tag, Digest.of(ALICE))
    assert check_tag(kept) == kept
    assert is_service_tag(kept)
    assert kept.endswith(Digest.of(ALICE).hex[:12])


# --- strict, one writer ----------------------------------------------------------------------------------------------


def test_strict_without_a_list_of_tags_is_unsupported_before_anything_is_written() -> None:
    store = Fake()
    with pytest.raises(Unsupported, match="lists tags"):
        go(store, wish(ALICE), "strict")
    assert store.calls == []


def test_strict_with_a_list_that_lags_is_unsupported_and_withdrawn() -> None:
    class Lagging(Listing):
        def tags(self) -> tuple[str, ...]:
            return (TAG,)

    store = Lagging()
    with pytest.raises(Unsupported, match="at once"):
        go(store, wish(ALICE), "strict")
    assert store.registry.tags[TAG] == Digest.of(BASE)
    assert not any(b'"live"' in store.registry.manifests[digest] for digest in store.registry.tags.values())


def test_announcements_of_other_tags_and_bases_do_not_matter() -> None:
    store = Listing()
    others = [f"_i.{'0' * 12}.{Digest.of(BASE).short}.x", "_i.x", "v1-lost-0123456789ab"]
    live = module._intent_manifest("live", "x", NOW)
    for name in others:
        store.registry.do("tag", (name, Digest.of(live), live))
    go(store, wish(ALICE), "strict")
    assert store.registry.tags[TAG] == Digest.of(ALICE)


def announced(store: Listing, data: bytes) -> None:
    """Somebody else's announcement for our tag and base."""
    probe = Listing()
    go(probe, wish(BOB), "strict")
    name = next(name for name in probe.registry.tags if name.startswith("_i."))
    store.registry.do("tag", (re.sub(r"\.m0+$", ".other", name), Digest.of(data), data))


@pytest.mark.parametrize(
    ("data", "blocks"),
    [
        (module._intent_manifest("live", "x", NOW), True),
        (module._intent_manifest("live", "x", NOW - INTENT_SECONDS + 1), True),
        (module._intent_manifest("live", "x", NOW - INTENT_SECONDS - 1), False),
        (module._intent_manifest("live", "x", NOW + 30), True),
        (module._intent_manifest("over", "x", NOW), False),
        (b"garbage", False),
        (b"{}", False),
    ],
)
@pytest.mark.parametrize("kind", [Listing, Dated])
def test_only_a_live_announcement_blocks(kind: type[Listing], data: bytes, blocks: bool, clock: Clock) -> None:
    store = kind()
    announced(store, data)
    if kind is Dated:
        clock.wall = NOW + 10_000  # a clock of ours that is wrong must not matter where the registry has one
    if blocks:
        with pytest.raises(Unavailable, match="keep announcing"):
            go(store, wish(ALICE), "strict")
        assert store.registry.tags[TAG] == Digest.of(BASE)
    else:
        go(store, wish(ALICE), "strict")
        assert store.registry.tags[TAG] == Digest.of(ALICE)


def test_an_announcement_that_grew_old_is_not_relied_on(clock: Clock) -> None:
    store = Listing()

    def stall() -> None:
        clock.steady += INTENT_SECONDS / 2 + 1

    for number in range(2, 2000):
        store.before[number] = stall
    with pytest.raises(Unavailable):
        go(store, wish(ALICE), "strict")
    assert store.registry.tags[TAG] == Digest.of(BASE)


# --- the note of a killed push ---------------------------------------------------------------------------------------


class Killed(BaseException):
    """No `finally` of the product runs store calls after it: the store refuses."""


@pytest.mark.parametrize("number", range(8))
def test_a_push_killed_at_any_call_does_not_block_its_rerun(tmp_path: Path, number: int) -> None:
    store = Listing()

    def kill() -> None:
        raise Killed

    for later in range(number, 100):
        store.before[later] = kill
    note = Note(tmp_path / "note", "reg.io/m")
    try:
        go(store, wish(ALICE), "strict", note)
    except Killed:
        pass
    store.before.clear()
    Note(tmp_path / "note", "reg.io/m").settle(store)
    try:
        go(store, wish(BOB, ALICE if store.registry.tags[TAG] == Digest.of(ALICE) else BASE), "strict")
    except Unavailable:
        pytest.fail("blocked by its own announcement")
    assert store.registry.tags[TAG] == Digest.of(BOB)


def test_the_note_is_there_before_the_announcement_and_gone_after(tmp_path: Path) -> None:
    path = tmp_path / "note"
    seen: list[tuple[str, bool]] = []
    store = Listing()
    stop = observe_checkpoints(lambda name: seen.append((name, path.exists())))
    try:
        go(store, wish(ALICE), "strict", Note(path, "p"))
    finally:
        stop()
    assert ("announced", True) in seen
    assert not path.exists()


def test_a_note_of_another_place_is_left_alone(tmp_path: Path) -> None:
    Note(tmp_path / "note", "reg.io/a").write("_i.x")
    store = Listing({"_i.x": Digest.of(EVE)})
    Note(tmp_path / "note", "reg.io/b").settle(store)
    assert (store.calls, (tmp_path / "note").exists()) == ([], True)


def test_without_a_note_there_is_nothing_to_settle(tmp_path: Path) -> None:
    store = Listing()
    Note(tmp_path / "note", "p").settle(store)
    assert store.calls == []


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"place":"p"}', b'{"place":"p","tag":"../x"}'])
def test_a_damaged_note_wedges_nobody(tmp_path: Path, data: bytes) -> None:
    """What was announced expires by itself."""
    (tmp_path / "note").write_bytes(data)
    store = Listing()
    Note(tmp_path / "note", "p").settle(store)
    assert [call for call in store.calls if call != "resolve"] == []
    Note(tmp_path / "note", "p").settle(store)
