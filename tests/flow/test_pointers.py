"""Pointers in a working tree: what `oras pull` leaves of a delta version is never taken for content."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.disk.tree import Tree
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.pointer import MOST, pointer
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.operations import pointers
from tests.support.bundle import Bundle, call
from tests.support.chunked import cut, delta, plain
from tests.support.deltas import edited, pulled, weights

OLD = weights(1, 20_000)
NEW = edited(OLD, 7)
PATH = "weights/model.bin"
POINTER = pointer(PATH, len(NEW), Digest.of(NEW))


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "a", None, {"a.txt": "a\n", PATH: OLD})


def oras_pull(root: Path) -> None:
    """A delta version, as oras would leave it in `root`."""
    pulled(delta({"a.txt": b"a\n", PATH: cut(NEW)}, plain({PATH: cut(OLD)})), root)


@pytest.mark.parametrize("words", [["add", PATH], ["add", "."], ["add", ".", "--dry-run"]])
def test_add_refuses_one(tmp_path: Path, words: list[str]) -> None:
    made = Bundle.create(tmp_path / "a", None)
    made.write({"a.txt": "a\n", PATH: POINTER})
    error = made.refused(4, *words)
    assert (error["code"], error["facts"]) == ("is-pointer", {"paths": [PATH]})
    assert "bundle materialize ." in error["hint"]
    assert not made.tracked
    made.run("add", "a.txt")


def test_one_for_a_deep_path_under_another_name(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", None)
    made.write({"moved": pointer("d/" * 500 + "x", 10**12, Digest.of(b""))})
    made.refused(4, "add", ".")


def test_push_refuses_one_that_came_after_add(made: Bundle) -> None:
    made.push()
    made.write({PATH: POINTER})
    for words in (["push"], ["push", "--dry-run"], ["push", "--force"]):
        assert made.refused(4, *words)["facts"] == {"paths": [PATH]}
    made.write({PATH: NEW})
    made.push()


def test_a_known_digest_hides_none(made: Bundle) -> None:
    """It was hashed by another command before."""
    made.push()
    made.write({PATH: POINTER})
    made.run("status")
    made.run("status")
    made.refused(4, "push")


def test_the_first_push_refuses_one(made: Bundle) -> None:
    made.write({PATH: POINTER})
    made.refused(4, "push")


def test_what_only_looks_like_one_is_content(made: Bundle) -> None:
    made.write({"short": POINTER[:40], "late": b"x" + POINTER, "long": POINTER + bytes(2 * MOST)})
    made.run("add", ".")
    made.push()


def test_few_files_are_read(made: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its size that the base has not."""
    made.write({f"f{number}": "x" * number for number in (0, 10, 100, 300, 3000, 30_000)})
    read: list[str] = []
    original = Tree.read_small

    def counted(tree: Tree, path: str, size: int) -> object:
        read.append(path)
        return original(tree, path, size)

    monkeypatch.setattr(Tree, "read_small", counted)
    with Tree(made.root) as tree:
        here = {f"f{number}": Entry("file", Digest.of(b""), number) for number in (0, 10, 100, 300, 3000, 30_000)}
        pointers.refuse_new(tree, here, {})
        assert read == ["f300", "f3000"]
        pointers.refuse_new(tree, here, here)
    assert read == ["f300", "f3000"]


def test_status_shows_one_as_a_change_and_pull_keeps_it(made: Bundle, tmp_path: Path) -> None:
    """Somebody ran `oras pull` into our tree: no command of ours loses anything by it."""
    made.push()
    clone = Bundle.clone(f"layout:{made.root}/.modelops-bundle/store", tmp_path / "b")
    oras_pull(made.root)
    assert made.changes() == {PATH: "local"}
    clone.commit({PATH: edited(OLD, 3)})
    assert PATH in str(made.refused(4, "pull")["facts"])
    assert made.path(PATH).read_bytes() == POINTER
    made.run("materialize", ".")
    assert made.path(PATH).read_bytes() == NEW
    made.refused(4, "pull")
    made.run("--yes", "pull", "--overwrite")
    assert made.path(PATH).read_bytes() == edited(OLD, 3)


def test_restore_puts_the_file_back(made: Bundle) -> None:
    made.push()
    oras_pull(made.root)
    made.run("--yes", "restore", PATH)
    assert made.path(PATH).read_bytes() == OLD


def test_verify_calls_them_what_they_are(tmp_path: Path) -> None:
    oras_pull(tmp_path / "model")
    done = call("--json", "verify", str(tmp_path / "model"), expect=5).error
    assert (done["facts"]["pointers"], done["facts"]["corrupt"]) == ([PATH], [])
    assert "pointer: run bundle materialize" in done["message"]
    assert "materialize" in done["hint"]
    (tmp_path / "model" / "a.txt").write_bytes(b"b\n")
    done = call("--json", "verify", str(tmp_path / "model"), expect=9).error
    assert (done["facts"]["pointers"], done["facts"]["corrupt"]) == ([PATH], ["a.txt"])


def test_a_pointer_to_another_file_is_damage(tmp_path: Path) -> None:
    oras_pull(tmp_path / "model")
    (tmp_path / "model" / PATH).write_bytes(pointer(PATH, len(OLD), Digest.of(OLD)))
    assert call("--json", "verify", str(tmp_path / "model"), expect=9).error["facts"]["corrupt"] == [PATH]


def test_what_oras_pulled_becomes_a_bundle_once_it_is_whole(tmp_path: Path) -> None:
    oras_pull(tmp_path / "model")
    made = Bundle.create(tmp_path / "model", f"layout:{tmp_path / 'hub'}")
    made.refused(4, "add", ".")
    made.run("materialize", ".")
    made.run("add", ".")
    assert made.tracked == {"a.txt", PATH}
    made.push("--tag", "v1")
    Bundle.clone(f"layout:{tmp_path / 'hub'}:v1", tmp_path / "c")
    assert (tmp_path / "c" / PATH).read_bytes() == NEW
