"""verify: are the bytes what they should be, here and in a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelops_bundle.disk.hashing import Hashed
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
    assert b.json("verify")["deep"] is False
    error = b.refused(9, "verify", "--deep")
    assert error["code"] == "corrupt"
    assert error["facts"]["corrupt"] == ["weights/a.bin"]


def test_a_version_with_damaged_and_missing_blobs(fake: Fake, tmp_path: Path) -> None:
    b = pair_on(f"{fake.host}/m", tmp_path).b
    blobs = fake.repositories["m"].blobs
    blobs[digest_of(b"aaaa\n")] = b"aaaX\n"
    del blobs[digest_of(b"bbbb\n")]
    error = b.refused(9, "verify", ":latest", "--deep")
    assert error["facts"]["corrupt"] == ["weights/a.bin"]
    assert error["facts"]["missing"] == ["weights/b.bin"]
    blobs[digest_of(b"aaaa\n")] = b"aaaa\n"
    for words in ([], ["--deep"]):
        error = b.refused(5, "verify", ":latest", *words)
        assert error["facts"]["missing"] == ["weights/b.bin"]


def test_a_damaged_layout(alone: Bundle) -> None:
    digest = digest_of(b"a\n").removeprefix("sha256:")
    blob = alone.root / ".modelops-bundle/store/blobs/sha256" / digest
    os.chmod(blob, 0o644)
    blob.write_bytes(b"X\n")
    assert alone.refused(9, "verify", ":latest", "--deep")["facts"]["corrupt"] == ["a.txt"]
    alone.path("a.txt").unlink()
    assert alone.refused(9, "restore", "a.txt")["code"] == "corrupt"
    assert not alone.path("a.txt").exists()


def test_a_tree_that_was_never_synced(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m", None, {"a.txt": "a"})
    assert made.json("verify")["files"] == 0


def test_what_was_not_pushed_yet_is_extra(pair: Pair) -> None:
    pair.a.write({"new.txt": "new"})
    pair.a.run("add", "new.txt")
    assert pair.a.refused(5, "verify")["facts"]["extra"] == ["new.txt"]


def test_repair_brings_back_what_rotted_and_what_is_gone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    b = pair.b
    b.path("README.md").unlink()
    b.write({"config.json": "edited\n"})
    error = b.refused(5, "verify", "--repair")
    assert error["facts"]["missing"] == []
    assert error["facts"]["modified"] == ["config.json"]
    assert b.read("README.md") == BASE["README.md"]
    assert b.read("config.json") == "edited\n"
    b.run("restore", "--yes", "config.json")

    b.write({"weights/a.bin": "aXaa\n"})
    with monkeypatch.context() as patch:
        known, put = index.Index.get, index.Index.put
        corrected: list[str] = []

        def rotted(self: index.Index, path: str, key: object, *, strict: bool) -> Digest | None:
            if path == "weights/a.bin" and not corrected:
                return Digest.of(BASE[path].encode())
            return known(self, path, key, strict=strict)  # type: ignore[arg-type]

        def correct(self: index.Index, path: str, hashed: Hashed) -> None:
            corrected.append(path)
            put(self, path, hashed)

        patch.setattr(index.Index, "get", rotted)
        patch.setattr(index.Index, "put", correct)
        b.run("verify", "--deep", "--repair")
    assert b.read("weights/a.bin") == BASE["weights/a.bin"]


# --- directories that are no bundle


def pulled(pair: Pair, into: Path, *files: str) -> Path:
    """As another tool leaves it: the files, and the index beside them."""
    import json

    manifest = json.loads(pair.a.run("inspect", "--manifest").data)
    [layer] = [
        each for each in manifest["layers"] if each["annotations"]["org.cncf.model.filepath"].startswith(".bundle")
    ]
    import base64

    (into / ".bundle").mkdir(parents=True)
    (into / ".bundle/index.json").write_bytes(base64.b64decode(layer["data"]))
    for name, content in BASE.items():
        (into / name).parent.mkdir(exist_ok=True)
        (into / name).write_text(content)
    return into


def test_a_directory_that_another_tool_pulled(pair: Pair, tmp_path: Path) -> None:
    there = pulled(pair, tmp_path / "there")
    assert pair.a.json("verify", str(there))["files"] == len(BASE)
    (there / "config.json").write_text("[]\n")
    (there / "README.md").unlink()
    (there / "more.txt").write_text("more")
    error = pair.a.refused(9, "verify", str(there))
    assert error["facts"]["corrupt"] == ["config.json"]
    assert error["facts"]["missing"] == ["README.md"]
    assert error["facts"]["extra"] == ["more.txt"]


def test_a_directory_against_a_version(pair: Pair, tmp_path: Path) -> None:
    there = pulled(pair, tmp_path / "there")
    (there / ".bundle/index.json").unlink()
    pair.a.refused(6, "verify", str(there))
    pair.a.run("verify", str(there), "--against", ":latest")
    (there / "config.json").write_text("[]\n")
    pair.a.refused(9, "verify", str(there), "--against", ":latest")
    pair.a.refused(2, "verify", ":latest", "--against", ":latest")
    pair.a.refused(2, "verify", str(there), "--repair")


def test_the_directory_of_another_bundle(pair: Pair) -> None:
    assert pair.a.json("verify", str(pair.b.root))["files"] == len(BASE)
    pair.b.write({"config.json": "edited\n"})
    pair.a.refused(5, "verify", str(pair.b.root))
    pair.a.run("verify")


def test_a_hostile_index_in_a_directory(pair: Pair, tmp_path: Path) -> None:
    there = pulled(pair, tmp_path / "there")
    index_file = there / ".bundle/index.json"
    good = index_file.read_text()
    index_file.write_text(good.replace('"README.md"', '"../README.md"'))
    assert pair.a.refused(9, "verify", str(there))["code"] == "unsafe-path"
    for bad in ("", "[]", good[:-3], good.replace('"files"', '"filez"')):
        index_file.write_text(bad)
        pair.a.refused(9, "verify", str(there))


def test_a_layout_with_all_it_holds(tmp_path: Path) -> None:
    place = tmp_path / "layout"
    a = Bundle.create(tmp_path / "a", f"layout:{place}", {"a.txt": "a"})
    a.push("--tag", "v1")
    a.commit({"a.txt": "b"}, "--tag", "v2")
    assert a.json("verify", str(place), "--deep")["files"] == 6
    [blob] = place.glob(f"blobs/sha256/{digest_of(b'a')[7:]}")
    blob.write_bytes(b"X")
    a.run("verify", str(place))
    assert a.refused(9, "verify", str(place), "--deep")["facts"]["corrupt"] == ["a.txt"]
    a.run("verify", f"{place}:v2", "--deep")
    blob.unlink()
    a.refused(5, "verify", str(place))
