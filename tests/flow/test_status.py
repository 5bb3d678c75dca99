"""status: how here, the base and the remote stand to each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.disk.tree import Tree
from modelops_bundle.testing.actions import Refuse
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.workspace import index, scan
from modelops_bundle.workspace.project import Project
from tests.support.bundle import FOLDER, Bundle
from tests.support.clones import BASE, Pair, pair_on


def test_clean(pair: Pair) -> None:
    document = pair.b.json("status")
    assert document["clean"] is True
    assert document["online"] is True
    assert document["remote"] == document["seen"]
    assert document["tracked"] == len(BASE)
    assert document["size"] == sum(len(text) for text in BASE.values())
    assert "up to date" in pair.b.run("status").out
    assert pair.b.run("status", "--exit-code").code == 0


def test_before_the_first_push(tmp_path: Path, remote: str) -> None:
    made = Bundle.create(tmp_path / "m", remote, {"a.txt": "a"})
    document = made.json("status")
    assert (document["remote"], document["seen"]) == (None, None)
    assert "does not exist yet" in made.run("status").out
    assert made.changes() == {"a.txt": "local"}
    made.run("status", "--exit-code", expect=1)


def test_every_kind_of_change_in_words_and_letters(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"weights/a.bin": "theirs\n", "there.txt": "t\n"})
    b.write({"weights/a.bin": "ours\n", "config.json": "edited\n", "here.txt": "h\n", "loose.txt": "l\n"})
    b.run("add", "here.txt")
    b.path("README.md").unlink()
    b.path("weights/b.bin").chmod(0o755)
    short = b.run("status", "--short").out.splitlines()
    assert short == [
        "D  README.md",
        "M  config.json",
        "A  here.txt",
        " A there.txt",
        "MM weights/a.bin",
        "X  weights/b.bin",
        "?? loose.txt",
    ]
    long = b.run("status").out
    for words in ("modified  config.json", "deleted   README.md", "mode      weights/b.bin", "there.txt", "loose.txt"):
        assert words in long
    assert "modified here, modified there" in long
    b.run("status", "--exit-code", expect=1)


def test_untracked_and_ignored(alone: Bundle) -> None:
    alone.write(
        {
            ".modelopsignore": "*.log\ncache/\n",
            "new.txt": "n",
            "sub/new.txt": "n",
            "run.log": "l",
            "cache/x/deep.txt": "c",
            "m.pyc": "p",
        }
    )
    document = alone.json("status", "--ignored")
    assert document["untracked"] == [".modelopsignore", "new.txt", "sub/new.txt"]
    document["ignored"].pop(FOLDER, None)
    assert document["ignored"] == {
        "cache": "'cache/' (.modelopsignore:2)",
        "m.pyc": "'*.py[cod]' (built-in default)",
        "run.log": "'*.log' (.modelopsignore:1)",
    }
    assert "'*.log' (.modelopsignore:1)" in alone.run("status", "--ignored").out
    assert alone.json("status")["ignored"] == {}
    assert alone.json("status", "--no-untracked")["untracked"] == []


def test_tracked_is_never_untracked(alone: Bundle) -> None:
    alone.write({".modelopsignore": "a.txt\n"})
    document = alone.json("status", "--ignored")
    assert "a.txt" not in document["untracked"]
    assert "a.txt" not in document["ignored"]


def test_an_ignored_directory_is_not_entered(alone: Bundle) -> None:
    alone.write({".modelopsignore": "cache/\n", "cache/x.txt": "c"})
    alone.path("cache").chmod(0)
    try:
        assert alone.json("status")["untracked"] == [".modelopsignore"]
    finally:
        alone.path("cache").chmod(0o755)


def test_a_name_that_is_no_text_is_shown_and_harms_nothing(alone: Bundle) -> None:
    os.close(os.open(os.fsencode(str(alone.root)) + b"/bad-\xff.txt", os.O_CREAT | os.O_WRONLY))
    assert len(alone.json("status")["untracked"]) == 1
    assert "bad-" in alone.run("status").out
    assert alone.refused(9, "add", ".")["code"] == "unsafe-path"
    assert alone.tracked == {"a.txt"}


def test_a_registry_that_cannot_be_reached_is_a_notice_and_the_base(fake: Fake, tmp_path: Path) -> None:
    b = pair_on(f"{fake.host}/m", tmp_path).b
    b.write({"config.json": "edited\n"})
    fake.close()
    result = b.run("--progress", "json", "--json", "status")
    assert result.json["online"] is False
    assert result.json["remote"] is None
    assert {change["path"]: change["change"] for change in result.json["changes"]} == {"config.json": "local"}
    assert "offline" in result.notices
    shown = b.run("status")
    assert "showing what was last seen" in shown.err
    assert "not asked" in shown.out
    # What needs the network says so instead of guessing.
    for words in (("push",), ("pull",), ("tags",)):
        assert b.refused(8, *words)["code"] == "unavailable"
    # And the rest goes on.
    for words in (("add", "config.json"), ("ls",), ("diff",), ("log",), ("verify", "--help")):
        b.run(*words)


def test_offline_asks_nobody(fake: Fake, tmp_path: Path) -> None:
    b = pair_on(f"{fake.host}/m", tmp_path).b
    fake.requests.clear()
    document = b.json("status", "--offline")
    assert document["online"] is False
    assert document["clean"] is True
    assert b.run("--offline", "--json", "push", expect=8).error["code"] == "unavailable"
    assert fake.requests == []


@pytest.mark.parametrize("answer", [Refuse(401, "UNAUTHORIZED"), Refuse(403, "DENIED")], ids=["401", "403"])
def test_a_registry_that_refuses_us_is_an_error_and_not_offline(fake: Fake, tmp_path: Path, answer: Refuse) -> None:
    b = pair_on(f"{fake.host}/m", tmp_path).b
    fake.fault(lambda _, path: "/manifests/" in path, answer, times=None)
    error = b.refused(7, "status")
    assert error["code"] == "unauthorized"
    b.run("--offline", "status")


def test_a_tag_that_is_gone_is_not_clean(fake: Fake, tmp_path: Path) -> None:
    b = pair_on(f"{fake.host}/m", tmp_path).b
    seen = b.json("status")["seen"]
    del fake.repositories["m"].tags["latest"]
    document = b.json("status")
    assert (document["clean"], document["remote"], document["seen"]) == (False, None, seen)
    assert seen.removeprefix("sha256:")[:12] in b.run("status", "--exit-code", expect=1).out


def test_another_tag_or_place_can_be_named(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"config.json": "v2\n"}, "--tag", "v2")
    assert b.changes() == {}
    assert b.changes(":v2") == {"config.json": "remote"}
    assert b.json("status", ":nowhere")["remote"] is None


def test_status_says_that_nothing_changed_though_times_did(pair: Pair) -> None:
    for name in BASE:
        os.utime(pair.b.path(name), (1, 1))
    assert pair.b.changes() == {}


def test_status_writes_nothing_but_its_cache(pair: Pair) -> None:
    pair.a.commit({"config.json": "v2\n"})
    before = (pair.b.tree(), pair.b.bookkeeping())
    pair.b.run("status")
    assert (pair.b.tree(), pair.b.bookkeeping()) == before


def test_reading_commands_do_not_wait_for_a_writer(pair: Pair) -> None:
    with Project(pair.b.root).locked():
        pair.b.run("status")
        pair.b.run("ls")
        pair.b.run("diff")
        pair.b.run("log")


def test_an_unchanged_tree_is_not_read_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "tick", lambda key: 0)  # instead of waiting until the files are older than one
    pair.b.run("status")
    hashed: list[tuple[str, int]] = []
    real = scan.hash_files

    def counting(tree: Tree, files: Sequence[tuple[str, int]], *rest: Any) -> None:
        hashed.extend(files)
        real(tree, files, *rest)

    monkeypatch.setattr(scan, "hash_files", counting)
    pair.b.run("status")
    assert hashed == []
    pair.b.write({"config.json": "[]\n"})  # of the same size
    assert pair.b.changes() == {"config.json": "local"}
    assert hashed == [("config.json", 3)]
