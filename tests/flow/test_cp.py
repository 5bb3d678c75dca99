"""cp: versions from store to store, whatever the two are."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import BASE
from tests.support.oci import Repository, digest_of, titled


def digest_at(place: str) -> str:
    return str(call("--json", "inspect", place).json["digest"])


@pytest.fixture
def source(repo: str, tmp_path: Path) -> Bundle:
    made = Bundle.create(tmp_path / "source", f"{repo}/from", BASE)
    made.push("--tag", "v1")
    return made


@pytest.mark.parametrize(
    ("start", "end"), list(itertools.product(["registry", "layout", "tar"], ["registry", "layout"]))
)
def test_every_way_keeps_the_digest(source: Bundle, repo: str, tmp_path: Path, start: str, end: str) -> None:
    digest = source.json("inspect", ":v1")["digest"]
    source.run("cp", ":v1", f"layout:{tmp_path / 'layout'}:v1")
    source.run("export", ":v1", "-o", str(tmp_path / "a.tar"))
    begin = {
        "registry": f"{repo}/from:v1",
        "layout": f"layout:{tmp_path / 'layout'}:v1",
        "tar": f"{tmp_path / 'a.tar'}:v1",
    }
    target = {"registry": f"{repo}/to", "layout": f"layout:{tmp_path / 'to'}"}[end]
    done = call("--json", "cp", begin[start], target).json
    assert done["tags"] == {"v1": digest}
    assert done["moved"] == ["v1"]
    assert digest_at(f"{target}:v1") == digest
    call("verify", f"{target}:v1", "--deep")
    assert Bundle.clone(f"{target}:v1", tmp_path / "clone").tree() == source.tree()

    again = call("--json", "cp", begin[start], target).json
    assert (again["moved"], again["sent_blobs"]) == ([], 0)


def test_a_new_name_and_no_name(source: Bundle, repo: str) -> None:
    digest = source.json("inspect", ":v1")["digest"]
    source.run("cp", ":v1", f"{repo}/to:stable")
    assert digest_at(f"{repo}/to:stable") == digest
    done = source.json("cp", f":v1@{digest}", f"{repo}/bare")
    assert done["tags"] == {}
    assert digest_at(f"{repo}/bare@{digest}") == digest


def test_a_tag_that_stands_for_something_else_stays(source: Bundle, repo: str, tmp_path: Path) -> None:
    other = Bundle.create(tmp_path / "other", f"{repo}/to", {"x": "x"})
    theirs = other.push("--tag", "v1")
    mine = source.json("inspect", ":v1")["digest"]
    error = source.refused(5, "cp", ":v1", f"{repo}/to")
    assert error["code"] == "tag-moved"
    assert digest_at(f"{repo}/to:v1") == theirs
    assert Repository(f"{repo}/to").manifest(mine) is None
    source.run("cp", ":v1", f"{repo}/to", "--expect", theirs)
    assert digest_at(f"{repo}/to:v1") == mine
    other.commit({"x": "y"}, "--tag", "v1", "--force", "--yes")
    source.run("cp", ":v1", f"{repo}/to", "--force")
    assert digest_at(f"{repo}/to:v1") == mine


def test_all_tags_and_those_that_look_like_it(source: Bundle, repo: str) -> None:
    source.commit({"config.json": "2"}, "--tag", "v2", "--tag", "latest")
    assert set(source.json("cp", ":v1", f"{repo}/to", "--tags", "v*")["tags"]) == {"v1", "v2"}
    assert set(source.json("cp", ":v1", f"{repo}/to", "--all-tags")["tags"]) == {"v1", "v2", "latest"}
    source.refused(6, "cp", ":v1", f"{repo}/to", "--tags", "x*")
    source.refused(2, "cp", ":v1", f"{repo}/to:one", "--all-tags")
    source.refused(2, "cp", ":v1", f"{repo}/to", "--all-tags", "--tags", "v*")


def test_what_refers_to_it_comes_along(source: Bundle, repo: str, tmp_path: Path) -> None:
    (tmp_path / "sbom.json").write_text("{}")
    source.run("attach", ":v1", str(tmp_path / "sbom.json"), "--type", "application/spdx+json")
    [referrer] = source.json("referrers", ":v1")["referrers"]
    for target in (f"{repo}/to", f"layout:{tmp_path / 'to'}"):
        source.run("cp", ":v1", f"{target}:plain")
        assert call("--json", "referrers", f"{target}:plain").json["referrers"] == []
        done = source.json("cp", ":v1", target, "--recursive")
        assert done["manifests"] == 2
        [found] = call("--json", "referrers", f"{target}:v1").json["referrers"]
        assert found["digest"] == referrer["digest"]


def test_between_repositories_of_a_registry_blobs_are_mounted(source: Bundle, repo: str) -> None:
    done = source.json("cp", ":v1", f"{repo}/to")
    assert done["sent_blobs"] == 0
    assert done["existing_blobs"] == done["blobs"]


def test_other_peoples_artifacts_and_indexes(repo: str, tmp_path: Path) -> None:
    there = Repository(f"{repo}/theirs")
    there.publish("oras", titled([("x.txt", b"x\n")]))
    done = call("--json", "cp", f"{repo}/theirs:oras", f"layout:{tmp_path / 'to'}").json
    assert digest_at(f"layout:{tmp_path / 'to'}:oras") == done["tags"]["oras"]
    call("verify", f"layout:{tmp_path / 'to'}:oras", "--deep")


def test_dry_run_does_nothing(source: Bundle, repo: str, tmp_path: Path) -> None:
    done = source.json("cp", ":v1", f"layout:{tmp_path / 'to'}", "--dry-run")
    assert done["dry_run"] is True
    assert done["blobs"] == len(BASE) + 2
    assert not (tmp_path / "to").exists()
    source.run("cp", ":v1", f"{repo}/to", "--dry-run")
    assert Repository(f"{repo}/to").tags() == []


def test_what_is_not_there_and_what_does_not_fit(source: Bundle, repo: str, tmp_path: Path) -> None:
    digest = source.json("inspect", ":v1")["digest"]
    source.refused(6, "cp", ":none", f"{repo}/to")
    source.refused(6, "cp", f"layout:{tmp_path / 'none'}:v1", f"{repo}/to")
    source.refused(2, "cp", ":v1", f"{repo}/to@{digest}")
    source.refused(2, "cp", ":v1", str(tmp_path / "x.tar"))
    source.refused(8, "--offline", "cp", ":v1", f"{repo}/to")


def test_a_damaged_source_is_not_copied_under_its_name(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    a.push("--tag", "v1")
    blobs = fake.repositories["m"].blobs
    blobs[digest_of(b"aaaa\n")] = b"aaaX\n"
    target = f"layout:{tmp_path / 'to'}"
    assert a.refused(9, "cp", ":v1", target)["code"] == "corrupt"
    a.refused(6, "inspect", f"{target}:v1")
    del blobs[digest_of(b"aaaa\n")]
    a.refused(6, "cp", ":v1", target)
    a.refused(6, "inspect", f"{target}:v1")


def test_a_manifest_that_lies_is_refused(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    digest = a.push("--tag", "v1")
    manifests = fake.repositories["m"].manifests
    kind, data = manifests[digest]
    manifests[digest] = (kind, data.replace(b"README", b"readme"))
    a.refused(9, "cp", ":v1", f"layout:{tmp_path / 'to'}")


def test_an_interrupted_copy_goes_on(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'from'}", BASE)
    a.push("--tag", "v1")
    a.killed_at("blobs copied", "cp", ":v1", f"{fake.host}/m")
    assert fake.asked("PUT", "/manifests/") == []
    done = a.json("cp", ":v1", f"{fake.host}/m")
    assert done["sent_blobs"] == 0
    assert done["moved"] == ["v1"]


def test_a_copy_can_be_replaced_by_who_made_it(source: Bundle, repo: str) -> None:
    source.run("remote", "add", "prod", f"{repo}/prod")
    source.run("cp", ":v1", "prod:live")
    source.commit({"config.json": "2"}, "--tag", "v2")
    source.run("cp", ":v2", "prod:live")
    source.commit({"config.json": "3"})
    source.run("push", "prod:live")


@pytest.mark.peers
def test_the_others_read_what_was_copied(source: Bundle, repo: str, tmp_path: Path, peer: Callable[[str], str]) -> None:
    source.run("cp", ":v1", f"layout:{tmp_path / 'to'}")
    out = tmp_path / "pulled"
    subprocess.run(
        [peer("oras"), "pull", "--oci-layout", f"{tmp_path / 'to'}:v1", "-o", str(out)], check=True, capture_output=True
    )
    assert (out / "weights/a.bin").read_text() == BASE["weights/a.bin"]
    found = json.loads(
        subprocess.run(
            [peer("oras"), "manifest", "fetch", "--oci-layout", f"{tmp_path / 'to'}:v1"],
            check=True,
            capture_output=True,
        ).stdout
    )
    assert found["schemaVersion"] == 2
