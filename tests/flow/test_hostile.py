"""What a registry may say to harm its readers, and that none of it reaches the disk (DESIGN §5, `Paths`)."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from modelops_bundle.testing.actions import Body, Digest, Endless, Html
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import FOLDER, Bundle, Node, call, tree
from tests.support.oci import Forged, Repository, digest_of, dumps, forge, image_index, row, titled

EVIL = b"evil\n"


@pytest.fixture
def victim(fake: Fake, tmp_path: Path) -> Bundle:
    """A clone inside a git working tree, with files around it that are nobody's business."""
    home = tmp_path / "user"
    (home / "model" / ".git" / "hooks").mkdir(parents=True)
    (home / "model" / ".git" / "hooks" / "pre-commit").write_text("good hook\n")
    (home / "precious.txt").write_text("precious\n")
    made = Bundle.create(home / "model", f"{fake.host}/m", {"readme.md": "good\n", "dir/file.txt": "good\n"})
    made.push()
    return made


def around(victim: Bundle) -> dict[str, Node]:
    """Everything in the user's directory but the digest cache."""
    return {name: node for name, node in tree(victim.root.parent).items() if name != f"model/{FOLDER}/index"}


def refuse(victim: Bundle, fake: Fake, forged: Forged, code: int, kind: str) -> None:
    """`forged` under the tag is refused by every command that reads it, and nothing anywhere changes."""
    Repository(f"{fake.host}/m").publish("latest", forged)
    before = around(victim)
    target = victim.root.parent.parent / "cloned"
    for words in (
        ("pull",),
        ("pull", "--overwrite", "--yes"),
        ("pull", "--merge"),
        ("pull", "--dry-run"),
        ("status",),
        ("restore", "--source", ":latest", "readme.md"),
        ("clone", f"{fake.host}/m", str(target)),
        ("ls", ":latest"),
    ):
        error = victim.refused(code, *words)
        assert error["code"] == kind, words
    assert around(victim) == before
    assert not target.exists()


PATHS = {
    "parent": "../precious.txt",
    "parent-later": "a/../../precious.txt",
    "parent-backslash": "..\\precious.txt",
    "absolute": "/tmp/evil.txt",
    "drive": "C:\\evil.txt",
    "drive-relative": "C:evil.txt",
    "empty": "",
    "dot": ".",
    "dot-inside": "a/./b",
    "double-slash": "a//b",
    "slash-at-the-end": "a/",
    "git-hook": ".git/hooks/pre-commit",
    "git-config": ".git/config",
    "git-file": ".git",
    "git-in-a-subdirectory": "sub/.git/hooks/post-checkout",
    "git-in-capitals": ".GIT/config",
    "git-short-name": "git~1/config",
    "git-with-a-joiner": ".g\u200cit/config",
    "git-trailing-dot": ".git./config",
    "git-trailing-space": ".git /config",
    "git-stream": ".git::$INDEX_ALLOCATION/config",
    "our-folder": ".modelops-bundle/config.toml",
    "our-folder-capitals": ".ModelOps-Bundle/at",
    "our-metadata": ".bundle/index.json",
    "temporary": ".~bundle-x",
    "device": "con",
    "device-with-suffix": "dir/NUL.txt",
    "newline": "a\nb",
    "escape": "a\x1b[31mb",
    "nul": "a\x00b",
    "bidi": "invoice\u202efdp.exe",
    "not-nfc": unicodedata.normalize("NFD", "café.txt"),
    "too-long": "x" * 256,
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_a_hostile_path_in_the_index_is_refused_before_the_first_write(fake: Fake, victim: Bundle, path: str) -> None:
    rows = [row("readme.md", b"changed\n"), row(path, EVIL)]
    refuse(victim, fake, forge(rows), 9, "unsafe-path")


@pytest.mark.parametrize("path", [path for path in PATHS.values() if path], ids=lambda path: repr(path)[:20])
def test_a_hostile_title_of_a_foreign_artifact_is_refused(fake: Fake, victim: Bundle, path: str) -> None:
    refuse(victim, fake, titled([("readme.md", b"changed\n"), (path, EVIL)]), 9, "unsafe-path")


def test_a_name_that_is_no_text_is_refused(fake: Fake, victim: Bundle) -> None:
    for forged in (forge([row("a\udc80", EVIL)]), titled([("a\udc80", EVIL)])):
        Repository(f"{fake.host}/m").publish("latest", forged)
        before = around(victim)
        assert victim.refused(9, "pull")["code"] in ("corrupt", "unsafe-path")
        assert around(victim) == before


COLLISIONS = {
    "case": [row("File.txt"), row("file.txt")],
    "case-of-a-directory": [row("Dir/a"), row("dir/b")],
    "compatibility-form": [row("\ufb01le"), row("file")],
    "file-and-directory": [row("a"), row("a/b")],
    "file-and-directory-by-case": [row("A"), row("a/b")],
    "twice": [row("a", b"1\n"), row("a", b"2\n")],
    "link-and-below": [{"kind": "link", "path": "d", "target": "dir"}, row("d/file")],
    "directory-and-below": [{"kind": "dir", "path": "d"}, row("d/file")],
}


@pytest.mark.parametrize("rows", COLLISIONS.values(), ids=COLLISIONS.keys())
def test_paths_that_cannot_live_together_are_refused(fake: Fake, victim: Bundle, rows: list[dict[str, object]]) -> None:
    refuse(victim, fake, forge([row("readme.md", b"changed\n"), *rows]), 9, "unsafe-path")


LINKS = {
    "out": "../precious.txt",
    "out-later": "dir/../../precious.txt",
    "absolute": "/etc/passwd",
    "git": ".git/config",
    "our-folder": ".modelops-bundle/config.toml",
    "backslash": "..\\precious.txt",
    "drive": "C:/evil",
    "empty": "",
    "control": "a\nb",
}


@pytest.mark.parametrize("target", LINKS.values(), ids=LINKS.keys())
def test_a_link_that_leads_out_is_refused(fake: Fake, victim: Bundle, target: str) -> None:
    rows = [row("readme.md", b"changed\n"), {"kind": "link", "path": "link", "target": target}]
    refuse(victim, fake, forge(rows), 9, "unsafe-path")


def test_a_name_of_a_layer_is_not_the_name_of_a_file(fake: Fake, victim: Bundle) -> None:
    """The original checked one name and wrote to the other: the hook was replaced (originals §0, fact 4)."""
    forged = forge([row("readme.md", b"evil hook\n")], titles={"readme.md": ".git/hooks/pre-commit"})
    Repository(f"{fake.host}/m").publish("latest", forged)
    victim.run("pull", expect=None)
    assert (victim.root / ".git/hooks/pre-commit").read_text() == "good hook\n"


def _changed(change: Callable[[dict], object]) -> Forged:  # type: ignore[type-arg]
    forged = forge([row("readme.md", EVIL)])
    manifest = json.loads(forged.manifest)
    change(manifest)
    return Forged(dumps(manifest), forged.blobs)


LIES = {
    "digest-of-a-row": forge([row("readme.md", EVIL, sha256="0" * 64)]),
    "size-of-a-row": forge([row("readme.md", EVIL, size=4)]),
    "negative-size": forge([row("readme.md", EVIL, size=-1)]),
    "place-beyond-the-blobs": forge([row("readme.md", EVIL, at=[7])]),
    "negative-place": forge([row("readme.md", EVIL, at=[-1])]),
    "a-setuid-mode": forge([row("readme.md", EVIL, mode="4755")]),
    "content-digest": _changed(lambda m: m["annotations"].update({"dev.modelops.bundle.content": digest_of(b"other")})),
    "index-not-among-the-layers": _changed(
        lambda m: m["annotations"].update({"dev.modelops.bundle.index": digest_of(b"other")})
    ),
    "no-index": _changed(lambda m: m["annotations"].pop("dev.modelops.bundle.index")),
    "inline-index-that-is-another": _changed(lambda m: m["layers"][0].update({"size": 1})),
    "size-of-a-layer": _changed(lambda m: m["layers"][1].update({"size": 10**15})),
    "manifests-in-a-manifest": _changed(lambda m: m.update({"manifests": []})),
    "layers-that-are-no-list": _changed(lambda m: m.update({"layers": None})),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_an_index_that_lies_about_its_blobs_is_corrupt(fake: Fake, victim: Bundle, lie: Forged) -> None:
    refuse(victim, fake, lie, 9, "corrupt")


UNSUPPORTED = {
    "image-index": image_index(b"{}"),
    "docker-image": Forged(
        dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": digest_of(b"{}"),
                    "size": 2,
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                        "digest": digest_of(EVIL),
                        "size": len(EVIL),
                    }
                ],
            }
        ),
        [b"{}", EVIL],
    ),
    "a-newer-format": _changed(lambda m: m["annotations"].update({"dev.modelops.bundle.version": "99"})),
    "a-row-of-a-newer-kind": forge([row("readme.md", EVIL), {"kind": "socket", "path": "s", "size": 0, "sha256": ""}]),
}


@pytest.mark.parametrize("forged", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_what_we_cannot_read_is_exit_10_and_named(fake: Fake, victim: Bundle, forged: Forged) -> None:
    if forged.media_type.endswith("index.v1+json"):
        fake.repositories["m"].manifests[digest_of(b"{}")] = (forged.media_type, b"{}")
    refuse(victim, fake, forged, 10, "unsupported")
    # It can be looked at all the same.
    assert victim.json("inspect", ":latest")["why_unread"]
    assert any(tag["digest"] == digest_of(forged.manifest) for tag in victim.json("tags")["tags"])


def test_the_message_for_an_image_index_says_what_it_is(fake: Fake, victim: Bundle) -> None:
    fake.repositories["m"].manifests[digest_of(b"{}")] = ("application/vnd.oci.image.index.v1+json", b"{}")
    Repository(f"{fake.host}/m").publish("latest", image_index(b"{}"))
    error = victim.refused(10, "pull")
    assert "index" in error["message"]
    assert "digest" in error["hint"]


def test_a_wrong_digest_header_is_corrupt(fake: Fake, victim: Bundle, tmp_path: Path) -> None:
    other = digest_of(b"other")
    fake.fault(lambda method, path: method == "GET" and "/manifests/" in path, Digest(other), times=None)
    error = json.loads(call("--json", "ls", f"{fake.host}/m", expect=9).out)["error"]
    assert error["code"] == "corrupt"
    call("clone", f"{fake.host}/m", str(tmp_path / "c"), expect=9)
    assert not (tmp_path / "c").exists()


def test_a_manifest_of_other_bytes_than_asked_for_is_corrupt(fake: Fake, victim: Bundle) -> None:
    digest = victim.json("inspect")["digest"]
    other = titled([("evil.txt", EVIL)])
    fake.fault(lambda method, path: method == "GET" and "/manifests/" in path, Body(other.manifest), times=None)
    assert victim.refused(9, "ls", f"{fake.host}/m@{digest}")["code"] == "corrupt"


def test_an_endless_manifest_ends(fake: Fake, victim: Bundle) -> None:
    fake.fault(lambda method, path: method == "GET" and "/manifests/" in path, Endless(), times=None)
    assert call("ls", f"{fake.host}/m", expect=None).code in (8, 9, 10)


def test_an_endless_blob_ends(fake: Fake, victim: Bundle, tmp_path: Path) -> None:
    fake.fault(lambda method, path: method == "GET" and "/blobs/" in path, Endless(), times=None)
    result = call("clone", f"{fake.host}/m", str(tmp_path / "c"), expect=None)
    assert result.code in (8, 9)
    assert Bundle(tmp_path / "c").tree() == {}


def test_a_login_page_instead_of_a_blob(fake: Fake, victim: Bundle, tmp_path: Path) -> None:
    fake.fault(lambda method, path: method == "GET" and "/blobs/" in path, Html(), times=None)
    result = call("clone", f"{fake.host}/m", str(tmp_path / "c"), expect=None)
    assert result.code in (8, 9)
    assert Bundle(tmp_path / "c").tree() == {}


def test_text_of_a_registry_reaches_no_terminal_raw(fake: Fake, victim: Bundle) -> None:
    forged = titled([("a\x1b]0;owned\x07b", EVIL)])
    Repository(f"{fake.host}/m").publish("latest", forged)
    result = victim.run("pull", expect=9)
    assert "\x1b" not in result.text
    assert "\x07" not in result.text


def test_a_hostile_index_on_a_real_registry(repo: str, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "model", repo, {"readme.md": "good\n"})
    made.push()
    Repository(repo).publish("latest", forge([row("readme.md", b"changed\n"), row("../evil.txt", EVIL)]))
    before = around(made)
    assert made.refused(9, "pull")["code"] == "unsafe-path"
    assert around(made) == before
