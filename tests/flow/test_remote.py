"""remote: places with names, and what was seen of them."""

from __future__ import annotations

from pathlib import Path

from tests.support.bundle import Bundle
from tests.support.clones import BASE, Pair


def test_the_first_remote_is_origin(pair: Pair) -> None:
    remotes = pair.a.json("remote", "list")["remotes"]
    assert [(each["name"], each["url"], each["tag"]) for each in remotes] == [("origin", pair.remote, "latest")]
    assert pair.remote in pair.a.run("remote", "list").out


def test_add_push_pull_and_forget(pair: Pair, tmp_path: Path) -> None:
    a = pair.a
    place = f"layout:{tmp_path / 'backup'}"
    a.run("remote", "add", "backup", f"{place}:stable")
    a.run("push", "backup")
    assert a.listed("backup:stable") == set(BASE)
    other = Bundle.clone(f"{place}:stable", tmp_path / "other")
    other.commit({"config.json": "from backup\n"})
    a.run("pull", "backup")
    assert a.read("config.json") == "from backup\n"
    # The tree now stands where backup stands; origin has not seen that.
    a.run("remote", "rm", "backup")
    assert a.refused(2, "ls", "backup:stable")["code"] == "usage"
    assert [each["name"] for each in a.json("remote", "list")["remotes"]] == ["origin"]


def test_leases_are_kept_for_each_place(pair: Pair, tmp_path: Path) -> None:
    a, b, _ = pair
    place = f"layout:{tmp_path / 'other'}"
    for each in (a, b):
        each.run("remote", "add", "other", place)
    a.run("push", "other:latest")
    # b has seen origin's latest, and not the other's, which is the same: adopted. After a change it is not.
    b.run("push", "other:latest")
    a.commit({"config.json": "a\n"}, "other:latest")
    b.write({"README.md": "b\n"})
    assert b.refused(5, "push", "other:latest")["code"] == "tag-moved"
    b.run("push", "origin:latest")


def test_set_lets_a_remote_be_another_place(pair: Pair, tmp_path: Path) -> None:
    a = pair.a
    a.run("remote", "set", "origin", f"layout:{tmp_path / 'new'}")
    assert a.json("tags")["tags"] == []
    a.push()
    assert a.listed(":latest") == set(BASE)
    assert pair.b.listed(":latest") == set(BASE)


def test_seen_records_the_lease_without_downloading(pair: Pair) -> None:
    a, b, _ = pair
    there = a.commit({"config.json": "v2\n", "new.txt": "n\n"})
    b.write({"README.md": "mine\n"})
    b.refused(5, "push")
    before = b.tree()
    assert b.json("remote", "seen")["seen"] == there
    assert b.tree() == before
    # What it would drop is still said before it is done.
    plan = b.json("push", "--dry-run")
    assert plan["dropped"] == ["new.txt"]
    b.run("push")
    assert "new.txt" not in b.listed(":latest")


def test_seen_of_something_absent(pair: Pair) -> None:
    assert pair.a.json("remote", "seen", ":absent")["seen"] is None


def test_relative_places_are_seen_from_where_one_stands(alone: Bundle, tmp_path: Path) -> None:
    alone.path("sub").mkdir()
    alone.run("remote", "add", "near", "../../near", cwd="sub")
    assert alone.json("remote", "list")["remotes"][1]["url"] == f"layout:{tmp_path / 'near'}"
    alone.run("push", "near:v1")
    assert (tmp_path / "near" / "oci-layout").is_file()
