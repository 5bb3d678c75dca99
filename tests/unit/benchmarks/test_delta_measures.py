"""What is measured without a registry: the store of Xet, the rate of chunking, the large file."""

from __future__ import annotations

from pathlib import Path

from benchmarks.delta import chunking, xet
from benchmarks.delta.journeys import expect, version
from benchmarks.delta.window import FILLED, fill, write
from benchmarks.measure import Failed
from modelops_bundle.formats import safetensors


def test_xorbs_and_shards_are_counted_and_the_rest_of_the_store_is_not(tmp_path: Path) -> None:
    assert xet.stored(tmp_path) == xet.Stored(0, 0)
    place = tmp_path / "xet" / "xorbs"
    for name, size in {
        "xorbs/default.aa": 1000,
        "xorbs/default.aa.tagset": 30,
        "shards/bb.mdb": 200,
        "shards/bb.mdb.tagset": 30,
        "global_dedup_lookup.redb": 4096,
        "../shard-cache/cc.mdb": 500,
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"x" * size)
    found = xet.stored(tmp_path)
    assert (found.xorbs, found.shards, found.together) == (1000, 200, 1200)
    assert found.since(xet.Stored(400, 50)) == xet.Stored(600, 150)


def test_rates_of_a_file_that_content_cuts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"".join(b"%d,row\n" % number for number in range(100_000)))
    rate = chunking.Rate(path.name, **chunking.measure(path))  # type: ignore[arg-type]
    assert rate.chunker.startswith("fastcdc2020/")
    assert rate.alone > 0 < rate.together


def test_the_large_file_is_mostly_holes_and_can_be_trained(tmp_path: Path) -> None:
    path, matrix = tmp_path / "large.safetensors", 256
    write(path, 30 * 2 * matrix * matrix, matrix)
    data = path.read_bytes()
    tensors = safetensors.read_header(lambda offset, count: data[offset : offset + count], len(data)).tensors
    assert len(tensors) == 30
    filled = [number for number, tensor in enumerate(tensors) if any(data[tensor.start : tensor.stop])]
    assert filled == [0, FILLED]
    fill(path, FILLED, matrix, trained=True)
    changed = tensors[FILLED]
    after = path.read_bytes()
    assert after[: changed.start] == data[: changed.start]
    assert after[changed.start : changed.stop] != data[changed.start : changed.stop]


def test_what_came_back_is_compared_by_digest(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there, here):
        folder.mkdir()
        (folder / "a").write_bytes(b"one")
    wanted = version(there)
    expect(wanted, here)
    (here / "b").write_bytes(b"stale")
    expect(wanted, here, only=False)
    assert _said(lambda: expect(wanted, here)) == "a, b instead of a"
    (here / "a").write_bytes(b"two")
    assert _said(lambda: expect(wanted, here, only=False)) == "a came back with other bytes"
    (here / "a").unlink()
    assert _said(lambda: expect(wanted, here, only=False)) == "a did not come back"


def _said(work: object) -> str:
    try:
        work()  # type: ignore[operator]
    except Failed as error:
        return str(error)
    return ""
