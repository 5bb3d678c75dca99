"""`push --layout image`: another shape of the same bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.bundle import Bundle, Node, call

FILES = {"README.md": "# model\n", "w/model.bin": bytes(range(256)) * 5000, "src/a.py": "a\n", "empty": ""}


@pytest.fixture
def made(remote: str, tmp_path: Path) -> Bundle:
    bundle = Bundle.create(tmp_path / "a", remote)
    bundle.write({**FILES, "run": "#!/bin/sh\n"})
    bundle.path("run").chmod(0o755)
    bundle.path("logs").mkdir()
    bundle.path("l").symlink_to("w/model.bin")
    bundle.run("add", ".")
    return bundle


def test_it_comes_back_as_it_went(made: Bundle, remote: str, tmp_path: Path) -> None:
    digest = made.push("--layout", "image")
    clone = Bundle.clone(remote, tmp_path / "b")
    assert clone.tree() == made.tree()
    assert clone.changes() == {}
    assert not clone.json("pull")["changed"]
    assert not clone.json("push")["changed"]
    assert call("verify", remote).code == 0
    assert call("cat", f"{remote}:latest:src/a.py").data == b"a\n"
    assert clone.json("inspect")["digest"] == digest


def test_the_same_tree_is_the_same_image(made: Bundle, remote: str, tmp_path: Path) -> None:
    digest = made.push("--layout", "image", "--tag", "v1")
    other = Bundle.clone(f"{remote}:v1", tmp_path / "b")
    (other.path("README.md")).touch()
    assert other.push("--layout", "image", "--tag", "v2") == digest
    # And with what is known of its layers gone.
    (other.root / ".modelops-bundle" / "packs").unlink(missing_ok=True)
    assert other.push("--layout", "image", "--tag", "v3") == digest


def test_a_second_push_sends_nothing(made: Bundle) -> None:
    made.push("--layout", "image")
    again = made.json("push", "--layout", "image")
    assert (again["changed"], again["sent_blobs"]) == (False, 0)
    made.write({"src/a.py": "b\n"})
    # The layer with it, the index and the config: not the others.
    assert made.json("push", "--layout", "image")["sent_blobs"] == 3


def test_layouts_hold_the_same_content(made: Bundle, remote: str) -> None:
    made.push("--layout", "image", "--tag", "image")
    made.push("--tag", "plain")
    assert call("--json", "diff", f"{remote}:image", f"{remote}:plain").json["changes"] == []
    contents = {call("--json", "inspect", f"{remote}:{tag}").json["content"] for tag in ("image", "plain")}
    assert len(contents) == 1


@pytest.mark.parametrize("key", ["layout", "remotes.origin.layout"])
def test_the_settings_may_say_so(made: Bundle, remote: str, key: str) -> None:
    made.run("config", "set", key, "image")
    made.run("config", "set", "image.prefix", "models")
    made.run("config", "set", "platform", "linux/arm64")
    made.push()
    document = made.json("inspect", "--manifest")
    assert document["annotations"]["dev.modelops.bundle.storage"] == "image"
    assert document["manifest"]["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert "artifactType" not in document["manifest"]
    assert not made.json("push")["changed"]
    made.push("--layout", "plain")
    assert made.json("inspect")["annotations"]["dev.modelops.bundle.storage"] == "plain"


def test_a_saved_plan_is_the_same_push(made: Bundle) -> None:
    made.run("push", "--layout", "image", "--prefix", "models", "--plan-out", "../plan.json")
    planned = json.loads((made.root.parent / "plan.json").read_text())["manifest"]
    made.run("apply", "../plan.json")
    assert made.json("inspect")["digest"] == planned


def test_one_file_more_is_pulled_alone(made: Bundle, remote: str, tmp_path: Path) -> None:
    made.push("--layout", "image")
    clone = Bundle.clone(remote, tmp_path / "b")
    made.write({"new.txt": "new\n"})
    made.run("add", "new.txt")
    made.push("--layout", "image")
    assert clone.json("pull")["written_paths"] == 1
    assert clone.tree()["new.txt"] == Node("file", b"new\n")


@pytest.mark.parametrize(
    "words",
    [
        ("--layout", "image", "--pack", "always"),
        ("--prefix", "models"),
        ("--layout", "image", "--platform", "linux"),
        ("--layout", "tarball"),
    ],
)
def test_words_that_do_not_fit(made: Bundle, words: tuple[str, ...]) -> None:
    assert made.run("push", *words, expect=2).code == 2


@pytest.mark.parametrize("prefix", ["..", "/models", ".git"])
def test_a_prefix_nobody_may_create(made: Bundle, prefix: str) -> None:
    made.refused(9, "push", "--layout", "image", "--prefix", prefix)
