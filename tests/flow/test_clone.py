"""clone: a new directory that holds a version."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import FOLDER, Bundle, call, spawn
from tests.support.clones import BASE, Pair


@pytest.fixture
def full(tmp_path: Path, remote: str) -> tuple[Bundle, str]:
    a = Bundle.create(tmp_path / "a", remote)
    a.write({**BASE, "bin/run.sh": "#!/bin/sh\n", "empty.txt": "", "deep/er/and/deeper/x": "x", "twin.bin": "aaaa\n"})
    a.path("bin/run.sh").chmod(0o755)
    a.path("current").symlink_to("weights/a.bin")
    a.path("logs").mkdir()
    a.run("add", ".")
    a.push("--tag", "v1", "--tag", "latest")
    return a, remote


def test_a_clone_is_the_tree(full: tuple[Bundle, str], tmp_path: Path) -> None:
    a, remote = full
    b = Bundle.clone(remote, tmp_path / "b")
    assert b.tree() == a.tree()
    assert b.tree()["bin/run.sh"].executable
    assert b.tracked == a.tracked
    assert b.changes() == {}
    assert b.json("verify")["files"] == len([node for node in b.tree().values() if node.kind == "file"])


def test_equal_files_travel_once(full: tuple[Bundle, str], tmp_path: Path) -> None:
    _, remote = full
    done = call("--json", "clone", remote, str(tmp_path / "b")).json
    assert done["written_paths"] == 10
    assert done["fetched_blobs"] == 7  # 8 files, two of them equal


def test_blobs_of_the_shared_cache_do_not_travel_again(full: tuple[Bundle, str], tmp_path: Path, home: Path) -> None:
    a, remote = full
    first = call("--json", "--config", "cache=true", "clone", remote, str(tmp_path / "b")).json
    again = call("--json", "--config", "cache=true", "clone", remote, str(tmp_path / "c")).json
    assert (first["reused_blobs"], first["fetched_bytes"] > 0) == (0, True)
    assert (again["fetched_blobs"], again["fetched_bytes"], again["reused_blobs"]) == (0, 0, first["fetched_blobs"])
    assert Bundle(tmp_path / "c").tree() == a.tree()
    # A damaged copy is found out, and another one fetched.
    blobs = list((home / ".cache" / "modelops-bundle" / "blobs" / "sha256").iterdir())
    assert len(blobs) == first["fetched_blobs"]
    for blob in blobs:
        blob.write_bytes(b"x" * blob.stat().st_size)
    call("--config", "cache=true", "clone", remote, str(tmp_path / "d"))
    assert Bundle(tmp_path / "d").tree() == a.tree()


def test_a_clone_of_a_tag_goes_on_with_that_tag(full: tuple[Bundle, str], tmp_path: Path) -> None:
    a, remote = full
    b = Bundle.clone(f"{remote}:v1", tmp_path / "b")
    b.commit({"config.json": "v1.1\n"})
    a.run("pull", ":v1")
    assert a.read("config.json") == "v1.1\n"
    assert a.run("cat", ":latest:config.json").data == b"{}\n"


def test_a_clone_of_a_digest(full: tuple[Bundle, str], tmp_path: Path) -> None:
    a, remote = full
    digest = a.json("inspect")["digest"]
    a.commit({"config.json": "v2\n"})
    b = Bundle.clone(f"{remote}@{digest}", tmp_path / "b")
    assert b.read("config.json") == "{}\n"


def test_the_directory_is_named_after_the_repository(full: tuple[Bundle, str], tmp_path: Path) -> None:
    _, remote = full
    where = tmp_path / "where"
    where.mkdir()
    call("-C", str(where), "clone", remote)
    assert [path.name for path in where.iterdir()] == [remote.rpartition("/")[2]]


def test_a_clone_of_a_bundle_directory_reads_its_remote(full: tuple[Bundle, str], tmp_path: Path) -> None:
    a, _ = full
    b = Bundle.clone(str(a.root), tmp_path / "b")
    assert b.tree() == a.tree()
    b.commit({"config.json": "b\n"})
    a.run("pull", ":latest")
    assert a.read("config.json") == "b\n"
    assert Bundle.clone(f"{a.root}:v1", tmp_path / "c").read("config.json") == "{}\n"


def test_a_clone_of_a_bundle_with_an_embedded_store(alone: Bundle, tmp_path: Path) -> None:
    for number, spelling in enumerate((str(alone.root), f"{alone.root}:latest", f"layout:{alone.root}")):
        b = Bundle.clone(spelling, tmp_path / f"b{number}")
        assert b.tree() == alone.tree()
        b.commit({"a.txt": f"from the clone {number}\n"})
        alone.run("pull")
        assert alone.read("a.txt") == f"from the clone {number}\n"


def test_a_clone_of_a_relative_directory(alone: Bundle, tmp_path: Path) -> None:
    call("-C", str(tmp_path), "clone", "./alone", "copy")
    assert Bundle(tmp_path / "copy").tree() == alone.tree()


def test_into_a_directory_that_is_not_empty_is_refused(pair: Pair, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "work.txt").write_text("work")
    result = call("--json", "clone", pair.remote, str(full), expect=4)
    assert result.error["code"] == "would-overwrite"
    assert [path.name for path in full.iterdir()] == ["work.txt"]
    (tmp_path / "file").write_text("x")
    call("clone", pair.remote, str(tmp_path / "file"), expect=4)


def test_into_an_empty_directory_is_fine(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert Bundle.clone(pair.remote, tmp_path / "empty").tree() == pair.a.tree()


def test_into_a_bundle_or_inside_one_is_refused(pair: Pair, tmp_path: Path) -> None:
    other = Bundle.create(tmp_path / "other", None, {"o.txt": "o"})
    before = (other.tree(), other.bookkeeping())
    call("clone", pair.remote, str(other.root), expect=4)
    call("clone", pair.remote, str(other.root / "inside"), expect=4)
    assert (other.tree(), other.bookkeeping()) == before
    assert not (other.root / "inside" / FOLDER).exists()


def test_what_does_not_exist_makes_no_directory(tmp_path: Path, remote: str) -> None:
    result = call("--json", "clone", f"{remote}:v1", str(tmp_path / "c"), expect=6)
    assert result.error["code"] == "not-found"
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("step", ["chunk written", "part kept", "intent written", "tree synced", "pull recorded"])
def test_an_interrupted_clone_goes_on(repo: str, tmp_path: Path, step: str) -> None:
    a = Bundle.create(tmp_path / "a", repo, {**BASE, "big.bin": os.urandom(300_000)})
    a.push()
    target = tmp_path / "c"
    Bundle(tmp_path).killed_at(step, "--jobs", "1", "clone", repo, str(target))
    assert all(node.content in {n.content for n in a.tree().values()} for node in Bundle(target).tree().values())
    call("clone", repo, str(target))
    c = Bundle(target)
    assert c.tree() == a.tree()
    assert c.changes() == {}
    assert c.json("pull")["written_paths"] == 0
    assert list((target / FOLDER / "parts").glob("*")) == []


def test_a_resumed_clone_does_not_fetch_twice(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(
        tmp_path / "a", f"{fake.host}/m", {"one.bin": os.urandom(200_000), "two.bin": os.urandom(100_000)}
    )
    a.push()
    target = tmp_path / "c"
    # Largest first: one.bin is whole when the process dies.
    Bundle(tmp_path).killed_at("part kept", "--jobs", "1", "clone", f"{fake.host}/m", str(target))
    done = call("--json", "clone", f"{fake.host}/m", str(target)).json
    assert (done["fetched_bytes"], done["reused_blobs"]) == (100_000, 1)
    assert Bundle(target).tree() == a.tree()


def test_a_killed_clone_goes_on_within_a_large_file(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", {"big.bin": os.urandom(9 * 1024 * 1024)})
    a.push()
    target = tmp_path / "c"
    # Its full length is reserved when the first piece is written; that nothing is believed for that is the point.
    Bundle(tmp_path).killed_at("chunk written", "clone", f"{fake.host}/m", str(target))
    Bundle(tmp_path).killed_at("part noted", "clone", f"{fake.host}/m", str(target))
    done = call("--json", "clone", f"{fake.host}/m", str(target)).json
    assert (done["fetched_bytes"], done["fetched_blobs"]) == (0, 1)
    assert Bundle(target).tree() == a.tree()


def test_a_clone_moved_afterwards_works(pair: Pair, tmp_path: Path) -> None:
    shutil.move(pair.b.root, tmp_path / "moved")
    moved = Bundle(tmp_path / "moved")
    assert moved.changes() == {}
    moved.commit({"config.json": "moved\n"})
    pair.a.run("pull")
    assert pair.a.read("config.json") == "moved\n"


def test_end_to_end_as_a_user_types_it(repo: str, tmp_path: Path) -> None:
    """Processes of their own, all the way."""
    a, b = Bundle(tmp_path / "a"), Bundle(tmp_path / "b")
    a.write(BASE)
    a.spawn("init", repo)
    a.spawn("add", ".")
    assert f"Pushed {repo}:latest sha256:" in a.spawn("push").out
    spawn("clone", repo, str(b.root))
    assert b.tree() == a.tree()
    b.write({"config.json": "v2\n"})
    assert "modified  config.json" in b.spawn("status").out
    b.spawn("push")
    a.spawn("pull")
    assert a.read("config.json") == "v2\n"
    assert "is up to date" in a.spawn("status").out
