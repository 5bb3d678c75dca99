"""The digests of packs made before: kept beside the tree, believed only whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.model import packs
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.packs import Pack
from modelops_bundle.workspace.packs import PackCache
from tests.support.things import file

MEMBERS = (("a", file("a")), ("b", file("b", executable=True)))
OTHER = (("a", file("changed")), MEMBERS[1])
PACK = Pack(MEMBERS, Digest.of(b"pack"), packs.gzip_size(packs.tar_size(MEMBERS)))


def test_what_was_saved_is_found(tmp_path: Path) -> None:
    PackCache(tmp_path / "packs").save([PACK])
    again = PackCache(tmp_path / "packs")
    assert again.get(MEMBERS) == PACK
    assert again.get(OTHER) is None
    assert again.get(MEMBERS[:1]) is None


def test_only_the_last_is_kept(tmp_path: Path) -> None:
    cache = PackCache(tmp_path / "packs")
    cache.save([PACK])
    other = Pack(OTHER, Digest.of(b"other"), 1)
    cache.save([other])
    assert cache.get(MEMBERS) is None
    assert PackCache(tmp_path / "packs").get(MEMBERS) is None


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "packs"
    PackCache(path).save([PACK])
    before = path.stat()
    again = PackCache(path)
    again.get(MEMBERS)
    again.save([PACK])
    assert path.stat().st_ino == before.st_ino


def test_an_absent_cache_knows_nothing(tmp_path: Path) -> None:
    assert PackCache(tmp_path / "none").get(MEMBERS) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other json", "no json", "directory", "link"])
def test_a_damaged_cache_knows_nothing_and_is_replaced(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "packs"
    PackCache(path).save([PACK])
    data = path.read_bytes()
    path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage == "link":
        path.symlink_to("elsewhere")
    else:
        body = {"other json": b"[]", "no json": b"?"}.get(damage)
        sealed = Digest.of(body).hex.encode() + b"\n" + body if body else b""
        path.write_bytes(
            {"cut": data[:-1], "flipped": data[:70] + bytes([data[70] ^ 1]) + data[71:], "empty": b""}.get(
                damage, sealed
            )
        )
    assert PackCache(path).get(MEMBERS) is None
    if damage != "directory":
        PackCache(path).save([PACK])
        assert PackCache(path).get(MEMBERS) == PACK
