"""The image layout: valid layers with their digests, the same bytes for the same tree, read back as what it was."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from modelops_bundle.errors import Corrupt, UnsafePath, UsageError
from modelops_bundle.events import Run
from modelops_bundle.model import artifact, image, media
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.image import Image
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.packs import Pack
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.transfer import pack as making

CONTENT = {"a.txt": b"a\n", "bin/run": b"#!/bin/sh\n", "é.bin": b"x" * 3000}


def tree() -> Snapshot:
    entries = {path: Entry("file", Digest.of(data), len(data), path == "bin/run") for path, data in CONTENT.items()}
    return Snapshot({**entries, "empty": Entry.directory(), "l": Entry.link("bin/run")})


def sealed(snapshot: Snapshot, how: Image) -> tuple[Pack, ...]:
    return tuple(
        making.seal(members, lambda path: [CONTENT[how.outside(path)]], Run(), inner=True)
        for members in image.cut(snapshot, how)
    )


@pytest.mark.parametrize("how", [Image(), Image("linux/arm/v7", "models/deep")])
def test_layers_are_tars_whose_digests_the_config_has(how: Image) -> None:
    snapshot = tree()
    packed = sealed(snapshot, how)
    made = image.build(snapshot, {"user": "x"}, packed, how)
    blobs = {made.manifest.layers[0].digest: made.index}
    for each in packed:
        blobs[each.digest] = b"".join(making.blob(each.members, lambda path: [CONTENT[how.outside(path)]]))
    config = json.loads(made.config)
    names: list[str] = []
    for layer, diff in zip(made.manifest.layers, config["rootfs"]["diff_ids"], strict=True):
        data = gzip.decompress(blobs[layer.digest])
        assert diff == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert layer.media_type == image.LAYER
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names += [each.name for each in archive.getmembers() if not each.isdir()]
    assert sorted(names) == sorted([".bundle/index.json", *(how.inside(path) for path in [*CONTENT, "l"])])
    assert "/".join(v for k in ("os", "architecture", "variant") if (v := config.get(k))) == how.platform
    assert made.manifest.artifact_type is None
    assert len({layer.annotations[media.TITLE] for layer in made.manifest.layers}) == len(made.manifest.layers)


def test_it_is_read_back_as_ours() -> None:
    how, snapshot = Image(prefix="models"), tree()
    packed = sealed(snapshot, how)
    made = image.build(snapshot, None, packed, how)
    found = artifact.read(Manifest.from_bytes(made.manifest.to_bytes()), lambda what: made.index)
    assert found.snapshot == snapshot
    assert found.version is not None
    (where,) = (found.places["a.txt"],)
    held = next(each for each in packed if each.digest == where.blob.digest)
    data = gzip.decompress(b"".join(making.blob(held.members, lambda path: [CONTENT[how.outside(path)]])))
    assert where.offset is not None
    assert data[where.offset : where.offset + 2] == b"a\n"


def test_content_is_that_of_the_plain_layout() -> None:
    snapshot = tree()
    plain = artifact.build(snapshot)
    made = image.build(snapshot, None, sealed(snapshot, Image()), Image())
    assert made.manifest.annotations[media.CONTENT] == plain.manifest.annotations[media.CONTENT]
    assert image.build(snapshot, None, sealed(snapshot, Image()), Image()).digest == made.digest


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 2000])
def test_an_index_layer_of_another_form_is_corrupt(damage: bytes) -> None:
    made = image.build(tree(), None, sealed(tree(), Image()), Image())
    spoilt = damage or made.index[:-1]
    layer = image.Descriptor.of(image.LAYER, spoilt)
    annotations = {**made.manifest.annotations, media.INDEX: str(layer.digest)}
    manifest = Manifest(made.manifest.config, (layer, *made.manifest.layers[1:]), annotations)
    with pytest.raises(Corrupt):
        artifact.read(manifest, lambda what: spoilt)


@pytest.mark.parametrize(("count", "size"), [(50, 9 << 20), (500, 9 << 20), (3000, 1 << 20), (5000, 100)])
def test_there_are_never_too_many_layers(count: int, size: int) -> None:
    snapshot = Snapshot({f"f{n:05}.bin": Entry("file", Digest.of(b"%d" % n), size) for n in range(count)})
    layers = image.cut(snapshot, Image())
    assert len(layers) < image.MOST_LAYERS
    assert sorted(path for layer in layers for path, _ in layer) == list(snapshot)
    if count == 50:
        assert len(layers) == 50


@pytest.mark.parametrize("platform", ["", "linux", "Linux/amd64", "linux/amd64/v1/x", "a/b\n"])
def test_what_is_no_platform(platform: str) -> None:
    with pytest.raises(UsageError):
        Image(platform)


@pytest.mark.parametrize("prefix", ["..", "/models", "a//b", ".git", "models/"])
def test_what_is_no_directory(prefix: str) -> None:
    with pytest.raises(UnsafePath):
        Image(prefix=prefix)
