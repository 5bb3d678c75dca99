"""cat: one file of a version, verified."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.bundle import Bundle, call
from tests.support.clones import Pair
from tests.support.oci import Repository, titled


def test_bytes_come_as_they_are(remote: str, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    a = Bundle.create(tmp_path / "a", remote, {"dir/x.bin": content, "empty": b""})
    a.push("--tag", "v1")
    assert a.run("cat", ":v1:dir/x.bin").data == content
    assert a.run("cat", ":v1:empty").data == b""
    assert call("-C", str(tmp_path), "cat", f"{remote}:v1:dir/x.bin").data == content


def test_by_digest(pair: Pair) -> None:
    digest = pair.a.push()
    pair.a.commit({"config.json": "v2\n"})
    assert pair.a.run("cat", f"@{digest}:config.json").data == b"{}\n"
    assert pair.a.run("cat", ":latest:config.json").data == b"v2\n"


def test_theirs_of_a_conflict(pair: Pair) -> None:
    pair.a.commit({"config.json": "theirs\n"})
    pair.b.write({"config.json": "ours\n"})
    pair.b.run("pull", expect=4)
    assert pair.b.run("cat", ":latest:config.json").data == b"theirs\n"


def test_a_link_says_where_it_leads(alone: Bundle) -> None:
    alone.path("link").symlink_to("a.txt")
    alone.run("add", "link")
    alone.push()
    assert alone.run("cat", ":latest:link").data == b"a.txt"


@pytest.mark.parametrize(
    ("where", "code"),
    [(":latest:absent.txt", 6), (":absent:a.txt", 6), (":latest:dir", 6), ("a.txt", 2), (":latest:", 2), (":a.txt", 2)],
)
def test_what_is_not_there_or_not_understood(alone: Bundle, where: str, code: int) -> None:
    alone.path("dir").mkdir()
    alone.run("add", "dir")
    alone.push()
    result = alone.run("cat", where, expect=code)
    assert result.data == b""


def test_a_file_of_an_artifact_of_others(repo: str, tmp_path: Path) -> None:
    Repository(repo).publish("v1", titled([("sub/x.txt", b"from oras\n")]))
    assert call("-C", str(tmp_path), "cat", f"{repo}:v1:sub/x.txt").data == b"from oras\n"
