"""verify: are the bytes what they should be, here and in a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelops_bundle.model.digest import Digest
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.workspace import index
from tests.support.bundle import Bundle
from tests.support.clones import BASE, Pair, pair_on
from tests.support.oci import digest_of


def test_a_good_tree_and_a_good_version(pair: Pair) -> None:
    assert pair.b.json("verify")["files"] == len(BASE)
    assert pair.b.json("verify", ":latest")["files"] == len(BASE) + 2
    assert "verified" in pair.b.run("verify").out
    pair.b.run("--offline", "verify")


def test_edits_and_missing_files_are_exit_5(pair: Pair) -> None:
    b = pair.b
    b.write({"config.json": "edited\n"})
    b.path("README.md").unlink()
    b.path("weights/a.bin").chmod(0o755)
    error = b.refused(5, "verify")
    assert error["code"] == "verify-failed"
    assert error["facts"]["modified"] == ["config.json", "weights/a.bin"]
    assert error["facts"]["missing"] == ["README.md"]


def test_a_changed_link(tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a")
    a.write({"x": "x", "y": "y"})
    a.path("link").symlink_to("x")
    a.run("add", ".")
    a.push()
    a.run("verify")
    a.path("link").unlink()
    a.path("link").symlink_to("y")
    assert a.refused(5, "verify")["facts"]["modified"] == ["link"]


def test_bytes_that_rotted_under_unchanged_stamps_are_exit_9(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """No write leaves all stamps as they were, so the cache plays the failing disk."""
    b = pair.b
    b.write({"weights/a.bin": "aXaa\n"})
    # As after rot: the stamps are those under which the cache knows the good bytes.
    monkeypatch.setattr(index.Index, "get", lambda self, path, key, *, strict: Digest.of(BASE[path].encode()))
    error = b.refused(9, "verify")
    assert error["code"] == "corrupt"
    assert error["facts"]["corrupt"] == ["weights/a.bin"]


def test_a_version_with_damaged_and_missing_blobs(fake: Fake, tmp_path: Path) -> None:
    b = pair_on(f"{fake.host}/m", tmp_path).b
    blobs = fake.repositories["m"].blobs
    blobs[digest_of(b"aaaa\n")] = b"aaaX\n"
    del blobs[digest_of(b"bbbb\n")]
    error = b.refused(9, "verify", ":latest")
    assert error["facts"]["corrupt"] == ["weights/a.bin"]
    assert error["facts"]["missing"] == ["weights/b.bin"]
    blobs[digest_of(b"aaaa\n")] = b"aaaa\n"
    error = b.refused(5, "verify", ":latest")
    assert error["facts"]["missing"] == ["weights/b.bin"]


def test_a_damaged_layout(alone: Bundle) -> None:
    digest = digest_of(b"a\n").removeprefix("sha256:")
    blob = alone.root / ".modelops-bundle/store/blobs/sha256" / digest
    os.chmod(blob, 0o644)
    blob.write_bytes(b"X\n")
    assert alone.refused(9, "verify", ":latest")["facts"]["corrupt"] == ["a.txt"]
    alone.path("a.txt").unlink()
    assert alone.refused(9, "restore", "a.txt")["code"] == "corrupt"
    assert not alone.path("a.txt").exists()


def test_a_tree_that_was_never_synced(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m", None, {"a.txt": "a"})
    assert made.json("verify")["files"] == 0
