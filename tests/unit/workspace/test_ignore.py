"""Stacking of rules: precedence, nesting, parents, negation, built-in defaults, and what is reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelops_bundle.workspace.ignore import BUILT_IN, DEFAULTS, EXTRA, IGNORE_FILE, Ignore, Rule


def files(**by_directory: str) -> Callable[[str], bytes | None]:
    """Ignore files by directory; `root` is the root, `__` stands for a slash."""
    found = {
        ("" if name == "root" else name.replace("__", "/") + "/") + IGNORE_FILE: text.encode()
        for name, text in by_directory.items()
    }
    return found.get


def ignore(**by_directory: str) -> Ignore:
    return Ignore(files(**by_directory), defaults=False)


def nothing(path: str) -> bytes | None:
    return None


# --- one file --------------------------------------------------------------------------------------------------------


def test_without_rules_nothing_is_ignored() -> None:
    assert Ignore(nothing, defaults=False).match("a/b", False) is None


def test_the_root_is_never_ignored() -> None:
    assert ignore(root="*\n**\n/**").match("", True) is None


def test_the_rule_that_decides_is_reported_as_written() -> None:
    found = ignore(root="# comment\r\n\n*.bin  \r\nx/\\ \n").match("a/b.bin", False)
    assert found == Rule(pattern="*.bin", source=".modelopsignore", line=3, negated=False)


def test_the_last_matching_rule_wins() -> None:
    found = ignore(root="*.bin\n!keep.bin\nkeep*\n!*.txt")
    assert found.match("a.bin", False) == Rule("*.bin", IGNORE_FILE, 1, False)
    assert found.match("keep.bin", False) == Rule("keep*", IGNORE_FILE, 3, False)
    assert found.match("keep.txt", False) is None


@pytest.mark.parametrize("again", ["a.b", "*.b", "a*", "/a.b", "/a*", "**/a.b", "/**/a.?"])
@pytest.mark.parametrize("first", ["a.b", "*.b", "a*", "/a.b", "/a*", "**/a.b", "/**/a.?"])
def test_the_last_rule_wins_whatever_kinds_of_patterns_meet(first: str, again: str) -> None:
    assert ignore(root=f"{first}\n!{again}").match("a.b", False) is None
    assert ignore(root=f"!{first}\n{again}").match("a.b", False) == Rule(again, IGNORE_FILE, 2, False)
    assert ignore(root=f"{first}\n{again}").match("a.b", True) == Rule(again, IGNORE_FILE, 2, False)


def test_a_negation_alone_ignores_nothing() -> None:
    assert not ignore(root="!a").ignored("a", False)


def test_a_directory_pattern_leaves_files_and_links_alone() -> None:
    found = ignore(root="foo/")
    assert found.ignored("foo", True)
    assert not found.ignored("foo", False)
    assert found.ignored("foo/bar", False)
    assert found.ignored("a/foo/bar", False)


def test_matching_is_case_sensitive() -> None:
    assert not ignore(root="readme").ignored("README", False)


def test_names_that_are_not_utf8() -> None:
    data = {IGNORE_FILE: b"\xff*\n"}
    assert Ignore(data.get, defaults=False).match("a/\udcffx", False) == Rule("\udcff*", IGNORE_FILE, 1, False)


# --- parents ---------------------------------------------------------------------------------------------------------


def test_what_is_under_an_ignored_directory_is_ignored_by_its_rule() -> None:
    found = ignore(root="build")
    assert found.match("a/build/x/y/z", False) == Rule("build", IGNORE_FILE, 1, False)


def test_nothing_is_brought_back_from_an_ignored_directory() -> None:
    found = ignore(root="build/\n!build/keep\n!keep", build="!keep\n!*")
    assert found.match("build/keep", False) == Rule("build/", IGNORE_FILE, 1, False)
    assert found.ignored("build/sub/keep", False)


def test_a_directory_that_is_brought_back_has_its_content_decided_anew() -> None:
    found = ignore(root="/*\n!/foo\n/foo/*\n!/foo/bar")
    assert found.ignored("other/x", False)
    assert found.match("foo/x", False) == Rule("/foo/*", IGNORE_FILE, 3, False)
    assert not found.ignored("foo", True)
    assert not found.ignored("foo/bar", True)
    assert not found.ignored("foo/bar/x", False)


def test_content_is_not_ignored_because_its_directory_would_be_if_it_were_a_file() -> None:
    found = ignore(root="x*\n!x/")
    assert found.ignored("x", False)
    assert not found.ignored("x/a", False)


def test_paths_may_be_deeper_than_the_stack() -> None:
    deep = "a/" * 5_000
    assert not ignore(root="b").ignored(deep + "c", False)
    assert ignore(root="b").ignored("b/" + deep + "c", False)


# --- nested files ----------------------------------------------------------------------------------------------------


def test_nested_files_override_their_parents() -> None:
    found = ignore(root="vmlinux*", arch__foo__kernel="!/vmlinux*")
    assert found.ignored("vmlinux.o", False)
    assert not found.ignored("arch/foo/kernel/vmlinux.lds.S", False)
    assert found.ignored("arch/foo/kernel/sub/vmlinux", False)


def test_patterns_of_a_nested_file_are_relative_to_it() -> None:
    found = ignore(weights="/a\nb/c\n*.d")
    assert found.match("weights/a", False) == Rule("/a", "weights/.modelopsignore", 1, False)
    assert found.match("weights/b/c", False) == Rule("b/c", "weights/.modelopsignore", 2, False)
    assert found.match("weights/x/y.d", False) == Rule("*.d", "weights/.modelopsignore", 3, False)
    for path in ("a", "b/c", "x.d", "weights/x/a", "weights/x/b/c", "weightsa"):
        assert not found.ignored(path, False)


def test_a_nested_file_says_nothing_about_its_own_directory() -> None:
    assert not ignore(a="a\n*").ignored("a", True)


def test_the_nearest_file_with_a_match_decides() -> None:
    found = ignore(root="*.x", a="!*.x", a__b="*.x\n!k.x")
    assert not found.ignored("a/1.x", False)
    assert found.match("a/b/1.x", False) == Rule("*.x", "a/b/.modelopsignore", 1, False)
    assert not found.ignored("a/b/k.x", False)
    assert found.match("a/b/c/1.x", False) == Rule("*.x", "a/b/.modelopsignore", 1, False)


def test_directories_with_names_beyond_ascii() -> None:
    data = {"é\udcff/日/" + IGNORE_FILE: "/é?\n".encode()}
    found = Ignore(data.get, defaults=False).match("é\udcff/日/éx", False)
    assert found == Rule("/é?", "é\udcff/日/.modelopsignore", 1, False)


# --- reading ---------------------------------------------------------------------------------------------------------


class Counting:
    def __init__(self, **by_directory: str) -> None:
        self.read = files(**by_directory)
        self.asked: list[str] = []

    def __call__(self, path: str) -> bytes | None:
        self.asked.append(path)
        return self.read(path)


def test_each_file_is_read_once_and_when_needed() -> None:
    read = Counting(root="*.x")
    found = Ignore(read)
    assert read.asked == []
    found.match("a", False)
    assert read.asked == [IGNORE_FILE]
    for path in ("a/b/c", "a/b/d", "a/c", "a/b/c", "z"):
        found.match(path, False)
    assert read.asked == [IGNORE_FILE, "a/.modelopsignore", "a/b/.modelopsignore"]


def test_files_in_ignored_directories_are_not_read() -> None:
    read = Counting(root="a/", a="!*")
    assert Ignore(read).ignored("a/b/c", False)
    assert read.asked == [IGNORE_FILE]


def test_a_failure_to_read_passes_through_and_is_not_remembered() -> None:
    calls = 0

    def read(path: str) -> bytes | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise PermissionError(path)
        return b"a"

    found = Ignore(read)
    with pytest.raises(PermissionError):
        found.match("a", False)
    assert found.ignored("a", False)


# --- defaults and extra patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_dir", "pattern"),
    [
        (".git", True, ".git"),
        (".git", False, ".git"),  # a worktree
        ("sub/.git/config", False, ".git"),
        (".modelops-bundle/index", False, ".modelops-bundle/"),
        ("a/.~bundle-1f", False, ".~bundle-*"),
        ("a/__pycache__/b.cpython-311.pyc", False, "__pycache__/"),
        ("a.pyc", False, "*.py[cod]"),
        ("x.egg-info", True, "*.egg-info/"),
        ("notes.txt~", False, "*~"),
        ("sub/.env", False, ".env"),
        (".env.local", False, ".env.*"),
        ("tls/server.key", False, "*.key"),
        ("a/.ipynb_checkpoints/n.ipynb", False, ".ipynb_checkpoints/"),
    ],
)
def test_built_in_defaults(path: str, is_dir: bool, pattern: str) -> None:
    assert Ignore(nothing).match(path, is_dir) == Rule(pattern, BUILT_IN, 0, False)
    assert pattern in DEFAULTS
    assert Ignore(nothing, defaults=False).match(path, is_dir) is None


@pytest.mark.parametrize("name", ["dist", "build", "env", "model", ".gitignore", ".gitattributes", IGNORE_FILE])
def test_directories_of_models_are_not_ignored_by_default(name: str) -> None:
    assert not Ignore(nothing).ignored(name, True)
    assert not Ignore(nothing).ignored(name + "/model.safetensors", False)


def test_every_layer_overrides_the_one_below() -> None:
    extra = ["!*.pem", "*.bin"]
    found = Ignore(files(root="!a.bin\n*.pem\n", sub="!x.pem"), extra=extra)
    assert not Ignore(nothing, extra=extra).ignored("x.pem", False)
    assert found.match("b.bin", False) == Rule("*.bin", EXTRA, 2, False)
    assert not found.ignored("a.bin", False)
    assert found.match("x.pem", False) == Rule("*.pem", IGNORE_FILE, 2, False)
    assert not found.ignored("sub/x.pem", False)
    assert found.match("x.key", False) == Rule("*.key", BUILT_IN, 0, False)


def test_extra_patterns_are_lines_of_an_ignore_file() -> None:
    found = Ignore(nothing, defaults=False, extra=["# no", "", "a ", "é?"])
    assert found.match("a", False) == Rule("a", EXTRA, 3, False)
    assert found.match("sub/éx", False) == Rule("é?", EXTRA, 4, False)
    assert not found.ignored("# no", False)


# --- many and hostile patterns ---------------------------------------------------------------------------------------


def test_more_patterns_than_one_alternation_holds_keep_their_order() -> None:
    lines = [f"{'!' if number % 2 else ''}a?*{number % 7}" for number in range(500)]
    found = ignore(root="\n".join(lines))
    for digit in range(7):
        last = max(number for number in range(500) if number % 7 == digit)
        expected = None if last % 2 else Rule(lines[last], IGNORE_FILE, last + 1, False)
        assert found.match(f"ab{digit}", False) == expected


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a*a*a*a*a*a*ab", "a" * 120),
        ("*a" * 60 + "b", "a" * 250),
        ("*?" * 60 + "b", "a" * 250),
        ("*[ab]" * 60 + "c", "ab" * 120),
        ("x/" + "*a" * 60 + "b", "x/" + "a" * 250),
        ("**/a/" * 40 + "b", "a/" * 200 + "c"),
        ("**/*a*/" * 40 + "b", "aaa/" * 200 + "c"),
        ("**/" * 100 + "b/c", "a/" * 200 + "c"),
        ("**\\/a\\/" * 40 + "b", "a/" * 200 + "c"),
        ("[" + "[:" * 5_000 + "]", "a"),
        ("\\" * 9_999, "a"),
        ("!" * 9_999, "a"),
        (" " * 9_999 + "a", "a"),
    ],
)
def test_no_pattern_hangs(pattern: str, path: str) -> None:
    assert not ignore(root=pattern).ignored(path, False)
    assert not ignore(root="\n".join([pattern] * 60)).ignored(path, False)
