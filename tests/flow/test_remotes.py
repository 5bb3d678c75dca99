"""What names of remotes may be, and which changes are refused."""

from __future__ import annotations

import pytest

from tests.support.bundle import Bundle


@pytest.mark.parametrize("name", ["", "a.b", "localhost", "oci", "layout", "with space", "a/b", "a:b"])
def test_a_name_that_would_read_as_something_else(alone: Bundle, name: str) -> None:
    before = alone.bookkeeping()
    assert alone.refused(2, "remote", "add", name, "localhost:5000/x")["code"] == "usage"
    assert alone.bookkeeping() == before


def test_a_taken_name_and_an_unknown_one(alone: Bundle) -> None:
    assert "remote set" in alone.refused(2, "remote", "add", "origin", "localhost:5000/x")["hint"]
    assert "remote add" in alone.refused(6, "remote", "set", "absent", "localhost:5000/x")["hint"]
    alone.refused(6, "remote", "rm", "absent")


@pytest.mark.parametrize("place", [f"localhost:5000/x@sha256:{'0' * 64}", "localhost:5000/x@0123456789", "nonsense"])
def test_a_remote_is_a_place(alone: Bundle, place: str) -> None:
    before = alone.bookkeeping()
    alone.refused(2, "remote", "add", "other", place)
    assert alone.bookkeeping() == before


def test_comments_in_the_settings_survive(alone: Bundle) -> None:
    path = alone.root / ".modelops-bundle/config.toml"
    path.write_text(path.read_text() + "\n# my own words\n[roles]\nweight = ['*.blob'] # these too\n")
    alone.run("remote", "add", "other", "localhost:5000/x:v1")
    alone.run("remote", "set", "other", "localhost:5000/y")
    alone.run("remote", "rm", "other")
    text = path.read_text()
    assert "# my own words" in text
    assert "# these too" in text
    assert "localhost" not in text


def test_the_default_remote_comes_first_and_can_be_changed(alone: Bundle) -> None:
    alone.run("remote", "add", "another", "localhost:5000/x")
    assert [each["name"] for each in alone.json("remote", "list")["remotes"]] == ["origin", "another"]
    alone.run("config", "set", "default_remote", "another")
    assert [each["name"] for each in alone.json("remote", "list")["remotes"]] == ["another", "origin"]


def test_a_default_remote_that_does_not_exist_is_said(alone: Bundle) -> None:
    alone.run("config", "set", "default_remote", "absent")
    error = alone.refused(2, "push")
    assert "absent" in error["message"]


def test_a_missing_reference_names_the_nearest_remote(alone: Bundle) -> None:
    assert "origin:v1" in alone.refused(2, "ls", "orgin:v1")["hint"]
