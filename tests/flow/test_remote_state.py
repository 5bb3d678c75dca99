"""What a reference stands for: asked once, kept, and never guessed."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.reference import parse
from modelops_bundle.operations.remote_state import Remote
from modelops_bundle.testing.actions import Corrupt
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.workspace.seen import Sighting
from tests.support import chunked
from tests.support.bundle import FOLDER, Bundle, call
from tests.support.clones import Pair, pair_on
from tests.support.oci import Repository, titled


def test_a_tag_is_resolved_once_for_a_whole_pull(repo: str, tmp_path: Path) -> None:
    a, b, _ = pair_on(repo, tmp_path)
    a.commit({"config.json": "v2\n"})
    asked = b.requests("pull")
    by_tag = [one for one in asked if one.url.endswith("/manifests/latest")]
    assert len(by_tag) == 1


def test_an_index_too_large_to_be_inline_is_fetched_and_kept(fake: Fake, tmp_path: Path) -> None:
    files = {f"directory-{n % 7}/a-file-with-a-long-name-{n:04}.txt": f"{n}\n" for n in range(450)}
    a = Bundle.create(tmp_path / "a", f"{fake.host}/m", files)
    a.push()
    manifest = a.json("inspect", "--manifest")["manifest"]
    index = next(one for one in manifest["layers"] if one["annotations"]["org.cncf.model.filepath"].startswith("."))
    assert "data" not in index
    assert index["size"] > 64 * 1024
    assert len(Bundle(tmp_path).requests("ls", f"{fake.host}/m")) == 2
    b = Bundle.clone(f"{fake.host}/m", tmp_path / "b")
    assert b.tree() == a.tree()
    assert len(b.requests("status")) == 1  # kept: neither manifest nor index is fetched again
    b.commit({"new.txt": "n\n"})
    a.run("pull")
    assert a.tree() == b.tree()


def test_a_large_index_that_is_corrupt_is_refused(fake: Fake, tmp_path: Path) -> None:
    a = Bundle.create(
        tmp_path / "a", f"{fake.host}/m", {f"some/long/directory/name-{n:04}.txt": "x" for n in range(600)}
    )
    a.push()
    fake.fault(lambda method, path: method == "GET" and "/blobs/" in path, Corrupt(100), times=None)
    call("--json", "ls", f"{fake.host}/m", expect=9)


def test_a_kept_manifest_that_was_damaged_is_noticed(pair: Pair) -> None:
    """It no longer is what the tag stands for, so it is fetched again; nothing is believed."""
    a, b, remote = pair
    folder = b.root / FOLDER / "seen" / hashlib.sha256(f"{remote}:latest".encode()).hexdigest()
    manifest = folder / "manifest"
    manifest.write_bytes(manifest.read_bytes().replace(b"README", b"READMX"))
    assert b.changes() == {}
    a.commit({"config.json": "v2\n"})
    b.run("pull")
    assert b.tree() == a.tree()


def test_a_damaged_lease_lets_nothing_through(pair: Pair) -> None:
    a, b, remote = pair
    folder = b.root / FOLDER / "seen" / hashlib.sha256(f"{remote}:latest".encode()).hexdigest()
    (folder / "manifest").write_bytes(b"damaged")
    there = a.commit({"config.json": "v2\n"})
    b.write({"README.md": "mine\n"})
    assert b.run("push", expect=None).code in (5, 9)
    assert a.json("status")["remote"] == there


@pytest.mark.parametrize("words", [("ls", "{repo}:v1"), ("inspect", "{repo}:v1"), ("cat", "{repo}:v1:sub/x.txt")])
def test_plain_artifacts_of_others_can_be_looked_at(repo: str, tmp_path: Path, words: tuple[str, ...]) -> None:
    Repository(repo).publish("v1", titled([("sub/x.txt", b"x\n"), ("./y.bin", b"y\n")]))
    call("-C", str(tmp_path), *(word.format(repo=repo) for word in words))


def test_plain_artifacts_of_others_can_be_cloned_and_replaced(repo: str, tmp_path: Path) -> None:
    Repository(repo).publish("v1", titled([("sub/x.txt", b"x\n"), ("./y.bin", b"y\n")]))
    clone = Bundle.clone(f"{repo}:v1", tmp_path / "c")
    assert {name: node.content for name, node in clone.tree().items()} == {"sub/x.txt": b"x\n", "y.bin": b"y\n"}
    assert clone.changes() == {}
    clone.commit({"y.bin": "y2\n"})
    assert call("--json", "inspect", f"{repo}:v1").json["kind"] == "bundle"


def kept_with(version: chunked.Version, index: bytes) -> Remote:
    """`version` with another index, no part of its manifest, as a clone keeps it."""
    made = version.artifact
    own = Digest.of(made.index)
    layers = tuple(
        Descriptor(layer.media_type, Digest.of(index), len(index), layer.annotations) if layer.digest == own else layer
        for layer in made.manifest.layers
    )
    notes = {**made.manifest.annotations, media.INDEX: str(Digest.of(index))}
    data = replace(made.manifest, layers=layers, annotations=notes, received=None).to_bytes()
    earlier = [made.made[layer.digest] for layer in layers if layer.digest in version.chunks.earlier]
    sighting = Sighting("localhost:5000/m:latest", data, b"\n".join([index, *earlier]))
    return Remote(parse("localhost:5000/m:latest"), sighting, {}, Manifest.from_bytes(data))


def test_an_index_of_many_lines_is_told_from_those_that_it_takes_lists_from() -> None:
    old = chunked.cut(bytes(range(250)) * 40)
    base = chunked.plain({"model.bin": old})
    version = chunked.delta({"model.bin": [*old, b"new"]}, base, borrow=True)
    remote = kept_with(version, json.dumps(json.loads(version.artifact.index), indent=1).encode())
    assert version.chunks.earlier
    assert remote.contents.snapshot == version.artifact.snapshot


def test_line_ends_in_an_index_take_no_memory_each() -> None:
    version = chunked.plain({"config.json": b"{}\n"})
    index = version.artifact.index[:-1] + b" \n" * (1 << 19) + b"}"
    remote = kept_with(version, index)
    tracemalloc.start()
    assert remote.index == index
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * len(index)
