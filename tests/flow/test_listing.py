"""How `REF:PATH` is split, and what looking leaves behind: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.operations.listing import split_path
from tests.support.bundle import tree
from tests.support.clones import Pair

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (":v1:a/b.txt", (":v1", "a/b.txt")),
        (f"@{DIGEST}:a", (f"@{DIGEST}", "a")),
        ("localhost:5000/team/m:v1:a/b", ("localhost:5000/team/m:v1", "a/b")),
        ("origin:v1:a", ("origin:v1", "a")),
        ("nothing", ("nothing", "")),
    ],
)
def test_the_path_follows_the_last_colon(text: str, parts: tuple[str, str]) -> None:
    assert split_path(text) == parts


@pytest.mark.parametrize(
    "words",
    [("ls", ":latest"), ("tags",), ("inspect", ":latest"), ("cat", ":latest:config.json"), ("verify", ":latest")],
    ids=lambda words: words[0],
)
def test_looking_writes_nothing(pair: Pair, tmp_path: Path, words: tuple[str, ...]) -> None:
    before = {name: node for name, node in tree(tmp_path).items() if not name.endswith("/index")}
    pair.b.run(*words)
    assert {name: node for name, node in tree(tmp_path).items() if not name.endswith("/index")} == before
