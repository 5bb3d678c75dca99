"""delete: a version goes with all its tags, after everything that goes with it was shown."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from modelops_bundle.testing.actions import Refuse, Status
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import Pair, pair_on
from tests.support.registry_process import ProcessRegistry, Unobtainable


def tags(bundle: Bundle) -> list[str]:
    return [tag["tag"] for tag in bundle.json("tags")["tags"]]


@pytest.fixture
def two(pair: Pair) -> Pair:
    """`v1` and `stable` are one version, `latest` another one; the trees are at `latest`."""
    pair.a.push("--tag", "v1", "--tag", "stable")
    pair.a.commit({"config.json": "2\n"}, "--tag", "latest")
    return pair


def test_a_version_goes_with_its_tags(two: Pair) -> None:
    v1 = two.a.json("inspect", ":v1")["digest"]
    done = two.a.json("delete", ":v1", "--yes")
    assert (done["deleted"], done["digest"], done["tags"]) == (True, v1, ["stable", "v1"])
    assert tags(two.a) == ["latest"]
    two.b.run("pull", ":latest")
    two.b.run("verify", ":latest")
    assert two.a.refused(6, "inspect", f"@{v1}")["code"] == "not-found"


def test_tags_that_a_registry_keeps_apart_go_as_well(crane_host: str, tmp_path: Path) -> None:
    """`crane registry` deletes a digest and leaves the tags, which are manifests of their own to it."""
    a = Bundle.create(tmp_path / "a", f"{crane_host}/team/kept", {"a.txt": "a"})
    a.push("--tag", "v1", "--tag", "stable")
    assert a.json("delete", ":v1", "--yes")["tags"] == ["stable", "v1"]
    assert tags(a) == []
    a.push("--tag", "v1")
    assert tags(a) == ["v1"]


@pytest.mark.parametrize("refusal", [Refuse(405, "UNSUPPORTED"), Refuse(403, "DENIED")])
def test_tags_that_nobody_can_remove_are_told(fake: Fake, tmp_path: Path, refusal: Refuse) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/team/model", {"a.txt": "a"})
    a.push("--tag", "v1")
    digest = a.json("inspect", ":v1")["digest"]
    fake.fault(lambda method, path: method == "DELETE" and path.endswith("/v1"), refusal, times=None)
    fake.fault(lambda method, path: method == "DELETE" and path.endswith(digest), Status(202), times=None)
    error = a.refused(3, "delete", ":v1", "--yes")
    assert error["facts"]["failed"] == [{"tag": "v1", "state": "kept"}]


def test_without_yes_and_a_terminal_nothing_is_done(two: Pair) -> None:
    error = two.a.refused(4, "delete", ":v1")
    assert error["code"] == "needs-confirmation"
    assert any("stable, v1" in line for line in error["facts"]["details"])
    assert tags(two.a) == ["latest", "stable", "v1"]


def test_a_dry_run_shows_and_does_nothing(two: Pair) -> None:
    shown = two.a.json("delete", ":v1", "-n")
    assert (shown["deleted"], shown["dry_run"], shown["tags"]) == (False, True, ["stable", "v1"])
    assert "2 tags: stable, v1" in two.a.run("delete", ":v1", "--dry-run").out
    assert tags(two.a) == ["latest", "stable", "v1"]


def test_what_refers_to_it_is_shown(two: Pair) -> None:
    two.a.write({"note.txt": "note"})
    attached = two.a.json("attach", ":v1", "note.txt", "--type", "application/x-note")["digest"]
    shown = two.a.json("delete", ":v1", "-n")
    assert shown["referrers"] == [{"digest": attached, "artifact_type": "application/x-note"}]
    assert attached in two.a.run("delete", ":v1", "-n").out


def test_what_the_tree_was_synced_with_is_told(two: Pair) -> None:
    assert two.a.json("delete", ":latest", "-n")["synced"] is True
    assert two.a.json("delete", ":v1", "-n")["synced"] is False
    assert "last synced" in two.a.run("delete", ":latest", "-n").out
    # Even then the tree is all there, and can be pushed again.
    digest = two.a.json("delete", ":latest", "--yes")["digest"]
    assert two.a.push("--tag", "latest") == digest
    two.b.run("pull", ":latest")


def test_a_second_time_it_is_not_there(two: Pair) -> None:
    two.a.run("delete", ":v1", "--yes")
    two.a.refused(6, "delete", ":v1", "--yes")
    assert two.a.json("delete", ":v1", "--yes", "--missing-ok")["deleted"] is False


def test_a_tag_that_was_deleted_may_be_pushed_again(two: Pair) -> None:
    two.a.run("delete", ":v1", "--yes")
    two.a.push("--tag", "v1")
    assert tags(two.a) == ["latest", "v1"]


def test_an_attachment_goes_from_the_list(two: Pair) -> None:
    two.a.write({"note.txt": "note", "more.txt": "more"})
    gone, stays = (
        two.a.json("attach", ":v1", name, "--type", "application/x-note")["digest"] for name in ("note.txt", "more.txt")
    )
    two.a.run("delete", f"@{gone}", "--yes")
    assert [each["digest"] for each in two.a.json("referrers", ":v1")["referrers"]] == [stays]


def test_outside_of_a_bundle(two: Pair, tmp_path: Path) -> None:
    call("-C", str(tmp_path), "delete", f"{two.remote}:v1", "--yes")
    assert tags(two.a) == ["latest"]


# --- registries that do not let anybody


@pytest.mark.parametrize(
    ("status", "said", "code"), [(405, "UNSUPPORTED", 10), (400, "UNSUPPORTED", 10), (403, "DENIED", 7)]
)
def test_a_registry_that_refuses(fake: Fake, tmp_path: Path, status: int, said: str, code: int) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    fake.fault(lambda method, _: method == "DELETE", Refuse(status, said), times=None)
    error = a.refused(code, "delete", ":latest", "--yes")
    if code == 10:
        assert "does not let manifests be deleted" in error["message"]
    assert tags(a) == ["latest"]


@pytest.mark.registry
def test_a_real_registry_with_deleting_switched_off(tmp_path: Path) -> None:
    try:
        registry = ProcessRegistry(tmp_path / "registry", {"storage": {"delete": {"enabled": False}}})
    except Unobtainable as error:
        pytest.skip(str(error))
    try:
        a = pair_on(f"{registry.host}/m", tmp_path).a
        error = a.refused(10, "delete", ":latest", "--yes")
        assert "storage.delete.enabled" in error["hint"]
        assert tags(a) == ["latest"]
    finally:
        registry.stop()


# --- layouts


def blobs(layout: Path) -> set[str]:
    return set(os.listdir(layout / "blobs" / "sha256"))


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def layout(tmp_path: Path) -> tuple[Bundle, Path]:
    a = Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'layout'}", {"shared.txt": "shared", "x.txt": "one"})
    a.push("--tag", "v1")
    a.commit({"x.txt": "two"}, "--tag", "v2")
    return a, tmp_path / "layout"


def test_a_layout_loses_what_nothing_else_needs(layout: tuple[Bundle, Path]) -> None:
    a, where = layout
    assert {sha("one"), sha("two"), sha("shared")} < blobs(where)
    a.run("delete", ":v1", "--yes")
    assert sha("one") not in blobs(where)
    assert {sha("two"), sha("shared")} < blobs(where)
    a.run("verify", ":v2")
    a.run("delete", ":v2", "--yes")
    assert blobs(where) == set()


def test_a_layout_keeps_all_when_it_cannot_tell_what_is_needed(layout: tuple[Bundle, Path]) -> None:
    a, where = layout
    second = a.json("inspect", ":v2")["digest"].removeprefix("sha256:")
    held = (where / "blobs" / "sha256" / second).read_bytes()
    (where / "blobs" / "sha256" / second).write_bytes(held[:-1] + b" ")
    a.run("delete", ":v1", "--yes")
    assert {sha("one"), sha("two"), sha("shared")} < blobs(where)


def test_a_manifest_that_an_index_lists_keeps_its_blobs(layout: tuple[Bundle, Path]) -> None:
    a, where = layout
    index = json.loads((where / "index.json").read_bytes())
    entry = next(each for each in index["manifests"] if each.get("annotations", {}).values() and "v1" in str(each))
    nested = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    )
    (where / "blobs" / "sha256" / sha(nested)).write_text(nested)
    kind = "application/vnd.oci.image.index.v1+json"
    index["manifests"].append({"mediaType": kind, "digest": f"sha256:{sha(nested)}", "size": len(nested)})
    (where / "index.json").write_text(json.dumps(index))
    a.run("delete", ":v1", "--yes")
    assert {sha("one"), entry["digest"].removeprefix("sha256:")} < blobs(where)
