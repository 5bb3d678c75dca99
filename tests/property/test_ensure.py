"""Whatever lies in a directory beside our files: `ensure --mirror` leaves it there, and puts exactly the version beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelops_bundle.errors import WouldOverwrite
from modelops_bundle.events import Run
from modelops_bundle.operations.ensure import Choices, ensure
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer.ensured import FOLDER
from tests.support.bundle import Bundle, Node
from tests.support.bundle import tree as look

FIRST = {"a": "one", "d/x": "one", "d/e/y": "one", "gone/z": "goes"}
SECOND = {"a": "two", "d/x": "one", "d/e/new": "two", "f/g": "two"}

names = st.sampled_from(["a", "d", "e", "f", "g", "x", "y", "z", "gone", "new", "own", ".git", "u"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
kinds = st.sampled_from(["file", "link", "dir", "fifo"])
theirs = st.dictionaries(paths, kinds, max_size=6)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def session(base: Path) -> Session:
    author = Bundle.create(base / "author", f"layout:{base / 'remote'}", FIRST)
    author.push("--tag", "v1")
    author.commit({**SECOND, **dict.fromkeys(FIRST.keys() - SECOND.keys())}, "--tag", "v2", "--yes")
    return Session(None, Run(), Options(cache=base / "cache"), cwd=base)


def put(root: Path, path: str, kind: str) -> None:
    """Make something at `path` unless something is there, or in the way."""
    target = root / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            with open(target, "x") as file:
                file.write(f"theirs at {path}")
        elif kind == "link":
            target.symlink_to("/nowhere")
        elif kind == "dir":
            target.mkdir()
        else:
            os.mkfifo(target)
    except (FileExistsError, NotADirectoryError):
        return


def nodes(root: Path) -> dict[str, Node | str]:
    """What is there, FIFOs as such."""
    found: dict[str, Node | str] = {}
    for directory, _, files in os.walk(root):
        for name in files:
            path = Path(directory, name)
            if path.is_fifo():
                found[path.relative_to(root).as_posix()] = "fifo"
                path.unlink()
    found.update(look(root))
    for fifo in [path for path, node in found.items() if node == "fifo"]:
        os.mkfifo(root / fifo)
        found.pop((root / fifo).parent.relative_to(root).as_posix(), None)
    return {path: node for path, node in found.items() if not path.startswith(FOLDER)}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(theirs=theirs, forced=st.booleans(), first=st.booleans())
def test_what_is_not_ours_is_never_touched(
    theirs: dict[str, str], forced: bool, first: bool, base: Path, session: Session
) -> None:
    dest = base / "dest"
    shutil.rmtree(dest, ignore_errors=True)
    if first:
        ensure(session, f"layout:{base / 'remote'}:v1", dest)
    ours = nodes(dest) if first else {}
    dest.mkdir(exist_ok=True)
    for path, kind in theirs.items():
        put(dest, path, kind)
    before = nodes(dest)
    mine = {path: node for path, node in before.items() if path not in ours}
    try:
        done = ensure(session, f"layout:{base / 'remote'}:v2", dest, Choices(mirror=True, force=forced))
    except WouldOverwrite as error:
        assert nodes(dest) == before
        named = error.facts["paths"]
        assert all(any(path == each or path.startswith(f"{each}/") for path in mine) for each in named)
        return
    after = nodes(dest)
    version = {path: Node("file", text.encode()) for path, text in SECOND.items()}
    # An empty directory of theirs may hold something of ours now.
    filled = {path for path, node in mine.items() if node == Node("dir") and path not in after}
    assert all(any(each.startswith(f"{path}/") for each in version) for path in filled)
    assert after == {**{path: node for path, node in mine.items() if path not in filled}, **version}
    assert done.saved == ()
    assert sorted(path.name for path in base.iterdir()) == ["author", "cache", "dest", "remote"]
