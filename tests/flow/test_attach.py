"""attach: files as an artifact of their own that refers to a version."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import Pair, pair_on
from tests.support.oci import Repository

TYPE = "application/vnd.example.note"


@pytest.fixture
def a(pair: Pair) -> Bundle:
    pair.a.write({"sbom.json": "{}", "out/eval.txt": "0.9\n"})
    return pair.a


def manifest(bundle: Bundle, digest: str) -> dict[str, object]:
    value: dict[str, object] = json.loads(bundle.run("inspect", f"@{digest}", "--manifest").data)
    return value


def test_files_become_titled_layers(a: Bundle) -> None:
    subject = a.json("inspect")["digest"]
    done = a.json("attach", ":latest", "sbom.json:application/spdx+json", "out/eval.txt", "--type", TYPE)
    assert (done["changed"], done["files"], done["artifact_type"]) == (True, 2, TYPE)
    made = manifest(a, done["digest"])
    assert made["artifactType"] == TYPE
    assert made["subject"]["digest"] == subject  # type: ignore[index]
    assert made["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"  # type: ignore[index]
    assert "annotations" not in made
    assert [
        (layer["annotations"]["org.opencontainers.image.title"], layer["mediaType"], layer["size"])
        for layer in made["layers"]  # type: ignore[attr-defined]
    ] == [("out/eval.txt", "application/octet-stream", 4), ("sbom.json", "application/spdx+json", 2)]


def test_the_version_and_its_tags_stay(a: Bundle) -> None:
    before = a.json("tags")["tags"]
    a.run("attach", ":latest", "sbom.json", "--type", TYPE)
    assert a.json("tags")["tags"] == before


def test_the_same_again_is_the_same_and_does_nothing(a: Bundle) -> None:
    words = ("attach", ":latest", "--type", TYPE, "--annotation", "k=v")
    first = a.json(*words, "sbom.json", "out/eval.txt")
    again = a.json(*words, "out/eval.txt", "sbom.json")
    assert again["digest"] == first["digest"]
    assert (again["changed"], again["sent_bytes"]) == (False, 0)
    assert len(a.json("referrers", ":latest")["referrers"]) == 1
    assert "already" in a.run(*words, "sbom.json", "out/eval.txt").out


def test_the_second_time_nothing_is_written(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    words = ("attach", ":latest", "README.md", "--type", TYPE)
    a.run(*words)
    assert {one.method for one in a.requests(*words)} <= {"GET", "HEAD"}


def test_what_is_listed_and_gone_is_attached_again(repo: str, tmp_path: Path) -> None:
    a = pair_on(repo, tmp_path).a
    words = ("attach", ":latest", "README.md", "--type", TYPE)
    digest = a.json(*words)["digest"]
    there = Repository(repo)
    there._ask("DELETE", f"{there._base}/manifests/{digest}")
    assert a.json(*words)["changed"] is True
    assert [each["digest"] for each in a.json("referrers", ":latest")["referrers"]] == [digest]
    assert there.manifest(digest) is not None


def test_annotations_alone_can_be_attached(a: Bundle) -> None:
    done = a.json("attach", ":latest", "--type", TYPE, "--annotation", "passed=yes")
    made = manifest(a, done["digest"])
    assert made["annotations"] == {"passed": "yes"}
    assert len(made["layers"]) == 1  # type: ignore[arg-type]
    assert a.json("referrers", ":latest")["referrers"][0]["annotations"] == {"passed": "yes"}


def test_paths_are_seen_from_where_one_is_and_do_not_tell_where(a: Bundle, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.txt").write_text("x")
    done = a.json(
        "attach", ":latest", str(tmp_path / "elsewhere.txt"), "../sbom.json", "--type", TYPE, "-C", str(a.path("out"))
    )
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in manifest(a, done["digest"])["layers"]]  # type: ignore[attr-defined]
    assert titles == ["elsewhere.txt", "sbom.json"]


def test_more_files_than_a_process_may_open(a: Bundle) -> None:
    names = [f"f{number}" for number in range(200)]
    a.write(dict.fromkeys(names, "same"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, hard))
    try:
        done = a.json("attach", ":latest", *names, "--type", TYPE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert done["files"] == 200


def test_outside_of_a_bundle(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    call("-C", str(tmp_path), "attach", f"{pair.remote}:latest", "x.txt", "--type", TYPE)
    assert len(pair.a.json("referrers", ":latest")["referrers"]) == 1


def test_a_large_file_is_streamed(pair: Pair) -> None:
    size = 30 * 1024 * 1024
    with pair.a.path("big.bin").open("wb") as out:
        out.truncate(size)
    assert pair.a.json("attach", ":latest", "big.bin", "--type", TYPE)["sent_bytes"] >= size


def test_killed_before_it_was_listed_it_is_run_again(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    words = ("attach", ":latest", "README.md", "--type", TYPE)
    a.killed_at("attachment sent", *words)
    assert a.json("referrers", ":latest")["referrers"] == []
    assert a.json(*words)["changed"] is True
    assert len(a.json("referrers", ":latest")["referrers"]) == 1


def test_a_file_that_changes_meanwhile_is_refused(a: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelops_bundle.operations import attach

    real = attach.hash_file

    def hashed(*words: object) -> object:
        found = real(*words)  # type: ignore[arg-type]
        a.path("sbom.json").write_text("changed meanwhile")
        return found

    monkeypatch.setattr(attach, "hash_file", hashed)
    a.refused(5, "attach", ":latest", "sbom.json", "--type", TYPE)
    assert a.json("referrers", ":latest")["referrers"] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((":latest", "nothing.txt", "--type", TYPE), 4),
        ((":latest", "out", "--type", TYPE), 4),
        ((":nothing", "sbom.json", "--type", TYPE), 6),
        ((":latest", "sbom.json", "--type", "sbom"), 2),
        ((":latest", "sbom.json", "--type", "a/b\n"), 2),
        ((":latest", "sbom.json"), 2),
        ((":latest", "--type", TYPE), 2),
        ((":latest", "sbom.json", "sbom.json", "--type", TYPE), 2),
        ((":latest", "sbom.json", "--type", TYPE, "--annotation", "nonsense"), 2),
    ],
)
def test_words_that_do_not_fit(a: Bundle, words: tuple[str, ...], code: int) -> None:
    a.refused(code, "attach", *words)
    assert a.json("referrers", ":latest")["referrers"] == []


def test_a_name_with_a_colon_is_a_name_when_there_is_such_a_file(a: Bundle) -> None:
    a.path("odd:text").mkdir()
    a.path("odd:text/plain").write_text("x")
    error = a.refused(9, "attach", ":latest", "odd:text/plain", "--type", TYPE)
    assert error["code"] == "unsafe-path", "the name itself is one that nobody could pull everywhere"
