"""The command apply: it says what the plan's own command says. What plans may do is in test_plans.py."""

from __future__ import annotations

from pathlib import Path

from tests.support.clones import Pair


def test_a_push_plan_ends_as_push_does(pair: Pair, tmp_path: Path) -> None:
    pair.a.write({"config.json": "v2\n"})
    pair.a.run("push", "--plan-out", str(tmp_path / "p"))
    result = pair.a.run("apply", str(tmp_path / "p"))
    assert f"Pushed {pair.remote}:latest sha256:" in result.out
    assert "3 blobs sent" in result.out


def test_a_pull_plan_ends_as_pull_does(pair: Pair, tmp_path: Path) -> None:
    pair.a.commit({"config.json": "v2\n"})
    pair.b.run("pull", "--plan-out", str(tmp_path / "p"))
    result = pair.b.run("apply", str(tmp_path / "p"))
    assert f"Pulled {pair.remote}:latest sha256:" in result.out
    assert "1 path written" in result.out
    assert pair.b.json("apply", str(tmp_path / "p"))["digest"] == pair.a.json("status")["remote"]


def test_it_plans_nothing_anew(pair: Pair, tmp_path: Path) -> None:
    """Files that came after the plan are not in what it pushes."""
    a = pair.a
    a.write({"config.json": "v2\n"})
    shown = a.json("push", "--plan-out", str(tmp_path / "p"))
    a.write({"later.txt": "l\n"})
    a.run("add", "later.txt")
    assert a.json("apply", str(tmp_path / "p"))["digest"] == shown["digest"]
    assert "later.txt" not in a.listed(":latest")
    assert a.changes() == {"later.txt": "local"}


def test_a_dry_run_that_is_saved_too(pair: Pair, tmp_path: Path) -> None:
    pair.a.write({"config.json": "v2\n"})
    shown = pair.a.json("push", "--dry-run", "--plan-out", str(tmp_path / "p"))
    assert pair.a.json("apply", str(tmp_path / "p"))["digest"] == shown["digest"]
