"""Writers racing for one tag: how many updates are lost, and that every loss is told.

Facts: reliability §3.10. Two clones stand at the same version, each changes paths of its own, both plan, and then both
apply at the same moment. An update is lost when its push was acknowledged and the tag stands for somebody else's version
that was not built upon it. 200 races with BUNDLE_CAMPAIGN=1, a twentieth otherwise; what happens is decided by the
machine, the seed only fixes who writes what.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import BundleError, TagMoved, Unavailable
from modelops_bundle.events import Event, Notice, Run
from modelops_bundle.model.ports import ANYTHING
from modelops_bundle.operations import add, clone, init, pull, push, restore, status
from modelops_bundle.operations.session import Session
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.transfer import publish
from modelops_bundle.workspace.project import Project
from tests.support.campaign import rounds

TAG = "latest"


@dataclass
class Writer:
    """A clone, and what happened to its last push: `acked`, `refused`, `kept` (overtaken, told at once) or `busy`."""

    root: Path
    name: str
    outcome: str = ""
    digest: str = ""
    kept: str = ""
    changed: str = ""
    notices: list[Notice] = field(default_factory=list)

    def session(self) -> Session:
        """A session of its own for each command, as the command line has it."""
        self.notices = []
        return Session(Project(self.root), Run(emit=self._hear), cwd=self.root)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event)

    @contextmanager
    def working(self) -> Iterator[Session]:
        """A session that is closed."""
        session = self.session()
        yield session
        session.tree.close()

    def change(self, number: int) -> None:
        """Edit a file, add one, or delete that one again: in turns."""
        (self.root / f"{self.name}.txt").write_text(f"{self.name} {number}")
        self.changed = f"{self.name}.txt"
        extra = self.root / self.name / "extra.txt"
        extra.parent.mkdir(exist_ok=True)
        (extra.parent / "stays.txt").write_text("always here")
        if number % 3 == 1:
            extra.write_text(f"{number}")
        elif number % 3 == 2 and extra.exists():
            extra.unlink()
        with self.working() as session:
            add.add(session, ["."])

    def plan(self) -> Callable[[], None]:
        """Plan a push; the result carries it out and notes the outcome."""
        self.outcome, self.kept = "", ""
        session = self.session()
        plan = push.plan_push(session, push.PushRequest())
        self.digest = str(plan.artifact.digest)

        def apply() -> None:
            try:
                push.apply_push(session, plan)
                self.outcome = "acked"
            except TagMoved as error:
                self.kept = error.facts.get("kept", "")
                self.outcome = "kept" if self.kept else "refused"
            except Unavailable:
                self.outcome = "busy"
            finally:
                session.tree.close()

        return apply

    def pull(self) -> None:
        """Take the others' work in."""
        with self.working() as session:
            pull.apply_pull(session, pull.make_plan(session, None))

    def push(self) -> bool:
        """Plan and apply; whether it was acknowledged."""
        try:
            self.plan()()
        except TagMoved:
            self.outcome = "refused"
        return self.outcome == "acked"

    def publish(self) -> int:
        """Pull and push until it is acknowledged; how many times that took."""
        for attempt in range(1, 200):
            self.pull()
            if self.push():
                return attempt
        raise AssertionError(f"{self.name} never got through")


class Field:
    """Writers in step on one remote."""

    def __init__(self, base: Path, remote: str, names: Sequence[str], race: str) -> None:
        self.remote = remote
        first = base / names[0]
        first.mkdir()
        for name in names:
            (first / f"{name}.txt").write_text("new")
        init.init(Session(None, Run(), cwd=base), first, remote)
        self.writers = [Writer(base / name, name) for name in names]
        with self.writers[0].working() as session:
            session.project.edit_config({"remotes.origin.race": race})
            add.add(session, ["."])
        assert self.writers[0].push()
        for writer in self.writers[1:]:
            clone.clone(Session(None, Run(), cwd=base), f"{remote}:{TAG}", str(writer.root))
            with writer.working() as session:
                session.project.edit_config({"remotes.origin.race": race})

    def standing(self, tag: str = TAG) -> str | None:
        """The digest `tag` stands for."""
        with self.writers[0].working() as session:
            found = session.store(session.reference(f":{tag}")).resolve(tag)
        return str(found.digest) if found else None

    def race(self, number: int) -> list[Writer]:
        """One race from a version that all have; returns those whose acknowledged push was lost."""
        before = self.standing()
        for writer in self.writers:
            writer.pull()
            writer.change(number)
        ready = threading.Barrier(len(self.writers))

        def run(apply: Callable[[], None]) -> None:
            ready.wait()
            apply()

        plans = [writer.plan() for writer in self.writers]
        with ThreadPoolExecutor(len(self.writers)) as pool:
            for future in [pool.submit(run, apply) for apply in plans]:
                future.result()
        after = self.standing()
        acked = [writer for writer in self.writers if writer.outcome == "acked"]
        # Nobody has built upon anybody: all planned before the first one wrote.
        assert after in {before, *(writer.digest for writer in self.writers)}
        return [writer for writer in acked if writer.digest != after]

    def settle(self) -> None:
        """Everybody takes everything in and pushes what is still only here."""
        for writer in self.writers:
            writer.publish()

    def content(self, writer: Writer) -> dict[str, str]:
        """What a fresh clone would find, as `writer` sees it after a pull."""
        writer.pull()
        return {
            path.relative_to(writer.root).as_posix(): path.read_text()
            for path in writer.root.rglob("*.txt")
            if ".modelops-bundle" not in path.parts
        }


@pytest.fixture(params=["registry", "layout"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "layout":
        return f"layout:{tmp_path}/remote"
    remote: str = request.getfixturevalue("repo")
    return remote


def _kind(place: str) -> str:
    return "layout" if place.startswith("layout:") else "registry"


def _told(loser: Writer) -> bool:
    """Whether the loser's next command names the path and the way back."""
    with loser.working() as session:
        found = status.status(session)
    said = [notice.message for notice in loser.notices if notice.code == "push-lost"]
    return loser.changed in found.lost and any(
        loser.changed in text and f"bundle restore --source @{loser.digest} {loser.changed}" in text for text in said
    )


def _bring_back(loser: Writer, wanted: str) -> None:
    """Follow the advice of the notice."""
    loser.pull()
    with loser.working() as session:
        plan = restore.plan_restore(session, [loser.changed], f"@{loser.digest}")
        restore.apply_restore(session, plan)
    assert (loser.root / loser.changed).read_text() == wanted


def _races(field: Field, full: int) -> tuple[Counter[str], list[str]]:
    """Race, and bring everything back each time; outcomes, and what went wrong."""
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    for number in range(rounds(full)):
        lost = field.race(number)
        outcomes = sorted(writer.outcome for writer in field.writers)
        counted["+".join(outcomes)] += 1
        counted["lost"] += len(lost)
        wrong += [
            f"race {number}: {writer.kept} does not keep {writer.name}'s version"
            for writer in field.writers
            if writer.outcome == "kept" and field.standing(writer.kept) != writer.digest
        ]
        for loser in lost:
            counted["told"] += (told := _told(loser))
            if not told:
                wrong.append(f"race {number}: {loser.name} was not told")
            _bring_back(loser, f"{loser.name} {number}")
        field.settle()
        content = field.content(field.writers[number % len(field.writers)])
        wrong += [
            f"race {number}: {writer.name}'s update is gone: {content}"
            for writer in field.writers
            if content[f"{writer.name}.txt"] != f"{writer.name} {number}"
        ]
    return counted, wrong


def test_strict_loses_nothing(place: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    field = Field(tmp_path, place, ["ann", "ben"], "strict")
    counted, wrong = _races(field, 200)
    figure(f"strict, {_kind(place)}: {rounds(200)} races: {dict(sorted(counted.items()))}")
    assert not wrong
    assert counted["lost"] == 0
    assert not any("acked+acked" in outcome or "kept" in outcome for outcome in counted)


def test_default_tells_every_loss(place: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    field = Field(tmp_path, place, ["ann", "ben"], "default")
    counted, wrong = _races(field, 200)
    figure(f"default, {_kind(place)}: {rounds(200)} races: {dict(sorted(counted.items()))}")
    assert not wrong
    assert counted["told"] == counted["lost"]


def test_four_who_rebase_lose_nothing_in_strict(place: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    names = ["ann", "ben", "cid", "dee"]
    field = Field(tmp_path, place, names, "strict")
    each = rounds(20)

    def work(writer: Writer) -> list[int]:
        attempts = []
        for number in range(each):
            path = writer.root / writer.name / f"{number}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{writer.name} {number}")
            with writer.working() as session:
                add.add(session, ["."])
            attempts.append(writer.publish())
        return attempts

    with ThreadPoolExecutor(len(names)) as pool:
        attempts = sorted(chain.from_iterable(pool.map(work, field.writers)))
    content = field.content(field.writers[0])
    wanted = {f"{name}/{number}.txt": f"{name} {number}" for name in names for number in range(each)}
    figure(
        f"strict, four writers: {len(attempts)} pushes, attempts median {attempts[len(attempts) // 2]}, most {attempts[-1]}"
    )
    assert len(attempts) == len(wanted)
    assert {path: content.get(path) for path in wanted} == wanted


def test_a_loss_that_is_certain_is_told(repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One writer stands still between its look at the tag and its PUT while the other's push is acknowledged."""
    field = Field(tmp_path, repo, ["ann", "ben"], "default")
    ann, ben = field.writers
    real = RegistryStore.tag

    for number in range(rounds(200)):
        ann_is_done = threading.Event()

        def tag(store: RegistryStore, name: str, *rest: Any, done: threading.Event = ann_is_done) -> None:
            if name == TAG and threading.current_thread().name == "ben":
                done.wait()
            real(store, name, *rest)

        monkeypatch.setattr(RegistryStore, "tag", tag)
        for writer in field.writers:
            writer.pull()
            writer.change(number)
        apply_ann, apply_ben = ann.plan(), ben.plan()
        looked = threading.Thread(target=apply_ben, name="ben")
        _start_and_wait_for_look(looked, monkeypatch)
        apply_ann()
        ann_is_done.set()
        looked.join()
        monkeypatch.setattr(RegistryStore, "tag", real)
        assert (ann.outcome, ben.outcome) == ("acked", "acked")
        assert field.standing() == ben.digest
        assert _told(ann), number
        _bring_back(ann, f"ann {number}")
        field.settle()
        assert field.content(ben)["ann.txt"] == f"ann {number}"


def _start_and_wait_for_look(thread: threading.Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a push, and return once it has looked at the tag."""
    looked = threading.Event()
    real = publish.check_tag

    def check_tag(*arguments: Any) -> bool:
        try:
            return real(*arguments)
        finally:
            if threading.current_thread() is thread:
                looked.set()

    monkeypatch.setattr(publish, "check_tag", check_tag)
    thread.start()
    looked.wait()
    monkeypatch.setattr(publish, "check_tag", real)


def _publish_blindly(store: Any, wish: publish.Wish, _run: Run, **_: Any) -> None:
    """What no writer may do: put, and look at nothing."""
    store.tag(wish.tag, wish.what, wish.data, ANYTHING)


def test_the_harness_sees_lost_updates(repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: writers who put blindly lose one update in every race."""
    field = Field(tmp_path, repo, ["ann", "ben"], "strict")
    monkeypatch.setattr(publish, "publish", _publish_blindly)
    counted, _ = _races(field, 200)
    assert counted["lost"] == rounds(200)
    assert counted["acked+acked"] == rounds(200)


def test_the_harness_sees_untold_losses(repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: clones that do not write down what they pushed tell nothing."""
    field = Field(tmp_path, repo, ["ann", "ben"], "default")
    monkeypatch.setattr(publish, "publish", _publish_blindly)
    monkeypatch.setattr("modelops_bundle.workspace.seen.Seen.put_pushed", lambda *_: None)
    lost = field.race(0)
    assert len(lost) == 1
    assert not _told(lost[0])


def test_errors_of_a_race_are_exit_5() -> None:
    assert TagMoved.exit_code == 5
    assert issubclass(TagMoved, BundleError)
