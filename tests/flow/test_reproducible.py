"""The same tree is the same digest, whoever pushes it, from where, and in which order (DESIGN §1, promise 3)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.bundle import Bundle, spawn

FILES = {
    "config.json": "{}\n",
    "weights/model-00001.safetensors": "w" * 5000,
    "weights/model-00002.safetensors": "v" * 3000,
    "README.md": "# model\n",
    "größe/模型.bin": "u",
    "empty.txt": "",
    "twin.txt": "# model\n",
}


def make(root: Path, remote: str | None = None, *, seed: int = 0) -> Bundle:
    """The tree, its files written and added in an order of its own."""
    made = Bundle.create(root, remote)
    names = list(FILES)
    random.Random(seed).shuffle(names)
    for name in names:
        made.write({name: FILES[name]})
    made.write({"run.sh": "#!/bin/sh\n"})
    made.path("run.sh").chmod(0o755)
    made.path("current").symlink_to("weights")
    made.path("logs").mkdir()
    for name in random.Random(seed + 1).sample([*names, "run.sh", "current", "logs"], len(names) + 3):
        made.run("add", name)
    return made


@pytest.fixture
def digest(tmp_path: Path) -> str:
    return make(tmp_path / "reference").push()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_directory_and_another_order_of_add(digest: str, tmp_path: Path, seed: int) -> None:
    assert make(tmp_path / "elsewhere" / "deeper", seed=seed).push() == digest


def test_another_store_and_another_tag(digest: str, tmp_path: Path, remote: str) -> None:
    assert make(tmp_path / "x", remote).push("--tag", "v17") == digest


def test_other_times(digest: str, tmp_path: Path) -> None:
    made = make(tmp_path / "x")
    for number, name in enumerate(FILES):
        os.utime(made.path(name), (number * 1000, number * 1000))
    assert made.push() == digest


def test_another_umask_and_other_mode_bits(digest: str, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = make(tmp_path / "x")
    finally:
        os.umask(before)
    made.path("config.json").chmod(0o664)
    made.path("run.sh").chmod(0o700)
    assert made.push() == digest


def test_other_numbers_of_workers(digest: str, tmp_path: Path) -> None:
    for jobs in ("1", "16"):
        made = make(tmp_path / jobs)
        assert made.push("--jobs", jobs) == digest


def test_another_user_environment(digest: str, tmp_path: Path) -> None:
    made = make(tmp_path / "x")
    environment = {
        "USER": "somebody-else",
        "LOGNAME": "somebody-else",
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "1234",
        "HOSTNAME": "other",
    }
    spawn("-C", str(made.root), "push", environment=environment)
    assert made.json("inspect")["digest"] == digest


def test_a_clone_pushed_elsewhere(digest: str, tmp_path: Path) -> None:
    clone = Bundle.clone(str(tmp_path / "reference"), tmp_path / "clone")
    clone.run("remote", "add", "other", f"layout:{tmp_path / 'other'}")
    assert clone.push("other:v1") == digest


def test_two_pushes_of_one_tree(tmp_path: Path) -> None:
    made = make(tmp_path / "x")
    assert made.push() == made.push("--tag", "again") == made.json("push", "--tag", "third", "--dry-run")["digest"]


def test_a_round_of_changes_that_ends_where_it_began(digest: str, tmp_path: Path) -> None:
    made = make(tmp_path / "x")
    made.push()
    made.commit({"config.json": "other\n", "more.txt": "m\n"})
    made.path("more.txt").unlink()
    made.write({"config.json": FILES["config.json"]})
    assert made.push() == digest


def test_the_content_digest_sees_neither_names_of_tags_nor_annotations(tmp_path: Path) -> None:
    made = make(tmp_path / "x")
    made.push()
    plain = made.json("inspect")
    made.push("--annotation", "a=b")
    annotated = made.json("inspect")
    assert plain["digest"] != annotated["digest"]
    assert plain["content"] == annotated["content"] == made.json("ls")["content"]
