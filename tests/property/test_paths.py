"""The path validator: nothing that passes can escape, collide or mislead, on any platform."""

from __future__ import annotations

import ntpath
import os
import posixpath
import unicodedata
from pathlib import PureWindowsPath

from hypothesis import example, given
from hypothesis import strategies as st

from modelops_bundle.errors import UnsafePath
from modelops_bundle.model import paths
from modelops_bundle.model.paths import RESERVED_DIRECTORIES, display, fold, link_problem, links_problem, problem
from tests.support.strategies import hostile_paths, safe_paths

anything = hostile_paths | st.text(max_size=30) | safe_paths
# CreateFile, "Naming Files, Paths, and Namespaces"
WINDOWS_DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{n}{d}" for n in ("COM", "LPT") for d in "123456789\u00b9\u00b2\u00b3"),
}


@given(anything)
@example("a/../../x")
@example("..\\x")
@example("C:x")
def test_nothing_accepted_escapes_on_posix_or_windows(path: str) -> None:
    if problem(path) is not None:
        return
    assert posixpath.normpath(posixpath.join("/root", path)) == f"/root/{path}"
    assert os.path.commonpath(["/root", posixpath.join("/root", path)]) == "/root"
    joined = ntpath.normpath(ntpath.join("C:\\root", path))
    assert joined == "C:\\root\\" + path.replace("/", "\\")
    windows = PureWindowsPath(path)
    assert not windows.drive
    assert not windows.root
    assert ".." not in windows.parts


@given(anything)
def test_nothing_accepted_is_changed_or_refused_by_windows(path: str) -> None:
    if problem(path) is not None:
        return
    for name in path.split("/"):
        assert name
        assert not set(name) & set('<>:"|?*\\\0')
        assert all(ord(c) >= 32 for c in name)
        assert name == name.rstrip(". ")
        assert name.split(".")[0].rstrip().upper() not in WINDOWS_DEVICES
        assert len(name.encode()) <= 255


@given(anything)
def test_nothing_accepted_reaches_reserved_directories_in_any_spelling(path: str) -> None:
    if problem(path) is not None:
        return
    for name in path.split("/"):
        visible = "".join(c for c in name if unicodedata.category(c) != "Cf")
        for spelled in (name, visible, unicodedata.normalize("NFKC", visible)):
            for fold_case in (str.lower, str.casefold):
                assert fold_case(spelled).rstrip(". ") not in RESERVED_DIRECTORIES, ascii(name)
        assert visible.lower() not in ("git~1", "git~2", "modelo~1", "bundle~1")


@given(anything)
def test_nothing_accepted_misleads_a_terminal(path: str) -> None:
    if problem(path) is not None:
        return
    path.encode("utf-8")
    assert unicodedata.is_normalized("NFC", path)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in path)
    assert not any(
        unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI") for c in path
    )


@given(st.text(max_size=40) | hostile_paths)
def test_display_is_printable_whatever_comes(path: str) -> None:
    shown = display(path)
    assert shown.isprintable()
    shown.encode("utf-8")


def _names(path: str) -> list[str]:
    return [path, *paths.parents(path)]


@given(st.lists(hostile_paths.filter(lambda p: problem(p) is None) | safe_paths, max_size=6))
@example(["\u1e9e", "\u00df"])
@example(["\u0390", "\u1fd3"])
@example(["\u03a9\u0345", "\u1ff3"])
def test_an_accepted_set_is_free_of_collisions_under_case_and_normalisation(tree: list[str]) -> None:
    try:
        paths.validate_tree(tree)
    except UnsafePath:
        return
    spelled = {name for path in tree for name in _names(path)}
    folds = [
        lambda s: unicodedata.normalize("NFC", s),
        lambda s: unicodedata.normalize("NFD", s),
        str.casefold,
        str.lower,
        lambda s: unicodedata.normalize("NFC", unicodedata.normalize("NFD", s).casefold()),
    ]
    for folded in folds:
        assert len({folded(name) for name in spelled}) == len(spelled), (folded, sorted(spelled))
    assert len(tree) == len(set(tree))
    for path in tree:
        assert not set(paths.parents(path)) & set(tree)


@given(st.lists(safe_paths, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_a_tree_does_not_matter(tree: list[str], random: object) -> None:
    def refused(order: list[str]) -> bool:
        try:
            paths.validate_tree(order)
        except UnsafePath:
            return True
        return False

    shuffled = list(tree)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert refused(tree) == refused(shuffled)


@given(st.lists(safe_paths, max_size=6))
def test_a_part_of_an_accepted_set_is_accepted(tree: list[str]) -> None:
    try:
        paths.validate_tree(tree)
    except UnsafePath:
        return
    for number in range(len(tree)):
        paths.validate_tree(tree[:number] + tree[number + 1 :])


@given(hostile_paths)
def test_folding_is_stable(path: str) -> None:
    assert fold(fold(path)) == fold(path)


# --- links -----------------------------------------------------------------------------------------------------------

targets = st.lists(st.sampled_from(["..", ".", "", "a", "b", "c", "l", "m"]), min_size=1, max_size=7).map("/".join)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), targets | hostile_paths)
def test_a_single_link_never_leaves_the_tree(path: str, target: str) -> None:
    if link_problem(path, target) is None:
        there = posixpath.normpath(posixpath.join("/root", posixpath.dirname(path), target))
        assert there == "/root" or there.startswith("/root/")


@given(st.dictionaries(st.sampled_from(["a/l", "a/b/m", "l", "m", "c"]), targets, max_size=5))
def test_links_through_links_never_leave_the_tree(links: dict[str, str]) -> None:
    if links_problem(links) is None:
        for path in links:
            assert not _escapes(path, links), (path, links)


def _escapes(path: str, links: dict[str, str]) -> bool:
    """Resolution as the kernel does it, one component at a time, every directory existing; it gives up at 40 links."""
    at: list[str] = []
    todo = path.split("/")
    followed = 0
    while followed <= 40:
        if not todo:
            return False
        name, todo = todo[0], todo[1:]
        if name in ("", "."):
            continue
        if name == "..":
            if not at:
                return True
            at.pop()
            continue
        target = links.get("/".join([*at, name]))
        if target is None:
            at.append(name)
        else:
            followed += 1
            todo = [*target.split("/"), *todo]
    return False
