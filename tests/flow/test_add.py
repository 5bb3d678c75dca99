"""add: what is tracked, what is refused, and what is said about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.bundle import Bundle, Node


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "model")


def test_a_file_a_directory_and_several_at_once(made: Bundle) -> None:
    made.write({"a.txt": "a", "sub/b.txt": "b", "sub/deep/er/c.txt": "c", "other/d.txt": "d", "no.txt": "n"})
    assert made.json("add", "a.txt")["added"] == ["a.txt"]
    made.run("add", "sub", "other/")
    assert made.tracked == {"a.txt", "sub/b.txt", "sub/deep/er/c.txt", "other/d.txt"}


def test_everything_here_and_from_a_subdirectory(made: Bundle) -> None:
    made.write({"a.txt": "a", "sub/b.txt": "b", "sub/c.txt": "c"})
    made.run("add", ".", cwd="sub")
    assert made.tracked == {"sub/b.txt", "sub/c.txt"}
    made.run("add", "../a.txt", cwd="sub")
    assert made.tracked == {"a.txt", "sub/b.txt", "sub/c.txt"}
    assert made.json("add", ".")["already_tracked"] == ["a.txt", "sub/b.txt", "sub/c.txt"]


def test_absolute_paths_inside(made: Bundle) -> None:
    made.write({"sub/b.txt": "b", "c.txt": "c"})
    made.run("add", str(made.path("sub")), str(made.path("c.txt")))
    assert made.tracked == {"sub/b.txt", "c.txt"}


def test_adding_again_changes_nothing(made: Bundle) -> None:
    made.write({"a.txt": "a"})
    made.run("add", "a.txt")
    before = made.bookkeeping()
    again = made.json("add", "a.txt")
    assert (again["added"], again["already_tracked"]) == ([], ["a.txt"])
    assert made.bookkeeping() == before


def test_add_records_paths_and_not_contents(made: Bundle) -> None:
    made.write({"a.txt": "first"})
    made.run("add", "a.txt")
    made.write({"a.txt": "second"})
    made.push()
    assert made.run("cat", ":latest:a.txt").data == b"second"


@pytest.mark.parametrize("path", ["absent.txt", "no/such/file", "*.gguf", "weights/**/*.bin"])
def test_what_matches_nothing_is_exit_4_and_changes_nothing(made: Bundle, path: str) -> None:
    made.write({"a.txt": "a"})
    before = made.bookkeeping()
    error = made.refused(4, "add", "a.txt", path)
    assert error["code"] == "no-match"
    assert path in error["message"]
    assert made.bookkeeping() == before
    assert made.tracked == set()


def test_a_path_outside_is_refused_by_name(made: Bundle, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("o")
    for word in ("../outside.txt", str(tmp_path / "outside.txt")):
        error = made.refused(4, "add", word)
        assert "outside" in error["message"]
    assert made.tracked == set()


def test_globs_are_ours_when_quoted(made: Bundle) -> None:
    made.write(
        {
            "weights/a.safetensors": "1",
            "weights/x/y/b.safetensors": "2",
            "weights/c.bin": "3",
            "d.safetensors": "4",
            "data1.csv": "5",
            "data2.csv": "6",
            "datax.csv": "7",
        }
    )
    made.run("add", "weights/**/*.safetensors")
    assert made.tracked == {"weights/a.safetensors", "weights/x/y/b.safetensors"}
    made.run("add", "*.safetensors")
    assert made.tracked == {"weights/a.safetensors", "weights/x/y/b.safetensors", "d.safetensors"}
    made.run("add", "data[0-9].csv")
    assert {"data1.csv", "data2.csv"} <= made.tracked
    assert "datax.csv" not in made.tracked
    made.run("add", "data?.csv")
    assert "datax.csv" in made.tracked


def test_globs_are_relative_to_where_one_stands(made: Bundle) -> None:
    made.write({"top.bin": "1", "sub/in.bin": "2", "sub/deep/in.bin": "3"})
    made.run("add", "*.bin", cwd="sub")
    assert made.tracked == {"sub/in.bin"}


def test_a_file_whose_name_is_a_pattern_is_meant_by_its_name(made: Bundle) -> None:
    made.write({"a[1].txt": "literal", "a1.txt": "other"})
    made.run("add", "a[1].txt")
    assert made.tracked == {"a[1].txt"}


def test_globs_do_not_take_ignored_files(made: Bundle) -> None:
    made.write({".modelopsignore": "*.tmp\n", "a.tmp": "1", "b.bin": "2"})
    made.run("add", "*")
    assert made.tracked == {".modelopsignore", "b.bin"}


def test_an_ignored_path_is_refused_naming_rule_and_file(made: Bundle) -> None:
    made.write({".modelopsignore": "# comment\n*.log\n", "run.log": "1", "sub/.modelopsignore": "!keep.log\n"})
    error = made.refused(4, "add", "run.log")
    assert error["code"] == "ignored"
    assert "'*.log' (.modelopsignore:2)" in error["message"]
    assert "--force" in error["hint"]
    assert made.tracked == set()
    made.write({"sub/keep.log": "2", "sub/drop.log": "3"})
    made.run("add", "sub/keep.log")
    assert "sub/drop.log" in made.refused(4, "add", "sub/drop.log")["message"]


def test_a_rule_of_a_nested_file_is_named_with_its_path(made: Bundle) -> None:
    made.write({"sub/.modelopsignore": "secret*\n", "sub/secret.txt": "1"})
    assert "'secret*' (sub/.modelopsignore:1)" in made.refused(4, "add", "sub/secret.txt")["message"]


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        (".env", ".env"),
        ("x.pyc", "*.py[cod]"),
        ("__pycache__/m.txt", "__pycache__/"),
        ("sub/.DS_Store", ".DS_Store"),
        ("venv/lib.txt", "venv/"),
    ],
)
def test_a_built_in_default_says_that_it_is_one(made: Bundle, path: str, rule: str) -> None:
    made.write({path: "1"})
    message = made.refused(4, "add", path)["message"]
    assert f"{rule!r} (built-in default)" in message


def test_model_directories_are_not_ignored_by_default(made: Bundle) -> None:
    made.write({"dist/a.bin": "1", "build/b.bin": "2", "env/c.bin": "3"})
    made.run("add", ".")
    assert made.tracked == {"dist/a.bin", "build/b.bin", "env/c.bin"}


def test_built_in_defaults_can_be_switched_off(made: Bundle) -> None:
    made.write({"x.pyc": "1"})
    made.run("config", "set", "ignore.defaults", "false")
    made.run("add", ".")
    assert made.tracked == {"x.pyc"}


def test_a_mixed_list_adds_the_good_and_reports_the_ignored(made: Bundle) -> None:
    made.write({".modelopsignore": "*.log\n", "a.txt": "1", "b.log": "2", "c.txt": "3"})
    error = made.refused(3, "add", "a.txt", "b.log", "c.txt")
    assert error["code"] == "partial"
    assert error["facts"]["failed"] == ["b.log"]
    assert "'*.log' (.modelopsignore:1)" in error["message"]
    assert made.tracked == {"a.txt", "c.txt"}


def test_force_adds_what_is_ignored(made: Bundle) -> None:
    made.write({".modelopsignore": "*.log\n", "a.log": "1", "sub/b.log": "2", "c.txt": "3"})
    made.run("add", "--force", "a.log")
    assert made.tracked == {"a.log"}
    made.run("add", "--force", ".")
    assert made.tracked == {".modelopsignore", "a.log", "sub/b.log", "c.txt"}


def test_force_never_adds_what_nobody_could_pull(made: Bundle) -> None:
    made.write({".git/config": "[core]\n", "a.txt": "1"})
    made.run("add", "--force", ".")
    assert made.tracked == {"a.txt"}
    for path in (".git/config", ".modelops-bundle/config.toml"):
        assert made.refused(9, "add", "--force", path)["code"] == "unsafe-path"
    made.write({".bundle/index.json": "{}"})
    assert made.refused(9, "add", ".bundle/index.json")["code"] == "unsafe-path"
    assert made.tracked == {"a.txt"}


def test_tracked_wins_over_ignored_later(made: Bundle) -> None:
    made.write({"a.log": "1"})
    made.run("add", "a.log")
    made.push()
    made.write({".modelopsignore": "*.log\n", "a.log": "2"})
    assert made.changes() == {"a.log": "local"}
    assert made.json("add", "a.log")["already_tracked"] == ["a.log"]
    made.push()
    assert made.run("cat", ":latest:a.log").data == b"2"


def test_a_directory_with_ignored_files_adds_the_rest_in_silence(made: Bundle) -> None:
    made.write({".modelopsignore": "*.log\ncache/\n", "sub/a.txt": "1", "sub/b.log": "2", "sub/cache/c.txt": "3"})
    assert made.json("add", "sub")["added"] == ["sub/a.txt"]


def test_an_ignored_directory_named_is_refused(made: Bundle) -> None:
    made.write({".modelopsignore": "cache/\n", "cache/c.txt": "3"})
    assert "cache" in made.refused(4, "add", "cache")["message"]
    assert "cache/c.txt" in made.refused(4, "add", "cache/c.txt")["message"]


def test_a_dry_run_says_what_and_does_nothing(made: Bundle) -> None:
    made.write({"a.txt": "1", "b.txt": "2"})
    before = made.bookkeeping()
    shown = made.run("add", "--dry-run", ".").out
    assert "a.txt" in shown
    assert "b.txt" in shown
    assert made.bookkeeping() == before


def test_an_empty_tree_says_so(made: Bundle) -> None:
    result = made.run("add", ".")
    assert "nothing to add" in result.err
    assert made.tracked == set()


def test_an_empty_directory_is_tracked_and_travels(made: Bundle, tmp_path: Path) -> None:
    made.path("logs/empty").mkdir(parents=True)
    made.write({"a.txt": "1"})
    made.run("add", ".")
    assert made.tracked == {"a.txt", "logs/empty"}
    made.push()
    clone = Bundle.clone(str(made.root), tmp_path / "clone")
    assert clone.tree() == {"a.txt": Node("file", b"1"), "logs/empty": Node("dir")}
    assert clone.changes() == {}


def test_an_empty_directory_that_fills_is_implied_by_its_content(made: Bundle, tmp_path: Path) -> None:
    made.write({"a.txt": "1"})
    made.path("logs").mkdir()
    made.run("add", ".")
    made.push()
    made.write({"logs/run.txt": "1"})
    made.run("add", "logs")
    made.push("--yes")
    clone = Bundle.clone(str(made.root), tmp_path / "clone")
    assert clone.tree() == {"a.txt": Node("file", b"1"), "logs/run.txt": Node("file", b"1")}


def test_a_link_that_stays_inside_is_a_link(made: Bundle, tmp_path: Path) -> None:
    made.write({"weights/model.bin": "w" * 100})
    made.path("latest.bin").symlink_to("weights/model.bin")
    made.path("weights/up").symlink_to("../README.md")
    made.run("add", ".")
    made.push()
    clone = Bundle.clone(str(made.root), tmp_path / "clone")
    assert clone.tree()["latest.bin"] == Node("link", b"weights/model.bin")
    assert clone.tree()["weights/up"] == Node("link", b"../README.md")  # dangling, and stored as it is
    assert clone.changes() == {}


def test_a_link_to_a_directory_is_one_entry(made: Bundle, tmp_path: Path) -> None:
    made.write({"data/a.txt": "1"})
    made.path("current").symlink_to("data")
    made.run("add", ".")
    assert made.tracked == {"data/a.txt", "current"}
    made.push()
    assert Bundle.clone(str(made.root), tmp_path / "c").tree() == made.tree()


@pytest.mark.parametrize("target", ["../outside.bin", "/etc/hostname", "sub/../../outside.bin"])
def test_a_link_that_leaves_the_tree_is_refused_with_a_hint(made: Bundle, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside.bin").write_text("secret")
    made.path("sub").mkdir()
    made.path("link").symlink_to(target)
    error = made.refused(9, "add", "link")
    assert error["code"] == "unsafe-path"
    assert "--follow-links" in error["hint"]
    assert made.tracked == set()


def test_follow_links_stores_the_content(made: Bundle, tmp_path: Path) -> None:
    (tmp_path / "shared.bin").write_text("shared bytes")
    made.path("model.bin").symlink_to(tmp_path / "shared.bin")
    made.run("add", "--follow-links", "model.bin")
    made.push()
    assert made.changes() == {}
    assert Bundle.clone(str(made.root), tmp_path / "c").tree() == {"model.bin": Node("file", b"shared bytes")}
    (tmp_path / "shared.bin").write_text("other bytes")
    assert made.changes() == {"model.bin": "local"}
    made.push()
    assert made.run("cat", ":latest:model.bin").data == b"other bytes"


def test_follow_links_refuses_what_is_no_file(made: Bundle, tmp_path: Path) -> None:
    made.path("nowhere").symlink_to(tmp_path / "nowhere-at-all")
    assert made.refused(9, "add", "--follow-links", "nowhere")["code"] == "unsafe-path"


@pytest.mark.parametrize("name", ["con.txt", "a:b", "what?.bin", "trailing.", "pipe|.bin", "back\\slash"])
def test_a_name_that_some_system_lacks_is_refused(made: Bundle, name: str) -> None:
    made.write({name: "1", "good.txt": "2"})
    error = made.refused(9, "add", ".")
    assert error["code"] == "unsafe-path"
    assert made.tracked == set()


def test_two_names_that_are_one_on_some_systems_are_refused(made: Bundle) -> None:
    made.write({"Readme.md": "1", "README.md": "2"})
    assert "same name" in made.refused(9, "add", ".")["message"]
    assert made.tracked == set()


def test_a_pipe_cannot_be_added(made: Bundle) -> None:
    os.mkfifo(made.path("pipe"))
    assert made.refused(9, "add", "pipe")["code"] == "unsafe-path"
    assert made.tracked == set()


def test_names_with_spaces_unicode_and_edges(made: Bundle, tmp_path: Path) -> None:
    names = ["a file.txt", " leading.txt", "größe/模型.bin", "-dash", "#hash", "!bang", "emoji-🤗.txt"]
    made.write(dict.fromkeys(names, "x"))
    made.run("add", "--", *names)
    assert made.tracked == set(names)
    made.push()
    assert set(Bundle.clone(str(made.root), tmp_path / "c").tree()) == set(names)


def test_a_tracked_file_that_became_a_directory(made: Bundle) -> None:
    made.write({"thing": "1", "other": "2"})
    made.run("add", ".")
    made.push()
    made.path("thing").unlink()
    made.write({"thing/inner.txt": "2"})
    made.run("add", ".")
    made.push()
    assert made.tracked == made.listed(":latest") == {"other", "thing/inner.txt"}


def test_a_rename_that_only_changes_the_case(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m", f"layout:{tmp_path / 'hub'}", {"Readme.md": "same\n"})
    made.run("push")
    (made.root / "Readme.md").rename(made.root / "README.md")
    made.run("add", ".")
    made.run("push", "--yes")
    assert made.tracked == {"README.md"}


@pytest.mark.parametrize("word", [".", "readme.md"])
def test_a_rename_that_only_changes_case(made: Bundle, word: str) -> None:
    """The old name is gone, so the two never stand in one tree."""
    made.write({"README.md": "r", "other.txt": "o"})
    made.run("add", ".")
    made.push()
    made.path("README.md").rename(made.path("readme.md"))
    made.run("add", word)
    made.push()
    assert made.tracked == made.listed(":latest") == {"readme.md", "other.txt"}
