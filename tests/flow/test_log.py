"""log: what this clone pushed and pulled."""

from __future__ import annotations

from tests.support.clones import Pair


def test_pushes_and_pulls_newest_first(pair: Pair) -> None:
    a, b, _ = pair
    first = a.push()
    second = a.commit({"config.json": "v2\n"}, "--tag", "v2")
    entries = a.json("log")["log"]
    assert [(each["verb"], each["digest"]) for each in entries] == [("push", second), ("push", first)]
    assert entries[0]["reference"].endswith(":v2")
    b.run("pull", ":v2")
    assert [each["verb"] for each in b.json("log")["log"]] == ["pull", "pull"]
    assert b.json("log", "-n", "1")["log"][0]["digest"] == second
    assert second[7:19] in b.run("log").out


def test_what_changed_nothing_is_not_logged(pair: Pair) -> None:
    before = pair.a.json("log")
    pair.a.run("push")
    pair.a.run("pull")
    pair.a.run("push", "--dry-run")
    pair.a.run("status")
    assert pair.a.json("log") == before


def test_a_pull_that_was_refused_is_not_logged(pair: Pair) -> None:
    pair.a.commit({"config.json": "v2\n"})
    pair.b.write({"config.json": "mine\n"})
    before = pair.b.json("log")
    pair.b.run("pull", expect=4)
    assert pair.b.json("log") == before
