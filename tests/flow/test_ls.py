"""ls: what is tracked here, what a version holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle import Bundle, call
from tests.support.clones import BASE, Pair
from tests.support.oci import digest_of


def test_tracked_files_with_sizes_digests_and_roles(pair: Pair) -> None:
    files = pair.b.json("ls")["files"]
    assert set(files) == set(BASE)
    assert files["weights/a.bin"] == {
        "kind": "file",
        "digest": digest_of(b"aaaa\n"),
        "size": 5,
        "role": "weight",
    }
    assert {path: entry["role"] for path, entry in files.items()} == {
        "README.md": "doc",
        "config.json": "config",
        "weights/a.bin": "weight",
        "weights/b.bin": "weight",
    }
    shown = pair.b.run("ls").out
    assert digest_of(b"aaaa\n")[7:19] in shown
    assert "4 paths, 21 B" in shown
    assert digest_of(b"aaaa\n") in pair.b.run("ls", "--digests").out


def test_a_version_of_the_remote_without_pulling(pair: Pair) -> None:
    a, b, remote = pair
    a.commit({"new.txt": "n\n"}, "--tag", "v2")
    before = b.tree()
    assert b.listed(":v2") == {*BASE, "new.txt"}
    assert b.listed(f"{remote}:v2") == {*BASE, "new.txt"}
    assert b.tree() == before


def test_outside_of_a_bundle(pair: Pair, tmp_path: Path) -> None:
    assert set(call("-C", str(tmp_path), "--json", "ls", pair.remote).json["files"]) == set(BASE)


def test_listing_a_version_is_one_request(repo: str, tmp_path: Path) -> None:
    Bundle.create(tmp_path / "a", repo, {f"{n}.txt": "x" for n in range(30)}).push()
    assert len(Bundle(tmp_path).requests("ls", repo)) == 1


def test_kinds_are_marked(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m")
    made.write({"run.sh": "#!/bin/sh\n"})
    made.path("run.sh").chmod(0o755)
    made.path("link").symlink_to("run.sh")
    made.path("empty").mkdir()
    made.run("add", ".")
    out = made.run("ls").out
    assert "run.sh*" in out
    assert "link -> run.sh" in out
    assert "empty/" in out
    made.push()
    assert made.json("ls")["files"] == made.json("ls", ":latest")["files"]


def test_a_file_that_is_gone_is_not_listed(pair: Pair) -> None:
    pair.b.path("config.json").unlink()
    assert pair.b.listed() == set(BASE) - {"config.json"}


@pytest.mark.parametrize("reference", [":nowhere", "@0123456789ab"])
def test_what_does_not_exist(pair: Pair, reference: str) -> None:
    assert pair.b.refused(6, "ls", reference)["code"] == "not-found"


def test_roles_can_be_set(pair: Pair) -> None:
    pair.b.run("config", "set", "roles.dataset", "*.bin")
    assert pair.b.json("ls")["files"]["weights/a.bin"]["role"] == "dataset"
    pair.b.run("config", "set", "roles.tokenizer", "config.json,vocab*")
    pair.b.write({"README.md": "v2"})
    pair.b.push()
    assert pair.a.json("ls", ":latest")["files"]["config.json"]["role"] == "tokenizer"
