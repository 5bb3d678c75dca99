"""diff: between the tree and versions, and between versions."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.bundle import Bundle, call
from tests.support.clones import Pair


def actions(document: dict) -> dict[str, str]:  # type: ignore[type-arg]
    return {change["path"]: change["action"] for change in document["changes"]}


def test_against_the_base(pair: Pair) -> None:
    b = pair.b
    assert actions(b.json("diff")) == {}
    assert "no difference" in b.run("diff").out
    b.write({"config.json": "edited\n", "new.txt": "n\n"})
    b.run("add", "new.txt")
    b.path("README.md").unlink()
    b.path("weights/a.bin").chmod(0o755)
    assert actions(b.json("diff")) == {
        "config.json": "modified",
        "new.txt": "added",
        "README.md": "deleted",
        "weights/a.bin": "mode",
    }
    shown = b.run("diff").out
    assert "modified  config.json  (3 B -> 7 B)" in shown
    assert "now executable" in shown
    assert b.run("diff", "--short").out.splitlines() == [
        "D README.md",
        "M config.json",
        "A new.txt",
        "X weights/a.bin",
    ]


def test_the_base_needs_no_network(pair: Pair) -> None:
    assert pair.b.requests("diff") == []
    pair.b.run("--offline", "diff")


def test_against_a_tag_a_digest_and_a_short_digest(pair: Pair) -> None:
    a, b, _ = pair
    digest = a.push("--tag", "v1")
    a.commit({"config.json": "v2\n"}, "--tag", "v2")
    for spelling in (":v1", f"@{digest}", f"@{digest[7:19]}"):
        assert actions(b.json("diff", spelling)) == {}
    assert actions(b.json("diff", ":v2")) == {"config.json": "modified"}


def test_between_two_versions_of_the_same_and_of_another_place(pair: Pair, tmp_path: Path) -> None:
    a, b, remote = pair
    a.push("--tag", "v1")
    a.commit({"config.json": "v2\n", "README.md": None}, "--tag", "v2")
    assert actions(b.json("diff", ":v1", ":v2")) == {"config.json": "modified", "README.md": "deleted"}
    assert actions(b.json("diff", ":v2", ":v1")) == {"config.json": "modified", "README.md": "added"}
    other = Bundle.create(tmp_path / "o", None, {"config.json": "v2\n"})
    other.push()
    document = b.json("diff", f"{other.root}/.modelops-bundle/store:latest", ":v2")
    assert actions(document) == {"weights/a.bin": "added", "weights/b.bin": "added"}
    # Outside of any bundle as well.
    result = call("-C", str(tmp_path), "--json", "diff", f"{remote}:v1", f"{remote}:v2")
    assert actions(json.loads(result.out)) == {"config.json": "modified", "README.md": "deleted"}


def test_exit_code_is_for_scripts(pair: Pair) -> None:
    b = pair.b
    b.run("diff", "--exit-code")
    b.write({"config.json": "edited\n"})
    b.run("diff", "--exit-code", expect=1)
    b.run("diff", expect=0)


def test_what_does_not_exist(pair: Pair) -> None:
    assert pair.b.refused(6, "diff", ":nowhere")["code"] == "not-found"


def test_an_unpushed_bundle_differs_from_nothing(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m", None, {"a.txt": "a"})
    assert actions(made.json("diff")) == {"a.txt": "added"}


def test_a_rename_and_a_copy(pair: Pair) -> None:
    b = pair.b
    b.path("weights/a.bin").rename(b.path("weights/z.bin"))
    b.write({"copy.bin": "bbbb\n"})
    b.run("add", "weights/z.bin", "copy.bin")
    document = b.json("diff")
    assert document["renames"] == [{"from": "weights/a.bin", "to": "weights/z.bin"}]
    assert actions(document)["copy.bin"] == "added"  # its twin is still there: no rename
