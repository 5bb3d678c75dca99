"""What a clone remembers of a push: the lease, the merge base, the tracked paths, and what it changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.model import artifact
from modelops_bundle.model.artifact import EARLIER_PATH
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.reference import parse
from modelops_bundle.operations import remote_state
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.project import Project
from modelops_bundle.workspace.seen import Seen
from tests.support import large
from tests.support.bundle import FOLDER, Bundle
from tests.support.clones import BASE, Pair
from tests.support.oci import Repository


def seen(bundle: Bundle) -> Seen:
    return Seen(bundle.root / FOLDER / layout.SEEN)


def test_every_tag_that_moved_has_its_lease_and_the_first_is_the_base(remote: str, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", remote, BASE)
    digest = a.push("--tag", "v1", "--tag", "latest")
    assert {sighting.reference: str(sighting.digest) for sighting in seen(a).all()} == {
        f"{remote}:v1": digest,
        f"{remote}:latest": digest,
    }
    at = Project(a.root).at()
    assert (at.reference, str(at.digest)) == (f"{remote}:v1", digest)
    assert set(at.snapshot) == set(BASE)


def test_what_was_changed_is_remembered_so_that_its_loss_can_be_told(pair: Pair) -> None:
    pair.a.write({"config.json": "ours\n", "README.md": None})
    digest = pair.a.push()
    pushed = seen(pair.a).pushed(f"{pair.remote}:latest")
    assert pushed is not None
    assert str(pushed.digest) == digest
    assert {"config.json", "README.md"} <= set(pushed.changes)
    assert pushed.changes["README.md"][1] is None
    ours = pushed.changes["config.json"][1]
    assert ours is not None
    assert ours.digest == Digest.of(b"ours\n")


def test_a_version_of_chunks_is_kept_with_the_indexes_that_its_lists_are_in(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large.make_small(monkeypatch)
    held = large.tensors()
    a = Bundle.create(tmp_path / "a", remote, {"m.safetensors": large.safetensors(held)})
    a.push("--tag", "v1")
    for number in (2, 3):
        held[f"layer.{number}.weight"] = large.weights(number, 6000)
        a.write({"m.safetensors": large.safetensors(held)})
        a.push("--delta", "--tag", f"v{number}")
    sighting = seen(a).get(remote_state.key(parse(remote).at("v3")))
    assert sighting is not None
    named = {
        layer.digest
        for layer in Manifest.from_bytes(sighting.manifest).layers
        if layer.annotations["org.cncf.model.filepath"].startswith(EARLIER_PATH)
    }
    assert len(named) == 2
    kept = {Digest.of(line): line for line in (sighting.index or b"").split(b"\n")}
    assert named <= kept.keys()
    contents = artifact.read(Manifest.from_bytes(sighting.manifest), lambda what: kept[what.digest])
    assert contents.snapshot["m.safetensors"].digest == Digest.of(a.path("m.safetensors").read_bytes())
    assert len(contents.chunks.borrowed) == 2


def test_paths_no_longer_here_are_left_out_and_forgotten(pair: Pair) -> None:
    pair.a.path("weights/b.bin").unlink()
    plan = pair.a.json("push", "--dry-run")
    assert plan["dropped"] == ["weights/b.bin"]
    assert plan["changes"] == [{"path": "weights/b.bin", "action": "deleted"}]
    pair.a.push()
    assert "weights/b.bin" not in pair.a.tracked
    assert pair.a.listed(":latest") == set(BASE) - {"weights/b.bin"}
    assert pair.a.changes() == {}


def test_an_identical_tag_is_adopted(remote: str, tmp_path: Path) -> None:
    first = Bundle.create(tmp_path / "a", remote, BASE).push()
    again = Bundle.create(tmp_path / "b", remote, BASE)
    done = again.json("push")
    assert done["digest"] == first
    assert done["changed"] is False
    # From here on this clone has seen it.
    assert again.changes() == {}
    again.commit({"config.json": "next"})
    assert again.listed(":latest") == set(BASE)


@pytest.mark.parametrize("step", ["manifest sent", "tags moved", "lease recorded", "base recorded"])
def test_a_push_killed_late_and_run_again(repo: str, tmp_path: Path, step: str) -> None:
    a = Bundle.create(tmp_path / "a", repo, BASE)
    a.killed_at(step, "push")
    assert (Repository(repo).digest("latest") is None) == (step == "manifest sent")
    done = a.json("push")
    assert Repository(repo).digest("latest") == done["digest"]
    assert a.changes() == {}
    # And the same for a later push, where the lease is an older version.
    a.write({"config.json": "v2\n"})
    a.killed_at(step, "push")
    done = a.json("push")
    assert Repository(repo).digest("latest") == done["digest"]
    assert a.run("cat", ":latest:config.json").data == b"v2\n"
