"""Changing a directory tree through handles that follow no link (facts: reliability §3.1)."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import normalize

import pytest

from modelops_bundle.disk import tree as module
from modelops_bundle.disk.files import copy
from modelops_bundle.disk.tree import ABSENT, Guard, StatKey, Tree
from modelops_bundle.errors import DiskError, UnsafePath, Unsupported, WorkspaceChanged, WouldOverwrite
from modelops_bundle.events import observe_checkpoints


class Sandbox:
    """A tree, a staging folder beside it, and an outside that must not change."""

    def __init__(self, base: Path) -> None:
        self.root = base / "tree"
        self.outside = base / "outside"
        self.parts = base / "parts"
        for folder in (self.root, self.outside, self.parts):
            folder.mkdir()
        (self.outside / "f").write_bytes(b"outside")
        (self.outside / "sub").mkdir()
        (self.outside / "sub" / "f").write_bytes(b"outside too")
        self.tree = Tree(self.root)
        self.before = self._look()

    def _look(self) -> dict[str, tuple[int, bytes]]:
        found = {}
        for path in sorted(self.outside.rglob("*")):
            facts = path.lstat()
            found[str(path)] = (facts.st_mode, path.read_bytes() if path.is_file() else b"")
        return found

    def outside_changed(self) -> bool:
        return self._look() != self.before

    def stage(self, data: bytes = b"new") -> Path:
        path = self.parts / "staged"
        path.write_bytes(data)
        return path

    def place(self, path: str, data: bytes = b"new", *, executable: bool = False, keep: bool = False) -> None:
        self.tree.place(self.stage(data), path, executable=executable, keep=keep)

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*"))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path)
    yield made
    made.tree.close()
    assert not made.outside_changed()


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    old = os.umask(0o022)

    def set_to(value: int) -> None:
        os.umask(value)
        module._umask.cache_clear()

    set_to(0o022)
    yield set_to
    os.umask(old)
    module._umask.cache_clear()


EVERY_CHANGE: dict[str, Callable[[Sandbox, str], object]] = {
    "place": lambda box, path: box.place(path),
    "place a copy": lambda box, path: box.place(path, keep=True),
    "link": lambda box, path: box.tree.link("t", path),
    "make_directory": lambda box, path: box.tree.make_directory(path),
    "set_executable": lambda box, path: box.tree.set_executable(path, True),
    "open_read": lambda box, path: os.close(box.tree.open_read(path)),
    "read_link": lambda box, path: box.tree.read_link(path),
}


# --- ordinary work ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
def test_placing_makes_parents_and_replaces(box: Sandbox, keep: bool) -> None:
    box.place("a/b/c", b"one", keep=keep)
    box.place("a/b/c", b"two", keep=keep)
    assert (box.root / "a/b/c").read_bytes() == b"two"
    assert (box.parts / "staged").exists() is keep
    assert box.files() == ["a", "a/b", "a/b/c"]


@pytest.mark.parametrize(
    ("mask", "plain", "executable"),
    [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700), (0o027, 0o640, 0o750), (0, 0o666, 0o777)],
)
@pytest.mark.parametrize("keep", [False, True])
def test_modes_follow_the_umask(
    box: Sandbox, umask: Callable[[int], None], mask: int, plain: int, executable: int, keep: bool
) -> None:
    umask(mask)
    box.place("a", keep=keep)
    box.place("x", executable=True, keep=keep)
    assert stat.S_IMODE((box.root / "a").stat().st_mode) == plain
    assert stat.S_IMODE((box.root / "x").stat().st_mode) == executable


@pytest.mark.parametrize(
    ("mask", "mode", "set_to", "cleared"),
    [(0o022, 0o644, 0o755, 0o644), (0o077, 0o600, 0o700, 0o600), (0o027, 0o640, 0o750, 0o640)],
)
def test_the_executable_bit_is_set_as_umask_allows(
    box: Sandbox, umask: Callable[[int], None], mask: int, mode: int, set_to: int, cleared: int
) -> None:
    umask(mask)
    (box.root / "a").write_bytes(b"same")
    (box.root / "a").chmod(mode)
    box.tree.set_executable("a", True)
    assert stat.S_IMODE((box.root / "a").stat().st_mode) == set_to
    box.tree.set_executable("a", False)
    assert stat.S_IMODE((box.root / "a").stat().st_mode) == cleared
    assert (box.root / "a").read_bytes() == b"same"


def test_a_link_replaces_what_is_there(box: Sandbox) -> None:
    box.place("d/a")
    box.tree.link("../x", "d/a")
    box.tree.link("y", "d/a")
    assert box.tree.read_link("d/a") == "y"
    assert box.files() == ["d", "d/a"]


def test_a_directory_is_made_once(box: Sandbox) -> None:
    box.tree.make_directory("a/b")
    box.tree.make_directory("a/b")
    assert box.files() == ["a", "a/b"]


def test_removing_takes_emptied_directories_along_but_not_the_root(box: Sandbox) -> None:
    box.place("a/b/c")
    box.place("a/x")
    box.tree.remove("a/b/c")
    assert box.files() == ["a", "a/x"]
    box.tree.remove("a/x")
    assert box.files() == []
    assert box.root.is_dir()


def test_removing_what_is_gone_still_prunes(box: Sandbox) -> None:
    box.tree.make_directory("a/b")
    box.tree.remove("a/b/c")
    assert box.files() == []
    box.tree.remove("never/was")


def test_a_directory_with_content_is_not_removed(box: Sandbox) -> None:
    box.place("d/mine")
    box.tree.remove("d")
    assert box.files() == ["d", "d/mine"]


def test_removing_a_link_leaves_its_target(box: Sandbox) -> None:
    (box.root / "l").symlink_to(box.outside)
    box.tree.remove("l")
    assert box.files() == []


def test_sync_and_sweep_work_on_directories_that_may_be_gone(box: Sandbox) -> None:
    box.place("a/b")
    (box.root / ".~bundle-1").touch()
    (box.root / "a" / ".~bundle-2").touch()
    (box.outside / ".~bundle-3").touch()
    box.before = box._look()
    (box.root / "evil").symlink_to(box.outside)
    box.tree.sync({"", "a", "evil"})
    box.tree.sweep({"", "a", "gone", "evil"}, ".~bundle-")
    assert box.files() == ["a", "a/b", "evil"]


def test_lstat_is_about_the_path_itself(box: Sandbox) -> None:
    box.place("f")
    (box.root / "l").symlink_to("f")
    facts = box.tree.lstat("l")
    assert facts is not None
    assert stat.S_ISLNK(facts.st_mode)
    for absent in ("no", "no/no", "f/below", "l/below"):
        assert box.tree.lstat(absent) is None


def test_lstat_does_not_call_a_failure_absence(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module.os, "stat", refuse)
    with pytest.raises(DiskError):
        box.tree.lstat("f")
    monkeypatch.undo()


def test_a_followed_link_stands_for_its_target(box: Sandbox) -> None:
    (box.root / "l").symlink_to(box.outside / "f")
    (box.root / "dangling").symlink_to(box.outside / "nothing")
    with Tree(box.root, frozenset(["l", "dangling"])) as follower:
        facts = follower.lstat("l")
        assert facts is not None
        assert stat.S_ISREG(facts.st_mode)
        descriptor = follower.open_read("l")
        assert os.read(descriptor, 99) == b"outside"
        os.close(descriptor)
        assert follower.lstat("dangling") is None
        with pytest.raises(DiskError):
            follower.open_read("dangling")


def test_a_stat_key_changes_with_each_of_its_parts(box: Sandbox) -> None:
    box.place("f")
    facts = (box.root / "f").stat()
    assert StatKey.of(facts) == (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)


@pytest.mark.parametrize("path", ["..", "../outside/f", "d/../../outside/f", ".", "", "d//f", "/etc/passwd", "d/"])
@pytest.mark.parametrize("change", [*EVERY_CHANGE, "remove", "lstat"])
def test_a_path_that_was_never_validated_goes_nowhere(box: Sandbox, change: str, path: str) -> None:
    (box.root / "d").mkdir()
    call = EVERY_CHANGE.get(change) or (lambda box, path: getattr(box.tree, change)(path))
    with pytest.raises(UnsafePath):
        call(box, path)
    assert box.files() == ["d"]


def test_a_root_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for root in (tmp_path / "f", tmp_path / "absent"):
        with pytest.raises(DiskError):
            Tree(root)


def test_a_platform_without_directory_handles_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "supports_dir_fd", set())
    with pytest.raises(Unsupported):
        Tree(tmp_path)


def test_no_handle_is_leaked(box: Sandbox) -> None:
    (box.root / "file").touch()
    count = len(os.listdir("/dev/fd"))
    for path in ("a/b/c", "file/x", "no/no"):
        for change in EVERY_CHANGE.values():
            try:
                change(box, path)
            except (DiskError, WouldOverwrite):
                pass
    assert len(os.listdir("/dev/fd")) == count


# --- links planted in the way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["../outside", "../outside/sub", "/etc", "..", ".", "missing"])
@pytest.mark.parametrize("change", EVERY_CHANGE)
def test_a_directory_that_is_a_link_is_never_walked_through(box: Sandbox, change: str, target: str) -> None:
    (box.root / "d").symlink_to(target)
    with pytest.raises((WouldOverwrite, DiskError)):
        EVERY_CHANGE[change](box, "d/f")
    assert os.readlink(box.root / "d") == target


@pytest.mark.parametrize("change", EVERY_CHANGE)
def test_a_link_deeper_down_is_never_walked_through(box: Sandbox, change: str) -> None:
    (box.root / "a" / "b").mkdir(parents=True)
    (box.root / "a" / "b" / "c").symlink_to(box.outside)
    with pytest.raises((WouldOverwrite, DiskError)):
        EVERY_CHANGE[change](box, "a/b/c/sub/f")


def test_removing_through_a_link_does_nothing(box: Sandbox) -> None:
    (box.root / "d").symlink_to(box.outside)
    box.tree.remove("d/f")
    box.tree.prune("d/sub")
    assert (box.root / "d").is_symlink()


@pytest.mark.parametrize("change", ["place", "place a copy", "link", "make_directory", "set_executable", "open_read"])
def test_a_directory_swapped_for_a_link_between_two_operations_is_refused(box: Sandbox, change: str) -> None:
    box.place("d/f", b"mine")
    (box.root / "d").rename(box.root / "moved")
    (box.root / "d").symlink_to(box.outside)
    with pytest.raises((WouldOverwrite, DiskError)):
        EVERY_CHANGE[change](box, "d/f")
    assert (box.root / "moved/f").read_bytes() == b"mine"


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("change", ["place", "place a copy", "link", "make_directory", "open_read", "set_executable"])
def test_a_directory_swapped_for_a_link_before_any_system_call_never_leads_outside(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, change: str, step: int
) -> None:
    box.place("d/sub/f", b"mine")
    count = 0

    def swapping(call: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object, **named: object) -> object:
            nonlocal count
            if count == step:
                os.replace(box.root / "d", box.root / "moved")
                (box.root / "d").symlink_to(box.outside)
            count += 1
            return call(*arguments, **named)

        return called

    wanted = box.stage()
    for name in ("open", "mkdir", "rename", "symlink", "fchmod"):
        monkeypatch.setattr(module.os, name, swapping(getattr(os, name)))
    try:
        if change.startswith("place"):
            box.tree.place(wanted, "d/sub/f", executable=False, keep="copy" in change)
        else:
            EVERY_CHANGE[change](box, "d/sub/f")
    except (WouldOverwrite, DiskError, OSError):
        pass
    monkeypatch.undo()
    assert not box.outside_changed()


@pytest.mark.parametrize("change", ["place", "place a copy"])
@pytest.mark.parametrize("target", ["absolute", "relative", "dangling"])
def test_a_final_link_is_replaced_and_never_written_through(box: Sandbox, change: str, target: str) -> None:
    to = {"absolute": str(box.outside / "f"), "relative": "../outside/f", "dangling": "../outside/new"}[target]
    (box.root / "a").symlink_to(to)
    EVERY_CHANGE[change](box, "a")
    assert not (box.root / "a").is_symlink()
    assert (box.root / "a").read_bytes() == b"new"


@pytest.mark.parametrize("change", ["set_executable", "open_read"])
def test_a_final_link_is_not_opened(box: Sandbox, change: str) -> None:
    (box.root / "a").symlink_to(box.outside / "f")
    with pytest.raises(DiskError):
        EVERY_CHANGE[change](box, "a")


def test_a_hard_link_to_outside_is_unaffected_by_placing(box: Sandbox) -> None:
    os.link(box.outside / "f", box.root / "a")
    os.link(box.outside / "f", box.root / "b")
    box.place("a")
    box.place("b", keep=True)
    assert (box.root / "a").read_bytes() == (box.root / "b").read_bytes() == b"new"
    assert (box.outside / "f").read_bytes() == b"outside"


def test_a_pipe_is_refused_at_once(box: Sandbox) -> None:
    os.mkfifo(box.root / "p")
    for change in ("open_read", "set_executable"):
        with pytest.raises(WouldOverwrite, match="no regular file"):
            EVERY_CHANGE[change](box, "p")


def test_a_file_where_a_directory_is_needed_is_named(box: Sandbox) -> None:
    box.place("a")
    with pytest.raises(WouldOverwrite, match="a is in the way of a/b"):
        box.place("a/b")
    assert (box.root / "a").read_bytes() == b"new"


def test_a_directory_where_a_file_is_needed_is_not_lost(box: Sandbox) -> None:
    box.place("d/mine", b"mine")
    for keep in (False, True):
        with pytest.raises(DiskError):
            box.place("d", keep=keep)
    assert box.files() == ["d", "d/mine"]


# --- the last look ---------------------------------------------------------------------------------------------------

GUARDED: dict[str, Callable[[Sandbox, str, Guard], object]] = {
    "place": lambda box, path, guard: box.tree.place(box.stage(), path, executable=False, keep=False, guard=guard),
    "place a copy": lambda box, path, guard: box.tree.place(
        box.stage(), path, executable=False, keep=True, guard=guard
    ),
    "link": lambda box, path, guard: box.tree.link("t", path, guard),
    "set_executable": lambda box, path, guard: box.tree.set_executable(path, True, guard),
    "remove": lambda box, path, guard: box.tree.remove(path, guard),
}


@pytest.mark.parametrize("change", GUARDED)
def test_a_file_as_it_was_seen_is_changed(box: Sandbox, change: str) -> None:
    (box.root / "f").write_bytes(b"seen")
    GUARDED[change](box, "f", StatKey.of((box.root / "f").stat()))
    if change == "remove":
        assert not (box.root / "f").exists()
    elif change == "link":
        assert (box.root / "f").is_symlink()
    elif change == "set_executable":
        assert (box.root / "f").stat().st_mode & 0o100
    else:
        assert (box.root / "f").read_bytes() == b"new"


@pytest.mark.parametrize("change", GUARDED)
@pytest.mark.parametrize("edit", ["write", "replace", "touch"])
def test_a_file_that_changed_since_is_left_alone(box: Sandbox, change: str, edit: str) -> None:
    (box.root / "f").write_bytes(b"seen")
    guard = StatKey.of((box.root / "f").stat())
    if edit == "write":
        (box.root / "f").write_bytes(b"a longer one")
    elif edit == "replace":
        (box.root / "g").write_bytes(b"seen")
        (box.root / "g").replace(box.root / "f")
    else:
        os.utime(box.root / "f", ns=(1, 1))
    before = ((box.root / "f").read_bytes(), (box.root / "f").lstat().st_mode)
    with pytest.raises(WorkspaceChanged):
        GUARDED[change](box, "f", guard)
    assert ((box.root / "f").read_bytes(), (box.root / "f").lstat().st_mode) == before


@pytest.mark.parametrize("change", ["place", "place a copy", "link"])
def test_what_appeared_where_nothing_was_is_left_alone(box: Sandbox, change: str) -> None:
    (box.root / "f").write_bytes(b"mine")
    with pytest.raises(WorkspaceChanged):
        GUARDED[change](box, "f", ABSENT)
    assert (box.root / "f").read_bytes() == b"mine"
    GUARDED[change](box, "g", ABSENT)
    assert os.path.lexists(box.root / "g")
    assert box.files() == ["f", "g"]


@pytest.mark.parametrize("change", ["place", "place a copy"])
def test_what_appears_at_the_very_last_moment_is_left_alone(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    real = os.link

    def link(*arguments: object, **named: object) -> None:
        (box.root / "f").write_bytes(b"mine")
        real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module.os, "link", link)
    with pytest.raises(WorkspaceChanged):
        GUARDED[change](box, "f", ABSENT)
    assert (box.root / "f").read_bytes() == b"mine"
    assert box.files() == ["f"]


@pytest.mark.parametrize("change", ["place", "place a copy"])
def test_a_file_system_without_hard_links_renames(box: Sandbox, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(module.os, "link", refuse)
    GUARDED[change](box, "d/f", ABSENT)
    assert (box.root / "d/f").read_bytes() == b"new"
    assert box.files() == ["d", "d/f"]


@pytest.mark.parametrize("change", ["place", "place a copy"])
def test_no_second_name_of_a_placed_file_stays(box: Sandbox, change: str) -> None:
    GUARDED[change](box, "f", ABSENT)
    assert (box.root / "f").stat().st_nlink == 1


def test_the_key_of_a_placed_file_is_told_unless_somebody_wrote_to_it(box: Sandbox) -> None:
    key = box.tree.place(box.stage(), "f", executable=False, keep=False)
    assert key == StatKey.of((box.root / "f").stat())
    staged = box.stage()
    stop = observe_checkpoints(lambda name: staged.write_bytes(b"else") and None if "ready" in name else None)
    try:
        assert box.tree.place(staged, "g", executable=False, keep=False) is None
    finally:
        stop()


# --- copying ---------------------------------------------------------------------------------------------------------


def test_another_file_system_means_a_copy(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename
    calls = 0

    def rename(*arguments: object, **named: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module.os, "rename", rename)
    box.place("a/b", b"x" * 3_000_000, executable=True)
    assert calls == 2
    assert (box.root / "a/b").read_bytes() == b"x" * 3_000_000
    assert (box.root / "a/b").stat().st_mode & 0o100
    assert box.files() == ["a", "a/b"]


@pytest.mark.parametrize("call", ["rename", "fsync", "fchmod"])
def test_a_copy_that_fails_leaves_the_old_file_and_no_litter(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    box.place("a", b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    staged = box.stage()
    monkeypatch.setattr(module.os, call, fail)
    with pytest.raises(DiskError):
        box.tree.place(staged, "a", executable=False, keep=True)
    monkeypatch.undo()
    assert (box.root / "a").read_bytes() == b"old"
    assert box.files() == ["a"]


def _copy(tmp_path: Path, data: bytes) -> bytes:
    (tmp_path / "from").write_bytes(data)
    with open(tmp_path / "from", "rb") as source, open(tmp_path / "to", "wb") as out:
        copy(source.fileno(), out.fileno())
    return (tmp_path / "to").read_bytes()


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_copy_is_the_same_bytes(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    assert _copy(tmp_path, data) == data


def test_a_kernel_that_cannot_copy_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "x")

    data = os.urandom(2_500_000)
    monkeypatch.setattr(module.os, "copy_file_range", refuse, raising=False)
    assert _copy(tmp_path, data) == data
    monkeypatch.delattr(module.os, "copy_file_range")
    assert _copy(tmp_path, data) == data


def test_a_kernel_that_copies_in_pieces_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.copy_file_range
    monkeypatch.setattr(module.os, "copy_file_range", lambda a, b, count: real(a, b, min(count, 1000)))
    data = os.urandom(10_500)
    assert _copy(tmp_path, data) == data


def test_a_kernel_that_stops_halfway_is_done_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.copy_file_range
    answers = iter([1000, 0])
    monkeypatch.setattr(module.os, "copy_file_range", lambda a, b, _: (n := next(answers)) and real(a, b, n))
    data = os.urandom(10_500)
    assert _copy(tmp_path, data) == data


def test_a_kernel_that_fails_halfway_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.copy_file_range
    calls = 0

    def flaky(source: int, out: int, count: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EIO, "x")
        return real(source, out, 1000)

    monkeypatch.setattr(module.os, "copy_file_range", flaky)
    with pytest.raises(OSError, match="x"):
        _copy(tmp_path, b"y" * 5000)


# --- a stop at any moment --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
def test_a_stop_while_placing_leaves_old_or_new_and_never_part_of_it(box: Sandbox, keep: bool) -> None:
    seen: list[str] = []
    for number in range(20):
        (box.root / "f").write_bytes(b"old")
        count = 0

        def stop_here(name: str, number: int = number) -> None:
            nonlocal count
            count += 1
            if count > number:
                raise KeyboardInterrupt(name)

        stop = observe_checkpoints(stop_here)
        try:
            box.place("f", b"new", keep=keep)
        except KeyboardInterrupt as error:
            seen.append(str(error))
        else:
            break
        finally:
            stop()
        assert (box.root / "f").read_bytes() in (b"old", b"new")
        assert (box.parts / "staged").exists() or (box.root / "f").read_bytes() == b"new"
        assert box.files() == ["f"]
    assert seen == (["copied beside", "placed"] if keep else ["staged file ready", "placed"])


# --- Unicode ---------------------------------------------------------------------------------------------------------

NAME = "caf\u00e9"
ODD = normalize("NFD", NAME)


def test_names_in_another_form_on_disk_are_found(box: Sandbox) -> None:
    (box.root / ODD).mkdir()
    (box.root / ODD / ODD).write_bytes(b"old")
    facts = box.tree.lstat(f"{NAME}/{NAME}")
    assert facts is not None
    descriptor = box.tree.open_read(f"{NAME}/{NAME}")
    assert os.read(descriptor, 9) == b"old"
    os.close(descriptor)


def test_placing_keeps_the_spelling_that_is_there(box: Sandbox) -> None:
    (box.root / ODD).write_bytes(b"old")
    box.place(NAME)
    assert os.listdir(box.root) == [ODD]
    assert (box.root / ODD).read_bytes() == b"new"


def test_removing_finds_the_spelling_that_is_there(box: Sandbox) -> None:
    (box.root / ODD).mkdir()
    (box.root / ODD / ODD).write_bytes(b"old")
    box.tree.remove(f"{NAME}/{NAME}")
    assert box.files() == []


def test_the_exact_spelling_is_preferred(box: Sandbox) -> None:
    (box.root / ODD).write_bytes(b"odd")
    (box.root / NAME).write_bytes(b"exact")
    box.place(NAME)
    assert ((box.root / ODD).read_bytes(), (box.root / NAME).read_bytes()) == (b"odd", b"new")


def test_new_names_are_written_as_they_are(box: Sandbox) -> None:
    box.place(f"{NAME}/{NAME}")
    assert box.files() == [NAME, f"{NAME}/{NAME}"]


# --- kept handles ----------------------------------------------------------------------------------------------------


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What `os.open` was called with."""
    called: list[object] = []
    real = os.open

    def watched(path: object, *words: object, **names: object) -> int:
        called.append(path)
        return real(path, *words, **names)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "open", watched)
    monkeypatch.setattr(os, "supports_dir_fd", {*os.supports_dir_fd, watched})
    return called


def test_many_paths_of_one_directory_open_it_once(tmp_path: Path, opens: list[object]) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    with Tree(tmp_path) as tree:
        opens.clear()
        with tree.keeping(), tree.keeping():
            for number in range(10):
                assert tree.lstat(f"a/b/{number}") is None
        assert opens == [".", "a", "b"]
        assert tree.lstat("a/b/x") is None
        assert len(opens) == 6


def test_what_was_made_meanwhile_is_seen_through_a_kept_handle(tmp_path: Path) -> None:
    with Tree(tmp_path) as tree, tree.keeping():
        assert tree.lstat("d/x") is None
        with tree.parent("d/x", create=True) as (parent, name):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=parent))
        assert tree.lstat("d/x") is not None


def test_each_thread_keeps_its_own_handle(tmp_path: Path) -> None:
    """A generator that was dropped may end in another thread than it began: that one loses nothing by it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with Tree(tmp_path) as tree:
        other = tree.keeping()

        def begin() -> None:
            other.__enter__()
            tree.lstat("a/x")

        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
        with tree.keeping():
            with tree.parent("b/x") as (mine, _):
                pass
            other.__exit__(None, None, None)
            with tree.parent("b/y") as (again, _):
                assert again == mine
                assert os.fstat(again).st_ino == (tmp_path / "b").stat().st_ino


def test_no_handle_is_left_when_a_directory_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "l").symlink_to("a")
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("no /proc")
    with Tree(tmp_path) as tree:
        before = len(list(fds.iterdir()))
        with tree.keeping():
            for path in ("a/x", "l/x", "none/x", "a/y"):
                tree.lstat(path)
        assert len(list(fds.iterdir())) == before
