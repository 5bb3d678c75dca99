"""How references are understood inside a bundle (DESIGN §10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.clones import BASE, Pair


@pytest.fixture
def made(tmp_path: Path, remote: str) -> Pair:
    """One bundle with two remotes and two versions in each."""
    a = Bundle.create(tmp_path / "a", remote, BASE)
    a.push("--tag", "v1")
    a.commit({"config.json": "v2\n"}, "--tag", "latest")
    a.run("remote", "add", "backup", f"layout:{tmp_path / 'backup'}")
    a.run("push", "backup:v9")
    return Pair(a, a, remote)


@pytest.mark.parametrize("spelling", [":v1", "origin:v1", "v1", "{remote}:v1", "@{short}", "@{digest}", ":v1@{digest}"])
def test_every_spelling_of_one_version(made: Pair, spelling: str) -> None:
    digest = next(tag["digest"] for tag in made.a.json("tags")["tags"] if tag["tag"] == "v1")
    text = spelling.format(remote=made.remote, digest=digest, short=digest[7:19])
    assert made.a.json("inspect", text)["digest"] == digest


@pytest.mark.parametrize("spelling", ["backup:v9", "layout:{tmp}/backup:v9", "{tmp}/backup:v9", "../backup:v9"])
def test_every_spelling_of_another_place(made: Pair, tmp_path: Path, spelling: str) -> None:
    assert made.a.listed(spelling.format(tmp=tmp_path)) == set(BASE)


def test_a_short_digest_of_several_is_ambiguous(made: Pair) -> None:
    digests = {tag["digest"] for tag in made.a.json("tags")["tags"]}
    assert len(digests) == 2
    error = made.a.refused(2, "inspect", "@0")
    assert error["hint"]


def test_a_digest_that_is_another_than_the_tags_is_what_counts(made: Pair) -> None:
    tags = {tag["tag"]: tag["digest"] for tag in made.a.json("tags")["tags"]}
    assert made.a.json("inspect", f":latest@{tags['v1']}")["digest"] == tags["v1"]


def test_a_bare_word_is_no_host(made: Pair) -> None:
    for word in ("ubuntu", "library/ubuntu", "latest2"):
        assert made.a.refused(2, "ls", word)["code"] == "usage"


def test_a_layout_that_is_not_there_is_not_made_by_looking(made: Pair, tmp_path: Path) -> None:
    assert made.a.refused(6, "ls", f"layout:{tmp_path / 'absent'}:v1")["code"] == "not-found"
    assert not (tmp_path / "absent").exists()
