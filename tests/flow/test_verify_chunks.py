"""verify --deep of versions whose files are made of chunks."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from modelops_bundle.disk.hashing import Hashed
from modelops_bundle.model import artifact
from modelops_bundle.model.chunkmap import ChunkList, ChunkMap, ChunkPack
from modelops_bundle.model.digest import Digest
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.workspace import index
from tests.support import chunked
from tests.support.bundle import Bundle, Result, call
from tests.support.chunked import Version

OLD = [bytes([number]) * 1000 for number in range(8)]
NEW = [*OLD[:3], b"new" * 333, *OLD[4:7], b"other" * 200]
XOR = {b"new" * 333 + b"x": OLD[3]}


def version(codec: str = "zstd") -> tuple[Version, Version]:
    base = chunked.plain({"model.bin": OLD, "config.json": b"{}"})
    chunks, xor = NEW, {}
    if codec.startswith("xor"):
        xor = {OLD[3][:-1] + b"!": OLD[3]}
        chunks = [*OLD[:3], *xor, *OLD[4:]]
    return base, chunked.delta({"model.bin": chunks, "config.json": b"{}"}, base, codec=codec, xor=xor)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"layout:{tmp_path / 'store'}"


def published(place: str, codec: str = "zstd") -> Version:
    base, made = version(codec)
    chunked.publish(f"{place}:v1", base)
    chunked.publish(f"{place}:v2", made)
    return made


def verify(place: str, expect: int = 0) -> Result:
    return call("--json", "verify", "--deep", f"{place}:v2", expect=expect)


def blob(place: str, digest: Digest) -> Path:
    return Path(place.removeprefix("layout:")) / "blobs" / "sha256" / digest.hex


def flip(path: Path, at: int = -1) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("codec", ["none", "zstd", "bp2+zstd", "bp4+zstd", "xor+bp2+zstd", "xor+bp4+zstd"])
def test_a_version_that_is_right(place: str, codec: str) -> None:
    made = published(place, codec)
    document = verify(place).json
    assert document["files"] == len({what.digest for what in made.artifact.manifest.layers} | {1})
    assert (document["corrupt"], document["missing"], document["broken"]) == ([], [], {})
    call("verify", place, "--deep")
    call("verify", f"{place}:v2")


@pytest.mark.parametrize("which", ["new", "old"])
def test_a_damaged_pack_is_named_with_the_files_it_spoils(place: str, which: str) -> None:
    made = published(place)
    old = made.chunks.packs[0].blob.digest
    new = made.chunks.packs[1].blob.digest
    digest = old if which == "old" else new
    flip(blob(place, digest), 30)
    error = verify(place, 9).error
    pack = f".bundle/packs/{digest.hex}"
    assert error["facts"]["corrupt"] == [pack, "model.bin"]
    assert error["facts"]["broken"] == {"model.bin": [pack]}
    assert f"model.bin, for {pack}" in error["message"]


def test_a_pack_that_is_gone(place: str) -> None:
    made = published(place)
    digest = made.chunks.packs[1].blob.digest
    blob(place, digest).unlink()
    error = verify(place, 5).error
    assert error["facts"]["missing"] == [f".bundle/packs/{digest.hex}", "model.bin"]
    assert error["facts"]["broken"] == {"model.bin": [f".bundle/packs/{digest.hex}"]}
    assert "model.bin" not in call("--json", "verify", f"{place}:v2", expect=5).error["facts"]["missing"]


def test_damage_in_a_base_of_differences(place: str) -> None:
    made = published(place, "xor+bp2+zstd")
    old = made.chunks.packs[0].blob.digest
    # A byte of the chunk that only the difference needs.
    flip(blob(place, old), 3500)
    error = verify(place, 9).error
    assert error["facts"]["broken"] == {"model.bin": [f".bundle/packs/{old.hex}"]}


def lying(made: Version, change: Callable[[ChunkList], ChunkList], number: int) -> Version:
    """The same blobs, with an index that says something else of one list."""
    packs = [
        ChunkPack(pack.blob, change(pack.chunks) if at == number else pack.chunks)
        for at, pack in enumerate(made.chunks.packs)
    ]
    recipes = {path: replace(recipe, packs=tuple(packs)) for path, recipe in made.chunks.files.items()}
    chunks = ChunkMap(tuple(packs), recipes)
    built = artifact.build(made.artifact.snapshot, chunks=chunks)
    return Version(built, chunks, {**made.blobs, **{what.digest: data for what, data in built.generated()}})


@pytest.mark.parametrize("number", [0, 1])
def test_a_list_that_is_not_true(place: str, number: int) -> None:
    _, made = version("none")
    wrong = blake3(b"something else").digest()
    chunked.publish(
        f"{place}:v2", lying(made, lambda chunks: replace(chunks, digests=wrong + chunks.digests[32:]), number)
    )
    pack = f".bundle/packs/{made.chunks.packs[number].blob.digest.hex}"
    assert verify(place, 9).error["facts"]["broken"] == {"model.bin": [pack]}


def test_the_list_of_a_chunk_that_no_file_needs(place: str) -> None:
    _, made = version("none")
    wrong = blake3(b"something else").digest()
    # The fourth chunk of the old file is not in the new one.
    chunked.publish(
        f"{place}:v2",
        lying(made, lambda chunks: replace(chunks, digests=chunks.digests[:96] + wrong + chunks.digests[128:]), 0),
    )
    facts = verify(place, 9).error["facts"]
    assert facts["corrupt"] == [f".bundle/packs/{made.chunks.packs[0].blob.digest.hex}"]
    assert facts["broken"] == {}


def test_the_list_of_a_plain_file(place: str) -> None:
    base, _ = version()
    wrong = blake3(b"something else").digest()
    chunked.publish(f"{place}:v2", lying(base, lambda chunks: replace(chunks, digests=chunks.digests[:-32] + wrong), 0))
    assert verify(place, 9).error["facts"]["corrupt"] == ["model.bin"]


def test_chunks_that_are_true_and_make_another_file(place: str) -> None:
    _, made = version("none")
    recipe = made.recipe("model.bin")
    turned = replace(recipe, segments=(*recipe.segments[1:], recipe.segments[0]))
    chunks = ChunkMap(made.chunks.packs, {"model.bin": turned})
    built = artifact.build(made.artifact.snapshot, chunks=chunks)
    forged = Version(built, chunks, {**made.blobs, **{what.digest: data for what, data in built.generated()}})
    chunked.publish(f"{place}:v2", forged)
    facts = verify(place, 9).error["facts"]
    assert (facts["corrupt"], facts["broken"]) == (["model.bin"], {"model.bin": []})


def test_on_a_registry_and_in_an_archive(fake: Fake, tmp_path: Path) -> None:
    place = f"{fake.host}/m"
    made = published(place)
    verify(place)
    call("export", f"{place}:v2", "-o", str(tmp_path / "m.tar"))
    document = call("--json", "verify", "--deep", str(tmp_path / "m.tar")).json
    assert document["files"] == len({what.digest for what in made.artifact.manifest.layers} | {1})


# --- repair


@pytest.mark.parametrize("storage", ["plain", "delta"])
def test_repair_brings_only_chunks_that_rotted(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    chunks = chunked.cut(random.Random(1).randbytes(400_000), 4_000)
    base = chunked.plain({"model.bin": chunks, "config.json": b"{}"})
    edited = [*chunks[:7], b"n" * 4000, *chunks[8:]]
    made = base if storage == "plain" else chunked.delta({"model.bin": edited, "config.json": b"{}"}, base)
    chunked.publish(f"{fake.host}/m:v1", made)
    here = Bundle.clone(f"{fake.host}/m:v1", tmp_path / "here")
    flip(here.path("model.bin"), 200_001)
    right = made.artifact.snapshot["model.bin"].digest
    known, put = index.Index.get, index.Index.put
    corrected: list[str] = []

    def rotted(self: index.Index, path: str, key: object, *, strict: bool) -> Digest | None:
        # Nobody wrote to it, as far as its stamps tell.
        return right if path == "model.bin" and not corrected else known(self, path, key, strict=strict)  # type: ignore[arg-type]

    def correct(self: index.Index, path: str, hashed: Hashed) -> None:
        corrected.append(path)
        put(self, path, hashed)

    monkeypatch.setattr(index.Index, "get", rotted)
    monkeypatch.setattr(index.Index, "put", correct)
    fake.requests.clear()
    here.run("verify", "--deep", "--repair")
    assert Digest.of(here.path("model.bin").read_bytes()) == right
    asked = [one.headers.get("range") for one in fake.asked("GET", "/blobs/")]
    assert asked == ["bytes=200000-203999"]
    assert corrected


def test_repair_of_a_file_that_is_gone(fake: Fake, tmp_path: Path) -> None:
    base = chunked.plain({"model.bin": OLD})
    made = chunked.delta({"model.bin": NEW, "copy.bin": OLD}, base)
    chunked.publish(f"{fake.host}/m:v1", made)
    here = Bundle.clone(f"{fake.host}/m:v1", tmp_path / "here")
    here.path("model.bin").unlink()
    here.run("verify", "--repair")
    assert here.path("model.bin").read_bytes() == b"".join(NEW)
