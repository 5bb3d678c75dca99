"""The tags of a push: those that the words name, the next release, and what they are said to stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.errors import UsageError
from modelops_bundle.model.digest import Digest
from modelops_bundle.operations import push_tags
from tests.support.bundle import Bundle
from tests.support.clones import BASE
from tests.support.oci import Repository


def test_a_tag_is_moved_once_however_often_it_is_named(remote: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", remote, BASE)
    assert a.json("push", ":v1", "--tag", "v2", "--tag", "v1", "--tag", "v2")["tags"] == ["v1", "v2"]


def test_without_words_it_is_the_tag_of_the_remote(tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'remote'}:main", BASE)
    assert a.json("push")["tags"] == ["main"]


@pytest.mark.parametrize("tag", ["v1-lost-0123456789ab", f"sha256-{'0' * 64}"])
def test_tags_of_ours_are_not_for_users(alone: Bundle, tag: str) -> None:
    assert tag in alone.refused(2, "push", "--tag", tag)["message"]


def test_what_a_tag_is_expected_to_be_is_a_whole_digest() -> None:
    digest = Digest.of(b"x")
    assert push_tags.expected(None) is None
    assert push_tags.expected(str(digest)) == digest
    for text in ("", "latest", str(digest)[:-1], digest.hex):
        with pytest.raises(UsageError, match="whole digest"):
            push_tags.expected(text)


def test_the_first_release_is_0_1_0(remote: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", remote, BASE)
    assert a.json("push", "--bump", "major")["tags"] == ["0.1.0"]
    a.write({"config.json": "v2"})
    assert a.json("push", "--bump", "patch")["tags"] == ["0.1.1"]


@pytest.mark.parametrize(("part", "tag"), [("major", "v2.0.0"), ("minor", "v1.10.0"), ("patch", "v1.9.4")])
def test_bump_goes_on_from_the_highest_release(remote: str, tmp_path: Path, part: str, tag: str) -> None:
    a = Bundle.create(tmp_path / "a", remote, BASE)
    for each in ("v1.9.3", "v1.2.30", "v0.9.9", "v3.0.0-rc.1", "nightly", "9"):
        a.push("--tag", each)
    a.write({"config.json": "next"})
    assert a.json("push", "--bump", part, "--dry-run")["tags"][0]["tag"] == tag
    done = a.json("push", "--bump", part, "--tag", "latest")
    assert done["tags"] == [tag, "latest"]


def test_a_bump_counts_no_service_tags(repo: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", repo, BASE)
    a.push("--tag", "1.0.0")
    Repository(repo).retag("1.0.0", "9.0.0-lost-0123456789ab")
    assert a.json("push", "--bump", "minor", "--dry-run")["tags"][0]["tag"] == "1.1.0"
