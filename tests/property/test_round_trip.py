"""Random trees go out and come back the same (names up to NFC), whatever their names, kinds and modes are."""

from __future__ import annotations

import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelops_bundle.errors import UnsafePath
from modelops_bundle.model import paths
from tests.support.bundle import Bundle, Node, call

LETTERS = [
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")),
    st.sampled_from("abcXYZ012 .-_~#!@$%&'()+,;=[]{}^`"),
    st.sampled_from("éèüñçåÅΩ한글日本語א\u200c\u200d👩🔬"),
    st.sampled_from(["e\u0301", "a\u030a", "o\u0308", "\u1112\u1161\u11ab", "x", " "]),
]
"""Anything, what shells trip over, what is beyond ASCII, and letters in pieces (NFD)."""


@st.composite
def names(draw: st.DrawFn) -> str:
    """A file name that everybody may create, in any normalisation."""
    name = "".join(draw(st.lists(draw(st.sampled_from(LETTERS)), min_size=1, max_size=12)))
    return name if paths.problem(unicodedata.normalize("NFC", name)) is None else "plain"


CONTENTS = st.one_of(st.just(b""), st.binary(max_size=40), st.binary(min_size=1, max_size=4).map(lambda b: b * 5000))


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Node]:
    """Paths to nodes, all of which can stand in one tree."""
    found: dict[str, Node] = {}
    for _ in range(draw(st.integers(1, 8))):
        path = "/".join(draw(st.lists(names(), min_size=1, max_size=5)))
        kind = draw(st.sampled_from(["file", "file", "file", "link", "dir"]))
        if kind == "file":
            node = Node("file", draw(CONTENTS), draw(st.booleans()))
        elif kind == "link":
            node = Node("link", "/".join(draw(st.lists(names(), min_size=1, max_size=2))).encode())
        else:
            node = Node("dir")
        candidate = {**found, path: node}
        if _fits(candidate):
            found = candidate
    return found


def _fits(tree: dict[str, Node]) -> bool:
    try:
        paths.validate_tree(unicodedata.normalize("NFC", path) for path in tree)
    except UnsafePath:
        return False
    # One directory in two normalisations would be two directories on disk.
    spellings: dict[str, str] = {}
    for path in tree:
        for part in ["/".join(path.split("/")[: n + 1]) for n in range(path.count("/") + 1)]:
            if spellings.setdefault(unicodedata.normalize("NFC", part), part) != part:
                return False
    return True


def plant(root: Path, tree: dict[str, Node]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, node in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if node.kind == "file":
            path.write_bytes(node.content)
            path.chmod(0o755 if node.executable else 0o644)
        elif node.kind == "link":
            path.symlink_to(node.content.decode())
        else:
            path.mkdir()


def composed(tree: dict[str, Node]) -> dict[str, Node]:
    return {unicodedata.normalize("NFC", name): node for name, node in tree.items()}


@contextmanager
def directory() -> Iterator[Path]:
    where = Path(tempfile.mkdtemp(prefix="round-trip-"))
    try:
        yield where
    finally:
        shutil.rmtree(where)


def push_all(root: Path, remote: str) -> Bundle:
    made = Bundle(root)
    made.run("init", remote)
    made.run("config", "set", "ignore.defaults", "false")
    made.run("add", ".")
    made.run("push", "--yes")
    return made


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(tree=trees())
def test_a_random_tree_through_a_layout(tree: dict[str, Node]) -> None:
    with directory() as where:
        plant(where / "a", tree)
        made = push_all(where / "a", f"layout:{where / 'remote'}")
        assert made.changes() == {}
        clone = Bundle.clone(f"layout:{where / 'remote'}", where / "b")
        assert clone.tree() == composed(tree)
        assert clone.changes() == {}
        assert clone.json("push")["changed"] is False  # the same tree is the same digest


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(tree=trees())
def test_a_random_tree_through_a_real_registry(repo: str, tree: dict[str, Node]) -> None:
    place = f"{repo}-{os.urandom(6).hex()}"
    with directory() as where:
        plant(where / "a", tree)
        push_all(where / "a", place)
        assert Bundle.clone(place, where / "b").tree() == composed(tree)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(first=trees(), second=trees())
def test_from_any_tree_to_any_other_by_pull(first: dict[str, Node], second: dict[str, Node]) -> None:
    """Files become directories and links, names swap: one pull brings exactly the other tree."""
    with directory() as where:
        remote = f"layout:{where / 'remote'}"
        plant(where / "a", first)
        a = push_all(where / "a", remote)
        b = Bundle.clone(remote, where / "b")
        for path in [path for path in a.root.iterdir() if path.name != ".modelops-bundle"]:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        plant(where / "a", second)
        a.run("add", ".")
        a.run("push", "--yes")
        assert a.listed(":latest") == set(composed(second))
        b.run("pull")
        assert b.tree() == composed(second)
        assert b.changes() == {}
        assert b.tracked == set(composed(second))


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(tree=trees())
def test_what_ls_says_is_what_is_there(tree: dict[str, Node]) -> None:
    with directory() as where:
        plant(where / "a", tree)
        made = push_all(where / "a", f"layout:{where / 'remote'}")
        here, there = made.json("ls"), call("--json", "ls", f"layout:{where / 'remote'}:latest").json
        assert there.pop("storage")["size"] == here["size"]
        assert here.pop("storage") is None
        assert here == there
        assert set(here["files"]) == set(composed(tree))
        assert here["size"] == sum(len(node.content) for node in tree.values() if node.kind == "file")
