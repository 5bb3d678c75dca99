"""init: where a bundle begins, and where it may not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundle import FOLDER, Bundle, Node
from tests.support.clones import BASE


def test_a_directory_becomes_a_bundle_and_its_files_are_left_alone(tmp_path: Path, repo: str) -> None:
    made = Bundle(tmp_path)
    made.write({"a.txt": "a\n", ".gitignore": "*.tmp\n"})
    before = made.tree()
    document = made.json("init", repo)
    assert document == {"root": str(tmp_path), "remote": repo, "adopted": None}
    assert made.tree() == before
    assert (tmp_path / FOLDER / ".gitignore").read_text() == "*\n"
    assert made.tracked == set()


def test_without_reference_the_remote_is_inside_and_all_works_offline(tmp_path: Path) -> None:
    made = Bundle(tmp_path)
    made.run("init")
    made.write({"a.txt": "a\n"})
    made.run("add", "a.txt")
    for words in (("push",), ("status",), ("pull",), ("tags",), ("inspect",), ("diff", ":latest"), ("verify",)):
        made.run("--offline", *words)


def test_a_tag_in_the_reference_is_the_default_tag(tmp_path: Path, remote: str) -> None:
    made = Bundle.create(tmp_path / "a", f"{remote}:stable", {"a.txt": "a"})
    assert made.json("push")["tags"] == ["stable"]


@pytest.mark.parametrize("where", ["", "sub/deep"])
def test_a_bundle_inside_a_bundle_is_refused(tmp_path: Path, where: str) -> None:
    outer = Bundle.create(tmp_path / "outer")
    outer.path(where).mkdir(parents=True, exist_ok=True)
    before = outer.bookkeeping()
    error = Bundle(outer.path(where)).refused(4, "init")
    assert error["code"] == "already-a-bundle"
    assert str(outer.root) in error["message"]
    assert outer.bookkeeping() == before
    if where:
        assert not (outer.path(where) / FOLDER).exists()


def test_in_a_git_repository_git_does_not_see_the_folder(tmp_path: Path, peer: Callable[[str], str]) -> None:
    git = peer("git")
    subprocess.run([git, "init", "-q", str(tmp_path)], check=True)
    made = Bundle(tmp_path)
    made.write({"model.bin": "m\n"})
    made.run("init")
    made.run("add", ".")
    made.push()
    shown = subprocess.run([git, "-C", str(tmp_path), "status", "--porcelain"], capture_output=True, check=True)
    assert shown.stdout == b"?? model.bin\n"
    assert made.tracked == {"model.bin"}  # and we do not see git's


def test_the_directory_can_be_moved(tmp_path: Path, remote: str) -> None:
    made = Bundle.create(tmp_path / "before", remote, BASE)
    made.push()
    shutil.move(tmp_path / "before", tmp_path / "after")
    moved = Bundle(tmp_path / "after")
    assert moved.changes() == {}
    moved.commit({"config.json": "v2\n"})
    moved.run("pull")
    assert moved.listed(":latest") == set(BASE)


def test_the_embedded_store_moves_along(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "before", None, BASE)
    made.push()
    shutil.move(tmp_path / "before", tmp_path / "after")
    moved = Bundle(tmp_path / "after")
    assert moved.changes() == {}
    moved.path("config.json").unlink()
    moved.run("restore", "config.json")
    assert moved.read("config.json") == "{}\n"


@pytest.mark.parametrize("word", ["model", "http://example.com/x", "localhost:5000/Upper", "example.com", "a b", ""])
def test_what_is_no_reference_is_exit_2_with_the_nearest_spelling(tmp_path: Path, word: str) -> None:
    error = Bundle(tmp_path).refused(2, "init", word)
    assert error["code"] == "usage"
    assert not (tmp_path / FOLDER).exists()
    if word == "localhost:5000/Upper":
        assert "localhost:5000/upper" in error["hint"]


def test_commands_outside_a_bundle_say_so(tmp_path: Path) -> None:
    nowhere = Bundle(tmp_path)
    for words in (("status",), ("add", "."), ("push",), ("pull",), ("rm", "x"), ("ls",), ("log",), ("restore", "x")):
        error = nowhere.refused(4, *words)
        assert error["code"] == "not-a-bundle"
        assert "bundle init" in error["hint"]


def test_adopt_takes_what_is_there_as_seen(tmp_path: Path, remote: str) -> None:
    first = Bundle.create(tmp_path / "a", remote, BASE).push()
    late = Bundle(tmp_path / "b")
    late.root.mkdir()
    assert late.json("init", remote, "--adopt")["adopted"] == first
    assert late.tree() == {}  # nothing is downloaded
    late.write({**BASE, "config.json": "v2\n"})
    late.run("add", ".")
    late.push()
    assert late.run("cat", ":latest:config.json").data == b"v2\n"


def test_adopting_what_is_absent_is_fine(tmp_path: Path, remote: str) -> None:
    made = Bundle(tmp_path / "b")
    made.root.mkdir()
    assert made.json("init", remote, "--adopt")["adopted"] is None
    made.write({"a.txt": "a"})
    made.run("add", ".")
    made.push()


def test_adopt_does_not_make_an_error_an_absence(tmp_path: Path) -> None:
    made = Bundle(tmp_path)
    assert made.refused(8, "init", "localhost:1/m", "--adopt")["code"] == "unavailable"


def test_a_bundle_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m")
    (made.root / FOLDER / "version").write_text("99\n")
    assert made.refused(10, "status")["code"] == "unsupported"


def test_a_command_in_a_subdirectory_finds_its_bundle(alone: Bundle) -> None:
    alone.write({"sub/x.txt": "x"})
    alone.run("add", "x.txt", cwd="sub")
    assert alone.run("--json", "status", cwd="sub").json["changes"][0]["path"] == "sub/x.txt"


def test_the_ci_way(tmp_path: Path, remote: str) -> None:
    """A fresh workspace each time, `init REF --adopt`, add, push; again and again, and never --force."""
    digests = []
    for number in range(4):
        workspace = Bundle(tmp_path / f"job-{number}")
        workspace.write({"model.bin": f"build {number // 2}\n", "README.md": "# model\n", f"log-{number}.txt": "x\n"})
        workspace.run("init", remote, "--adopt")
        workspace.run("add", "model.bin", "README.md")
        digests.append(workspace.push())
    assert digests[0] == digests[1] != digests[2] == digests[3]
    clone = Bundle.clone(remote, tmp_path / "reader")
    assert clone.tree() == {"model.bin": Node("file", b"build 1\n"), "README.md": Node("file", b"# model\n")}


def test_the_ci_way_tells_what_it_drops(tmp_path: Path, remote: str) -> None:
    Bundle.create(tmp_path / "a", remote, {**BASE, "by-hand.txt": "h\n"}).push()
    job = Bundle(tmp_path / "job")
    job.write(BASE)
    job.run("init", remote, "--adopt")
    job.run("add", ".")
    assert job.json("push", "--dry-run")["dropped"] == ["by-hand.txt"]
    assert "by-hand.txt" in job.run("push").text


def test_the_ci_way_still_notices_a_race(tmp_path: Path, remote: str) -> None:
    Bundle.create(tmp_path / "a", remote, BASE).push()
    job = Bundle(tmp_path / "job")
    job.write(BASE)
    job.run("init", remote, "--adopt")
    job.run("add", ".")
    Bundle.clone(remote, tmp_path / "b").commit({"config.json": "meanwhile\n"})
    job.write({"README.md": "job\n"})
    error = job.refused(5, "push")
    assert "config.json" in error["message"]
