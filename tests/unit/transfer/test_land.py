"""Landing in a tree: the intent, the steps, and rolling forward after a stop anywhere."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.disk import batch
from modelops_bundle.disk.hashing import Hashed
from modelops_bundle.disk.tree import Guard, StatKey, Tree
from modelops_bundle.errors import DiskFull, WorkspaceChanged
from modelops_bundle.events import Event, Run, Started, observe_checkpoints
from modelops_bundle.model import packs
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan.pull import Step
from modelops_bundle.transfer import land, pack
from modelops_bundle.transfer.intent import Packed
from modelops_bundle.transfer.land import check_unchanged
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.workspace.index import Index
from modelops_bundle.workspace.scan import Digester, look
from tests.support.things import file

A, B, C = "content a", "content b", "content c"
DIRECTORY = Entry.directory()


def link(target: str) -> Entry:
    return Entry.link(target)


class Forgetful(Index):
    """A cache that knows nothing and keeps nothing."""

    def get(self, path: str, key: StatKey, *, strict: bool) -> Digest | None:
        return None

    def put(self, path: str, hashed: Hashed) -> None:
        pass

    def save(self, keep: object = None) -> None:
        pass


def staged_pack(staging: Staging, texts: Collection[str]) -> Packed:
    """Stage one pack that holds every text, and nothing else."""
    listed = tuple(Snapshot({f"t/{number}": file(text) for number, text in enumerate(texts)}).items())
    contents = {f"t/{number}": [text.encode()] for number, text in enumerate(texts)}
    made = pack.seal(listed, contents.__getitem__, Run())
    staging.path(made.digest).write_bytes(b"".join(pack.blob(listed, contents.__getitem__)))
    offsets = packs.offsets(listed)
    return {entry.digest: (made.digest, offsets[path]) for path, entry in listed}


class World:
    """A tree on disk, a staging folder that holds every content, and the way to look at them.

    `in_pack`: the contents are in a staged pack, not staged one by one.
    """

    def __init__(
        self,
        base: Path,
        entries: Mapping[str, Entry],
        texts: Collection[str] = (A, B, C, ""),
        *,
        in_pack: bool = False,
    ) -> None:
        self.root = base / "tree"
        self.root.mkdir(parents=True)
        self.staging = Staging(base / "parts")
        (base / "parts").mkdir()
        self.texts = {file(text).digest: text for text in texts}
        self.packed: Packed = staged_pack(self.staging, texts) if in_pack else {}
        for digest, text in () if in_pack else self.texts.items():
            self.staging.path(digest).write_text(text)
        for path, entry in entries.items():
            self.make(path, entry)
        self.tree = Tree(self.root)
        self.guarded = False

    def make(self, path: str, entry: Entry) -> None:
        native = self.root / path
        native.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "dir":
            native.mkdir(exist_ok=True)
        elif entry.kind == "link":
            native.symlink_to(entry.target or "")
        else:
            native.write_text(self.texts[entry.digest])
            native.chmod(0o755 if entry.executable else 0o644)

    def look(self, wanted: Collection[str]) -> Mapping[str, Entry]:
        return Digester(self.tree, Forgetful(self.root), Run(), strict=True).snapshot(look(self.tree, wanted))

    def apply(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        land.sweep(self.tree, [step.path for step in steps])
        keys = self.keys if self.guarded else None
        return land.apply(self.tree, self.staging, steps, self.look, Run(), packed=self.packed, keys=keys)

    def keys(self, wanted: Collection[str]) -> Mapping[str, StatKey]:
        return {path: item.key for path, item in look(self.tree, wanted).items()}

    def listing(self) -> Snapshot:
        """Everything on disk: files, links, empty directories."""
        found = {}
        for directory, directories, names in os.walk(self.root):
            here = os.path.relpath(directory, self.root).replace(os.sep, "/")
            prefix = "" if here == "." else f"{here}/"
            links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
            if not names and not directories and prefix:
                found[here] = DIRECTORY
            for name in [*names, *links]:
                path = Path(directory, name)
                if path.is_symlink():
                    found[prefix + name] = link(os.readlink(path))
                else:
                    executable = bool(path.stat().st_mode & 0o100)
                    found[prefix + name] = file(path.read_bytes(), executable=executable)
        return Snapshot(found)


def steps_between(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> tuple[Step, ...]:
    paths = sorted(before.keys() | after.keys())
    return tuple(Step(p, before.get(p), after.get(p)) for p in paths if before.get(p) != after.get(p))


CHANGES: dict[str, tuple[dict[str, Entry], dict[str, Entry]]] = {
    "add": ({}, {"a": file(A), "d/e/f": file(B)}),
    "modify": ({"a": file(A), "d/b": file(B)}, {"a": file(B), "d/b": file(C)}),
    "delete": ({"a": file(A), "d/e/f": file(B), "d/x": file(C)}, {"d/x": file(C)}),
    "delete all": ({"a": file(A), "d/e/f": file(B), "d/e/g": file(B)}, {}),
    "bit": ({"a": file(A), "b": file(B, executable=True)}, {"a": file(A, executable=True), "b": file(B)}),
    "bit and content": ({"a": file(A)}, {"a": file(B, executable=True)}),
    "copies": ({}, {"a": file(A), "b": file(A, executable=True), "c/d": file(A)}),
    "rename": ({"a": file(A)}, {"b/c": file(A)}),
    "swap": ({"a": file(A), "b": file(B)}, {"a": file(B), "b": file(A)}),
    "empty": ({}, {"a": file(""), "b": file("")}),
    "links": ({"a": file(A), "l": link("a"), "m": link("x")}, {"a": link("l"), "l": file(A), "m": link("y")}),
    "link gone": ({"l": link("a"), "d/l": link("..")}, {"n": link("nowhere")}),
    "directories": ({"d": DIRECTORY, "e/f": DIRECTORY}, {"g/h": DIRECTORY}),
    "file to directory": ({"a": file(A)}, {"a/b": file(B), "a/c/d": link("x")}),
    "directory to file": ({"a/b": file(A), "a/c/d": file(B)}, {"a": file(C)}),
    "directory to link": ({"a/b": file(A)}, {"a": link("b"), "b": file(B)}),
    "file to empty directory": ({"a": file(A), "z": file(B)}, {"a": DIRECTORY, "z": file(C)}),
    "empty directory to file": ({"a": DIRECTORY, "b": DIRECTORY}, {"a": file(A), "b": link("a")}),
    "empty directory to content": ({"d": DIRECTORY}, {"d/x/y": file(A)}),
    "content to empty directory": ({"d/x/y": file(A), "d/z": file(B)}, {"d": DIRECTORY}),
    "everything": (
        {"a": file(A), "b": file(B), "c/d": file(C), "l": link("a"), "e": DIRECTORY, "f/g/h": file(A)},
        {
            "a": file(B),
            "b/x": file(A),
            "c": file(C),
            "l": file(C),
            "e/f": file(A, executable=True),
            "f/g": link("../a"),
        },
    ),
}


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> tuple[dict[str, Entry], dict[str, Entry]]:
    return CHANGES[request.param]


Change = tuple[dict[str, Entry], dict[str, Entry]]
EITHER_WAY = pytest.mark.parametrize("in_pack", [False, True], ids=["staged", "in-pack"])


class Stopped(Exception):
    """The kill."""


def stop_at(number: int) -> tuple[Callable[[], None], list[str]]:
    """Raise at the checkpoint after `number` others."""
    passed: list[str] = []

    def observe(name: str) -> None:
        passed.append(name)
        if len(passed) > number:
            raise Stopped(name)

    return observe_checkpoints(observe), passed


def stops(
    base: Path, before: Mapping[str, Entry], steps: tuple[Step, ...], *, guarded: bool = True, in_pack: bool = False
) -> Iterator[tuple[int, World]]:
    """A world for every checkpoint, stopped there; ends with the first that none stops."""
    for number in range(1000):
        world = World(base / str(number), before, in_pack=in_pack)
        world.guarded = guarded
        stop, _ = stop_at(number)
        try:
            world.apply(steps)
        except Stopped:
            pass
        else:
            return
        finally:
            stop()
        yield number, world
    pytest.fail("it never ended")


# --- applying --------------------------------------------------------------------------------------------------------


@EITHER_WAY
@pytest.mark.parametrize("guarded", [True, False])
def test_the_steps_make_the_tree(tmp_path: Path, change: Change, guarded: bool, in_pack: bool) -> None:
    before, after = change
    world = World(tmp_path, before, in_pack=in_pack)
    world.guarded = guarded
    assert world.listing() == before
    assert world.apply(steps_between(before, after)) == ()
    assert world.listing() == after


@EITHER_WAY
def test_applying_twice_is_applying_once(tmp_path: Path, change: Change, in_pack: bool) -> None:
    before, after = change
    world = World(tmp_path, before, in_pack=in_pack)
    steps = steps_between(before, after)
    world.apply(steps)
    assert world.apply(steps) == ()
    assert world.listing() == after


@EITHER_WAY
@pytest.mark.parametrize("guarded", [True, False])
def test_after_a_stop_at_any_checkpoint_applying_again_converges(
    tmp_path: Path, change: Change, guarded: bool, in_pack: bool
) -> None:
    before, after = change
    steps = steps_between(before, after)
    count = 0
    for number, world in stops(tmp_path, before, steps, guarded=guarded, in_pack=in_pack):
        count += 1
        assert world.apply(steps) == (), number
        assert world.listing() == after, number
    assert count >= len(steps)


@EITHER_WAY
def test_after_two_stops_applying_again_converges(tmp_path: Path, change: Change, in_pack: bool) -> None:
    before, after = change
    steps = steps_between(before, after)
    for number, world in stops(tmp_path, before, steps, in_pack=in_pack):
        stop, _ = stop_at(number % 3)
        try:
            world.apply(steps)
        except Stopped:
            pass
        finally:
            stop()
        assert world.apply(steps) == (), number
        assert world.listing() == after, number


@EITHER_WAY
def test_at_every_stop_each_path_is_wholly_old_or_wholly_new(tmp_path: Path, change: Change, in_pack: bool) -> None:
    before, after = change
    steps = steps_between(before, after)
    for number, world in stops(tmp_path, before, steps, in_pack=in_pack):
        for path, entry in world.listing().items():
            if entry.kind != "dir":
                assert entry in (before.get(path), after.get(path)), (number, path)


@EITHER_WAY
def test_an_edit_after_a_stop_is_left_alone(tmp_path: Path, change: Change, in_pack: bool) -> None:
    before, after = change
    steps = steps_between(before, after)
    for number, world in stops(tmp_path, before, steps, in_pack=in_pack):
        edited = []
        for step in steps:
            native = world.root / step.path
            if native.is_file() and not native.is_symlink() and not edited:
                native.write_text("the user's own work")
                edited.append(step.path)
        left = world.apply(steps)
        kept = [path for path in edited if (world.root / path).is_file()]
        assert kept == edited, number
        assert all((world.root / path).read_text() == "the user's own work" for path in edited), number
        assert {step.path for step in left} >= set(edited), number


@EITHER_WAY
def test_an_edit_between_the_look_and_the_step_is_left_alone(tmp_path: Path, change: Change, in_pack: bool) -> None:
    """Somebody saves a file while the pull is under way: after it was looked at, before it is replaced."""
    before, after = change
    for number, step in enumerate(steps_between(before, after)):
        world = World(tmp_path / str(number), before, in_pack=in_pack)
        world.guarded = True
        native = world.root / step.path
        done = False

        def save(wanted: Collection[str], world: World = world, native: Path = native) -> Mapping[str, Entry]:
            nonlocal done
            found = World.look(world, wanted)
            if not done and native.parent.is_dir() and not native.is_symlink() and not native.is_dir():
                native.write_text("the user's own work, just saved")
                done = True
            return found

        world.look = save  # type: ignore[method-assign]
        left = world.apply(steps_between(before, after))
        if done:
            assert native.read_text() == "the user's own work, just saved", step.path
            assert step.path in {other.path for other in left}


def test_without_their_bytes_steps_are_left(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": file(A)})
    world.staging.clear()
    steps = (Step("a", file(A), file(B)), Step("b", None, link("a")))
    assert world.apply(steps) == (steps[0],)
    assert world.listing() == {"a": file(A), "b": link("a")}


@pytest.mark.parametrize("damage", ["gone", "cut", "other bytes"])
def test_what_a_damaged_pack_does_not_hold_is_left(tmp_path: Path, damage: str) -> None:
    """A crash of the machine, or a disk, may spoil what was staged: the bytes are believed by their digest only."""
    world = World(tmp_path, {"a": file(A)}, in_pack=True)
    digest, offset = world.packed[file(B).digest]
    staged = world.staging.path(digest)
    data = staged.read_bytes()
    at = packs.position(offset)
    if damage == "gone":
        staged.unlink()
    else:
        staged.write_bytes(data[: at + 3] + (b"" if damage == "cut" else b"?" + data[at + 4 :]))
    steps = (Step("a", file(A), file(B)), Step("b", None, file(B)), Step("l", None, link("a")))
    assert world.apply(steps) == steps[:2]
    assert world.listing() == {"a": file(A), "l": link("a")}


def test_a_pack_that_is_also_a_file_of_the_tree_serves_both(tmp_path: Path) -> None:
    world = World(tmp_path, {}, in_pack=True)
    digest, _ = world.packed[file(A).digest]
    data = world.staging.path(digest).read_bytes()
    steps = (Step("a", None, file(A)), Step("kept.tar.gz", None, file(data)), Step("z", None, file(B)))
    assert world.apply(steps) == ()
    assert world.listing() == {"a": file(A), "kept.tar.gz": file(data), "z": file(B)}


def test_a_file_that_came_where_a_directory_was_is_left_alone(tmp_path: Path) -> None:
    for number, in_pack in enumerate((False, True)):
        world = World(tmp_path / str(number), {"d": DIRECTORY}, in_pack=in_pack)
        world.guarded = True
        remove = world.tree.remove

        def race(path: str, guard: Guard | None = None, world: World = world, remove: Any = remove) -> None:
            (world.root / path).rmdir()
            (world.root / path).write_text("the user's own work")
            remove(path, guard)

        world.tree.remove = race  # type: ignore[method-assign]
        step = Step("d", DIRECTORY, file(A))
        assert world.apply((step,)) == (step,)
        assert (world.root / "d").read_text() == "the user's own work"


def test_nothing_stays_beside_when_the_disk_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, {}, in_pack=True)
    written = 0

    def fill_up(out: int, data: bytes) -> None:
        nonlocal written
        written += 1
        if written == 20:
            raise OSError(errno.ENOSPC, "full")
        os.write(out, data)

    monkeypatch.setattr(batch, "write_all", fill_up)
    steps = tuple(Step(f"d{number}/f", None, file(A)) for number in range(30))
    with pytest.raises(DiskFull):
        world.apply(steps)
    assert not [name for _, _, names in os.walk(world.root) for name in names]
    monkeypatch.undo()
    assert world.apply(steps) == ()
    assert len(world.listing()) == 30


def test_changed_paths_are_left(tmp_path: Path) -> None:
    world = World(tmp_path, {"edited": file(C), "gone": file(A), "fine": file(A), "new": file(C)})
    (world.root / "gone").unlink()
    steps = (
        Step("edited", file(A), file(B)),
        Step("gone", file(A), file(B)),
        Step("fine", file(A), file(B)),
        Step("new", None, file(B)),
    )
    assert [step.path for step in world.apply(steps)] == ["edited", "gone", "new"]
    assert world.listing() == {"edited": file(C), "fine": file(B), "new": file(C)}


def test_a_file_put_into_a_directory_that_goes_is_not_lost(tmp_path: Path) -> None:
    world = World(tmp_path, {"d/x": file(A), "d/mine": file(C), "e": DIRECTORY, "e/mine": file(C)})
    world.apply((Step("d/x", file(A), None), Step("e", DIRECTORY, None)))
    assert world.listing() == {"d/mine": file(C), "e/mine": file(C)}


def test_deletions_come_first_and_deepest_first() -> None:
    steps = [
        Step("a", None, file(A)),
        Step("x", file(A), None),
        Step("x/y/z", file(A), None),
        Step("x/y", file(A), None),
        Step("b", file(A), file(B)),
    ]
    assert [step.path for step in sorted(steps, key=land._order)] == ["x/y/z", "x/y", "x", "a", "b"]


def test_the_last_use_of_a_content_moves_it_and_earlier_ones_copy(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    world.apply(steps_between({}, {"a": file(A), "b": file(A)}))
    assert not world.staging.path(file(A).digest).exists()
    assert (world.root / "a").stat().st_ino != (world.root / "b").stat().st_ino


def test_keys_of_placed_files_prove_their_content(tmp_path: Path) -> None:
    world = World(tmp_path, {"b": file(B)})
    placed: dict[str, StatKey] = {}
    steps = (Step("a", None, file(A)), Step("b", file(B), file(C)), Step("l", None, link("a")))
    land.apply(world.tree, world.staging, steps, world.look, Run(), keys=world.keys, placed=placed)
    assert placed == {name: StatKey.of((world.root / name).stat()) for name in "ab"}


def test_names_of_directories_above_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, {})
    synced: list[set[str]] = []
    monkeypatch.setattr(world.tree, "sync", synced.append)
    world.apply(steps_between({}, {"a/b/c": file(A)}))
    assert synced == [{"", "a", "a/b"}]


def test_the_phase_is_told_unless_there_is_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    got: list[Event] = []
    land.apply(world.tree, world.staging, (), world.look, Run(emit=got.append))
    assert got == []
    land.apply(world.tree, world.staging, (Step("a", None, file(A)),), world.look, Run(emit=got.append))
    assert got == [Started("apply", 1)]


def test_what_a_killed_command_left_beside_is_swept(tmp_path: Path) -> None:
    world = World(tmp_path, {"d/a": file(A)})
    for name in (".~bundle-1", "d/.~bundle-2"):
        (world.root / name).write_text("torn")
    land.sweep(world.tree, ["d/a", "b"])
    assert world.listing() == {"d/a": file(A)}


# --- before the first write ------------------------------------------------------------------------------------------


def test_a_tree_as_the_plan_saw_it_is_fine(tmp_path: Path, change: Change) -> None:
    before, after = change
    world = World(tmp_path, before)
    check_unchanged(steps_between(before, after), world.look)


def test_any_other_tree_is_refused_by_name(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": file(A), "b": file(A)})
    for steps in (
        [Step("a", file(B), file(C)), Step("b", file(A), file(C))],
        [Step("a", None, file(C))],
        [Step("a", file(A, executable=True), file(C))],
        [Step("gone", file(A), file(C)), Step("a", link("x"), None)],
    ):
        with pytest.raises(WorkspaceChanged) as caught:
            check_unchanged(steps, world.look)
        assert "b" not in caught.value.facts["paths"]
    assert world.listing() == {"a": file(A), "b": file(A)}
