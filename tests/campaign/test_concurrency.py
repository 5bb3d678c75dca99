"""Commands at the same time in one directory, and an attacker who swaps directories for links while we write.

Facts: reliability §3.1, §3.10. Who runs when is decided by locks and pipes, never by waiting a while. Full size with
BUNDLE_CAMPAIGN=1, a twentieth otherwise.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import BundleError, Locked
from modelops_bundle.workspace.project import Project
from tests.support.campaign import rounds
from tests.support.worlds import World, litter, look, write, write_first, write_second
from tests.support.zygote import Child, Trap, Zygote

SEED = 20_251_120


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(tmp_path / "zygote") as running:
        yield running


@pytest.fixture(params=["layout", pytest.param("registry", marks=pytest.mark.registry)])
def world(request: pytest.FixtureRequest, tmp_path: Path, zygote: Zygote) -> World:
    server = request.getfixturevalue("registry") if request.param == "registry" else None
    return World(tmp_path, zygote, server.host if server else None)


@contextmanager
def closed(gate: Path) -> Iterator[None]:
    """A gate nobody passes inside of the block."""
    with gate.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Held:
    """A command that stands still at its checkpoint number `at`, until `go`; not `held` when it ended before."""

    def __init__(self, zygote: Zygote, folder: Path, *command: str, cwd: Path, at: int) -> None:
        folder.mkdir(exist_ok=True)
        self._gate = folder / f"gate{at}"
        told = folder / f"told{at}"
        os.mkfifo(told)
        self._stack = ExitStack()
        self._stack.enter_context(closed(self._gate))
        trap = Trap(at=at, action="hold", told=str(told), gate=str(self._gate))
        self.child: Child = zygote.start([*command, "--jobs", "1"], cwd=cwd, trap=trap)
        with told.open() as pipe:
            self.held = pipe.readline() == "held\n"
        told.unlink()
        if not self.held:
            self.go()

    def go(self) -> None:
        """Let it go on."""
        self._stack.close()


def test_two_processes_add_a_hundred_files_each(zygote: Zygote, tmp_path: Path) -> None:
    work = tmp_path / "work"
    names = [[f"{who}/{number}.txt" for number in range(rounds(100))] for who in ("ann", "ben")]
    write(work, {name: name.encode() for listed in names for name in listed})
    zygote.ok(["init"], cwd=work)
    gate = tmp_path / "gate"
    with closed(gate):
        children = [zygote.start(*(["add", name] for name in listed), cwd=work, gate=str(gate)) for listed in names]
    assert [child.wait().code for child in children] == [0, 0]
    assert Project(work).tracked() == {*names[0], *names[1]}
    assert len(Project(work).tracked()) == 2 * rounds(100)
    assert litter(work) == []


def _ready_to_pull(world: World) -> None:
    world.publish_first()
    world.publish_second()
    write(world.work, {"edit.txt": b"edited again", "notes.txt": b"not tracked"})
    world.save()


def _pulled(tmp_path: Path) -> dict[str, tuple[str, ...]]:
    folder = tmp_path / "wanted"
    folder.mkdir()
    write_first(folder)
    write_second(folder)
    write(folder, {"edit.txt": b"edited again", "notes.txt": b"not tracked"})
    return look(folder)


def _points_of_a_pull(world: World) -> tuple[str, ...]:
    world.reset()
    outcome = world.zygote.run(["pull", "--jobs", "1"], cwd=world.work, trap=Trap())
    assert outcome.code == 0, outcome
    return outcome.moments


def test_status_while_a_pull_stands_still(world: World, tmp_path: Path, figure: Callable[[str], None]) -> None:
    """At every step of a pull, status answers at once and disturbs nothing."""
    _ready_to_pull(world)
    wanted = _pulled(tmp_path)
    names = _points_of_a_pull(world)
    tried = sorted(Random(SEED).sample(range(1, len(names) + 1), max(rounds(len(names)), 6)))
    held = 0
    for at in tried:
        world.reset()
        pull = Held(world.zygote, tmp_path / "held", "pull", cwd=world.work, at=at)
        held += pull.held
        asked = world.zygote.run(["status", "--json"], cwd=world.work)
        pull.go()
        done = pull.child.wait()
        assert asked.code == 0, (names[at - 1], asked)
        assert done.code == 0, (names[at - 1], done)
        assert look(world.work) == wanted, names[at - 1]
        # What status noted in the digest cache meanwhile must not hide anything later.
        after = world.zygote.ok(["status", "--json"], cwd=world.work).json()
        assert [change["path"] for change in after["changes"]] == ["edit.txt"], names[at - 1]
    figure(f"status beside a pull that stands still at {held} of {len(names)} checkpoints: never failed, never waited")
    assert held >= len(tried) - 2, "a run may hash less than the one that was counted"


def test_two_pulls_serialise(world: World, tmp_path: Path) -> None:
    """One stands still with the lock; the other waits for it, and both end well."""
    _ready_to_pull(world)
    wanted = _pulled(tmp_path)
    names = _points_of_a_pull(world)
    after_lock = names.index("chunk written") + 1
    late = range(after_lock, len(names) + 1)
    tried = sorted(Random(SEED).sample(late, min(len(late), max(rounds(len(late)), 4))))
    for at in tried:
        world.reset()
        first = Held(world.zygote, tmp_path / "held", "pull", cwd=world.work, at=at)
        if first.held:
            with pytest.raises(Locked), Project(world.work).locked(wait=0):
                pass
        second = world.zygote.start(["pull"], cwd=world.work)
        first.go()
        assert first.child.wait().code == 0, names[at - 1]
        outcome = second.wait()
        assert outcome.code == 0, (names[at - 1], outcome)
        assert look(world.work) == wanted, names[at - 1]
        world.zygote.ok(["status"], cwd=world.work)
        assert litter(world.root) == []


def test_pulls_that_start_together(world: World, tmp_path: Path) -> None:
    """Nobody holds anybody here: whoever comes second finds the work done, or does the rest."""
    _ready_to_pull(world)
    wanted = _pulled(tmp_path)
    gate = tmp_path / "gate"
    for _ in range(max(rounds(60), 3)):
        world.reset()
        with closed(gate):
            children = [world.zygote.start(["pull"], cwd=world.work, gate=str(gate)) for _ in range(3)]
        outcomes = [child.wait() for child in children]
        assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
        assert look(world.work) == wanted
        world.zygote.ok(["status"], cwd=world.work)
        assert litter(world.root) == []


def wait_but_a_moment() -> None:
    """Let commands wait for the lock for a twentieth of a second only."""
    Project.locked.__wrapped__.__defaults__ = (0.05,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [["add", "."], ["pull"], ["push"], ["restore", "--yes", "a.txt"], ["rm", "a.txt"]])
def test_a_lock_that_stays_taken_is_exit_4(zygote: Zygote, tmp_path: Path, command: list[str]) -> None:
    world = World(tmp_path, zygote, None)
    world.publish_first()
    write(world.work, {"a.txt": b"edited", "more.txt": b"not tracked"})
    before = look(world.work)
    with Project(world.work).locked():
        outcome = zygote.run([*command, "--json"], cwd=world.work, prepare=f"{__name__}:{wait_but_a_moment.__name__}")
        assert outcome.code == 4, outcome
        assert outcome.json()["error"]["code"] == "locked"
        zygote.ok(["status"], cwd=world.work)
    assert look(world.work) == before
    zygote.ok(command, cwd=world.work)


# --- an attacker beside us

_ATTACKER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def exchange(one, other):
    return libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)
if exchange(sys.argv[1], sys.argv[2]):
    sys.exit(f"renameat2: {os.strerror(ctypes.get_errno())}")
print("ready", flush=True)
while True:
    exchange(sys.argv[1], sys.argv[2])
"""

Write = Callable[[Tree, Path, str], None]


def _place_naively(tree: Tree, staged: Path, path: str) -> None:
    """What no writer may do: open by path."""
    target = tree.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(staged.read_bytes())


def _place(tree: Tree, staged: Path, path: str) -> None:
    tree.place(staged, path, executable=False, keep=False)


def _place_copy(tree: Tree, staged: Path, path: str) -> None:
    tree.place(staged, path, executable=True, keep=True)


def _link(tree: Tree, _staged: Path, path: str) -> None:
    tree.link("target", path)


def _make_directory(tree: Tree, _staged: Path, path: str) -> None:
    tree.make_directory(f"{path}/deeper")


def _remove(tree: Tree, _staged: Path, path: str) -> None:
    tree.remove(f"{path.rpartition('/')[0]}/canary")


def _set_executable(tree: Tree, _staged: Path, path: str) -> None:
    tree.set_executable(f"{path.rpartition('/')[0]}/canary", True)


@contextmanager
def _attacked(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A tree whose directory `d/in` is exchanged with a link to `outside` all the time: (the tree, outside)."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "d/in", outside):
        folder.mkdir(parents=True)
        (folder / "canary").write_bytes(b"canary")
    (tmp_path / "link").symlink_to(outside)
    words = [sys.executable, "-c", _ATTACKER, str(root / "d/in"), str(tmp_path / "link")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as attacker:
        assert attacker.stdout is not None and attacker.stderr is not None
        try:
            if attacker.stdout.readline() != "ready\n":
                pytest.skip(attacker.stderr.read().strip())
            yield root, outside
        finally:
            attacker.kill()


def _write_under_attack(tmp_path: Path, writes: list[Write], count: int) -> tuple[int, int, list[str]]:
    """How many writes were done and refused, and what changed outside."""
    done = refused = 0
    with _attacked(tmp_path) as (root, outside), Tree(root) as tree:
        for number in range(count):
            staged = tmp_path / "staged"
            staged.write_bytes(b"placed by us")
            try:
                writes[number % len(writes)](tree, staged, f"d/in/f{number}")
            except BundleError:
                refused += 1
            else:
                done += 1
    canary = outside / "canary"
    changed = [str(path.relative_to(outside)) for path in outside.rglob("*") if path != canary]
    if not canary.exists() or canary.read_bytes() != b"canary" or os.access(canary, os.X_OK):
        changed.append("canary")
    return done, refused, changed


_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="exchanges two names in one step, which Linux can")


@_LINUX
def test_no_write_ever_leaves_the_tree(tmp_path: Path, figure: Callable[[str], None]) -> None:
    writes: list[Write] = [_place, _place_copy, _link, _make_directory, _place, _set_executable, _place_copy, _remove]
    count = rounds(3000)
    done, refused, outside = _write_under_attack(tmp_path, writes, count)
    figure(f"writes beside an attacker: {count}, {done} done, {refused} refused, {len(outside)} outside")
    assert outside == []
    assert done and refused, "the attack did not reach us"


@_LINUX
def test_the_attack_reaches_a_naive_writer(tmp_path: Path) -> None:
    """Negative control."""
    _, _, outside = _write_under_attack(tmp_path, [_place_naively], rounds(3000))
    assert outside
