"""`push --layout image`: another shape of the same bundle."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


# --- archives that docker loads

Members = dict[str, bytes]


def unpacked(made: Bundle, tmp_path: Path) -> Members:
    """The members of such an archive with the image that was pushed to a layout."""
    place = tmp_path / "layout"
    made.run("push", "--layout", "image", f"layout:{place}:v1")
    document = made.json("inspect", f"layout:{place}:v1", "--manifest")["manifest"]

    def blob(what: dict[str, str]) -> bytes:
        return (place / "blobs/sha256" / what["digest"].removeprefix("sha256:")).read_bytes()

    layers = [gzip.decompress(blob(layer)) for layer in document["layers"]]
    names = [f"{hashlib.sha256(layer).hexdigest()}.tar" for layer in layers]
    config = f"{document['config']['digest'].removeprefix('sha256:')}.json"
    said = {"Config": config, "RepoTags": ["docker.io/team/model:v1"], "Layers": names}
    return {
        **dict(zip(names, layers, strict=True)),
        config: blob(document["config"]),
        "manifest.json": json.dumps([said]).encode(),
    }


def archived(members: Members, path: Path, *links: tuple[str, str]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as file:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            file.addfile(member)
    return path


@pytest.mark.parametrize("prefix", ["", "models"])
def test_an_archive_for_docker_is_the_version_it_was(made: Bundle, tmp_path: Path, prefix: str) -> None:
    made.run("config", "set", "image.prefix", prefix or "models")
    if not prefix:
        made.run("config", "set", "image.prefix", "")
    members = unpacked(made, tmp_path)
    first = next(iter(members))
    path = archived(members, tmp_path / "x.tar", (f"{'a' * 64}/layer.tar", f"../{first}"))
    digest = call("--json", "inspect", f"layout:{tmp_path / 'layout'}:v1").json["digest"]
    done = call("--json", "import", str(path), str(tmp_path / "new")).json
    assert done["digest"] == digest
    assert Bundle(tmp_path / "new").tree() == made.tree()
    assert call("verify", str(path), "--deep").code == 0
    assert call("cat", f"tar:{path}:v1:w/model.bin").data == FILES["w/model.bin"]
    assert (
        call("cat", "--range", "70000-70009", f"tar:{path}:v1:w/model.bin").data == (FILES["w/model.bin"])[70000:70010]
    )  # type: ignore[index]
    call("cp", f"tar:{path}:v1", f"layout:{tmp_path / 'other'}:v1")
    assert call("--json", "inspect", f"layout:{tmp_path / 'other'}:v1").json["digest"] == digest


def small(members: Members) -> str:
    """The layer with the small files."""
    return next(name for name in members if b"# model" in members[name])


def index(members: Members) -> str:
    return next(name for name in members if members[name].startswith(b".bundle/"))


def said(change: Callable[[Members, dict[str, Any]], object]) -> Callable[[Members], Members]:
    """Another list of images."""

    def apply(members: Members) -> Members:
        [image] = json.loads(members["manifest.json"])
        change(members, image)
        return {**members, "manifest.json": json.dumps([image]).encode()}

    return apply


def without(members: Members, name: str) -> Members:
    return {each: data for each, data in members.items() if each != name}


def exchanged(members: Members, name: str, old: bytes, new: bytes) -> Members:
    assert old in members[name]
    return {**members, name: members[name].replace(old, new)}


LIES: dict[str, tuple[Callable[[Members], Members], int]] = {
    "a layer was changed": (lambda held: exchanged(held, small(held), b"# model", b"# evil!"), 9),
    "the index was changed": (lambda held: exchanged(held, index(held), b"README.md", b"README.mx"), 9),
    "a layer is missing": (lambda held: without(held, small(held)), 9),
    "the config is missing": (lambda held: without(held, next(name for name in held if name.endswith(".json"))), 9),
    "a layer is left out": (said(lambda held, image: image["Layers"].remove(small(held))), 9),
    "a layer by a path": (said(lambda _, image: image["Layers"].append("../../../etc/passwd")), 9),
    "a layer twice": (said(lambda held, image: image["Layers"].append(small(held))), 9),
    "no index": (said(lambda held, image: image["Layers"].remove(index(held))), 10),
    "no layers": (said(lambda _, image: image["Layers"].clear()), 10),
    "numbers for names": (said(lambda _, image: image.update(Layers=[1])), 9),
    "a config by a path": (said(lambda _, image: image.update(Config="/etc/passwd")), 9),
    "no list": (lambda held: {**held, "manifest.json": b'{"a": 1}'}, 9),
    "no list of images": (lambda held: {**held, "manifest.json": b"[1]"}, 9),
    "no JSON": (lambda held: {**held, "manifest.json": b"]["}, 9),
    "more than one reading": (lambda held: {**held, "manifest.json": b'[], "images": []'}, 9),
}


@pytest.mark.parametrize(("change", "code"), LIES.values(), ids=LIES.keys())
def test_archives_for_docker_that_lie(
    made: Bundle, tmp_path: Path, change: Callable[[Members], Members], code: int
) -> None:
    members = change(unpacked(made, tmp_path))
    call("import", str(archived(members, tmp_path / "x.tar")), str(tmp_path / "new"), expect=code)
    assert not (tmp_path / "new").exists()


def test_other_images_and_links_are_refused(made: Bundle, tmp_path: Path) -> None:
    members = unpacked(made, tmp_path)
    evil = archived(members, tmp_path / "x.tar", ("evil", "/etc"))
    assert call("--json", "import", str(evil), str(tmp_path / "new"), expect=9).error["code"] == "unsafe-path"
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as file:
        file.addfile(tarfile.TarInfo("etc"), io.BytesIO())
    layer, config = plain.getvalue(), b"{}"
    names = [f"{hashlib.sha256(data).hexdigest()}{suffix}" for data, suffix in ((layer, ".tar"), (config, ".json"))]
    said = json.dumps([{"Config": names[1], "RepoTags": None, "Layers": names[:1]}]).encode()
    other = archived({names[0]: layer, names[1]: config, "manifest.json": said}, tmp_path / "y.tar")
    assert call("--json", "import", str(other), str(tmp_path / "new"), expect=10).error["code"] == "unsupported"
    assert not (tmp_path / "new").exists()
