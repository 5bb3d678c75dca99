"""Blobs that working trees share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelops_bundle.errors import NotFound
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.stores import layout
from modelops_bundle.stores.cache import Cache

DATA = b"shared content" * 1000
WHAT = Descriptor.of("application/octet-stream", DATA)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "verified"
    path.write_bytes(DATA)
    return path


def held(cache: Cache, what: Descriptor = WHAT) -> bytes | None:
    with cache.open(what) as descriptor:
        return None if descriptor is None else os.pread(descriptor, 1 << 20, 0)


def test_what_was_kept_as_a_copy_is_found(tmp_path: Path, source: Path) -> None:
    cache = Cache(tmp_path / "cache", copies=True)
    assert held(cache) is None
    cache.keep(WHAT, source)
    assert held(Cache(tmp_path / "cache")) == DATA
    assert (tmp_path / "cache" / "oci-layout").is_file()


def test_without_copies_only_shared_blocks_are_kept(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    monkeypatch.setattr(layout, "reflink", lambda _source, _out: False)
    cache.keep(WHAT, source)
    assert held(cache) is None

    def share(original: int, out: int) -> bool:
        os.write(out, os.pread(original, 1 << 20, 0))
        return True

    monkeypatch.setattr(layout, "reflink", share)
    cache.keep(WHAT, source)
    assert held(cache) == DATA


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert held(Cache(tmp_path / "cache")) is None
    assert not (tmp_path / "cache").exists()


def test_a_blob_cut_short_is_not_offered(tmp_path: Path, source: Path) -> None:
    cache = Cache(tmp_path / "cache", copies=True)
    cache.keep(WHAT, source)
    (tmp_path / "cache" / "blobs" / "sha256" / WHAT.digest.hex).write_bytes(DATA[:-1])
    assert held(cache) is None


@pytest.mark.parametrize("broken", ["file", "link"])
def test_a_cache_that_cannot_be_used_is_none(tmp_path: Path, source: Path, broken: str) -> None:
    cache = Cache(tmp_path / "cache", copies=True)
    if broken == "file":
        (tmp_path / "cache").write_bytes(b"")
    else:
        cache.keep(WHAT, source)
        blob = tmp_path / "cache" / "blobs" / "sha256" / WHAT.digest.hex
        blob.unlink()
        blob.symlink_to(source)
    assert held(cache) is None
    cache.keep(WHAT, source)


# --- whole versions


def test_a_verified_file_becomes_a_read_only_blob(tmp_path: Path, source: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert not cache.has(WHAT)
    cache.take(WHAT, source)
    assert cache.has(WHAT) and not source.exists()
    assert (cache.blobs / WHAT.digest.hex).stat().st_mode & 0o777 == 0o444
    cache.drop(WHAT.digest)
    cache.drop(WHAT.digest)
    assert not cache.has(WHAT)


def test_a_version_is_listed_when_it_is_whole(tmp_path: Path, source: Path) -> None:
    cache = Cache(tmp_path / "cache")
    data = Manifest(WHAT, ()).to_bytes()
    what = Descriptor.of(media.OCI_MANIFEST, data)
    cache.put_manifest(what, data)
    assert cache.versions() == []
    assert cache.needs(what.digest) == {what.digest, WHAT.digest}
    with pytest.raises(NotFound):
        cache.complete(what, data)
    cache.take(WHAT, source)
    cache.complete(what, data)
    assert [each.digest for each in cache.versions()] == [what.digest]
    (cache.blobs / what.digest.hex).write_bytes(b"x" * len(data))
    assert cache.manifest(what.digest) is None
    cache.put_manifest(what, data)
    assert cache.manifest(what.digest) is not None


def test_what_is_held_is_told_with_all_it_needs(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    data = Manifest(WHAT, ()).to_bytes()
    what = Descriptor.of(media.OCI_MANIFEST, data)
    cache.put_manifest(what, data)
    hold = cache.hold(what.digest, shared=True)
    assert hold is not None
    assert cache.held() == {what.digest, WHAT.digest}
    hold.release()
    assert cache.held() == set()
    assert list((tmp_path / "cache/locks").iterdir()) == []
