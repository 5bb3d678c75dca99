"""What we attach, others find, and the reverse: with and without a referrers API, and in layouts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle
from tests.support.oci import Repository

Peer = Callable[[str], str]
TYPE = "application/vnd.example.note"


def run(*words: str, cwd: Path | None = None) -> bytes:
    done = subprocess.run(words, cwd=cwd, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as registry:
        yield registry


@pytest.fixture(params=[pytest.param("distribution", marks=pytest.mark.registry), "crane", "with an API", "layout"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Bundle, list[str], str]:
    """A bundle under `v1` with a note to attach, the words oras needs, and its name for the place."""
    if request.param == "layout":
        where, words, name = f"layout:{tmp_path / 'layout'}", ["--oci-layout"], str(tmp_path / "layout")
    else:
        if request.param == "distribution":
            where = str(request.getfixturevalue("repo"))
        elif request.param == "crane":
            where = f"{request.getfixturevalue('crane_host')}/notes/{tmp_path.name.lower().strip('_')}"
        else:
            where = f"{request.getfixturevalue('fake').host}/m"
        words, name = ["--plain-http"], where
    made = Bundle.create(tmp_path / "a", where, {"x.txt": "x\n"})
    made.push("--tag", "v1")
    made.write({"note.txt": "a note\n"})
    return made, words, name


def discovered(peer: Peer, words: list[str], reference: str) -> list[dict[str, Any]]:
    document = json.loads(run(peer("oras"), "discover", *words, "--format", "json", reference))
    found = document.get("referrers", document.get("manifests"))
    assert isinstance(found, list)
    return found


def test_oras_discovers_and_pulls_what_we_attach(
    there: tuple[Bundle, list[str], str], peer: Peer, tmp_path: Path
) -> None:
    made, words, name = there
    digest = made.json("attach", ":v1", "note.txt:text/plain", "--type", TYPE, "--annotation", "by=us")["digest"]
    found = discovered(peer, words, f"{name}:v1")
    assert [(each["digest"], each["artifactType"]) for each in found] == [(digest, TYPE)]
    assert found[0]["annotations"]["by"] == "us"
    run(peer("oras"), "pull", *words, f"{name}@{digest}", "-o", str(tmp_path / "out"))
    assert (tmp_path / "out" / "note.txt").read_text() == "a note\n"


def test_what_oras_attaches_we_list(there: tuple[Bundle, list[str], str], peer: Peer) -> None:
    made, words, name = there
    ours = made.json("attach", ":v1", "note.txt", "--type", TYPE)["digest"]
    run(peer("oras"), "attach", *words, "--artifact-type", "a/theirs", f"{name}:v1", "note.txt", cwd=made.root)
    found = {each["artifact_type"]: each for each in made.json("referrers", ":v1")["referrers"]}
    assert found.keys() == {TYPE, "a/theirs"}
    assert found[TYPE]["digest"] == ours
    assert found["a/theirs"]["annotations"]["org.opencontainers.image.created"]
    more = made.json("attach", ":v1", "note.txt", "--type", "a/more")["digest"]
    assert {each["digest"] for each in discovered(peer, words, f"{name}:v1")} == {
        more,
        *(each["digest"] for each in found.values()),
    }


def test_what_we_delete_oras_does_not_find(there: tuple[Bundle, list[str], str], peer: Peer) -> None:
    made, words, name = there
    gone, stays = (made.json("attach", ":v1", "note.txt", "--type", kind)["digest"] for kind in ("a/gone", "a/stays"))
    made.run("delete", f"@{gone}", "--yes")
    assert [each["digest"] for each in discovered(peer, words, f"{name}:v1")] == [stays]


def test_what_oras_deletes_does_not_stop_us(repo: str, tmp_path: Path, peer: Peer) -> None:
    made = Bundle.create(tmp_path / "a", repo, {"x.txt": "x\n"})
    made.push("--tag", "v1")
    first = made.json("attach", ":v1", "x.txt", "--type", "a/first")["digest"]
    run(peer("oras"), "manifest", "delete", "--plain-http", "--force", f"{repo}@{first}")
    second = made.json("attach", ":v1", "x.txt", "--type", "a/second")["digest"]
    assert [each["digest"] for each in made.json("referrers", ":v1")["referrers"]] == [second]


def test_a_signature_of_cosign_is_listed(
    repo: str, tmp_path: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cosign's own readers look under the tag `sha256-<hex>.sig`; its OCI 1.1 mode refers, as we do."""
    made = Bundle.create(tmp_path / "a", repo, {"x.txt": "x\n"})
    digest = made.push("--tag", "v1")
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    run(peer("cosign"), "generate-key-pair", cwd=tmp_path)
    monkeypatch.setenv("COSIGN_EXPERIMENTAL", "1")
    words = [
        "--key",
        str(tmp_path / "cosign.key"),
        "--allow-http-registry",
        "--yes",
        "--tlog-upload=false",
        "--use-signing-config=false",
    ]
    done = subprocess.run(
        [peer("cosign"), "sign", *words, "--registry-referrers-mode=oci-1-1", f"{repo}@{digest}"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert made.json("referrers", ":v1")["referrers"], Repository(repo).tags()
