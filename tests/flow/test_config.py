"""config: settings of the bundle, by dotted keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle import Bundle
from tests.support.clones import BASE


def test_get_set_list_unset(alone: Bundle) -> None:
    alone.run("config", "set", "limits.jobs", "2")
    assert alone.json("config", "get", "limits.jobs") == {"key": "limits.jobs", "value": 2}
    assert alone.run("config", "get", "limits.jobs").out == "2\n"
    alone.run("config", "set", "roles.tokenizer", "tok/*,vocab.txt")
    assert alone.json("config", "list")["config"]["roles.tokenizer"] == ["tok/*", "vocab.txt"]
    assert "limits.jobs = 2" in alone.run("config", "list").out
    alone.run("config", "set", "limits.jobs", "--unset")
    assert alone.refused(6, "config", "get", "limits.jobs")["code"] == "not-found"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limits.jobs", "0"),
        ("limits.jobs", "many"),
        ("ignore.defaults", "perhaps"),
        ("progress", "loud"),
        ("remotes.origin.race", "sometimes"),
        ("remotes.origin.url", "nonsense"),
        ("no.such.key", "1"),
        ("remotes.origin.nothing", "1"),
    ],
)
def test_a_bad_key_or_value_changes_nothing(alone: Bundle, key: str, value: str) -> None:
    before = alone.bookkeeping()
    assert alone.run("--json", "config", "set", key, value, expect=2).error["hint"]
    assert alone.bookkeeping() == before


def test_a_key_that_is_nearly_right_is_suggested(alone: Bundle) -> None:
    assert "limits.jobs" in alone.refused(2, "config", "set", "limit.jobs", "2")["hint"]


def test_a_file_that_is_no_toml_is_exit_2(alone: Bundle) -> None:
    (alone.root / ".modelops-bundle/config.toml").write_text("this is = = not toml")
    assert alone.refused(2, "status")["code"] == "config"
    assert alone.refused(2, "config", "set", "limits.jobs", "2")["code"] == "config"


def test_the_default_tag(tmp_path: Path, remote: str) -> None:
    a = Bundle.create(tmp_path / "a", remote, BASE)
    a.run("config", "set", "default_tag", "main")
    assert a.json("push")["tags"] == ["main"]
    assert a.json("status")["reference"].endswith(":main")


def test_annotations_of_every_push(alone: Bundle) -> None:
    alone.run("config", "set", "annotations.org.opencontainers.image.vendor", "Us")
    alone.push()
    annotations = alone.json("inspect")["annotations"]
    assert annotations["org.opencontainers.image.vendor"] == "Us"
    alone.push("--annotation", "org.opencontainers.image.vendor=Them")
    assert alone.json("inspect")["annotations"]["org.opencontainers.image.vendor"] == "Them"


def test_precedence_flag_variable_project_user(alone: Bundle, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def quiet(*words: str) -> bool:
        return alone.run(*words, "status").out == ""

    assert not quiet()
    user = home / ".config" / "modelops-bundle" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("quiet = true\n")
    assert quiet()
    alone.run("config", "set", "quiet", "false")
    assert not quiet()
    monkeypatch.setenv("BUNDLE_QUIET", "1")
    assert quiet()
    monkeypatch.setenv("BUNDLE_QUIET", "0")
    assert quiet("--quiet")
    assert quiet("--config", "quiet=true")
