"""Provenance: what is said of a version, the same whoever says it, and nothing that is nobody's business."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.operations.provenance import public_address
from tests.support import canary
from tests.support.bundle import Bundle
from tests.support.clones import Pair
from tests.support.signing import Signer

INTOTO = "application/vnd.in-toto+json"


def git(bundle: Bundle, *words: str) -> str:
    program = shutil.which("git")
    assert program, "git is needed to work on this repository at all"
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run([program, *who, *words], cwd=bundle.root, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def a(pair: Pair) -> Bundle:
    return pair.a


@pytest.fixture
def in_git(a: Bundle) -> str:
    """The tree in git; its commit."""
    git(a, "init", "-q")
    git(a, "add", "config.json", "README.md")
    git(a, "commit", "-qm", "x")
    return git(a, "rev-parse", "HEAD")


def stated(bundle: Bundle, *words: str) -> dict[str, Any]:
    """The statement that is attached."""
    digest = bundle.json("attach", ":latest", "--provenance", *words)["digest"]
    value: dict[str, Any] = json.loads(bundle.run("cat", f"@{digest}:provenance.json").data)
    return value


def git_of(statement: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = statement["predicate"]["buildDefinition"]["externalParameters"].get("git", {})
    return found


def test_a_statement_of_the_version(a: Bundle) -> None:
    digest = a.json("inspect")["digest"]
    found = stated(a)
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"] == [{"name": digest, "digest": {"sha256": digest.removeprefix("sha256:")}}]
    assert found["predicate"]["buildDefinition"]["buildType"].startswith("https://")
    assert found["predicate"]["runDetails"]["builder"]["id"] == "pkg:pypi/modelops-bundle"
    assert [each["artifact_type"] for each in a.json("referrers", ":latest")["referrers"]] == [INTOTO]


def test_sigstores_library_reads_it(a: Bundle) -> None:
    from sigstore.dsse import Statement

    assert Statement(json.dumps(stated(a)).encode())


def test_the_same_again_is_the_same(pair: Pair, in_git: str) -> None:
    first = pair.a.json("attach", ":latest", "--provenance")
    again = pair.a.json("attach", ":latest", "--provenance")
    assert (again["digest"], again["changed"]) == (first["digest"], False)


def test_without_git_nothing_is_said_of_it(a: Bundle) -> None:
    found = stated(a)["predicate"]["buildDefinition"]
    assert (found["externalParameters"], found["resolvedDependencies"]) == ({}, [])


def test_the_commit(a: Bundle, in_git: str) -> None:
    found = stated(a)
    assert git_of(found) == {"commit": in_git, "dirty": False}
    assert {"name": "git", "digest": {"gitCommit": in_git}} in found["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]


def test_changes_to_tracked_files_are_said(a: Bundle, in_git: str) -> None:
    a.write({"untracked.txt": "x"})
    assert git_of(stated(a))["dirty"] is False
    a.write({"README.md": "changed\n"})
    assert git_of(stated(a))["dirty"] is True


def test_no_login_of_an_address_is_said(a: Bundle, in_git: str) -> None:
    word = canary.secret()
    git(a, "remote", "add", "origin", f"https://ann:{word}@git.example.com:8443/team/m.git?token={word}#{word}")
    canary.may_hold(a.path(".git/config"))
    found = stated(a)
    assert git_of(found)["remote"] == "https://git.example.com:8443/team/m.git"
    assert "git+https://git.example.com:8443/team/m.git" in json.dumps(found)


def test_settings_of_the_repository_run_nothing(a: Bundle, in_git: str, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git(a, "config", "core.fsmonitor", str(hook))
    git(a, "config", "core.hooksPath", str(tmp_path))
    stated(a)
    assert not (tmp_path / "ran").exists()


def test_the_repository_of_a_hook_is_not_the_trees(a: Bundle, in_git: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git_of(stated(a))["commit"] == in_git


def test_without_a_git_program(a: Bundle, in_git: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_of(stated(a)) == {}


def test_what_was_fetched(a: Bundle) -> None:
    a.commit({"bundle.lock": "sources\n"})
    [found] = stated(a)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert found["name"] == "bundle.lock"
    assert len(found["digest"]["sha256"]) == 64


def test_a_time_only_on_request(a: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "metadata" not in stated(a)["predicate"]["runDetails"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert stated(a)["predicate"]["runDetails"]["metadata"] == {"finishedOn": "1970-01-02T00:00:00Z"}


def test_signed_it_is_an_envelope_and_no_signature_of_the_version(
    a: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer(tmp_path / "keys")
    monkeypatch.setenv("COSIGN_PASSWORD", signer.password)
    words = ("attach", ":latest", "--provenance", "--sign-key", str(signer.key))
    first, again = a.json(*words), a.json(*words)
    assert (again["digest"], again["changed"]) == (first["digest"], False), "RFC 6979"
    bundle = json.loads(a.run("cat", f"@{first['digest']}:provenance.json").data)
    envelope = bundle["dsseEnvelope"]
    assert envelope["payloadType"] == INTOTO
    assert json.loads(base64.b64decode(envelope["payload"]))["predicateType"] == "https://slsa.dev/provenance/v1"
    a.run("config", "set", "remotes.origin.require_signature", str(signer.public))
    a.refused(9, "pull")


def test_of_a_version_that_the_tree_is_not_at(pair: Pair) -> None:
    pair.b.commit({"new.txt": "new\n"})
    assert "another version" in pair.a.refused(2, "attach", ":latest", "--provenance")["message"]
    assert pair.a.json("referrers", ":latest")["referrers"] == []


@pytest.mark.parametrize(
    "words",
    [
        ("--provenance", "README.md"),
        ("--provenance", "--type", "a/b"),
        ("--provenance", "--sbom", "README.md"),
        ("--provenance", "--annotation", "a=b"),
        ("--sign-key", "x", "README.md", "--type", "a/b"),
        ("--sbom", "README.md", "--type", "a/b"),
        ("--sbom", "config.json", "README.md"),
        ("--sbom", "config.json"),
        ("README.md",),
    ],
)
def test_words_that_do_not_fit(a: Bundle, words: tuple[str, ...]) -> None:
    a.refused(2, "attach", ":latest", *words)
    assert a.json("referrers", ":latest")["referrers"] == []


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('{"spdxVersion":"SPDX-2.3"}', "application/spdx+json"),
        ('{"bomFormat":"CycloneDX","specVersion":"1.6"}', "application/vnd.cyclonedx+json"),
    ],
)
def test_an_sbom_has_the_type_of_its_content(a: Bundle, content: str, kind: str) -> None:
    a.write({"out/sbom.json": content})
    digest = a.json("attach", ":latest", "--sbom", "out/sbom.json")["digest"]
    assert a.run("cat", f"@{digest}:out/sbom.json").out == content
    made = json.loads(a.run("inspect", f"@{digest}", "--manifest").data)
    assert (made["artifactType"], made["layers"][0]["mediaType"]) == (kind, kind)


def test_an_sbom_that_is_not_there_or_no_json(a: Bundle) -> None:
    a.refused(4, "attach", ":latest", "--sbom", "nothing.json")
    a.refused(9, "attach", ":latest", "--sbom", "README.md")


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://git.example.com/m.git", "https://git.example.com/m.git"),
        ("https://ann@git.example.com/m", "https://git.example.com/m"),
        ("ssh://git@git.example.com:22/m", "ssh://git.example.com:22/m"),
        ("git@git.example.com:team/m.git", "ssh://git.example.com/team/m.git"),
        ("git://[::1]/m", "git://[::1]/m"),
        ("/srv/models/m", None),
        ("../m", None),
        ("file:///srv/models/m", None),
        ("https://[broken", None),
        ("https://host:port/m", None),
        ("ext::sh -c evil", None),
        ("", None),
    ],
)
def test_addresses_that_others_may_read(url: str, public: str | None) -> None:
    assert public_address(url) == public
