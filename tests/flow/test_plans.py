"""Saved plans: what was shown is what is done (DESIGN §1, promise 2)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle
from tests.support.clones import BASE, Pair, pair_on


@pytest.fixture
def plan(tmp_path: Path) -> str:
    return str(tmp_path / "the.plan")


def test_a_saved_push_does_nothing_until_it_is_applied(pair: Pair, plan: str) -> None:
    a = pair.a
    a.write({"config.json": "v2\n"})
    before = a.bookkeeping()
    shown = a.json("push", "--plan-out", plan)
    assert a.bookkeeping() == before
    assert a.json("status")["remote"] != shown["digest"]
    assert "bundle apply" in a.run("push", "--plan-out", plan).out
    assert a.json("apply", plan)["digest"] == shown["digest"]
    assert a.json("status")["remote"] == shown["digest"]
    assert a.changes() == {}


def test_a_saved_pull_does_nothing_until_it_is_applied(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    a.commit({"config.json": "v2\n", "README.md": None, "new.txt": "n\n"})
    before = (b.tree(), b.bookkeeping())
    b.run("pull", "--plan-out", plan)
    assert (b.tree(), b.bookkeeping()) == before
    b.run("apply", plan)
    assert b.tree() == a.tree()
    assert b.changes() == {}


def test_a_plan_file_is_relative_to_where_one_works(pair: Pair) -> None:
    pair.a.write({"config.json": "v2\n"})
    pair.a.run("push", "--plan-out", "../named.plan")
    assert (pair.a.root.parent / "named.plan").is_file()
    pair.a.run("apply", "../named.plan")


def test_applying_a_push_twice_is_harmless(pair: Pair, plan: str) -> None:
    pair.a.write({"config.json": "v2\n"})
    pair.a.run("push", "--plan-out", plan)
    first = pair.a.json("apply", plan)
    again = pair.a.json("apply", plan)
    assert again["digest"] == first["digest"]
    assert again["sent_blobs"] == 0


def test_a_push_is_refused_when_the_tag_moved(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    b.write({"config.json": "b\n"})
    b.run("push", "--plan-out", plan)
    theirs = a.commit({"README.md": "a\n"})
    assert b.refused(5, "apply", plan)["code"] == "tag-moved"
    assert a.json("status")["remote"] == theirs


def test_a_push_that_has_nothing_to_do_is_checked_again_too(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    b.run("push", "--plan-out", plan)
    a.commit({"README.md": "a\n"})
    assert b.refused(5, "apply", plan)["code"] == "tag-moved"


def test_a_push_is_refused_when_a_file_changed(pair: Pair, plan: str) -> None:
    a = pair.a
    a.write({"config.json": "v2\n"})
    a.run("push", "--plan-out", plan)
    before = a.json("status")["remote"]
    a.write({"config.json": "v3\n"})
    error = a.refused(5, "apply", plan)
    assert error["code"] == "workspace-changed"
    assert error["facts"]["paths"] == ["config.json"]
    a.path("config.json").unlink()
    assert a.refused(5, "apply", plan)["code"] == "workspace-changed"
    assert a.json("status")["remote"] == before


def test_a_pull_is_refused_when_a_file_changed(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    a.commit({"config.json": "v2\n", "README.md": "v2\n"})
    b.run("pull", "--plan-out", plan)
    b.write({"README.md": "work since then\n"})
    before = b.tree()
    error = b.refused(5, "apply", plan)
    assert error["code"] == "workspace-changed"
    assert b.tree() == before


def test_a_pull_is_refused_when_something_came_into_its_way(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    a.commit({"new.txt": "theirs\n"})
    b.run("pull", "--plan-out", plan)
    b.write({"new.txt": "mine\n"})
    assert b.refused(5, "apply", plan)["code"] == "workspace-changed"
    assert b.read("new.txt") == "mine\n"


def test_a_refused_plan_stays_refused(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    a.commit({"config.json": "theirs\n"})
    b.write({"config.json": "mine\n"})
    assert b.json("pull", "--plan-out", plan)["refused"] is True
    assert b.refused(4, "apply", plan)["code"] == "conflict"
    b.run("push", "--plan-out", plan)
    assert b.refused(5, "apply", plan)["code"] == "tag-moved"
    assert b.read("config.json") == "mine\n"


def test_a_plan_that_discards_work_wants_a_yes(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    a.commit({"config.json": "theirs\n"})
    b.write({"config.json": "mine\n"})
    b.run("pull", "--overwrite", "--plan-out", plan)
    assert b.refused(4, "apply", plan)["code"] == "needs-confirmation"
    assert b.read("config.json") == "mine\n"
    b.run("apply", "--yes", plan)
    assert b.read("config.json") == "theirs\n"


def test_a_push_that_drops_most_wants_a_yes(pair: Pair, plan: str) -> None:
    a = pair.a
    a.run("rm", "weights", "README.md")
    a.run("push", "--plan-out", plan)
    assert a.refused(4, "apply", plan)["code"] == "needs-confirmation"
    a.run("apply", "--yes", plan)
    assert a.listed(":latest") == {"config.json"}


def test_several_tags_and_a_bump_are_fixed_in_the_plan(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    a.push("--tag", "1.0.0")
    b.write({"config.json": "b\n"})
    b.run("push", "--bump", "minor", "--tag", "latest", "--plan-out", plan)
    a.commit({"README.md": "x\n"}, "--bump", "patch")
    assert b.json("apply", plan)["tags"] == ["1.1.0", "latest"]


def test_a_bump_whose_tag_was_taken_is_refused(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    a.push("--tag", "1.0.0")
    b.write({"config.json": "b\n"})
    b.run("push", "--bump", "minor", "--plan-out", plan)
    a.commit({"README.md": "x\n"}, "--bump", "minor")
    assert b.refused(5, "apply", plan)["code"] == "tag-moved"


def test_force_is_part_of_the_plan(pair: Pair, plan: str) -> None:
    a, b, _ = pair
    a.commit({"new.txt": "n\n"})
    b.write({"config.json": "b\n"})
    shown = b.json("push", "--force", "--plan-out", plan)
    assert [loss["path"] for loss in shown["losses"]] == ["new.txt"]
    b.run("apply", plan)
    assert "new.txt" not in b.listed(":latest")


def test_what_is_no_plan(pair: Pair, tmp_path: Path) -> None:
    assert pair.a.refused(6, "apply", str(tmp_path / "absent"))["code"] == "not-found"
    for text in ("", "no json", "{}", "[]", '{"plan":"push"}', '{"plan":"push","version":99}', '{"plan":"other"}'):
        (tmp_path / "bad").write_text(text)
        assert pair.a.refused(2, "apply", str(tmp_path / "bad"))["code"] == "config", text


def test_a_plan_somebody_edited_is_refused(pair: Pair, plan: str) -> None:
    a = pair.a
    a.write({"config.json": "v2\n"})
    a.run("push", "--plan-out", plan)
    value = json.loads(Path(plan).read_text())
    value["snapshot"]["config.json"]["size"] = 1
    Path(plan).write_text(json.dumps(value))
    assert a.refused(2, "apply", plan)["code"] == "config"


@pytest.mark.parametrize("path", ["../outside.txt", ".git/hooks/pre-commit", "/tmp/evil", ".modelops-bundle/at"])
def test_a_pull_plan_with_a_hostile_path_writes_nothing(pair: Pair, plan: str, path: str) -> None:
    a, b, _ = pair
    a.commit({"new.txt": "n\n"})
    b.run("pull", "--plan-out", plan)
    Path(plan).write_text(Path(plan).read_text().replace("new.txt", path))
    before = (b.tree(), b.bookkeeping(), sorted(path.name for path in b.root.parent.iterdir()))
    assert b.run("apply", plan, expect=None).code in (2, 9)
    assert (b.tree(), b.bookkeeping(), sorted(path.name for path in b.root.parent.iterdir())) == before


def test_a_plan_of_another_bundle(pair: Pair, plan: str, tmp_path: Path) -> None:
    pair.a.write({"config.json": "v2\n"})
    pair.a.run("push", "--plan-out", plan)
    other = Bundle.create(tmp_path / "other", None, {"o.txt": "o\n"})
    assert other.refused(5, "apply", plan)["code"] == "workspace-changed"


def test_an_error_on_the_way_leaves_the_plan_usable(fake: Fake, tmp_path: Path, plan: str) -> None:
    from modelops_bundle.testing.actions import Refuse

    a = pair_on(f"{fake.host}/m", tmp_path).a
    a.write({"config.json": "v2\n"})
    a.run("push", "--plan-out", plan)
    fake.fault(lambda method, _: method == "PUT", Refuse(500, "UNKNOWN"), times=None)
    a.refused(8, "apply", plan)
    fake.heal()
    a.run("apply", plan)
    assert a.run("cat", ":latest:config.json").data == b"v2\n"
    assert set(a.listed(":latest")) == set(BASE)
