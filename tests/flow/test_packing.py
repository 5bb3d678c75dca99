"""Journeys of trees that are stored in packs: what travels, what stays, and that nobody notices otherwise."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.workspace.tree import WorkTree
from tests.support.bundle import KILL, Bundle, Content, call, spawn, tree
from tests.support.oci import Repository

LINKS = {"current": "src/f000.py", "docs/up": "../README.md", "through": "docs/up"}


def files(count: int = 150, size: int = 300) -> dict[str, Content]:
    random = Random(count)
    return {
        "README.md": "# model\n",
        "config.json": "{}\n",
        "weights/model.safetensors": random.randbytes(400_000),
        "docs/empty.txt": "",
        **{f"src/f{number:03}.py": random.randbytes(size + number) for number in range(count)},
    }


def make(root: Path, remote: str, count: int = 150, size: int = 300) -> Bundle:
    """A bundle of many small files, links, an executable and an empty directory; not pushed yet."""
    made = Bundle.create(root, remote)
    made.write({**files(count, size), "bin/run": "#!/bin/sh\n"})
    made.path("bin/run").chmod(0o755)
    made.path("logs").mkdir()
    for name, target in LINKS.items():
        made.path(name).symlink_to(target)
    made.run("add", ".")
    return made


def layers(made: Bundle, ref: str = ":latest") -> list[dict[str, object]]:
    found = json.loads(made.run("inspect", "--manifest", ref).out)["layers"]
    assert isinstance(found, list)
    return found


def pack_digests(made: Bundle, ref: str = ":latest") -> set[str]:
    return {
        str(layer["digest"])
        for layer in layers(made, ref)
        if str(layer["annotations"]["org.cncf.model.filepath"]).startswith(".bundle/packs/")  # type: ignore[index]
    }


def blob(remote: str, digest: str) -> bytes:
    """The bytes of a blob."""
    if remote.startswith("layout:"):
        return (Path(remote.removeprefix("layout:")) / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    return Repository(remote).blob(digest)


@pytest.fixture
def packed_from(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths of the tree that are read to make packs."""
    paths: list[str] = []
    real = WorkTree.content

    def watched(self: WorkTree, path: str) -> Iterator[bytes]:
        paths.append(path)
        return real(self, path)

    monkeypatch.setattr(WorkTree, "content", watched)
    yield paths


def test_a_packed_tree_comes_back_as_it_was(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    assert len(layers(made)) < 10
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    assert clone.tree() == made.tree()
    assert clone.changes() == {}
    clone.run("verify")
    clone.run("verify", ":latest")
    assert clone.listed(":latest") == set(clone.tree())
    tags = made.json("tags")["tags"]
    assert [tag["files"] for tag in tags] == [155]


def test_the_modes_store_the_same_content(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    digests = {mode: made.push("--tag", mode, "--pack", mode) for mode in ("auto", "always", "never")}
    contents = {mode: made.json("inspect", f":{mode}")["content"] for mode in digests}
    assert len(set(contents.values())) == 1
    assert digests["never"] != digests["auto"] == digests["always"]
    assert pack_digests(made, ":never") == set()
    assert len(pack_digests(made, ":auto")) == 2
    assert made.changes() == {}
    for mode in digests:
        clone = Bundle.clone(f"{remote}:{mode}", tmp_path / mode)
        assert clone.tree() == made.tree()
        assert clone.changes() == {}


def test_the_setting_and_the_flag(alone: Bundle) -> None:
    alone.commit({f"f/{number}": str(number) for number in range(3)})
    assert pack_digests(alone) == set()
    alone.run("config", "set", "pack", "always")
    alone.push()
    assert len(pack_digests(alone)) == 1
    alone.run("push", "--pack", "never")
    assert pack_digests(alone) == set()
    assert alone.refused(2, "push", "--pack", "sometimes")["code"] == "usage"
    assert alone.refused(2, "config", "set", "pack", "sometimes")


def test_a_push_of_one_edit_sends_one_pack_and_a_pull_of_it_little(fake: Fake, tmp_path: Path) -> None:
    remote = f"{fake.host}/m"
    made = make(tmp_path / "a", remote, count=400, size=9_000)
    made.push()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    before = pack_digests(made)
    assert len(before) >= 4
    made.write({"src/f200.py": b"x" * 9_200})
    pushed = made.json("push")
    assert len(pack_digests(made) - before) == 1
    # The pack, the index and the config.
    assert pushed["sent_blobs"] == 3
    assert pushed["sent_bytes"] < 2_500_000
    pulled = clone.json("pull")
    assert pulled["fetched_blobs"] == 1
    assert 9_200 <= pulled["fetched_bytes"] < 10_000
    assert pulled["written_paths"] == 1
    assert clone.tree() == made.tree()
    assert clone.changes() == {}


def test_packs_are_made_once(remote: str, tmp_path: Path, packed_from: list[str]) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    # To find the digest; what is sent was kept meanwhile.
    assert len(packed_from) == len(set(packed_from)) == 151
    packed_from.clear()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    assert clone.json("push")["changed"] is False
    assert made.json("push")["changed"] is False
    assert made.json("push", "--tag", "v2")["sent_bytes"] == 0
    assert packed_from == []


def test_the_hundred_and_twenty_ninth_file_turns_packing_on_and_off_again(remote: str, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", remote, {f"f/{number:03}": str(number) for number in range(128)})
    made.push()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    assert pack_digests(made) == set()
    made.commit({"f/one-more": "129"})
    assert len(pack_digests(made)) == 1
    # Nothing but the new file is wanted.
    assert clone.json("pull")["written_paths"] == 1
    made.commit({"f/one-more": None})
    assert pack_digests(made) == set()
    assert clone.json("pull")["deleted_paths"] == 1
    assert clone.tree() == made.tree()
    assert clone.changes() == {}


def test_a_file_that_grows_out_of_its_pack_and_back(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    for size in (256 * 1024 - 1, 256 * 1024, 2_000_000, 3):
        made.commit({"src/f007.py": b"g" * size})
        clone.run("pull")
        assert clone.tree() == made.tree()
        assert clone.changes() == {}
        fresh = Bundle.clone(f"{remote}:latest", tmp_path / f"c{size}")
        assert fresh.tree() == made.tree()


def test_the_bit_moves_a_file_into_a_pack_and_out_of_it(remote: str, tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", remote, {"tool/x": "x" * 5000, "y": "y"})
    made.push()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    for mode in (0o755, 0o644):
        made.path("tool/x").chmod(mode)
        made.push()
        assert len(pack_digests(made)) == (mode == 0o755)
        assert clone.json("pull")["fetched_bytes"] == 0
        assert clone.tree() == made.tree()


def test_all_kinds_of_looking(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    first = made.path("src/f003.py").read_bytes()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    made.commit({"src/f003.py": "second\n"}, "--tag", "v2")
    assert clone.run("cat", ":latest:src/f003.py").data == first
    assert clone.run("cat", ":v2:src/f003.py").data == b"second\n"
    assert clone.run("cat", ":v2:docs/empty.txt").data == b""
    assert clone.run("cat", ":v2:bin/run").data == b"#!/bin/sh\n"
    assert clone.run("cat", ":v2:through").data == b"docs/up"
    assert [c["path"] for c in clone.json("diff", ":latest", ":v2")["changes"]] == ["src/f003.py"]
    clone.run("pull", ":v2")
    assert clone.tree() == made.tree()
    clone.run("pull", ":latest")
    assert clone.path("src/f003.py").read_bytes() == first
    assert clone.changes() == {}


def test_restore_brings_packed_files_back(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    before = made.tree()
    for name in ("src/f001.py", "docs/empty.txt", "bin/run", "current"):
        made.path(name).unlink()
    made.write({"src/f002.py": "spoiled"})
    made.run("restore", "--yes", ".")
    assert made.tree() == before
    assert made.changes() == {}
    # From another version, and a file that is gone in the present one.
    made.commit({"src/f003.py": None}, "--tag", "v2")
    made.run("restore", "--source", ":latest", "src/f003.py")
    assert made.tree() == before


def test_restore_in_the_middle_of_a_merge(remote: str, tmp_path: Path) -> None:
    """The base is then partly of the version before and partly of the one that was merged."""
    made = make(tmp_path / "a", remote)
    made.push()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    old = clone.path("src/f001.py").read_bytes()
    made.commit({"src/f001.py": "theirs", "src/f002.py": "merged"})
    clone.write({"src/f001.py": "ours"})
    clone.run("pull", "--merge", expect=3)
    assert clone.read("src/f002.py") == "merged"
    clone.write({"src/f001.py": "spoiled", "src/f002.py": "spoiled", "src/f003.py": "spoiled"})
    clone.run("restore", "--yes", "src/f001.py", "src/f002.py", "src/f003.py")
    assert clone.path("src/f001.py").read_bytes() == old
    assert clone.read("src/f002.py") == "merged"
    assert clone.path("src/f003.py").read_bytes() == made.path("src/f003.py").read_bytes()
    assert clone.changes() == {"src/f001.py": "remote"}


def test_saved_plans_know_their_packs(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    made.run("push", "--plan-out", str(tmp_path / "push.plan"))
    made.run("apply", str(tmp_path / "push.plan"))
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    made.write({"src/f001.py": "second"})
    made.run("push", "--plan-out", str(tmp_path / "push2.plan"))
    made.run("apply", str(tmp_path / "push2.plan"))
    clone.run("pull", "--plan-out", str(tmp_path / "pull.plan"))
    clone.run("apply", str(tmp_path / "pull.plan"))
    assert clone.tree() == made.tree()
    assert clone.changes() == {}
    # A plan is refused when a packed file changed after it was made.
    made.write({"src/f001.py": "third"})
    made.run("push", "--plan-out", str(tmp_path / "push3.plan"))
    made.write({"src/f001.py": "other"})
    assert made.refused(5, "apply", str(tmp_path / "push3.plan"))["code"] == "workspace-changed"


def test_a_damaged_cache_of_packs_only_costs_time(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    first = made.push()
    (made.root / ".modelops-bundle/packs").write_bytes(b"damage")
    assert made.push() == first
    (made.root / ".modelops-bundle/packs").unlink()
    assert made.push() == first


@pytest.mark.parametrize("step", ["written beside", "batch synced", "placed", "tree synced", "intent written"])
def test_a_killed_pull_is_finished_by_the_next_command(remote: str, tmp_path: Path, step: str) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    made.write({f"src/f{number:03}.py": f"second {number}" for number in range(60)})
    made.path("src/f100.py").unlink()
    made.push()
    clone.killed_at(step, "pull")
    clone.run("status")
    assert clone.tree() == made.tree()
    assert clone.changes() == {}
    assert not list(clone.root.rglob(".~bundle-*"))
    assert not list((clone.root / ".modelops-bundle/parts").glob("*"))


@pytest.mark.parametrize("step", ["written beside", "batch synced", "placed"])
def test_a_killed_clone_is_finished_or_leaves_nothing(remote: str, tmp_path: Path, step: str) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    target = tmp_path / "b"
    spawn("clone", f"{remote}:latest", str(target), expect=-9, before=KILL.format(step=step))
    call("clone", f"{remote}:latest", str(target))
    assert tree(target) == made.tree()
    assert not list(tmp_path.rglob(".~bundle-*"))


def test_a_pack_damaged_after_a_crash_lands_nothing_wrong(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    before = clone.tree()
    made.write({f"src/f{number:03}.py": f"second {number}" for number in range(140)})
    made.push()
    clone.killed_at("intent written", "pull")
    parts = list((clone.root / ".modelops-bundle/parts").iterdir())
    assert len(parts) == 1
    data = parts[0].read_bytes()
    parts[0].write_bytes(data[: len(data) // 2])
    clone.run("status")
    after, wanted = clone.tree(), made.tree()
    assert any(after[path] == wanted[path] != before[path] for path in wanted)
    assert all(after[path] in (before[path], wanted[path]) for path in wanted)
    clone.run("pull")
    assert clone.tree() == wanted
    assert clone.changes() == {}


def test_a_pushed_file_that_changed_since_it_was_hashed_is_not_sealed(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where even the stat key is the same (memory-mapped writes, coarse clocks), the digest still is not."""
    made = make(tmp_path / "a", remote)
    real = WorkTree.content

    def unseen_edit(self: WorkTree, path: str) -> Iterator[bytes]:
        for chunk in real(self, path):
            yield b"?" + chunk[1:] if path == "src/f010.py" else chunk

    monkeypatch.setattr(WorkTree, "content", unseen_edit)
    error = made.refused(5, "push")
    assert error["code"] == "workspace-changed"
    assert "src/f010.py" in error["message"]
    monkeypatch.undo()
    made.push()
    made.run("verify", ":latest")


def test_copies_of_one_content_in_and_out_of_packs(remote: str, tmp_path: Path) -> None:
    """The same bytes as a weight (never packed), as a small file and as an executable; and a file that is a pack."""
    made = make(tmp_path / "a", remote)
    made.write({"weights/w.safetensors": "same" * 100, "src/same.py": "same" * 100, "bin/same": "same" * 100})
    made.path("bin/same").chmod(0o755)
    made.run("add", ".")
    made.push()
    digest = min(pack_digests(made))
    made.write({"weights/pack.safetensors": blob(remote, digest)})
    made.run("add", ".")
    made.push()
    assert [layer["digest"] for layer in layers(made)].count(digest) == 2
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    assert clone.tree() == made.tree()
    assert clone.changes() == {}


def test_a_pull_with_most_of_it_here_already(remote: str, tmp_path: Path) -> None:
    made = make(tmp_path / "a", remote)
    made.push()
    clone = Bundle.clone(f"{remote}:latest", tmp_path / "b")
    moved = {f"moved/f{number:03}.py": made.path(f"src/f{number:03}.py").read_bytes() for number in range(150)}
    shutil.rmtree(made.path("src"))
    made.path("current").unlink()
    made.write(moved)
    made.run("add", ".")
    made.run("push", "--yes")
    pulled = clone.json("pull")
    assert pulled["fetched_bytes"] == 0
    assert clone.tree() == made.tree()


def test_no_descriptor_is_left_open(remote: str, tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc")
    made = make(tmp_path / "a", remote)
    made.push()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(3):
        made.write({"src/f001.py": f"again {number}"})
        made.push()
        Bundle.clone(f"{remote}:latest", tmp_path / f"c{number}")
    assert len(os.listdir("/proc/self/fd")) <= before + 40
