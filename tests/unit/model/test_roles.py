"""Roles by name, and the globs that override them."""

from __future__ import annotations

import warnings

import pytest

from modelops_bundle.model.roles import ROLES, glob_pattern, role_of


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("model.safetensors", "weight"),
        ("a/b/MODEL.GGUF", "weight"),
        ("pytorch_model.bin", "weight"),
        ("config.json", "config"),
        ("sub/tokenizer.model.json", "config"),
        ("vocab.txt", "config"),
        ("notes.txt", "doc"),
        ("README", "doc"),
        ("README.json", "doc"),
        ("LICENCE", "doc"),
        ("license.md", "doc"),
        ("readme_old", "code"),
        ("train.py", "code"),
        ("Makefile", "code"),
        ("data/x.py", "dataset"),
        ("Datasets/README.md", "doc"),
        ("deep/data/x.py", "code"),
        ("x.parquet", "dataset"),
        ("data/w.safetensors", "weight"),
        (".gitattributes", "code"),
        ("noext.", "code"),
    ],
)
def test_built_in_rules(path: str, role: str) -> None:
    assert role_of(path) == role


def test_built_in_roles_are_the_modelpack_ones() -> None:
    assert {role_of(p) for p in ("a.bin", "a.json", "a.md", "a.py", "a.csv")} == set(ROLES)


def test_the_users_rules_win_in_their_order() -> None:
    rules = {"eval": ["results/**"], "doc": ["*.json"]}
    assert role_of("results/a.json", rules) == "eval"
    assert role_of("x/a.json", rules) == "doc"
    assert role_of("a.py", rules) == "code"


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.py", ["a.py", "x/y/a.py", ".py"], ["a.pyc", "a.py/b"]),
        ("/a.py", ["a.py"], ["x/a.py"]),
        ("src/*.py", ["src/a.py"], ["src/x/a.py", "y/src/a.py"]),
        ("src/**", ["src/a", "src/x/y"], ["src", "asrc/a"]),
        ("src/**/t.py", ["src/t.py", "src/a/b/t.py"], ["src/at.py"]),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax"]),
        ("a?c", ["abc", "d/a.c"], ["a/c", "ac", "abbc"]),
        ("[abc].txt", ["a.txt"], ["d.txt", "ab.txt"]),
        ("[a-c]x", ["bx"], ["dx", "-x"]),
        ("[!a]x", ["bx"], ["ax", "/x"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[!]]x", ["ax"], ["]x"]),
        ("[]]x", ["]x"], ["ax"]),
        ("[!]a]x", ["bx"], ["]x", "ax"]),
        ("[a-]x", ["-x", "ax"], ["bx"]),
        ("[a&&b]x", ["&x"], ["cx"]),
        ("[z-a]x", [], ["zx", "ax", "-x"]),
        ("[!z-a]x", ["qx"], ["/x"]),
        ("[a", ["[a"], ["a"]),
        ("[!]", ["[!]"], ["a"]),
        ("[]", ["[]"], [""]),
        ("a.b", ["a.b"], ["axb"]),
        ("a+(b)", ["a+(b)"], ["aab"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pattern = glob_pattern(glob)
    assert [path for path in yes if not pattern.fullmatch(path)] == []
    assert [path for path in no if pattern.fullmatch(path)] == []
