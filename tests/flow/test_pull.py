"""pull: what comes, what stays, and what stands in the way. The matrix of single paths is in test_matrix.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from modelops_bundle.operations import stage as operation
from modelops_bundle.testing.actions import Cut, Long, Reset, Short
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, Node, call
from tests.support.clones import BASE, Pair, pair_on
from tests.support.oci import Repository, digest_of


def test_only_what_changed_is_fetched(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"weights/a.bin": "new\n", "deep/er/n.txt": "n\n"})
    done = b.json("pull")
    assert (done["fetched_blobs"], done["fetched_bytes"], done["written_paths"]) == (2, 6, 2)
    assert b.tree() == a.tree()
    assert b.tracked == a.tracked == {*BASE, "deep/er/n.txt"}


def test_a_pull_with_nothing_to_do_changes_nothing(pair: Pair) -> None:
    before, tree = pair.b.bookkeeping(), pair.b.tree()
    result = pair.b.run("pull")
    assert "up to date" in result.out
    assert (pair.b.bookkeeping(), pair.b.tree()) == (before, tree)


def test_a_clone_that_had_a_file_already_gets_it_as_base(pair: Pair) -> None:
    a, b, _ = pair
    b.write({"same.txt": "equal\n"})
    a.commit({"same.txt": "equal\n"})
    b.run("pull")
    a.commit({"same.txt": "newer\n"})
    b.run("pull")  # the original called this a conflict
    assert b.read("same.txt") == "newer\n"


def test_a_deleted_file_stays_deleted_whatever_else_comes(pair: Pair) -> None:
    a, b, _ = pair
    b.path("README.md").unlink()
    assert b.json("pull")["written_paths"] == 0
    a.commit({"config.json": "v2\n"})
    b.run("pull")
    assert not b.path("README.md").exists()
    assert b.changes() == {"README.md": "local"}
    b.run("restore", "README.md")
    assert b.read("README.md") == BASE["README.md"]
    assert b.changes() == {}


def test_a_remote_deletion_removes_the_file_and_its_empty_directories(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"weights/a.bin": None, "weights/b.bin": None})
    done = b.json("pull")
    assert done["deleted_paths"] == 2
    assert not b.path("weights").exists()
    assert b.tracked == {"config.json", "README.md"}


def test_a_remote_deletion_leaves_untracked_neighbours_alone(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"weights/a.bin": None, "weights/b.bin": None})
    b.write({"weights/notes.txt": "mine\n"})
    b.run("pull")
    assert b.read("weights/notes.txt") == "mine\n"


def test_overwrite_touches_nothing_else(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"config.json": "v2\n", "README.md": None, "new.txt": "theirs\n"})
    b.write(
        {
            "config.json": "mine\n",
            "weights/a.bin": "mine too\n",
            "new.txt": "in the way\n",
            "untracked.txt": "work\n",
            "weights/untracked.txt": "work\n",
            ".modelopsignore": "*.log\n",
            "run.log": "ignored\n",
            "added.txt": "tracked here only\n",
            ".git/HEAD": "ref\n",
        }
    )
    b.run("add", "added.txt")
    error = b.refused(4, "pull", "--overwrite")
    details = "\n".join(error["facts"]["details"])
    for path in ("config.json", "weights/a.bin", "new.txt", "added.txt"):
        assert path in details
    for path in ("untracked.txt", "run.log", ".git"):
        assert path not in details
    b.run("pull", "--overwrite", "--yes")
    assert {name: node.content.decode() for name, node in b.tree().items()} == {
        "config.json": "v2\n",
        "weights/a.bin": "aaaa\n",
        "weights/b.bin": "bbbb\n",
        "new.txt": "theirs\n",
        "untracked.txt": "work\n",
        "weights/untracked.txt": "work\n",
        ".modelopsignore": "*.log\n",
        "run.log": "ignored\n",
        ".git/HEAD": "ref\n",
    }
    assert b.changes() == {}


def test_overwrite_discards_nothing_when_there_is_nothing(pair: Pair) -> None:
    pair.a.commit({"config.json": "v2\n"})
    pair.b.run("pull", "--overwrite")  # asks nobody
    assert pair.b.read("config.json") == "v2\n"


# ------------------------------------------------------------------------------------------------ between tags


def tagged(remote: str, tmp_path: Path) -> Pair:
    """`v1` and `v2` differ in config.json; v2 has one more file; `b` is at v1."""
    a = Bundle.create(tmp_path / "a", remote, BASE)
    a.push("--tag", "v1")
    a.commit({"config.json": "v2\n", "two.txt": "2\n"}, "--tag", "v2")
    return Pair(a, Bundle.clone(f"{remote}:v1", tmp_path / "b"), remote)


def test_switching_between_tags_without_local_edits(remote: str, tmp_path: Path) -> None:
    a, b, _ = tagged(remote, tmp_path)
    first = b.tree()
    b.run("pull", ":v2")
    assert b.tree() == a.tree()
    assert b.json("status")["reference"].endswith(":v2")
    assert b.changes() == {}
    b.run("pull", ":v1")
    assert b.tree() == first
    assert b.changes() == {}


def test_switching_between_tags_keeps_local_edits(remote: str, tmp_path: Path) -> None:
    _, b, _ = tagged(remote, tmp_path)
    b.write({"README.md": "mine\n", "own.txt": "own\n"})
    b.run("add", "own.txt")
    b.run("pull", ":v2")
    assert (b.read("README.md"), b.read("own.txt"), b.read("two.txt")) == ("mine\n", "own\n", "2\n")
    assert b.changes() == {"README.md": "local", "own.txt": "local"}
    b.run("pull", ":v1")
    assert not b.path("two.txt").exists()
    assert b.changes() == {"README.md": "local", "own.txt": "local"}


def test_switching_to_a_tag_that_conflicts_with_an_edit_is_refused(remote: str, tmp_path: Path) -> None:
    _, b, _ = tagged(remote, tmp_path)
    b.write({"config.json": "mine\n"})
    before = b.tree()
    assert b.refused(4, "pull", ":v2")["facts"]["conflicts"] == ["config.json"]
    assert b.tree() == before
    assert b.json("status")["reference"].endswith(":v1")
    b.run("pull", ":v2", "--ours", "config.json")
    assert b.read("config.json") == "mine\n"
    assert b.json("status")["reference"].endswith(":v2")


def test_a_push_after_switching_goes_where_it_is_told(remote: str, tmp_path: Path) -> None:
    a, b, _ = tagged(remote, tmp_path)
    b.run("pull", ":v2")
    b.write({"README.md": "next\n"})
    b.run("push", ":v2")
    a.run("pull", ":v2")
    assert a.read("README.md") == "next\n"
    assert b.listed(":v1") == set(BASE)


def test_a_push_that_is_not_told_where_after_switching_asks_first(remote: str, tmp_path: Path) -> None:
    """The tree stands at v2, and the default tag is another: what was meant is not guessed."""
    a = Bundle.create(tmp_path / "a", remote, BASE)
    a.push()
    a.push("--tag", "v2", "--annotation", "x=y")
    b = Bundle.clone(remote, tmp_path / "b")
    b.run("pull", ":v2")
    b.write({"README.md": "next\n"})
    error = b.refused(4, "push")
    assert error["code"] == "needs-confirmation"
    assert ":v2" in error["message"]
    assert ":latest" in error["message"]
    assert b.run("cat", ":latest:README.md").data == b"# model\n"
    b.run("push", ":v2")
    assert b.run("cat", ":v2:README.md").data == b"next\n"


def test_pushing_two_tags_leaves_neither_modified(remote: str, tmp_path: Path) -> None:
    """One state map for all tags made the original call v1 modified remotely after v2 was pushed."""
    a, _, _ = tagged(remote, tmp_path)
    assert a.changes() == {}
    assert a.json("diff", ":v1", ":v2")["changes"][0]["path"] == "config.json"


def test_pull_by_digest_whatever_the_tag_does(remote: str, tmp_path: Path) -> None:
    a, b, _ = tagged(remote, tmp_path)
    digest = next(tag["digest"] for tag in a.json("tags")["tags"] if tag["tag"] == "v1")
    a.commit({"config.json": "v3\n"}, "--tag", "v1")
    b.run("pull", f"@{digest}")
    assert b.read("config.json") == BASE["config.json"]
    b.run("pull", f"@{digest[7:19]}")
    assert b.read("config.json") == BASE["config.json"]


def test_a_tag_that_does_not_exist(pair: Pair) -> None:
    error = pair.b.refused(6, "pull", ":nowhere")
    assert error["code"] == "not-found"
    assert "bundle tags" in error["hint"]


def test_a_bare_word_means_only_a_known_tag(remote: str, tmp_path: Path) -> None:
    _, b, _ = tagged(remote, tmp_path)
    b.run("pull", ":v2")
    b.run("pull", "v1")
    assert b.json("status")["reference"].endswith(":v1")
    error = b.refused(2, "pull", "library")
    assert ":library" in error["hint"]


# ------------------------------------------------------------------------------------------------------- plans


def test_a_dry_run_writes_nothing(pair: Pair) -> None:
    pair.a.commit({"config.json": "v2\n", "README.md": None})
    before, tree = pair.b.bookkeeping(), pair.b.tree()
    shown = pair.b.run("pull", "--dry-run")
    assert "write     config.json" in shown.out
    assert "delete    README.md" in shown.out
    assert (pair.b.bookkeeping(), pair.b.tree()) == (before, tree)


def test_no_room_is_found_before_the_first_byte(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.a.commit({"big.bin": "x" * 5000})
    before = pair.b.tree()
    monkeypatch.setattr(operation, "free_bytes", lambda _: 4999)
    error = pair.b.refused(11, "pull")
    assert error["code"] == "disk-full"
    assert error["facts"]["needed"] == 5000
    assert pair.b.tree() == before
    monkeypatch.setattr(operation, "free_bytes", lambda _: 5000)
    pair.b.run("pull")


# ------------------------------------------------------------------------------------------ kinds that change


def test_a_file_that_became_a_directory(pair: Pair) -> None:
    a, b, _ = pair
    a.path("config.json").unlink()
    a.commit({"config.json/inner.txt": "i\n", "config.json/deep/x.txt": "x\n"})
    b.run("pull")
    assert b.tree() == a.tree()
    assert b.changes() == {}


def test_a_directory_that_became_a_file(pair: Pair) -> None:
    a, b, _ = pair
    shutil.rmtree(a.path("weights"))
    a.commit({"weights": "one file now\n"})
    b.run("pull")
    assert b.tree() == a.tree()
    assert b.changes() == {}


def test_a_directory_that_became_a_file_waits_for_untracked_work_in_it(pair: Pair) -> None:
    a, b, _ = pair
    shutil.rmtree(a.path("weights"))
    a.commit({"weights": "one file now\n"})
    b.write({"weights/notes.txt": "mine\n"})
    before = b.tree()
    assert b.refused(4, "pull")["facts"]["collisions"] == ["weights/notes.txt"]
    assert b.tree() == before
    b.path("weights/notes.txt").unlink()
    b.run("pull")
    assert b.tree() == a.tree()


def test_an_untracked_file_where_a_directory_is_needed(pair: Pair) -> None:
    a, b, _ = pair
    a.commit({"logs/run.txt": "r\n"})
    b.write({"logs": "my file\n"})
    before = b.tree()
    error = b.refused(4, "pull")
    assert error["code"] == "would-overwrite"
    assert error["facts"]["collisions"] == ["logs"]
    assert b.tree() == before


def test_a_file_and_a_link_change_places(pair: Pair) -> None:
    a, b, _ = pair
    a.path("config.json").unlink()
    a.path("config.json").symlink_to("README.md")
    a.path("current").symlink_to("weights/a.bin")
    a.run("add", "config.json", "current")
    a.push()
    b.run("pull")
    assert b.tree() == a.tree()
    a.path("config.json").unlink()
    a.write({"config.json": "file again\n"})
    a.path("current").unlink()
    a.path("current").symlink_to("weights/b.bin")
    a.push()
    b.run("pull")
    assert b.tree() == a.tree()
    assert b.tree()["current"] == Node("link", b"weights/b.bin")


def test_a_link_in_the_way_is_not_written_through(pair: Pair, tmp_path: Path) -> None:
    a, b, _ = pair
    outside = tmp_path / "outside"
    outside.mkdir()
    a.commit({"data/x.txt": "theirs\n"})
    b.path("data").symlink_to(outside)
    assert b.refused(4, "pull")["code"] == "would-overwrite"
    assert list(outside.iterdir()) == []
    (outside / "f.txt").write_text("precious")
    b.path("config.json").unlink()
    b.path("config.json").symlink_to(outside / "f.txt")
    b.path("data").unlink()
    a.commit({"config.json": "v2\n"})
    assert b.refused(4, "pull")["code"] == "conflict"
    b.run("pull", "--theirs", "config.json", "--yes")
    assert b.tree()["config.json"] == Node("file", b"v2\n")
    assert (outside / "f.txt").read_text() == "precious"


def test_a_tracked_directory_replaced_by_a_link_is_not_written_through(pair: Pair, tmp_path: Path) -> None:
    a, b, _ = pair
    outside = tmp_path / "outside"
    shutil.move(b.path("weights"), outside)
    b.path("weights").symlink_to(outside)
    a.commit({"weights/a.bin": "v2\n", "weights/new.bin": "n\n"})
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    b.run("pull", expect=4)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def test_an_empty_directory_comes_and_goes(pair: Pair) -> None:
    a, b, _ = pair
    a.path("cache").mkdir()
    a.run("add", "cache")
    a.push()
    b.run("pull")
    assert b.tree()["cache"] == Node("dir")
    a.path("cache").rmdir()
    a.push()
    b.run("pull")
    assert not b.path("cache").exists()


def test_a_name_that_changes_case(pair: Pair) -> None:
    a, b, _ = pair
    a.path("README.md").rename(a.path("readme.md"))
    a.run("rm", "README.md")
    a.run("add", "readme.md")
    a.push()
    b.run("pull")
    assert set(b.tree()) == {"readme.md", "config.json", "weights/a.bin", "weights/b.bin"}


# ------------------------------------------------------------------------------------------------- bad content


def litter(bundle: Bundle) -> list[str]:
    return sorted(path.name for path in bundle.root.rglob(".~bundle-*"))


BAD = [
    pytest.param(lambda data: data[:-1] + b"X", id="bits-flipped"),
    pytest.param(lambda data: data[:-1], id="shorter"),
    pytest.param(lambda data: data + b"X", id="longer"),
    pytest.param(lambda data: b"", id="empty"),
]


@pytest.mark.parametrize("damage", BAD)
def test_a_corrupt_blob_never_replaces_a_good_file(fake: Fake, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    a, b, _ = pair_on(f"{fake.host}/m", tmp_path)
    content = b"new weights\n"
    a.commit({"weights/a.bin": content, "config.json": "v2\n", "new.txt": "n\n", "README.md": None})
    blobs = fake.repositories["m"].blobs
    good = blobs[digest_of(content)]
    blobs[digest_of(content)] = damage(good)
    before = b.tree()
    error = b.refused(9, "pull")
    assert error["code"] == "corrupt"
    assert b.tree() == before
    assert litter(b) == []
    assert b.changes() == {
        "weights/a.bin": "remote",
        "config.json": "remote",
        "new.txt": "remote",
        "README.md": "remote",
    }
    # Nor does a clone, restore, cat or verify believe it.
    fresh = call("clone", f"{fake.host}/m", str(tmp_path / "c"), expect=9)
    assert "sha256" in fresh.err
    assert Bundle(tmp_path / "c").tree() == {}
    assert b.run("cat", ":latest:weights/a.bin", expect=9).code == 9
    assert b.refused(9, "verify", ":latest", "--deep")["facts"]["corrupt"] == ["weights/a.bin"]
    assert b.refused(9, "restore", "--source", ":latest", "weights/a.bin")["code"] == "corrupt"
    assert b.tree() == before
    # Mended, the same command goes through.
    blobs[digest_of(content)] = good
    b.run("pull")
    assert b.tree() == a.tree()
    call("clone", f"{fake.host}/m", str(tmp_path / "c"))
    assert Bundle(tmp_path / "c").tree() == a.tree()


@pytest.mark.parametrize("fault", [Short(), Long(), Cut(5), Cut(5, reset=True), Reset()])
def test_a_transfer_that_goes_wrong_once_is_repeated(fake: Fake, tmp_path: Path, fault) -> None:  # type: ignore[no-untyped-def]
    a, b, _ = pair_on(f"{fake.host}/m", tmp_path)
    a.commit({"weights/a.bin": "new weights, a few bytes\n"})
    order = fake.fault(lambda method, path: method == "GET" and "/blobs/" in path, fault)
    b.run("pull")
    assert order.used == 1
    assert b.tree() == a.tree()


def test_a_blob_that_is_gone(fake: Fake, tmp_path: Path) -> None:
    a, b, _ = pair_on(f"{fake.host}/m", tmp_path)
    a.commit({"weights/a.bin": "new weights\n"})
    del fake.repositories["m"].blobs[digest_of(b"new weights\n")]
    before = b.tree()
    assert b.refused(6, "pull")["code"] == "not-found"
    assert b.tree() == before


def test_a_previewed_digest_is_what_is_pulled(repo: str, tmp_path: Path) -> None:
    """The tag moves between plan and apply: the plan's version comes, and the clone is behind, not confused."""
    a, b, _ = pair_on(repo, tmp_path)
    shown = a.commit({"config.json": "v2\n"})
    b.run("pull", "--plan-out", str(tmp_path / "plan"))
    a.commit({"config.json": "v3\n"})
    assert b.json("apply", str(tmp_path / "plan"))["digest"] == shown
    assert b.read("config.json") == "v2\n"
    assert b.changes() == {"config.json": "remote"}
    assert Repository(repo).digest("latest") != shown
