"""One walk over the directory, and entries from what it found."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import normalize

import pytest

from modelops_bundle.disk import hashing
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import DiskError, UnsafePath, WorkspaceChanged, WouldOverwrite
from modelops_bundle.events import Run
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.workspace import scan
from modelops_bundle.workspace.ignore import Ignore, Rule
from modelops_bundle.workspace.index import Index
from modelops_bundle.workspace.scan import Digester, Found, Walk, Walker, look, refuse_special
from tests.support.things import file


def plant(root: Path, *names: str) -> None:
    """Files by name; a trailing slash makes a directory, `name -> target` a link."""
    for name in names:
        path, _, target = name.partition(" -> ")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if target:
            (root / path).symlink_to(target)
        elif name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).write_text(name)


def ignoring(text: str) -> Ignore:
    rules = {".modelopsignore": text.encode()}
    return Ignore(rules.get, defaults=False)


def walk(root: Path, tracked: set[str], ignore: Ignore | None = None, **more: object) -> Walk:
    return Walker(root, tracked, ignore, **more).walk()  # type: ignore[arg-type]


# --- the walk --------------------------------------------------------------------------------------------------------


def test_tracked_paths_are_found_in_their_kinds(tmp_path: Path) -> None:
    plant(tmp_path, "a", "d/x", "l -> a", "empty/", "dl -> d")
    (tmp_path / "d/x").chmod(0o755)
    found = walk(tmp_path, {"a", "d/x", "l", "empty", "dl", "gone"}).tracked
    assert {path: item.kind for path, item in found.items()} == {
        "a": "file",
        "d/x": "file",
        "l": "link",
        "dl": "link",
        "empty": "dir",
    }
    assert (found["d/x"].executable, found["a"].executable) == (True, False)
    assert found["l"].target == "a"
    assert found["a"].key == StatKey.of((tmp_path / "a").stat())


def test_without_rules_only_tracked_paths_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a", "other/deep/x", "d/x", "d/y")
    entered: list[str] = []
    real = os.scandir

    def noting(path: str) -> object:
        entered.append(os.path.relpath(path, tmp_path))
        return real(path)

    monkeypatch.setattr(scan.os, "scandir", noting)
    found = walk(tmp_path, {"a", "d/x"})
    assert set(found.tracked) == {"a", "d/x"}
    assert found.untracked == {}
    assert entered == [".", "d"]


def test_untracked_files_links_and_empty_directories_are_reported(tmp_path: Path) -> None:
    plant(tmp_path, "t", "a", "d/x", "e/", "f/g/", "l -> t")
    found = walk(tmp_path, {"t"}, ignoring(""))
    assert {path: item.kind for path, item in found.untracked.items()} == {
        "a": "file",
        "d/x": "file",
        "e": "dir",
        "f/g": "dir",
        "l": "link",
    }


def test_ignored_paths_are_not_reported_unless_wanted(tmp_path: Path) -> None:
    plant(tmp_path, "a.log", "keep", "build/x", "build/y")
    rules = ignoring("*.log\nbuild/\n")
    assert set(walk(tmp_path, set(), rules).untracked) == {"keep"}
    found = walk(tmp_path, set(), rules, want_ignored=True)
    assert {path: rule.pattern for path, rule in found.ignored.items()} == {"a.log": "*.log", "build": "build/"}
    assert isinstance(found.ignored["a.log"], Rule)


def test_tracked_wins_over_ignored_and_brings_nothing_else_along(tmp_path: Path) -> None:
    plant(tmp_path, "build/x", "build/y", "build/sub/z", "after")
    found = walk(tmp_path, {"build/x"}, ignoring("build/\n"))
    assert set(found.tracked) == {"build/x"}
    assert set(found.untracked) == {"after"}


def test_our_temporary_files_are_nobody(tmp_path: Path) -> None:
    plant(tmp_path, ".~bundle-1", "d/.~bundle-2")
    found = walk(tmp_path, set(), ignoring(""))
    assert set(found.untracked) == {"d"}


def test_a_tracked_directory_that_got_content_is_walked(tmp_path: Path) -> None:
    plant(tmp_path, "d/x")
    found = walk(tmp_path, {"d"}, ignoring(""))
    assert (set(found.tracked), set(found.untracked)) == ({"d"}, {"d/x"})


def test_a_walk_may_start_below(tmp_path: Path) -> None:
    plant(tmp_path, "a", "d/x", "d/e/y", "empty/")
    walker = Walker(tmp_path, {"d/x"}, ignoring(""))
    found = walker.walk("d")
    assert (set(found.tracked), set(found.untracked)) == ({"d/x"}, {"d/e/y"})
    assert Walker(tmp_path, set(), ignoring("")).walk("absent") == Walk()
    assert Walker(tmp_path, set(), ignoring("")).walk("a") == Walk()
    assert Walker(tmp_path, set(), ignoring("")).walk("empty") == Walk()


def test_links_to_directories_are_not_entered(tmp_path: Path) -> None:
    plant(tmp_path, "d/x", "l -> d", "loop -> .")
    found = walk(tmp_path, {"l/x"}, ignoring(""))
    assert (set(found.tracked), set(found.untracked)) == (set(), {"d/x", "l", "loop"})


def test_a_followed_link_stands_for_its_target(tmp_path: Path) -> None:
    plant(tmp_path, "d/x", "l -> d/x", "dangling -> nowhere", "plain -> d/x")
    found = walk(tmp_path, {"l", "dangling", "plain"}, None, follow=["l", "dangling"])
    assert {path: item.kind for path, item in found.tracked.items()} == {"l": "file", "plain": "link"}
    assert found.tracked["l"].key == StatKey.of((tmp_path / "d/x").stat())


def test_names_in_another_unicode_form_are_found_under_nfc(tmp_path: Path) -> None:
    name = "caf\u00e9"
    plant(tmp_path, f"{normalize('NFD', name)}/{normalize('NFD', name)}")
    assert set(walk(tmp_path, {f"{name}/{name}"}).tracked) == {f"{name}/{name}"}
    assert set(walk(tmp_path, set(), ignoring("")).untracked) == {f"{name}/{name}"}


@pytest.mark.parametrize("call", ["stat", "readlink", "lstat"])
def test_what_vanishes_during_the_walk_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    plant(tmp_path, "a", "gone", "l -> a", "e/")

    class Entries:
        """Directory entries, the last of which is gone when it is asked about."""

        def __init__(self, inner: object) -> None:
            self.inner = inner

        def __enter__(self) -> Iterator[object]:
            return iter(self)

        def __iter__(self) -> Iterator[object]:
            return (Fragile(entry) for entry in self.inner)  # type: ignore[attr-defined]

        def __exit__(self, *error: object) -> None:
            self.inner.__exit__(*error)  # type: ignore[attr-defined]

    class Fragile:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.path, self.is_dir, self._stat = entry.name, entry.path, entry.is_dir, entry.stat

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            if call == "stat" and self.name == "gone":
                raise FileNotFoundError
            return self._stat(follow_symlinks=follow_symlinks)

    def vanish(*_: object) -> None:
        raise FileNotFoundError

    real = os.scandir
    monkeypatch.setattr(scan.os, "scandir", lambda path: Entries(real(path)))
    if call != "stat":
        monkeypatch.setattr(scan.os, call, vanish)
    missing = {"stat": "gone", "readlink": "l", "lstat": "e"}[call]
    assert set(walk(tmp_path, {"a", "gone"}, ignoring("")).tracked) == {"a", "gone"} - {missing}
    found = walk(tmp_path, set(), ignoring(""))
    assert set(found.untracked) == {"a", "gone", "l", "e"} - {missing}


def test_a_directory_that_cannot_be_read_is_an_error_and_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "d/x")
    real = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/d"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(scan.os, "scandir", refuse)
    with pytest.raises(DiskError):
        walk(tmp_path, {"d/x"})


# --- what no bundle can hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (stat.S_IFREG, "file"),
        (stat.S_IFDIR, "dir"),
        (stat.S_IFLNK, "link"),
        (stat.S_IFIFO, "special"),
        (stat.S_IFSOCK, "special"),
        (stat.S_IFBLK, "special"),
        (stat.S_IFCHR, "special"),
    ],
)
def test_kinds(mode: int, kind: str) -> None:
    facts = os.stat_result((mode | 0o644, 1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert scan.found(facts, lambda: "target").kind == kind


def test_pipes_and_sockets_are_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    found = walk(tmp_path, {"p"}).tracked
    with pytest.raises(UnsafePath, match="p is a FIFO"):
        refuse_special(found)
    refuse_special({"a": Found("file", StatKey(0, 0, 0, 0, 0))})


# --- looking at paths ------------------------------------------------------------------------------------------------


def test_looking_follows_nothing_and_leaves_out_what_is_absent(tmp_path: Path) -> None:
    plant(tmp_path, "a", "d/x", "l -> a", "out -> d")
    with Tree(tmp_path) as tree:
        found = look(tree, ["a", "d", "l", "out", "gone", "out/x", "a/x"])
    assert {path: item.kind for path, item in found.items()} == {"a": "file", "d": "dir", "l": "link", "out": "link"}
    assert found["l"].target == "a"


# --- digests ---------------------------------------------------------------------------------------------------------

Make = Callable[[], Digester]


class Counting:
    """A tree that counts what is read."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.read: list[str] = []

    def open_read(self, path: str) -> int:
        self.read.append(path)
        return self.tree.open_read(path)


def digester(tmp_path: Path, tree: object, *, clock: Callable[[], int] | None = None, strict: bool = True) -> Digester:
    index = Index(tmp_path / "index", clock) if clock else Index(tmp_path / "index")
    return Digester(tree, index, Run(), {"eval": ["x.bin"]}, strict=strict)  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_entries_hold_digest_size_bit_role_and_target(tmp_path: Path, root: Path) -> None:
    plant(root, "a.json", "x.bin", "l -> a.json", "e/", "d/inner")
    (root / "x.bin").chmod(0o700)
    with Tree(root) as tree:
        maker = digester(tmp_path, tree)
        items = walk(root, {"a.json", "x.bin", "l", "e", "d", "d/inner"}).tracked
        found = maker.snapshot(items)
    assert found == {
        "a.json": file("a.json"),
        "x.bin": file("x.bin", executable=True),
        "l": Entry.link("a.json"),
        "e": Entry.directory(),
        "d/inner": file("d/inner"),
    }
    assert (found["a.json"].role, found["x.bin"].role) == ("config", "eval")
    assert maker.keys == {path: items[path].key for path in ("a.json", "x.bin", "d/inner")}


def test_what_the_cache_knows_is_not_read(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(root, "a", "b")
    later = max((root / name).stat().st_ctime_ns for name in "ab") + 10 * 10**9
    real = hashing.hash_file
    monkeypatch.setattr(hashing, "hash_file", lambda *given: real(*given, now_ns=lambda: later))
    with Tree(root) as tree:
        first, second = Counting(tree), Counting(tree)
        items = walk(root, {"a", "b"}).tracked
        one = digester(tmp_path, first, clock=lambda: later).snapshot(items)
        (root / "b").write_text("changed")
        items = walk(root, {"a", "b"}).tracked
        two = digester(tmp_path, second, clock=lambda: later).snapshot(items)
    assert (sorted(first.read), second.read) == (["a", "b"], ["b"])
    assert (one["a"], two["a"], two["b"]) == (file("a"), file("a"), file("changed"))


def test_a_file_that_vanished_while_we_looked_is_absent_to_those_who_only_look(tmp_path: Path, root: Path) -> None:
    plant(root, "a", "gone")
    with Tree(root) as tree:
        items = walk(root, {"a", "gone"}).tracked
        (root / "gone").unlink()
        assert digester(tmp_path, tree, strict=False).snapshot(items) == {"a": file("a")}
        with pytest.raises(WorkspaceChanged, match="gone"):
            digester(tmp_path / "other", tree).snapshot(items)


def test_a_file_that_became_a_pipe_is_refused(tmp_path: Path, root: Path) -> None:
    plant(root, "a")
    with Tree(root) as tree:
        items = walk(root, {"a"}).tracked
        (root / "a").unlink()
        os.mkfifo(root / "a")
        with pytest.raises(WouldOverwrite):
            digester(tmp_path, tree).snapshot(items)


def test_rows_that_are_not_kept_are_dropped(tmp_path: Path, root: Path) -> None:
    plant(root, "a", "b")
    with Tree(root) as tree:
        digester(tmp_path, tree).snapshot(walk(root, {"a", "b"}).tracked, keep=["a"])
        size = (tmp_path / "index").stat().st_size
        (tmp_path / "index").unlink()
        digester(tmp_path, tree).snapshot(walk(root, {"a", "b"}).tracked)
    assert (tmp_path / "index").stat().st_size >= size
