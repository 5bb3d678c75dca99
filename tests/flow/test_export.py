"""export: versions and the working tree as one archive, the same bytes for the same content."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import ROOT, Bundle, call
from tests.support.clones import BASE, Pair, pair_on
from tests.support.oci import digest_of


def index_of(path: Path) -> list[dict[str, object]]:
    with tarfile.open(path) as opened:
        found: list[dict[str, object]] = json.load(opened.extractfile("index.json"))["manifests"]  # type: ignore[arg-type]
        return found


def test_a_version_and_the_tree_that_it_was_pushed_from_are_the_same_archive(pair: Pair, tmp_path: Path) -> None:
    digest = pair.a.json("inspect")["digest"]
    stored, tree = tmp_path / "stored.tar", tmp_path / "tree.tar"
    done = pair.a.json("export", ":latest", "-o", str(stored))
    assert done["versions"] == [{"tag": "latest", "digest": digest}]
    assert done["size"] == stored.stat().st_size
    pair.a.run("export", "-o", str(tree))
    assert tree.read_bytes() == stored.read_bytes()
    assert [entry["digest"] for entry in index_of(tree)] == [digest]


def test_the_tree_needs_no_network_and_no_push(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)
    done = a.json("--offline", "export", "-o", str(tmp_path / "x.tar"), "--tag", "rc1")
    assert fake.requests == []
    assert done["versions"][0]["tag"] == "rc1"
    assert a.push() == done["versions"][0]["digest"]


def test_packs_links_and_executables(tmp_path: Path) -> None:
    a = Bundle.create(tmp_path / "a")
    a.write({f"many/{n:03}.txt": f"{n}" for n in range(200)})
    a.write({"run.sh": "#!/bin/sh\n"})
    a.path("run.sh").chmod(0o755)
    a.path("link").symlink_to("run.sh")
    a.path("empty").mkdir()
    a.run("add", ".")
    a.run("export", "-o", str(tmp_path / "x.tar"))
    a.push()
    a.run("export", ":latest", "-o", str(tmp_path / "y.tar"))
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()
    call("import", str(tmp_path / "x.tar"), str(tmp_path / "b"))
    assert Bundle(tmp_path / "b").tree() == a.tree()


def test_every_compression_holds_the_same(pair: Pair, tmp_path: Path) -> None:
    for name in ("a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"):
        pair.a.run("export", "-o", str(tmp_path / name))
    plain = (tmp_path / "a.tar").read_bytes()
    assert gzip.decompress((tmp_path / "a.tar.gz").read_bytes()) == plain
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "a.tgz").read_bytes()
    assert zstandard.decompress((tmp_path / "a.tar.zst").read_bytes(), max_output_size=len(plain)) == plain
    pair.a.refused(2, "export", "-o", str(tmp_path / "a.zip"))
    pair.a.run("export", "-o", str(tmp_path / "a.zip"), "--compression", "gzip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "a.tgz").read_bytes()


def test_to_a_pipe(pair: Pair, tmp_path: Path) -> None:
    pair.a.run("export", "-o", str(tmp_path / "a.tar"))
    result = pair.a.run("export", "-o", "-")
    assert result.data == (tmp_path / "a.tar").read_bytes()


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C"},
        {"TZ": "America/Adak", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "7"},
        {"SOURCE_DATE_EPOCH": "", "USER": "somebody", "HOME": "/nonexistent"},
    ],
)
def test_the_same_bytes_wherever_it_is_made(pair: Pair, tmp_path: Path, environment: dict[str, str]) -> None:
    here, there = tmp_path / "here.tar.gz", tmp_path / "there.tar.gz"
    pair.a.run("export", "-o", str(here))
    before = os.umask(0o077)
    try:
        pair.b.spawn("export", "-o", str(there), environment=environment)
    finally:
        os.umask(before)
    assert here.read_bytes() == there.read_bytes()


def other_pythons() -> list[str]:
    found = []
    for name in ("python3.12", "python3.13", "python3.14"):
        for folder in [
            *os.environ["PATH"].split(os.pathsep),
            *map(str, (Path.home() / ".pyenv/versions").glob("*/bin")),
        ]:
            path = Path(folder) / name
            # A shim may be there for a Python that is not.
            if path.is_file() and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
                found.append(str(path))
                break
    return found


@pytest.mark.parametrize("python", other_pythons() or [pytest.param("", marks=pytest.mark.skip("no other Python"))])
def test_the_same_bytes_under_other_pythons(pair: Pair, tmp_path: Path, python: str) -> None:
    """Its own libraries may be missing there: those of this environment that are pure Python do."""
    here, there = tmp_path / "here.tar.gz", tmp_path / "there.tar.gz"
    pair.a.run("export", "-o", str(here))
    site = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [python, "-m", "modelops_bundle", "-C", str(pair.b.root), "export", "-o", str(there)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert here.read_bytes() == there.read_bytes()


def test_several_versions_share_what_they_share(pair: Pair, tmp_path: Path) -> None:
    pair.a.push("--tag", "v1")
    pair.a.commit({"config.json": "2"}, "--tag", "v2")
    done = pair.a.json("export", ":v1", ":v2", "-o", str(tmp_path / "x.tar"))
    assert [each["tag"] for each in done["versions"]] == ["v1", "v2"]
    # Two manifests, two metadata pairs, four files and one changed one.
    assert done["blobs"] == len(BASE) + 1 + 4
    swapped = pair.a.json("export", ":v2", ":v1", "-o", str(tmp_path / "y.tar"))
    assert swapped["size"] == done["size"]
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()


def test_two_versions_of_one_name_are_refused(pair: Pair, tmp_path: Path) -> None:
    other = Bundle.create(tmp_path / "other", f"layout:{tmp_path / 'o'}", {"x": "x"})
    other.push()
    error = pair.a.refused(2, "export", ":latest", f"layout:{tmp_path / 'o'}:latest", "-o", str(tmp_path / "x.tar"))
    assert "latest" in error["message"]
    assert not (tmp_path / "x.tar").exists()


def test_since_leaves_out_what_the_other_side_has(pair: Pair, tmp_path: Path) -> None:
    pair.a.push("--tag", "v1")
    pair.a.commit({"config.json": "2"}, "--tag", "v2")
    full, small = tmp_path / "full.tar", tmp_path / "small.tar"
    pair.a.run("export", ":v2", "-o", str(full))
    done = pair.a.json("export", ":v2", "--since", ":v1", "-o", str(small))
    assert done["left_out"] == len(BASE) - 1
    assert small.stat().st_size < full.stat().st_size
    target = f"layout:{tmp_path / 'to'}"
    assert pair.a.refused(6, "import", str(small), target)["code"] == "not-found"
    pair.a.run("cp", ":v1", target)
    pair.a.run("import", str(small), target)
    call("verify", f"{target}:v2", "--deep")


def test_what_refers_to_a_version_comes_on_request(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "sbom.json").write_text("{}")
    pair.a.run("attach", ":latest", str(tmp_path / "sbom.json"), "--type", "application/spdx+json")
    plain, more = tmp_path / "plain.tar", tmp_path / "more.tar"
    assert pair.a.json("export", ":latest", "-o", str(plain))["manifests"] == 1
    assert pair.a.json("export", ":latest", "-r", "-o", str(more))["manifests"] == 2
    pair.a.run("import", str(more), f"layout:{tmp_path / 'to'}")
    assert len(call("--json", "referrers", f"layout:{tmp_path / 'to'}:latest").json["referrers"]) == 1


def test_a_file_that_is_there_stays(pair: Pair, tmp_path: Path) -> None:
    target = tmp_path / "x.tar"
    target.write_text("mine")
    pair.a.refused(4, "export", "-o", str(target))
    assert target.read_text() == "mine"
    pair.a.run("export", "-o", str(target), "--force")
    assert index_of(target)


def test_what_does_not_fit(pair: Pair, tmp_path: Path) -> None:
    pair.a.refused(6, "export", ":none", "-o", str(tmp_path / "x.tar"))
    pair.a.refused(2, "export", ":latest", "--tag", "x", "-o", str(tmp_path / "x.tar"))
    pair.a.refused(6, "export", ":latest", "--since", ":none", "-o", str(tmp_path / "x.tar"))
    call("-C", str(tmp_path), "export", "-o", str(tmp_path / "x.tar"), expect=4)
    (tmp_path / "file").write_text("")
    pair.a.refused(11, "export", "-o", str(tmp_path / "file" / "x.tar"))
    assert list(tmp_path.glob("*.tar")) == []


def test_a_damaged_store_leaves_no_archive(fake: Fake, tmp_path: Path) -> None:
    a = pair_on(f"{fake.host}/m", tmp_path).a
    fake.repositories["m"].blobs[digest_of(b"aaaa\n")] = b"aaaX\n"
    a.refused(9, "export", ":latest", "-o", str(tmp_path / "x.tar"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_a_file_that_changes_meanwhile_leaves_no_archive(alone: Bundle, tmp_path: Path) -> None:
    before = f"""
from modelops_bundle.transfer import archive as module
real = module._blob
def changing(what, source, run):
    open("a.txt", "w").write("changed meanwhile")
    return real(what, source, run)
module._blob = changing
import os
os.chdir({str(alone.root)!r})
"""
    alone.spawn("export", "-o", str(tmp_path / "x.tar"), expect=5, before=before)
    assert not (tmp_path / "x.tar").exists()


def test_killed_in_the_middle_leaves_no_archive(alone: Bundle, tmp_path: Path) -> None:
    before = """
import os, signal
from modelops_bundle.disk import files
real = files.StagedFile.write
def dying(self, data):
    real(self, data)
    if len(data) == 1024:
        os.kill(os.getpid(), signal.SIGKILL)
files.StagedFile.write = dying
"""
    alone.spawn("export", "-o", str(tmp_path / "x.tar"), expect=-9, before=before)
    assert not (tmp_path / "x.tar").exists()
    alone.run("export", "-o", str(tmp_path / "x.tar"))


@pytest.mark.peers
def test_the_others_open_it(pair: Pair, tmp_path: Path, peer: Callable[[str], str]) -> None:
    archive, out = tmp_path / "x.tar", tmp_path / "out"
    digest = pair.a.json("inspect")["digest"]
    pair.a.run("export", ":latest", "-o", str(archive))

    def run(*words: str) -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    run(peer("oras"), "pull", "--oci-layout", f"{archive}:latest", "-o", str(out))
    assert (out / "weights/a.bin").read_text() == BASE["weights/a.bin"]
    assert run(peer("oras"), "resolve", "--oci-layout", f"{archive}:latest").strip() == digest
    run(peer("skopeo"), "copy", f"oci-archive:{archive}:latest", f"oci:{tmp_path / 'sk'}:latest")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "layout", filter="data")
    run(peer("crane"), "validate", "--help")
    assert json.loads((tmp_path / "sk" / "index.json").read_text())["manifests"][0]["digest"] == digest
