"""What a pull finds on this machine: files of the version before, blobs of the shared cache, and which of them count."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.model import artifact
from modelops_bundle.model.chunkmap import ChunkMap
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.stores.cache import Cache
from modelops_bundle.testing.actions import IgnoreRange
from modelops_bundle.testing.registry import Registry as Fake
from tests.support import chunked
from tests.support.bundle import FOLDER, Bundle, call
from tests.support.chunked import cut

KIB = 1024
OLD = cut(Random(1).randbytes(200 * KIB), 4 * KIB)
NEW = [Random(7).randbytes(4 * KIB), *OLD[1:]]
DENSE = [b"compress" * 512, *OLD[1:]]
APART = [Random(n).randbytes(4 * KIB) if n % 10 == 0 else chunk for n, chunk in enumerate(OLD)]
V1 = chunked.plain({"a.txt": b"a\n", "model.bin": OLD})
V2 = chunked.plain({"a.txt": b"a\n", "model.bin": NEW})


@pytest.fixture
def place(fake: Fake) -> str:
    made = f"{fake.host}/team/model"
    chunked.publish(f"{made}:v1", V1)
    chunked.publish(f"{made}:v2", V2)
    return made


def test_blobs_of_the_shared_cache_are_seeds(place: str, tmp_path: Path) -> None:
    """The file in the tree is gone; the blob that it came from is not."""
    call("ensure", f"{place}:v1", "--dest", str(tmp_path / "served"))
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    clone.path("model.bin").unlink()
    assert clone.json("pull", f"{place}:v2", "--overwrite", "--yes")["fetched_bytes"] == 4 * KIB
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


def test_a_pack_in_the_shared_cache_is_not_fetched(place: str, tmp_path: Path) -> None:
    delta = chunked.delta({"a.txt": b"a\n", "model.bin": DENSE}, V1, codec="zstd")
    assert delta.chunks.packs[-1].blob.size < 1000
    chunked.publish(f"{place}:v3", delta)
    call("ensure", f"{place}:v3", "--dest", str(tmp_path / "served"))
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    assert clone.json("pull", f"{place}:v3")["fetched_bytes"] == 0
    assert clone.path("model.bin").read_bytes() == b"".join(DENSE)


def test_a_damaged_cache_is_no_reason_to_fail(place: str, tmp_path: Path, home: Path) -> None:
    delta = chunked.delta({"a.txt": b"a\n", "model.bin": DENSE}, V1, codec="zstd")
    assert delta.chunks.packs[-1].blob.size < 1000
    chunked.publish(f"{place}:v3", delta)
    call("ensure", f"{place}:v3", "--dest", str(tmp_path / "served"))
    pack = delta.chunks.packs[-1].blob
    [kept] = home.rglob(f"blobs/sha256/{pack.digest.hex}")
    kept.chmod(0o600)
    kept.write_bytes(bytes(pack.size))
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    assert clone.json("pull", f"{place}:v3")["fetched_bytes"] == pack.size
    assert clone.path("model.bin").read_bytes() == b"".join(DENSE)


def test_a_cache_that_is_pruned_meanwhile_is_no_reason_to_fail(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta = chunked.delta({"a.txt": b"a\n", "model.bin": DENSE}, V1, codec="zstd")
    chunked.publish(f"{place}:v3", delta)
    call("ensure", f"{place}:v3", "--dest", str(tmp_path / "served"))
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    pack, has = delta.chunks.packs[-1].blob, Cache.has
    pruned: list[Digest] = []

    def prune(cache: Cache, what: Descriptor) -> bool:
        found = has(cache, what)
        # The first look is for seeds.
        if found and what.digest == pack.digest and sys._getframe(1).f_code.co_name == "reader":
            cache.drop(what.digest)
            pruned.append(what.digest)
        return found

    monkeypatch.setattr(Cache, "has", prune)
    assert clone.json("pull", f"{place}:v3")["fetched_bytes"] == pack.size
    assert pruned == [pack.digest]
    assert clone.path("model.bin").read_bytes() == b"".join(DENSE)


@pytest.mark.parametrize("staged", [False, True], ids=["cached", "staged"])
def test_what_is_wrong_here_is_staged_anew_from_a_host_without_ranges(
    place: str, fake: Fake, tmp_path: Path, staged: bool, home: Path
) -> None:
    """In the shared cache, and where an earlier pull left it: neither is believed, and the good one is read then."""
    delta = chunked.delta({"a.txt": b"a\n", "model.bin": APART}, V1)
    chunked.publish(f"{place}:v3", delta)
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    pack = delta.chunks.packs[-1].blob
    damaged = delta.blobs[pack.digest][: 12 * KIB] + bytes(8 * KIB)
    if staged:
        parts = clone.root / FOLDER / "parts"
        parts.mkdir(exist_ok=True)
        (parts / pack.digest.hex).write_bytes(damaged)
    else:
        call("ensure", f"{place}:v3", "--dest", str(tmp_path / "served"))
        [kept] = home.rglob(f"blobs/sha256/{pack.digest.hex}")
        kept.chmod(0o600)
        kept.write_bytes(damaged)
    fake.fault(lambda method, path: method == "GET" and "/blobs/sha256:" in path, IgnoreRange(), times=None)
    clone.run("pull", f"{place}:v3")
    assert clone.path("model.bin").read_bytes() == b"".join(APART)


def test_lists_that_lie_are_told_of_where_the_host_knows_no_ranges(place: str, fake: Fake, tmp_path: Path) -> None:
    """The pack was staged whole, so it is the list: no other place is looked for, and no host is asked for parts."""
    delta = chunked.delta({"model.bin": APART}, V1)
    packs = list(delta.chunks.packs)
    last = packs[-1]
    digests = bytearray(last.chunks.digests)
    digests[3 * 32] ^= 1
    packs[-1] = last._replace(chunks=replace(last.chunks, digests=bytes(digests)))
    recipe = replace(delta.recipe("model.bin"), packs=tuple(packs))
    lie = ChunkMap(tuple(packs), {"model.bin": recipe})
    made = artifact.build(delta.artifact.snapshot, chunks=lie)
    blobs = {**delta.blobs, **{what.digest: data for what, data in made.generated()}}
    chunked.publish(f"{place}:v3", chunked.Version(made, lie, blobs))
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    fake.fault(lambda method, path: method == "GET" and "/blobs/sha256:" in path, IgnoreRange(), times=None)
    # The rest of the pack, from the wrong chunk on, is not to be had alone.
    assert "not what its list says" in clone.refused(9, "pull", f"{place}:v3")["message"]
    assert clone.path("model.bin").read_bytes() == b"".join(OLD)


def test_what_this_clone_does_not_remember_only_costs_bytes(place: str, tmp_path: Path) -> None:
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    shutil.rmtree(clone.root / FOLDER / "seen")
    clone.run("pull", f"{place}:v2")
    assert clone.path("model.bin").read_bytes() == b"".join(NEW)


def test_a_version_that_is_pushed_is_a_seed_for_the_next(place: str, tmp_path: Path) -> None:
    """What `seen` says of a reference may be newer than the tree: then only what the tree really has counts."""
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    clone.run("pull", f"{place}:v2")
    assert clone.json("pull", f"{place}:v1")["fetched_bytes"] == 4 * KIB
    assert clone.path("model.bin").read_bytes() == b"".join(OLD)


def test_a_file_of_the_same_pull_is_a_seed(place: str, tmp_path: Path) -> None:
    """One at a time, so that the larger one is there when the other comes to it."""
    chunked.publish(f"{place}:v3", chunked.plain({"a.bin": NEW, "b.bin": NEW[:30]}))
    done = call("--json", "--jobs", "1", "clone", f"{place}:v3", str(tmp_path / "clone")).json
    assert (done["fetched_bytes"], done["reused_bytes"]) == (200 * KIB, 120 * KIB)
    assert (tmp_path / "clone" / "b.bin").read_bytes() == b"".join(NEW[:30])


def test_a_plan_counts_what_is_here_whole(place: str, tmp_path: Path) -> None:
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    chunked.publish(f"{place}:v3", chunked.plain({"a.txt": b"a\n", "other.bin": OLD, "new.bin": NEW}))
    plan = clone.json("pull", f"{place}:v3", "--dry-run")
    assert (plan["whole_bytes"], plan["fetch_bytes"]) == (200 * KIB, 4 * KIB)


def test_a_plan_counts_what_differences_are_to(place: str, tmp_path: Path) -> None:
    close = bytes([OLD[0][0] ^ 1]) + OLD[0][1:]
    xor = chunked.delta({"model.bin": [close, *OLD[1:]]}, V1, codec="xor+bp2+zstd", xor={close: OLD[0]})
    assert xor.chunks.packs[-1].chunks.bases
    chunked.publish(f"{place}:v3", xor)
    pack = xor.chunks.packs[-1].blob.size
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    assert clone.json("pull", f"{place}:v3", "--dry-run")["fetch_bytes"] == pack
    other = Bundle.create(tmp_path / "other", place)
    plan = other.json("pull", f"{place}:v3", "--dry-run")
    assert (plan["whole_bytes"], plan["fetch_bytes"]) == (200 * KIB, 200 * KIB + pack)
    assert other.json("pull", f"{place}:v3")["fetched_bytes"] == 200 * KIB + pack


def test_what_is_between_chunks_counts_as_what_it_is(place: str, tmp_path: Path) -> None:
    """It comes, so it is neither left out of the plan nor told to be reused."""
    every = [Random(n).randbytes(4 * KIB) if n in {10, 20} else chunk for n, chunk in enumerate(OLD)]
    chunked.publish(f"{place}:v3", chunked.plain({"a.txt": b"a\n", "model.bin": every}))
    clone = Bundle.clone(f"{place}:v1", tmp_path / "clone")
    plan = clone.json("pull", f"{place}:v3", "--dry-run")
    done = clone.json("pull", f"{place}:v3")
    assert done["fetched_bytes"] == plan["fetch_bytes"] == 44 * KIB
    assert done["reused_bytes"] == 156 * KIB


# --- ensure ----------------------------------------------------------------------------------------------------------


def test_a_worker_brings_only_what_changed(place: str, tmp_path: Path) -> None:
    dest = tmp_path / "served"
    call("ensure", f"{place}:v1", "--dest", str(dest))
    done = call("--json", "ensure", f"{place}:v2", "--dest", str(dest)).json
    assert done["fetched_bytes"] < 4 * KIB + 2000
    assert (dest / "model.bin").read_bytes() == b"".join(NEW)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_file_of_the_same_version_is_a_seed(place: str, tmp_path: Path, is_new: bool) -> None:
    """The larger one comes first, as a whole or in parts, and is in the cache when the other comes to it."""
    dest, added = tmp_path / "served", cut(Random(9).randbytes(200 * KIB), 4 * KIB)
    large = added + OLD[:10] if not is_new else added
    chunked.publish(f"{place}:v3", chunked.plain({"a.bin": large, "b.bin": [*added[:30], b"end"]}))
    if not is_new:
        call("ensure", f"{place}:v1", "--dest", str(dest))
    done = call("--json", "--jobs", "1", "ensure", f"{place}:v3", "--dest", str(dest)).json
    assert done["fetched_bytes"] < 200 * KIB + 2000
    assert (dest / "b.bin").read_bytes() == b"".join(added[:30]) + b"end"


def test_a_damaged_version_in_its_cache_is_no_seed(place: str, tmp_path: Path, home: Path) -> None:
    dest = tmp_path / "served"
    call("ensure", f"{place}:v1", "--dest", str(dest))
    [kept] = home.rglob(f"blobs/sha256/{V1.artifact.snapshot['model.bin'].digest.hex}")
    kept.chmod(0o600)
    kept.write_bytes(bytes(200 * KIB))
    call("ensure", f"{place}:v2", "--dest", str(dest))
    assert (dest / "model.bin").read_bytes() == b"".join(NEW)
