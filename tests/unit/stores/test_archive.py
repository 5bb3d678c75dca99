"""An archive as a store: what it holds and names, and what it never does."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from modelops_bundle.errors import Corrupt, NotFound, Unsupported
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import ABSENT, Lister, Referrers, Rooted
from modelops_bundle.stores.archive import ArchiveStore

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_MANIFEST}).encode()
WHAT = Descriptor.of(media.OCI_MANIFEST, MANIFEST)
BLOB = Descriptor.of("application/octet-stream", b"content")


def write(path: Path, names: list[str | None], **more: bytes) -> Path:
    entries = []
    for name in names:
        entry = Descriptor(WHAT.media_type, WHAT.digest, WHAT.size).to_json()
        entries.append(entry if name is None else {**entry, "annotations": {media.REF_NAME: name}})
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": index,
        f"blobs/sha256/{WHAT.digest.hex}": MANIFEST,
        f"blobs/sha256/{BLOB.digest.hex}": b"content",
        **more,
    }
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    return ArchiveStore(write(tmp_path / "x.tar", ["v1", "registry.example/team/model:v2", None]), tmp_path)


def test_names_and_what_they_stand_for(store: ArchiveStore) -> None:
    assert store.tags() == ["v1", "v2"]
    assert store.resolve("v1") == WHAT
    assert store.resolve("v2", data=True) == Descriptor(WHAT.media_type, WHAT.digest, WHAT.size, data=MANIFEST)
    assert store.resolve("none") is None
    assert store.resolve(str(WHAT.digest)) == WHAT
    assert store.resolve(str(BLOB.digest)) is None
    assert store.roots() == [(WHAT, "v1"), (WHAT, "v2"), (WHAT, None)]
    assert isinstance(store, Lister)
    assert isinstance(store, Rooted)
    assert isinstance(store, Referrers)
    assert store.referrers(WHAT.digest) == []


def test_content_and_parts_of_it(store: ArchiveStore) -> None:
    assert store.has(BLOB)
    assert not store.has(Descriptor(BLOB.media_type, BLOB.digest, 3))
    assert not store.has(Descriptor.of("x", b"other"))
    for start, stop, data in ((0, None, b"content"), (2, 5, b"nte"), (7, None, b""), (0, 100, b"content")):
        with store.open(BLOB, start, stop) as chunks:
            assert b"".join(chunks) == data
    with pytest.raises(NotFound), store.open(Descriptor.of("x", b"other")):
        pass
    with pytest.raises(Corrupt, match="7 bytes instead of 3"), store.open(Descriptor(BLOB.media_type, BLOB.digest, 3)):
        pass


def test_nothing_is_written(store: ArchiveStore) -> None:
    for act in (
        lambda: store.put(BLOB, [b"content"]),
        lambda: store.tag("v3", WHAT, MANIFEST, ABSENT),
        lambda: store.refer(WHAT.digest, WHAT, MANIFEST),
    ):
        with pytest.raises(Unsupported):
            act()


def test_files_of_docker_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", ["v1"], **{"manifest.json": b"[]", "repositories": b"{}"})
    assert ArchiveStore(path, tmp_path).tags() == ["v1"]


def test_a_manifest_that_lies(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", ["v1"])
    path.write_bytes(path.read_bytes().replace(MANIFEST, MANIFEST.replace(b"2", b"3", 1)))
    store = ArchiveStore(path, tmp_path)
    with pytest.raises(Corrupt, match="damaged"):
        store.resolve("v1", data=True)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", ["v1"])
    store = ArchiveStore(path, tmp_path)
    with store.open(BLOB) as chunks:
        path.write_bytes(b"")
        with pytest.raises(Corrupt, match="shorter"):
            list(chunks)


def test_it_is_closed_after_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"garbage" * 200)
    with pytest.raises(Corrupt):
        ArchiveStore(tmp_path / "x.tar", tmp_path)
    with pytest.raises(NotFound):
        ArchiveStore(tmp_path / "none.tar", tmp_path)
