"""doctor: what is wrong here, told without changing anything."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.workspace import layout
from tests.support.bundle import Bundle, call
from tests.support.registry_process import free_port


def examine(bundle: Bundle, *flags: str, expect: int = 0) -> dict[str, dict[str, Any]]:
    result = call("-C", str(bundle.root), "--json", "doctor", *flags, expect=expect)
    assert result.json["ok"] is (expect == 0)
    return {each["name"]: each for each in result.json["checks"]}


def everything(root: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            found[str(path)] = (path.stat().st_mtime_ns, path.read_bytes())
    return found


def test_all_is_well_and_stays_as_it_is(alone: Bundle, home: Path) -> None:
    alone.run("status")
    # The lock's file is made by whoever is first.
    before = everything(alone.root)
    found = examine(alone)
    assert {each["verdict"] for each in found.values()} == {"ok"}
    assert everything(alone.root) == before
    assert {"tool", "cache", "bundle", "config", "index", "lock", "disk", "origin store"} <= found.keys()


def test_outside_of_a_bundle(tmp_path: Path) -> None:
    result = call("-C", str(tmp_path), "doctor")
    assert "no bundle here" in result.out


def test_a_damaged_digest_cache_is_a_warning(alone: Bundle) -> None:
    alone.run("status")
    path = alone.root / layout.FOLDER / layout.INDEX
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert examine(alone)["index"]["verdict"] == "warn"
    assert path.read_bytes() == bytes(data)


def test_a_damaged_base_is_exit_9(alone: Bundle) -> None:
    path = alone.root / layout.FOLDER / layout.AT
    path.write_bytes(b"{")
    found = examine(alone, expect=9)
    assert found["base"]["verdict"] == "fail"
    assert "remove" in found["base"]["hint"]
    assert found["disk"]["verdict"] == "ok"


def test_a_setting_nobody_can_use_is_exit_2(alone: Bundle) -> None:
    path = alone.root / layout.FOLDER / layout.CONFIG
    path.write_text(path.read_text() + '\n[limits]\njobs = "many"\n')
    found = examine(alone, expect=2)
    assert found["config"]["verdict"] == "fail"
    assert found["remotes"]["verdict"] == "skip"


def test_a_store_that_lost_a_manifest_is_exit_9(alone: Bundle) -> None:
    digest = alone.json("tags")["tags"][0]["digest"]
    [blob] = alone.root.glob(f"**/blobs/sha256/{digest[7:]}")
    blob.unlink()
    found = examine(alone, expect=9)
    assert found["origin store"]["facts"]["tags"] == ["latest"]


def test_a_killed_pull_and_unfinished_transfers_are_told(alone: Bundle) -> None:
    folder = alone.root / layout.FOLDER
    uploads = folder / layout.JOURNAL / layout.UPLOADS
    uploads.mkdir(parents=True)
    (uploads / "new.json").write_text("{}")
    (folder / layout.JOURNAL / layout.LANDING).write_text("{}")
    (folder / layout.PARTS).mkdir(exist_ok=True)
    (folder / layout.PARTS / "part").write_bytes(b"x" * 1000)
    found = examine(alone)
    assert found["landing"]["verdict"] == "warn"
    assert found["downloads"]["facts"]["size"] == 1000
    assert found["uploads"]["verdict"] == "info"
    os.utime(uploads / "new.json", (1, 1))
    assert "older than a week" in examine(alone)["uploads"]["message"]


def test_an_upload_that_ends_meanwhile_is_none(alone: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that ended between the look at the folder and the look at its file."""
    folder = alone.root / layout.FOLDER / layout.JOURNAL / layout.UPLOADS
    real = Path.glob

    def glob(self: Path, pattern: str) -> list[Path]:
        return [folder / "gone.json"] if self == folder else list(real(self, pattern))

    monkeypatch.setattr(Path, "glob", glob)
    assert examine(alone)["uploads"]["verdict"] == "ok"


def test_gone_files_are_told(alone: Bundle) -> None:
    (alone.root / "a.txt").unlink()
    assert examine(alone)["tracked"]["verdict"] == "warn"


@pytest.mark.parametrize("whole", [False, True])
def test_damaged_leases_are_told_and_made_anew(alone: Bundle, whole: bool) -> None:
    seen = alone.root / layout.FOLDER / layout.SEEN
    if whole:
        shutil.rmtree(seen)
        seen.write_bytes(b"x")
    else:
        for path in seen.glob("*/*"):
            path.write_bytes(b"x")
    found = examine(alone)["leases"]
    assert found["verdict"] == "warn"
    assert "bundle remote seen" in found["hint"]
    for path in map(Path, found["facts"]["damaged"]):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    alone.run("remote", "seen", "origin")
    assert examine(alone)["leases"]["facts"]["count"] == 1
    alone.commit({"a.txt": "b\n"})


@pytest.mark.parametrize("line", [b"a\0b", b"\xff\xfe", b"../x"])
def test_tracked_lines_that_are_no_paths_are_told(alone: Bundle, line: bytes) -> None:
    (alone.root / layout.FOLDER / layout.TRACKED).write_bytes(line + b"\n")
    found = examine(alone)["tracked"]
    assert found["verdict"] == "warn"
    assert "no paths" in found["message"]


def test_somebody_who_writes_is_no_failure(alone: Bundle) -> None:
    from modelops_bundle.disk.locks import exclusive

    with exclusive(alone.root / layout.FOLDER / layout.LOCK):
        assert examine(alone)["lock"]["verdict"] == "info"


def test_every_remote_is_examined(fake: Fake, tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "a", f"{fake.host}/team/model", {"a.txt": "a\n"})
    bundle.push()
    bundle.run("remote", "add", "down", f"localhost:{free_port()}/team/model")
    fake.requests.clear()
    found = examine(bundle, expect=8)
    assert found["origin pull"]["verdict"] == "ok"
    assert found["down reach"]["verdict"] == "fail"
    assert {one.method for one in fake.requests} <= {"GET", "HEAD"}
    found = examine(bundle, "--write", expect=8)
    assert found["origin push"]["verdict"] == "ok"
    found = examine(bundle, "--offline")
    assert found["origin"]["verdict"] == found["down"]["verdict"] == "skip"


def test_a_cache_that_cannot_be_written_is_a_warning(
    alone: Bundle, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / ".cache" / "modelops-bundle"
    folder.mkdir(parents=True)
    real = os.access
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and real(path, mode))
    assert examine(alone)["cache"]["verdict"] == "warn"
