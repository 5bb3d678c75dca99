"""diff --tensors: tensors that differ, told from headers and chunk lists."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.formats import cuts
from modelops_bundle.operations.tensor_sides import WeightFile
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.workspace import chunks as kept
from tests.support import chunked
from tests.support.bundle import Bundle, call

Tensors = Mapping[str, bytes]


def safetensors(
    tensors: Tensors,
    metadata: Mapping[str, str] | None = None,
    dtype: str = "U8",
    shapes: Mapping[str, list[int]] | None = None,
) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata is not None else {}
    at = 0
    for name, data in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": (shapes or {}).get(name, [len(data)]),
            "data_offsets": [at, at + len(data)],
        }
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(tensors.values())


def gguf(metadata: Mapping[str, str], tensors: Mapping[str, bytes]) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += text(key) + struct.pack("<I", 8) + text(value)
    at, body = 0, b""
    for name, data in tensors.items():
        head += text(name) + struct.pack("<IQIQ", 1, len(data) // 4, 0, at)
        body += data + bytes(-len(data) % 32)
        at = len(body)
    return head + bytes(-len(head) % 32) + body


def chunks(data: bytes, *, step: int = 64) -> list[bytes]:
    """Cut as tensors are: the header, then each tensor from its beginning."""
    head = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:head])
    header.pop("__metadata__", None)
    found = [data[:head]]
    for about in sorted(header.values(), key=lambda each: each["data_offsets"]):
        start, stop = (head + offset for offset in about["data_offsets"])
        found += [data[at : min(at + step, stop)] for at in range(start, stop, step)]
    return found


def weights(**changed: bytes) -> dict[str, bytes]:
    return {f"layer.{name}": changed.get(name, name.encode() * 200) for name in "abcdef"}


def told(document: dict[str, Any]) -> dict[str, str]:
    return {change["name"].rpartition(".")[2]: change["change"] for change in document["tensors"]}


def versions(fake: Fake, *files: Mapping[str, bytes | Sequence[bytes]]) -> list[str]:
    """Plain versions of these files; where each is."""
    places = [f"{fake.host}/m:v{number}" for number in range(1, len(files) + 1)]
    for place, each in zip(places, files, strict=True):
        chunked.publish(place, chunked.plain(each, chunker="safetensors/1m"))
    return places


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is small enough to be brought."""
    monkeypatch.setattr(cuts, "SMALLEST", 1)


def compared(*words: str, expect: int = 0) -> dict[str, Any]:
    return call("--json", "diff", "--tensors", *words, expect=expect).json


OLD = safetensors(weights(), {"format": "pt", "epoch": "1"})


@pytest.mark.usefixtures("large")
def test_tensors_of_large_files_are_told_apart_by_chunk_lists(fake: Fake) -> None:
    new = safetensors({**weights(b=b"B" * 200), "layer.g": b"g" * 50}, {"format": "pt", "epoch": "2", "by": "me"})
    old, now = versions(fake, {"m.safetensors": chunks(OLD)}, {"m.safetensors": chunks(new)})
    document = compared(old, now)
    assert told(document) == {"b": "changed", "g": "added"}
    [change] = [each for each in document["tensors"] if each["change"] == "changed"]
    assert change["to"] == {"path": "m.safetensors", "dtype": "U8", "shape": [200], "size": 200}
    assert document["summary"] == {
        "tensors": 7,
        "changed": 1,
        "added": 1,
        "removed": 0,
        "reshaped": 0,
        "moved": 0,
        "unknown": 0,
        "size": 250,
        "unknown_size": 0,
        "why_unknown": [],
        "other_files": 0,
    }
    assert document["files"][0]["metadata"] == {"by": "added", "epoch": "changed"}
    shown = call("diff", "--tensors", old, now).out
    assert "  changed  layer.b  U8 200  200 B" in shown
    assert "1 of 7 tensors changed, 200 B; 1 added, 50 B" in shown


@pytest.mark.usefixtures("large")
def test_only_the_beginnings_of_files_are_asked_for(fake: Fake) -> None:
    tensors = {"a": b"a" * (1 << 20), "b": b"b" * (1 << 20)}
    new = safetensors({**tensors, "b": b"B" * (1 << 20)})
    old, now = versions(
        fake,
        {"m.safetensors": chunks(safetensors(tensors), step=1 << 18)},
        {"m.safetensors": chunks(new, step=1 << 18)},
    )
    fake.requests.clear()
    assert told(compared(old, now)) == {"b": "changed"}
    asked = [one.headers.get("range") for one in fake.asked("GET", "/blobs/")]
    assert asked == ["bytes=0-262143", "bytes=0-262143"]


@pytest.mark.usefixtures("large")
def test_exit_codes_are_those_of_diff(fake: Fake) -> None:
    old, now = versions(fake, {"m.safetensors": chunks(OLD), "a": b"a"}, {"m.safetensors": chunks(OLD), "a": b"b"})
    assert told(compared(old, old)) == {}
    call("diff", "--tensors", "--exit-code", old, old)
    call("diff", "--tensors", old, now)
    call("diff", "--tensors", "--exit-code", old, now, expect=1)
    assert compared(old, now)["summary"]["other_files"] == 1
    assert call("--json", "diff", "--tensors", "--short", old, now, expect=2).error["code"] == "usage"


@pytest.mark.usefixtures("large")
def test_the_same_bytes_elsewhere_have_moved(fake: Fake) -> None:
    turned = dict(reversed(weights().items()))
    halves = [dict([*weights().items()][at : at + 3]) for at in (0, 3)]
    first, reordered, resharded = versions(
        fake,
        {"m.safetensors": chunks(OLD)},
        {"m.safetensors": chunks(safetensors(turned, {"format": "pt", "epoch": "1"}))},
        {f"m-{at}.safetensors": chunks(safetensors(half)) for at, half in enumerate(halves)},
    )
    document = compared(first, reordered)
    assert (told(document), document["summary"]["moved"]) == ({}, 6)
    document = compared(first, resharded)
    assert (told(document), document["summary"]["moved"]) == ({}, 6)
    assert {file["path"]: file["action"] for file in document["files"]} == {
        "m.safetensors": "deleted",
        "m-0.safetensors": "added",
        "m-1.safetensors": "added",
    }
    assert "0 of 6 tensors changed, 0 B; 6 moved" in call("diff", "--tensors", first, resharded).out


@pytest.mark.usefixtures("large")
def test_another_type_or_shape_and_what_is_gone(fake: Fake) -> None:
    shaped = safetensors(weights(), {"format": "pt", "epoch": "1"}, shapes={"layer.a": [20, 10]})
    less = {name: data for name, data in weights().items() if name != "layer.f"}
    old, now, fewer = versions(
        fake,
        {"m.safetensors": chunks(OLD)},
        {"m.safetensors": chunks(shaped)},
        {"m.safetensors": chunks(safetensors(less))},
    )
    assert told(compared(old, now)) == {"a": "reshaped"}
    assert "U8 200 -> U8 20×10" in call("diff", "--tensors", old, now).out
    assert told(compared(old, fewer)) == {"f": "removed"}
    assert compared(old, fewer)["files"][0]["metadata"] == {"epoch": "removed", "format": "removed"}


@pytest.mark.usefixtures("large")
def test_without_a_chunk_list_nobody_knows(fake: Fake) -> None:
    new = safetensors(weights(b=b"B" * 200), {"format": "pt", "epoch": "1"})
    old, now, bare = versions(
        fake, {"m.safetensors": chunks(OLD)}, {"m.safetensors": chunks(new)}, {"m.safetensors": new}
    )
    document = compared(old, bare)
    assert set(told(document).values()) == {"unknown"}
    assert document["summary"]["why_unknown"] == [
        f"m.safetensors has no chunk list in {bare}",
        f"m.safetensors is cut otherwise in {old}",
    ]
    assert "unknown: m.safetensors has no chunk list" in call("diff", "--tensors", old, bare).out
    assert told(compared(now, bare)) == {}


@pytest.mark.usefixtures("large")
def test_other_cuts_tell_of_tensors_whose_chunks_agree(fake: Fake) -> None:
    changed = weights(b=b"B" * 200)
    new = safetensors(changed, {"format": "pt", "epoch": "1"})
    head = len(new) - 1200
    # One run for a and b, and the others cut as they were.
    mixed = [new[:head], new[head : head + 400], *chunks(new)[9:]]
    assert b"".join(mixed) == new
    old, now = versions(fake, {"m.safetensors": chunks(OLD)}, {"m.safetensors": mixed})
    assert told(compared(old, now)) == {"a": "unknown", "b": "unknown"}


@pytest.mark.usefixtures("large")
def test_lists_that_say_that_nothing_differs_are_not_believed(fake: Fake, tmp_path: Path) -> None:
    new = safetensors(weights(b=b"B" * 200), {"format": "pt", "epoch": "1"})
    old, now = (f"{fake.host}/m:{tag}" for tag in ("old", "now"))
    chunked.publish(old, chunked.plain({"m.safetensors": chunks(OLD)}))
    chunked.publish(now, chunked.lying(chunked.plain({"m.safetensors": chunks(new)}), "m.safetensors", chunks(OLD)))
    why = "the chunk lists of m.safetensors say that nothing differs, and its digests that something does"
    document = compared(old, now)
    assert set(told(document).values()) == {"unknown"}
    assert document["summary"]["unknown"] == 6
    assert document["summary"]["why_unknown"] == [why]
    assert why in call("diff", "--tensors", old, now).out
    tree = Bundle.create(tmp_path / "tree", f"{fake.host}/m", {"m.safetensors": OLD})
    assert tree.json("diff", "--tensors", now)["summary"]["why_unknown"] == [why]


def test_the_list_of_a_small_file_is_not_believed(fake: Fake) -> None:
    new = safetensors(weights(b=b"B" * 200), {"format": "pt", "epoch": "1"})
    old, now = (f"{fake.host}/m:{tag}" for tag in ("old", "now"))
    chunked.publish(old, chunked.plain({"m.safetensors": chunks(OLD)}))
    chunked.publish(now, chunked.lying(chunked.plain({"m.safetensors": chunks(new)}), "m.safetensors", chunks(OLD)))
    assert told(compared(old, now)) == {"b": "changed"}


def test_small_files_are_brought(fake: Fake) -> None:
    new = safetensors(weights(b=b"B" * 200), {"format": "pt", "epoch": "1"})
    old, now = versions(fake, {"m.safetensors": OLD}, {"m.safetensors": new})
    assert told(compared(old, now)) == {"b": "changed"}
    mixed, other = versions(fake, {"m.safetensors": chunks(OLD)}, {"m.safetensors": chunked.cut(new, 170)})
    assert told(compared(mixed, other)) == {"b": "changed"}


def test_gguf_and_a_header_that_differs_unseen(fake: Fake) -> None:
    data = {"t": b"1" * 400, "u": b"2" * 64}
    old = gguf({"k": "v", "long": "x" * 5000}, data)
    template = gguf({"k": "v", "long": "y" * 5000}, data)
    key = gguf({"k": "w", "long": "x" * 5000}, {**data, "u": b"3" * 64})
    first, second, third = versions(fake, {"m.gguf": old}, {"m.gguf": template}, {"m.gguf": key})
    document = compared(first, second)
    assert (told(document), document["files"][0]["header"]) == ({}, True)
    assert "header differs in what is not shown" in call("diff", "--tensors", first, second).out
    document = compared(first, third)
    assert (told(document), document["files"][0]["metadata"]) == ({"u": "changed"}, {"k": "changed"})


def test_a_file_that_is_none_is_named(fake: Fake) -> None:
    old, now = versions(fake, {"m.safetensors": OLD}, {"m.safetensors": b"nothing at all"})
    document = compared(old, now)
    assert set(told(document).values()) == {"removed"}
    assert "not a safetensors file" in document["files"][0]["problems"][0]
    assert "unread: not a safetensors file" in call("diff", "--tensors", old, now).out


@pytest.mark.parametrize("cutting", ["chunks", "whole"])
@pytest.mark.usefixtures("large")
def test_the_tree_against_what_it_was_synced_with(fake: Fake, tmp_path: Path, cutting: str) -> None:
    held = chunks(OLD) if cutting == "chunks" else OLD
    [place] = versions(fake, {"m.safetensors": held, "same.safetensors": b"anything"})
    here = Bundle.clone(place, tmp_path / "here")
    assert told(here.json("diff", "--tensors")) == {}
    here.write({"m.safetensors": safetensors(weights(c=b"C" * 200), {"format": "pt", "epoch": "1"})})
    document = here.json("diff", "--tensors")
    if cutting == "whole":
        assert set(told(document).values()) == {"unknown"}
        return
    assert told(document) == {"c": "changed"}
    assert (document["from"], document["to"]) == (place, "working tree")
    # Its tag may go on.
    versions(fake, {"m.safetensors": b"x"})
    assert told(here.json("diff", "--tensors")) == {"c": "changed"}
    assert set(told(here.json("diff", "--tensors", place)).values()) == {"added"}


@pytest.mark.usefixtures("large")
def test_of_a_large_file_in_the_tree_the_kept_list_is_enough(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "SMALLEST", 1)
    [place] = versions(fake, {"m.safetensors": chunks(OLD, step=1 << 20)})
    here = Bundle.clone(place, tmp_path / "here")
    here.write({"m.safetensors": safetensors(weights(c=b"C" * 200), {"format": "pt", "epoch": "1"})})
    monkeypatch.setattr(WeightFile, "readable", False)
    assert told(here.json("diff", "--tensors")) == {"c": "changed"}


def test_a_tree_that_was_never_synced(tmp_path: Path) -> None:
    here = Bundle.create(tmp_path / "a", None, {"m.safetensors": OLD})
    assert set(told(here.json("diff", "--tensors")).values()) == {"added"}


@pytest.mark.usefixtures("large")
def test_delta_versions(fake: Fake, tmp_path: Path) -> None:
    base = chunked.plain({"m.safetensors": chunks(OLD)})
    new = safetensors(weights(b=b"B" * 200), {"format": "pt", "epoch": "1"})
    version = chunked.delta({"m.safetensors": chunks(new)}, base, codec="zstd")
    chunked.publish(f"{fake.host}/m:v1", base)
    chunked.publish(f"{fake.host}/m:v2", version)
    assert told(compared(f"{fake.host}/m:v1", f"{fake.host}/m:v2")) == {"b": "changed"}
