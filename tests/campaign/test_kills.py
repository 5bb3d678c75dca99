"""Killed, out of space or with a failing disk at every step: nothing is lost, the same command completes, nothing is left behind.

Facts: reliability §6. A trial runs one command in a process of its own, stops it at one moment and then holds the result
against the invariants: every path wholly old or wholly new, no work of the user's lost, the same command again ends well
with the expected tree, no litter, a later push is not refused, what was acknowledged can be fetched. Every moment with
BUNDLE_CAMPAIGN=1, a sample with a fixed seed otherwise.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from modelops_bundle.disk.tree import Tree as ProductTree
from modelops_bundle.events import checkpoint
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import Lister
from modelops_bundle.model.reference import is_service_tag
from tests.support.campaign import rounds
from tests.support.registry_process import Registry
from tests.support.worlds import (
    BIG_NEW,
    Tree,
    World,
    file,
    litter,
    look,
    moments,
    torn,
    write,
    write_first,
    write_many,
    write_second,
)
from tests.support.zygote import CHANGING, READING, SPACE, Outcome, Trap, Zygote

SEED = 20_251_120
AT_LEAST = 60
"""Distinct checkpoints at which commands must have been killed, for each kind of store, in any run."""
FLOOR = 6
"""Checkpoints of each verb at which it is killed in any run, if it has as many."""


@dataclass(frozen=True)
class Scenario:
    """A command, the state it starts from, and the trees before and after."""

    verb: str
    command: tuple[str, ...]
    build: Callable[[World], None]
    old: Callable[[Path], None]
    new: Callable[[Path], None]
    sends: bool = False
    """It changes the remote, which is therefore new for each trial."""


def _nothing(_root: Path) -> None:
    pass


def _edited(root: Path) -> None:
    """Work of the user's that no command may lose: an edit of a tracked file, and files that are not tracked."""
    write(root, {"edit.txt": b"edited again", "notes.txt": b"not tracked", "deep/er/more.txt": b"not tracked"})


def _first_edited(root: Path) -> None:
    write_first(root)
    _edited(root)


def _second(root: Path) -> None:
    write_first(root)
    write_second(root)


def _second_edited(root: Path) -> None:
    _second(root)
    _edited(root)


def _spoiled(root: Path) -> None:
    """Edits that `restore` is asked to throw away, beside others."""
    write_first(root)
    (root / "d/old.txt").unlink()
    (root / "d").rmdir()
    (root / "run.sh").chmod(0o644)
    write(root, {"a.txt": b"spoiled", "weights/big.bin": BIG_NEW, "link": "keep/same.txt", "notes.txt": b"not tracked"})


def _restored(root: Path) -> None:
    write_first(root)
    write(root, {"notes.txt": b"not tracked"})


def _removed(root: Path) -> None:
    write_first(root)
    (root / "d/old.txt").unlink()
    (root / "d").rmdir()
    (root / "x").unlink()


def _for_pull(world: World) -> None:
    world.publish_first()
    world.publish_second()
    _edited(world.work)


def _for_import(world: World) -> None:
    """The second version comes in an archive, and nobody has pushed it."""
    world.publish_first()
    other = world.root / "other"
    world.zygote.ok(["clone", f"{world.remote}:latest", str(other)], cwd=world.root)
    write_second(other)
    world.zygote.ok(["add", "."], ["export", "-o", str(world.root / "second.tar")], cwd=other)
    shutil.rmtree(other)
    _edited(world.work)


def _for_first_push(world: World) -> None:
    world.work.mkdir()
    write_first(world.work)
    world.zygote.ok(["init", world.remote], ["add", "."], cwd=world.work)


def _for_push(world: World) -> None:
    world.publish_first()
    write_second(world.work)
    world.zygote.ok(["add", "."], cwd=world.work)


def _for_strict_push(world: World) -> None:
    _for_push(world)
    world.zygote.ok(["config", "set", "remotes.origin.race", "strict"], cwd=world.work)


def _for_clone(world: World) -> None:
    world.publish_first()
    world.publish_second()
    shutil.rmtree(world.work)


def _for_add(world: World) -> None:
    world.work.mkdir()
    write_first(world.work)
    world.zygote.ok(["init", world.remote], cwd=world.work)


def _for_restore(world: World) -> None:
    world.publish_first()
    shutil.rmtree(world.work)
    world.zygote.ok(["clone", f"{world.remote}:latest", world.work], cwd=world.root)
    for path in ("d/old.txt", "a.txt", "link"):
        (world.work / path).unlink()
    (world.work / "d").rmdir()
    (world.work / "run.sh").chmod(0o644)
    write(
        world.work,
        {"a.txt": b"spoiled", "weights/big.bin": BIG_NEW, "link": "keep/same.txt", "notes.txt": b"not tracked"},
    )


def _packed(make: Callable[[Path], None], text: str) -> Callable[[Path], None]:
    """The tree of `make`, and many small files."""

    def both(root: Path) -> None:
        make(root)
        write_many(root, text)

    return both


def _for_packed_pull(world: World) -> None:
    world.publish_first(packed=True)
    world.publish_second(packed=True)
    _edited(world.work)


def _for_packed_clone(world: World) -> None:
    world.publish_first(packed=True)
    world.publish_second(packed=True)
    shutil.rmtree(world.work)


def _for_packed_push(world: World) -> None:
    world.publish_first(packed=True)
    write_second(world.work)
    write_many(world.work, "two")
    world.zygote.ok(["add", "."], cwd=world.work)


SCENARIOS = (
    Scenario("push", ("push",), _for_push, _second, _second, sends=True),
    Scenario(
        "push --tag --tag", ("push", "--tag", "v1", "--tag", "latest"), _for_first_push, write_first, write_first, True
    ),
    Scenario("push, strict", ("push",), _for_strict_push, _second, _second, sends=True),
    Scenario("pull", ("pull",), _for_pull, _first_edited, _second_edited),
    Scenario("clone", ("clone", "REMOTE:latest", "work"), _for_clone, _nothing, _second),
    Scenario("import", ("import", "../second.tar"), _for_import, _first_edited, _second_edited),
    Scenario("add", ("add", "."), _for_add, write_first, write_first),
    Scenario("rm --delete", ("rm", "--delete", "d/old.txt", "x"), World.publish_first, write_first, _removed),
    Scenario("restore --yes", ("restore", "--yes", "."), _for_restore, _spoiled, _restored),
    Scenario(
        "push, packed",
        ("push", "--pack", "always"),
        _for_packed_push,
        _packed(_second, "two"),
        _packed(_second, "two"),
        sends=True,
    ),
    Scenario(
        "pull, packed", ("pull",), _for_packed_pull, _packed(_first_edited, "one"), _packed(_second_edited, "two")
    ),
    Scenario("clone, packed", ("clone", "REMOTE:latest", "work"), _for_packed_clone, _nothing, _packed(_second, "two")),
)


TWICE = ("push", "pull", "clone", "pull, packed", "clone, packed")
"""Verbs that are also killed while they go on after a kill."""


class Campaign:
    """Trials of one scenario on one kind of store."""

    def __init__(self, scenario: Scenario, world: World, scratch: Path) -> None:
        self.scenario = scenario
        self.world = world
        self.old = self._tree(scratch / "old", scenario.old)
        self.new = self._tree(scratch / "new", scenario.new)
        self._start: Descriptor | None = None
        self._built = False
        self.killed = 0
        """How many trials ended in a kill."""

    @staticmethod
    def _tree(folder: Path, make: Callable[[Path], None]) -> Tree:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        return look(folder)

    def set_up(self) -> None:
        """The state the command starts from."""
        if self._built and not (self.scenario.sends and self.world.on_registry):
            self._reset()
            return
        self.world.clear()
        self.scenario.build(self.world)
        self.world.save()
        self._start = self.world.tagged() if self.world.on_registry and not self.scenario.sends else None
        self._built = True
        self._reset()

    def _reset(self) -> None:
        # Also at once after building: what the digest cache may believe is then the same in every trial.
        self.world.reset()
        if self._start is not None:
            self.world.set_tag(self._start)

    def command(self, trap: Trap | None = None, prepare: str = "") -> Outcome:
        """Run the command of the scenario, one thing at a time, so that moment n is the same moment in every trial."""
        words = [word.replace("REMOTE", self.world.remote) for word in self.scenario.command]
        where = self.world.root if self.scenario.verb.startswith("clone") else self.world.work
        return self.world.zygote.run([*words, "--jobs", "1"], cwd=where, trap=trap, prepare=prepare)

    def count(self, trap: Trap) -> tuple[str, ...]:
        """The moments of an undisturbed run."""
        self.set_up()
        outcome = self.command(trap)
        assert outcome.code == 0, outcome
        assert look(self.world.work) == self.new
        return outcome.moments

    def trial(self, trap: Trap, prepare: str = "", *, again: Trap | None = None) -> list[str]:
        """What is wrong after the trap sprang.

        :param again: for the first attempt to go on, which may come to its end before.
        """
        self.set_up()
        outcome = self.command(trap, prepare)
        if again is not None and (second := self.command(again)).code and not second.killed:
            return [f"the same command ends with {second.code}: {second.err}"]
        if trap.action == "kill":
            # How often files are hashed depends on how fast the clock ticks: a run may end before moment `at`.
            if not outcome.killed and (outcome.code or len(outcome.moments) >= trap.at):
                return [f"was not killed: {outcome.code} {outcome.err}"]
            self.killed += outcome.killed
        elif outcome.code not in (0, 11) and not (outcome.code == 3 and "--tag" in self.scenario.command):
            return [f"exit {outcome.code}: {outcome.err}"]
        wrong = self._standing() if outcome.code else self._final("at once")
        return wrong or self._aftermath(ask_first=trap.at % 2 == 1)

    def _standing(self) -> list[str]:
        now = look(self.world.work) if self.world.work.exists() else {}
        wrong = torn(now, self.old, self.new)
        return [f"torn: {wrong}"] if wrong else []

    def _final(self, when: str) -> list[str]:
        now = look(self.world.work)
        different = [path for path in sorted(now.keys() | self.new.keys()) if now.get(path) != self.new.get(path)]
        return [f"wrong tree {when}: {different}"] if different else []

    def _aftermath(self, *, ask_first: bool) -> list[str]:
        """The same command again, one more, a push, and a clone of what was pushed."""
        work, zygote = self.world.work, self.world.zygote
        bundle = (work / ".modelops-bundle/version").is_file()
        if ask_first and bundle and (asked := zygote.run(["status"], cwd=work)).code:
            return [f"status ends with {asked.code}: {asked.err}"]
        again = self.command()
        if again.code and not self._is_done_already(again):
            return [f"the same command ends with {again.code}: {again.err}"]
        wrong = self._final("after the same command")
        if (asked := zygote.run(["status", "--json"], cwd=work)).code:
            wrong.append(f"status then ends with {asked.code}: {asked.err}")
        wrong += [f"litter: {name}" for name in (*litter(self.world.root), *self._service_tags())]
        if (pushed := zygote.run(["push", "--yes"], cwd=work)).code:
            return [*wrong, f"a later push ends with {pushed.code}: {pushed.err}"]
        tracked = set((work / ".modelops-bundle/tracked").read_text().splitlines())
        expected = {path: what for path, what in self.new.items() if path in tracked}
        if (fetched := self.world.fetched()) != expected:
            wrong.append(f"a clone differs: {sorted(fetched.items() ^ expected.items())}")
        return wrong

    def _service_tags(self) -> list[str]:
        if self.scenario.verb.startswith(("clone", "add", "restore", "rm")):
            return []
        store = self.world.store()
        assert isinstance(store, Lister)
        return [tag for tag in store.tags() if is_service_tag(tag)]

    def _is_done_already(self, again: Outcome) -> bool:
        # What is no longer tracked cannot be untracked once more.
        return self.scenario.verb.startswith("rm") and again.code == 4 and not self._final("")


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(tmp_path / "zygote") as running:
        yield running


@pytest.fixture(params=["layout", pytest.param("registry", marks=pytest.mark.registry)])
def world(request: pytest.FixtureRequest, tmp_path: Path, zygote: Zygote) -> World:
    server: Registry | None = request.getfixturevalue("registry") if request.param == "registry" else None
    return World(tmp_path, zygote, server.host if server else None)


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.verb)
def campaign(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Campaign:
    return Campaign(request.param, world, tmp_path)


def _try(campaign: Campaign, trap: Trap, floor: int, figure: Callable[[str], None], prepare: str = "") -> list[str]:
    """Spring `trap` at many moments, `floor` of them at least; everything that was wrong."""
    names = campaign.count(Trap(trap.on, only=trap.only))
    campaign.killed = 0
    wrong: list[str] = []
    tried = list(moments(len(names), max(rounds(len(names)), floor), Random(SEED)))
    for at in tried:
        found = campaign.trial(Trap(trap.on, at, trap.action, trap.lasts, trap.only), prepare)
        wrong += [f"{trap.action} at {trap.on} {at} of {len(names)} ({names[at - 1]}): {what}" for what in found]
    where = "registry" if campaign.world.on_registry else "layout"
    sprung = campaign.killed if trap.action == "kill" else len(tried)
    told = f"{campaign.scenario.verb} ({where}): {trap.action} at {sprung} of {len(names)} {trap.on}s"
    figure(f"{told}, seed {SEED}: {len(wrong)} wrong")
    assert sprung >= len(tried) * 3 // 4, "too many runs ended before their moment"
    return wrong


def test_killed_anywhere(campaign: Campaign, figure: Callable[[str], None]) -> None:
    wrong = _try(campaign, Trap(), FLOOR, figure) + _try(campaign, Trap("syscall"), 4, figure)
    assert not wrong, "\n".join(wrong[:60])


@pytest.mark.parametrize("campaign", [s for s in SCENARIOS if s.verb in TWICE], indirect=True, ids=lambda s: s.verb)
def test_killed_twice(campaign: Campaign, figure: Callable[[str], None]) -> None:
    """Killed, and the command that goes on is killed too, anywhere."""
    random = Random(SEED)
    names = campaign.count(Trap("syscall"))
    pairs = [(random.randint(1, len(names)), random.randint(1, len(names))) for _ in range(rounds(100))]
    wrong = [
        f"killed at {first} ({names[first - 1]}), then at {second} of what was left: {what}"
        for first, second in pairs
        for what in campaign.trial(Trap("syscall", first), again=Trap("syscall", second))
    ]
    figure(f"{campaign.scenario.verb}: killed twice, {len(pairs)} pairs, seed {SEED}: {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong[:60])


def test_a_killed_push_that_is_overwritten_later_is_told(
    world: World, figure: Callable[[str], None], tmp_path: Path
) -> None:
    """Killed around the PUT of the tag, run again, then overwritten by somebody who looks at nothing."""
    push = next(scenario for scenario in SCENARIOS if scenario.verb == "push")
    campaign = Campaign(push, world, tmp_path)
    names = campaign.count(Trap())
    late = [at for at in range(1, len(names) + 1) if at > len(names) // 2]
    tried = sorted(Random(SEED).sample(late, min(len(late), max(rounds(len(late)), 6))))
    silent = []
    for at in tried:
        campaign.set_up()
        first = world.tagged()
        assert first is not None
        assert campaign.command(Trap(at=at)).killed
        assert campaign.command().code == 0
        world.set_tag(first)
        lost = world.zygote.ok(["status", "--json"], cwd=world.work).json()["lost"]
        if not {"a.txt", "weights/big.bin", "new/n.txt"} <= set(lost):
            silent.append(f"killed at {at} ({names[at - 1]}): told of {lost}")
    figure(f"killed at {len(tried)} points, overwritten later: {len(silent)} not told")
    assert not silent, "\n".join(silent)


def test_there_are_enough_points(world: World, tmp_path: Path, figure: Callable[[str], None]) -> None:
    points = {scenario.verb: len(Campaign(scenario, world, tmp_path).count(Trap())) for scenario in SCENARIOS}
    figure(f"checkpoints: {points}, {sum(points.values())} in all")
    tried = sum(min(count, max(rounds(count), FLOOR)) for count in points.values())
    assert tried >= AT_LEAST


def test_a_disk_that_fills_up_anywhere(campaign: Campaign, figure: Callable[[str], None]) -> None:
    wrong = _try(campaign, Trap("syscall", action="ENOSPC", lasts=True, only=SPACE), 3, figure)
    assert not wrong, "\n".join(wrong[:60])


def test_a_disk_that_fails_once_anywhere(campaign: Campaign, figure: Callable[[str], None]) -> None:
    wrong = _try(campaign, Trap("syscall", action="EIO", only=CHANGING), 3, figure)
    assert not wrong, "\n".join(wrong[:60])


def test_a_disk_that_cannot_be_read_anywhere(campaign: Campaign, figure: Callable[[str], None]) -> None:
    wrong = _try(campaign, Trap("syscall", action="EIO", only=READING), 3, figure)
    assert not wrong, "\n".join(wrong[:60])


# --- negative control


def place_in_place() -> None:
    """Make landing what it must not be: write into the final file, in pieces."""

    def place(tree: ProductTree, staged: Path, path: str, *, executable: bool, **_: Any) -> None:
        content = staged.read_bytes()
        target = tree.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            out.write(content[: len(content) // 2])
            out.flush()
            checkpoint("half written")
            out.write(content[len(content) // 2 :])
        target.chmod(0o755 if executable else 0o644)

    ProductTree.place = place  # type: ignore[method-assign]


def test_the_harness_sees_torn_files(world: World, tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Negative control: a writer that writes in place is caught, on both kinds of store."""
    pull = next(scenario for scenario in SCENARIOS if scenario.verb == "pull")
    campaign = Campaign(pull, world, tmp_path)
    campaign.set_up()
    prepare = f"{__name__}:{place_in_place.__name__}"
    halves = campaign.command(Trap(), prepare).moments.count("half written")
    wrong = [campaign.trial(Trap(at=at, named="half written"), prepare) for at in range(1, halves + 1)]
    assert halves
    assert all(found and found[0].startswith("torn") for found in wrong), wrong


# --- a real small disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 8 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", where], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", where], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount here")
@pytest.mark.parametrize("noticed", ["before", "midway"])
def test_a_pull_that_does_not_fit(noticed: str, world: World, zygote: Zygote, small_disk: Path, tmp_path: Path) -> None:
    world.publish_first()
    work = small_disk / "work"
    zygote.ok(["clone", f"{world.remote}:latest", work], cwd=world.root)
    _edited(work)
    before = look(work)
    (world.work / "weights/second.bin").write_bytes(Random(SEED).randbytes(9_000_000))
    (world.work / "a.txt").write_bytes(b"two")
    zygote.ok(["add", "."], ["push"], cwd=world.work)
    # Somebody else fills the disk after we looked: then nothing is known before the write that fails.
    prepare = f"{__name__}:{plenty_of_space.__name__}" if noticed == "midway" else ""
    outcome = zygote.run(["pull"], cwd=work, trap=Trap(), prepare=prepare)
    assert outcome.code == 11, outcome
    assert ("the pull needs" in outcome.err) == (noticed == "before"), outcome
    assert look(work) == before
    zygote.ok(["status"], cwd=work)
    subprocess.run(["mount", "-o", "remount,size=64M", small_disk], check=True)
    zygote.ok(["pull"], ["status"], cwd=work)
    expected = {**before, "a.txt": file(b"two"), "weights/second.bin": look(world.work)["weights/second.bin"]}
    assert look(work) == expected
    assert litter(small_disk) == []


def plenty_of_space() -> None:
    """Let every disk say that it has room."""
    from modelops_bundle.operations import stage

    stage.free_bytes = lambda _path: 1 << 60  # type: ignore[attr-defined]
