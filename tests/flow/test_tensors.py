"""inspect --tensors and cat --range: weights seen without pulling them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle


def safetensors(data: int) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [data // 4], "data_offsets": [0, data]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(data)


def gguf(data: int) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    head += struct.pack("<Q", 1) + b"k" + struct.pack("<IQ", 8, 5) + b"value"
    head += struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, data // 2, 1, 0)
    return head + bytes(-len(head) % 32) + bytes(data)


FILES = {
    "model.safetensors": safetensors(3_000_000),
    "deep/model.gguf": gguf(3_000_000),
    "broken.safetensors": b"not one at all",
    "notes.txt": b"0123456789",
}


@pytest.fixture
def pushed(fake: Fake, tmp_path: Path) -> Bundle:
    made = Bundle.create(tmp_path / "a", f"{fake.host}/m", FILES)
    made.push("--tag", "v1")
    fake.requests.clear()
    return made


def test_tensors_are_listed_without_pulling(pushed: Bundle, fake: Fake) -> None:
    weights = {each["path"]: each for each in pushed.json("inspect", ":v1", "--tensors")["weights"]}
    assert set(weights) == {"model.safetensors", "deep/model.gguf", "broken.safetensors"}
    one = weights["model.safetensors"]
    assert (one["format"], one["parameters"], one["types"]) == ("safetensors", 750_000, {"F32": 750_000})
    assert one["tensors"][0]["shape"] == [750_000]
    two = weights["deep/model.gguf"]
    assert (two["format"], two["types"], two["metadata"]) == ("gguf", {"F16": 1_500_000}, {"k": "value"})
    assert weights["broken.safetensors"]["error"]["code"] == "corrupt"
    asked = fake.asked("GET", "/blobs/")
    assert sorted(one.headers.get("range", "") for one in asked) == ["", "bytes=0-262143", "bytes=0-262143"]


def test_the_text_shows_them(pushed: Bundle) -> None:
    shown = pushed.run("inspect", ":v1", "--tensors").out
    assert "model.safetensors  1 tensor: 750,000 F32" in shown
    assert "not a safetensors file" in shown


def test_weights_that_travel_in_packs(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", None, {"small.safetensors": safetensors(400)})
    made.path("small.safetensors").chmod(0o755)
    made.push("--tag", "v1", "--pack", "always")
    [found] = made.json("inspect", ":v1", "--tensors")["weights"]
    assert found["parameters"] == 100


def test_a_version_without_weights(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", None, {"a.txt": "a"})
    made.push("--tag", "v1")
    assert made.json("inspect", ":v1", "--tensors")["weights"] == []
    made.refused(6, "inspect", ":none", "--tensors")


@pytest.mark.parametrize(
    ("part", "data"),
    [("0-0", b"0"), ("2-4", b"234"), ("5-", b"56789"), ("8-100", b"89"), ("10-", b""), ("99-200", b"")],
)
@pytest.mark.parametrize("pack", ["never", "always"])
def test_parts_of_files(tmp_path: Path, part: str, data: bytes, pack: str) -> None:
    made = Bundle.create(tmp_path / "a", None, {"notes.txt": FILES["notes.txt"]})
    made.path("notes.txt").chmod(0o755 if pack == "always" else 0o644)
    made.push("--tag", "v1", "--pack", pack)
    assert made.run("cat", ":v1:notes.txt", "--range", part).data == data


def test_a_part_costs_only_that(pushed: Bundle, fake: Fake) -> None:
    assert pushed.run("cat", ":v1:model.safetensors", "--range", "9-20").data == FILES["model.safetensors"][9:21]
    [asked] = fake.asked("GET", "/blobs/")
    assert asked.headers["range"] == "bytes=9-20"


@pytest.mark.parametrize("part", ["", "-5", "5-2", "a-b", "1", "0-1,3-4", "99999999999999999999-"])
def test_ranges_that_are_none(pushed: Bundle, part: str) -> None:
    pushed.refused(2, "cat", ":v1:notes.txt", "--range", part)


def test_part_of_a_link(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", None, {"notes.txt": "x"})
    made.path("link").symlink_to("notes.txt")
    made.run("add", "link")
    made.push("--tag", "v1")
    assert made.run("cat", ":v1:link", "--range", "0-4").data == b"notes"
