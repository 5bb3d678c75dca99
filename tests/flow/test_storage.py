"""How versions are stored, as inspect, ls and tags tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.model.digest import Digest
from modelops_bundle.operations import listing
from modelops_bundle.testing.registry import Registry as Fake
from tests.support import chunked
from tests.support.bundle import Bundle, call
from tests.support.oci import Repository, titled

OLD = [bytes([number]) * 1000 for number in range(8)]
NEW = [*OLD[:3], b"n" * 1000, *OLD[4:]]


def published(place: str, *, inline: bool = True) -> chunked.Version:
    old = OLD if inline else [*OLD, *(number.to_bytes(4, "big") * 20 for number in range(200))]
    base = chunked.plain({"model.bin": old, "config.json": b"{}"})
    made = chunked.delta({"model.bin": [*NEW, *old[8:]], "config.json": b"{}", "copy.json": b"{}"}, base)
    chunked.publish(f"{place}:v1", base)
    chunked.publish(f"{place}:v2", made)
    return made


def test_inspect_says_how_a_version_is_stored(fake: Fake) -> None:
    place = f"{fake.host}/m"
    made = published(place)
    old, new = (pack.blob.digest for pack in made.chunks.packs)
    assert call("--json", "inspect", f"{place}:v2").json["storage"] == {
        "mode": "delta",
        "size": 8004,
        "stored": 9002,
        "packs": 2,
        "files": {
            "model.bin": {
                "chunker": chunked.CHUNKER,
                "chunks": 8,
                "segments": 3,
                "packs": [str(old), str(new)],
                "whole": False,
            }
        },
    }
    shown = call("inspect", f"{place}:v2", "--files").out
    assert "storage    delta, 8.8 KiB, 2 chunk packs" in shown
    assert "model.bin  (3 segments of 2 chunk packs)" in shown
    plain = call("--json", "inspect", f"{place}:v1").json["storage"]
    assert (plain["mode"], plain["stored"], plain["packs"]) == ("plain", 8002, 0)
    assert plain["files"]["model.bin"]["whole"]
    assert "storage    plain, 7.8 KiB" in call("inspect", f"{place}:v1").out


def test_ls_says_so_too(fake: Fake, tmp_path: Path) -> None:
    place = f"{fake.host}/m"
    published(place)
    document = call("--json", "ls", f"{place}:v2").json
    assert (document["size"], document["storage"]["stored"]) == (8004, 9002)
    assert "(delta storage: 8.8 KiB)" in call("ls", f"{place}:v2").out
    assert "delta" not in call("ls", f"{place}:v1").out
    assert Bundle.create(tmp_path / "a", None, {"a": "a"}).json("ls")["storage"] is None


def test_tags_count_files_not_packs_or_pointers(fake: Fake) -> None:
    place = f"{fake.host}/m"
    made = published(place)
    tags = {tag["tag"]: tag for tag in call("--json", "tags", place).json["tags"]}
    pointers = sum(len(data) for data in made.artifact.made.values())
    assert pointers > 0
    assert (tags["v1"]["size"], tags["v1"]["stored"], tags["v1"]["files"]) == (8002, 8002, 2)
    assert (tags["v2"]["size"], tags["v2"]["files"]) == (8004, 3)
    assert tags["v2"]["stored"] == 9002 + pointers
    assert (tags["v1"]["storage"], tags["v2"]["storage"]) == ("plain", "delta")
    assert "bundle (delta storage: 9" in call("tags", place).out


def test_an_index_that_is_apart_is_asked_for_unless_it_is_large(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"{fake.host}/m"
    made = published(place, inline=False)
    fake.requests.clear()

    def tag() -> dict[str, object]:
        [found] = [tag for tag in call("--json", "tags", place).json["tags"] if tag["tag"] == "v2"]
        return found  # type: ignore[no-any-return]

    assert (tag()["size"], tag()["files"]) == (8004 + 200 * 80, 3)
    assert {each.path.rpartition("/")[2] for each in fake.asked("GET", "/blobs/")} == {
        str(Digest.of(made.artifact.index))
    }
    monkeypatch.setattr(listing, "_SMALL_INDEX", 1000)
    fake.requests.clear()
    assert (tag()["size"], tag()["files"]) == (None, 3)
    assert fake.asked("GET", "/blobs/") == []


def test_what_others_made_has_no_storage(repo: str) -> None:
    Repository(repo).publish("oras", titled([("x.txt", b"x\n")]))
    assert call("--json", "inspect", f"{repo}:oras").json["storage"] is None
    assert call("--json", "ls", f"{repo}:oras").json["storage"] is None
    [tag] = call("--json", "tags", repo).json["tags"]
    assert (tag["size"], tag["files"], tag["storage"]) == (2, 1, None)
