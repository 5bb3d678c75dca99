"""Every command that looks at, moves or names versions, on versions in delta storage."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support import chunked
from tests.support.bundle import Bundle, call
from tests.support.chunked import Version, cut
from tests.support.signing import Signer

OLD = cut(random.Random(1).randbytes(400_000), 4_000)
NEW = [chunk[::-1] if number in (5, 6, 90) else chunk for number, chunk in enumerate(OLD)]
NEWER = [*NEW[:50], b"n" * 3000, *NEW[50:]]
V1 = chunked.plain({"config.json": b"{}\n", "model.bin": OLD})
V2 = chunked.delta({"config.json": b"{}\n", "model.bin": NEW}, V1, codec="zstd", borrow=True)
V3 = chunked.delta({"config.json": b"[]\n", "model.bin": NEWER}, V2, codec="zstd", borrow=True)
TREE = {"config.json": b"{}\n", "model.bin": b"".join(NEW)}
NEWER_TREE = {"config.json": b"[]\n", "model.bin": b"".join(NEWER)}


def publish(place: str) -> str:
    for tag, version in (("v1", V1), ("v2", V2), ("v3", V3)):
        chunked.publish(f"{place}:{tag}", version)
    return place


@pytest.fixture
def place(fake: Fake) -> str:
    return publish(f"{fake.host}/team/model")


def files(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in ("config.json", "model.bin")}


def is_whole(text: str, version: Version = V2) -> None:
    """The same version, and every byte of it true."""
    assert call("--json", "inspect", text).json["digest"] == version.digest
    call("verify", text, "--deep")


# --- from place to place


def test_an_archive_brings_it_into_a_tree_and_a_registry(place: str, repo: str, tmp_path: Path) -> None:
    archive = tmp_path / "m.tar"
    call("export", f"{place}:v2", "-o", str(archive))
    is_whole(f"{archive}:v2")
    call("import", str(archive), str(tmp_path / "here"))
    assert files(tmp_path / "here") == TREE
    call("import", str(archive), repo)
    is_whole(f"{repo}:v2")
    call("clone", f"{repo}:v2", str(tmp_path / "clone"))
    assert files(tmp_path / "clone") == TREE


def test_only_what_is_new_goes_into_an_archive_for_those_who_have_the_rest(
    place: str, repo: str, tmp_path: Path
) -> None:
    archive = tmp_path / "update.tar"
    call("cp", f"{place}:v1", repo)
    done = call("--json", "export", f"{place}:v2", "--since", f"{place}:v1", "-o", str(archive)).json
    assert done["left_out"] >= 2
    assert archive.stat().st_size < 50_000
    call("import", str(archive), repo)
    is_whole(f"{repo}:v2")
    # Into the tree of a bundle that has the version before.
    here = Bundle.clone(f"{place}:v1", tmp_path / "here")
    here.run("import", str(archive))
    assert files(here.root) == TREE
    # Who has nothing is told what is missing, and gets no half of it.
    error = call("--json", "import", str(archive), f"layout:{tmp_path / 'empty'}", expect=None)
    assert error.code in (6, 9)
    call("inspect", f"layout:{tmp_path / 'empty'}:v2", expect=6)


def test_copies_keep_their_digest_in_registries_and_layouts(place: str, repo: str, tmp_path: Path) -> None:
    layout = f"layout:{tmp_path / 'l'}"
    call("cp", f"{place}:v2", layout)
    is_whole(f"{layout}:v2")
    call("cp", f"{layout}:v2", repo)
    is_whole(f"{repo}:v2")
    # The next one needs but what is new.
    done = call("--json", "cp", f"{place}:v3", repo).json
    new = V3.chunks.packs[-1].blob
    assert new.size <= done["sent_bytes"] < new.size + 20_000
    is_whole(f"{repo}:v3", V3)
    done = call("--json", "cp", f"{repo}:v3", f"{repo}-copy").json
    assert done["sent_bytes"] == 0
    is_whole(f"{repo}-copy:v3", V3)


def test_no_image_is_made_of_chunks(place: str, tmp_path: Path) -> None:
    here = Bundle.clone(f"{place}:v2", tmp_path / "here")
    error = here.refused(2, "push", ":v4", "--layout", "image", "--delta")
    assert "images" in error["message"]
    here.run("push", ":v4", "--layout", "image")
    assert here.json("inspect", ":v4")["storage"]["mode"] == "image"
    call("clone", f"{place}:v4", str(tmp_path / "back"))
    assert files(tmp_path / "back") == TREE


@pytest.mark.parametrize("kind", ["archive", "layout", "registry"])
def test_ensure_puts_a_directory_together(place: str, tmp_path: Path, kind: str) -> None:
    source = f"{place}:v2"
    if kind == "archive":
        call("export", f"{place}:v2", "-o", str(tmp_path / "m.tar"))
        source = f"{tmp_path / 'm.tar'}:v2"
    elif kind == "layout":
        call("cp", f"{place}:v2", f"layout:{tmp_path / 'l'}")
        source = f"layout:{tmp_path / 'l'}:v2"
    dest = tmp_path / "dest"
    assert call("--json", "ensure", source, "--dest", str(dest)).json["digest"] == V2.digest
    assert files(dest) == TREE
    assert not call("--json", "ensure", source, "--dest", str(dest)).json["changed"]
    call("ensure", f"{place}:v3", "--dest", str(dest))
    assert files(dest) == NEWER_TREE
    call("ensure", "--rollback", "--dest", str(dest))
    assert files(dest) == TREE
    call("verify", str(dest), "--against", f"{place}:v2")


# --- in a tree


def test_status_and_restore_see_files_and_no_storage(place: str, tmp_path: Path) -> None:
    here = Bundle.clone(f"{place}:v2", tmp_path / "here")
    assert here.changes() == {}
    assert {change["path"]: change["action"] for change in here.json("diff", ":v1", ":v2")["changes"]} == {
        "model.bin": "modified"
    }
    here.write({"model.bin": b"edited", "config.json": None})
    assert here.changes() == {"model.bin": "local", "config.json": "local"}
    here.run("restore", "--yes", ".")
    assert files(here.root) == TREE
    assert here.changes() == {}
    here.run("pull", f"{place}:v3")
    assert files(here.root) == NEWER_TREE
    assert here.changes() == {}
    here.run("verify", "--deep")


def test_cat_takes_a_part_or_all_of_a_file(place: str) -> None:
    assert call("cat", f"{place}:v2:model.bin").data == TREE["model.bin"]
    assert call("cat", f"{place}:v2:model.bin", "--range", "19990-24009").data == TREE["model.bin"][19990:24010]


def test_a_tree_from_a_delta_version_is_pushed_as_any_other(place: str, tmp_path: Path) -> None:
    here = Bundle.clone(f"{place}:v2", tmp_path / "here")
    here.commit({"config.json": "{1}\n"}, "--tag", "v9")
    call("verify", f"{place}:v9", "--deep")
    call("clone", f"{place}:v9", str(tmp_path / "back"))
    assert files(tmp_path / "back") == {**TREE, "config.json": b"{1}\n"}


# --- names, and what refers to it


def test_tags_come_and_go(place: str) -> None:
    call("tag", f"{place}:v2", "stable")
    is_whole(f"{place}:stable")
    call("untag", f"{place}:stable", "--yes")
    call("inspect", f"{place}:stable", expect=6)
    # What an older version is made of stays while a newer one needs it.
    call("delete", f"{place}:v1", "--yes")
    call("inspect", f"{place}:v1", expect=6)
    is_whole(f"{place}:v2")


def test_signatures_and_attachments(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer(tmp_path / "keys")
    monkeypatch.setenv("COSIGN_PASSWORD", signer.password)
    call("sign", f"{place}:v2", "--key", str(signer.key))
    call("verify", f"{place}:v2", "--signature", "--key", str(signer.public))
    (tmp_path / "note.txt").write_text("fine\n")
    call("attach", f"{place}:v2", str(tmp_path / "note.txt"), "--type", "application/vnd.example.note")
    assert len(call("--json", "referrers", f"{place}:v2").json["referrers"]) == 2
    call("cp", f"{place}:v2", f"layout:{tmp_path / 'l'}", "--recursive")
    call("verify", f"layout:{tmp_path / 'l'}:v2", "--signature", "--key", str(signer.public))
    call("verify", f"layout:{tmp_path / 'l'}", "--deep")
    call("export", f"{place}:v2", "--recursive", "-o", str(tmp_path / "m.tar.gz"))
    call("verify", str(tmp_path / "m.tar.gz"), "--deep")


def test_archives_of_the_same_version_are_the_same_bytes(place: str, tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        call("export", f"{place}:v2", "-o", str(tmp_path / name))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as opened:
        held = {name.rpartition("/")[2] for name in opened.getnames()}
    assert {what.digest.hex for what in V2.artifact.manifest.layers} <= held
