"""Moving several tags: all are checked before the first moves, and each one's fate is told."""

from __future__ import annotations

from pathlib import Path

from modelops_bundle.testing.actions import Refuse
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle
from tests.support.clones import pair_on


def tags(bundle: Bundle) -> list[str]:
    return [tag["tag"] for tag in bundle.json("tags")["tags"]]


def test_some_of_several_fail(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    fake.fault(lambda method, path: method == "PUT" and path.endswith("/two"), Refuse(403, "DENIED"), times=None)
    error = a.refused(3, "tag", ":latest", "one", "two", "three")
    assert [(each["tag"], each["state"]) for each in error["facts"]["failed"]] == [
        ("one", "moved"),
        ("two", "failed"),
        ("three", "moved"),
    ]
    fake.heal()
    a.run("tag", ":latest", "one", "two", "three")
    assert tags(a) == ["latest", "one", "three", "two"]


def test_the_only_one_that_fails_fails_the_command(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    fake.fault(lambda method, path: method == "PUT", Refuse(403, "DENIED"), times=None)
    a.refused(7, "tag", ":latest", "one")


def test_killed_before_it_was_noted_it_is_run_again(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    first = a.json("inspect")["digest"]
    a.killed_at("tag moved", "tag", ":latest", "one", "two")
    assert tags(a) == ["latest", "one"]
    done = a.json("tag", ":latest", "one", "two")
    assert [tag["changed"] for tag in done["tags"]] == [False, True]
    second = a.commit({"config.json": "2\n"}, "--tag", "next")
    a.run("tag", ":next", "one")
    assert {tag["tag"]: tag["digest"] for tag in a.json("tags")["tags"]} == {
        "latest": first,
        "next": second,
        "one": second,
        "two": first,
    }


def test_a_strict_remote_announces_and_leaves_nothing_behind(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    a.run("config", "set", "remotes.origin.race", "strict")
    fake.requests.clear()
    a.run("tag", ":latest", "stable")
    assert [one for one in fake.asked("PUT") if "/_i." in one.path]
    assert [tag["tag"] for tag in a.json("tags", "--all")["tags"]] == ["latest", "stable"]
    assert not (a.root / ".modelops-bundle" / "journal" / "announcement").exists()
