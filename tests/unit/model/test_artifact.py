"""A snapshot as a ModelPack manifest with our index, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelops_bundle.errors import Corrupt, NotFound, UnsafePath, Unsupported, UsageError
from modelops_bundle.model import artifact, canonical, media, packs, pointer
from modelops_bundle.model.artifact import INDEX_PATH, Artifact, build, read
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.packs import Pack
from modelops_bundle.model.snapshot import Entry, Snapshot
from tests.support import chunked
from tests.support.oci import dumps
from tests.support.things import file

SCHEMA = json.loads((Path(__file__).parents[2] / "data" / "modelpack-config-schema.json").read_text(encoding="utf-8"))

TREE = Snapshot(
    {
        "weights/model.safetensors": file("w" * 100, role="weight"),
        "config.json": file("{}", role="config"),
        "copy.json": file("{}", role="config"),
        "README.md": file("hi", role="doc"),
        "bin/serve": file("#!", executable=True),
        "latest": Entry.link("weights/model.safetensors"),
        "data": Entry.directory(),
        "empty": file("", role="zoo"),
    }
)


def never(what: Descriptor) -> bytes:
    raise NotFound(f"nobody has {what.digest}")


def reread(made: Artifact) -> artifact.Contents:
    return read(Manifest.from_bytes(made.manifest.to_bytes()), lambda what: dict(made.generated())[what])


# --- writing ---------------------------------------------------------------------------------------------------------


def test_the_config_is_valid_modelpack() -> None:
    for tree in (TREE, Snapshot(), Snapshot({"l": Entry.link("x")})):
        jsonschema.validate(json.loads(build(tree).config), SCHEMA)


def test_the_schema_would_notice_a_wrong_config() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diffIds": []}}, SCHEMA)


def test_paths_before_ours_come_before_the_index() -> None:
    made = build(Snapshot({"-x": file("1"), "+y": file("2"), "a": file("3")}))
    paths = [layer.annotations[media.FILEPATH] for layer in made.manifest.layers]
    assert paths == ["+y", "-x", INDEX_PATH, "a"]
    assert reread(made).snapshot == made.snapshot


def test_diff_ids_are_the_layers_in_order_duplicates_repeated() -> None:
    made = build(TREE)
    assert json.loads(made.config)["modelfs"]["diffIds"] == [str(layer.digest) for layer in made.manifest.layers]
    assert len(made.manifest.layers) == 7


def test_layers_are_sorted_by_path_and_typed_by_role() -> None:
    layers = build(TREE).manifest.layers
    paths = [layer.annotations[media.FILEPATH] for layer in layers]
    assert paths == sorted(paths, key=str.encode)
    assert paths[0] == INDEX_PATH
    types = {layer.annotations[media.FILEPATH]: layer.media_type for layer in layers}
    assert types["weights/model.safetensors"] == "application/vnd.cncf.model.weight.v1.raw"
    assert types["config.json"] == "application/vnd.cncf.model.weight.config.v1.raw"
    assert types["empty"] == "application/vnd.cncf.model.code.v1.raw"
    assert all(layer.annotations[media.TITLE] == layer.annotations[media.FILEPATH] for layer in layers)


def test_the_manifest_is_modelpack_and_ours() -> None:
    made = build(TREE, {"note": "x"})
    manifest = made.manifest
    assert manifest.artifact_type == media.MODEL_ARTIFACT
    assert manifest.config == Descriptor.of(media.MODEL_CONFIG, made.config)
    assert dict(manifest.annotations) == {
        "note": "x",
        media.VERSION: artifact.FORMAT_VERSION,
        media.STORAGE: "plain",
        media.INDEX: str(Digest.of(made.index)),
        media.CONTENT: str(TREE.content),
    }


def test_every_digest_of_the_worked_example_is_frozen() -> None:
    # Changing any of these breaks promise 3: same tree, same digest, on every machine and in every later release.
    made = build(TREE)
    assert json.loads(made.index)["files"][0] == {
        "at": [json.loads(made.index)["blobs"].index(str(Digest.of(b"hi")))],
        "kind": "file",
        "mode": "0644",
        "path": "README.md",
        "role": "doc",
        "sha256": Digest.of(b"hi").hex,
        "size": 2,
    }
    assert made.index == canonical.dumps(json.loads(made.index))


def test_nothing_but_the_tree_and_the_annotations_counts() -> None:
    shuffled = Snapshot(reversed(list(TREE.items())))
    assert build(shuffled, {"b": "1", "a": "2"}).digest == build(TREE, {"a": "2", "b": "1"}).digest
    assert build(TREE, {"a": "2"}).digest != build(TREE).digest


def test_a_small_index_travels_inline_and_a_large_one_does_not() -> None:
    small, large = build(TREE), build(Snapshot({f"f{n:04}": file("x") for n in range(1000)}))
    index = small.generated()[0][0]
    assert index.data == small.index
    assert len(large.index) >= artifact.INLINE_LIMIT
    assert large.generated()[0][0].data is None
    assert read(small.manifest, never).snapshot == TREE
    with pytest.raises(NotFound):
        read(large.manifest, never)


def test_a_file_blob_is_listed_once_with_a_name() -> None:
    named = {name for _, name in build(TREE).file_blobs()}
    assert named == {"README.md", "bin/serve", "config.json", "empty", "weights/model.safetensors"}


def test_the_generated_blobs_are_index_and_config() -> None:
    made = build(TREE)
    assert [(what.digest, what.size) for what, _ in made.generated()] == [
        (Digest.of(data), len(data)) for _, data in made.generated()
    ]
    assert [data for _, data in made.generated()] == [made.index, made.config]


def test_our_annotations_cannot_be_taken() -> None:
    with pytest.raises(UsageError, match=r"dev\.modelops\.bundle\.content is reserved"):
        build(TREE, {media.CONTENT: "x"})


def test_a_manifest_no_registry_takes_is_refused_with_its_size() -> None:
    many = Snapshot({f"directory/file-{n:06}": file(str(n)) for n in range(17_000)})
    with pytest.raises(Unsupported, match="registries take 4194304"):
        build(many)


# --- reading ours ----------------------------------------------------------------------------------------------------


def test_round_trip_with_roles_targets_and_places() -> None:
    found = reread(build(TREE))
    assert found.snapshot == TREE
    assert {path: entry.role for path, entry in found.snapshot.items()} == {p: e.role for p, e in TREE.items()}
    assert found.snapshot["latest"].target == "weights/model.safetensors"
    assert found.version == artifact.FORMAT_VERSION
    assert set(found.places) == {path for path, entry in TREE.items() if entry.kind == "file"}
    assert all(found.places[path].blob.digest == TREE[path].digest for path in found.places)


def forged(change: dict[str, Any] | None = None, annotations: dict[str, str] | None = None) -> Manifest:
    """An artifact of TREE whose index has other fields: consistent in every digest."""
    made = build(TREE)
    value = {**json.loads(made.index), **(change or {})}
    index = canonical.dumps(value)
    layer = Descriptor.of(media.layer_type("doc"), index, {media.FILEPATH: INDEX_PATH}, inline=True)
    said = {**made.manifest.annotations, media.INDEX: str(layer.digest), **(annotations or {})}
    return Manifest(made.manifest.config, (layer, *made.manifest.layers[1:]), said, media.MODEL_ARTIFACT)


def rows(*changed: dict[str, Any]) -> dict[str, Any]:
    return {"files": list(changed)}


ROW = {"kind": "file", "path": "x", "size": 2, "sha256": Digest.of(b"hi").hex, "mode": "0644", "role": "doc", "at": [0]}
BLOBS = {"blobs": [str(Digest.of(b"hi"))]}


def test_the_forger_can_make_an_honest_one() -> None:
    assert read(forged(), never).snapshot == TREE
    honest = Snapshot({"x": file("hi")})
    assert read(forged({**BLOBS, **rows(ROW)}, {media.CONTENT: str(honest.content)}), never).snapshot == honest


@pytest.mark.parametrize(
    "change",
    [
        {"files": None},
        {"files": {}},
        {"blobs": None},
        {"blobs": ["sha256:zz"]},
        {"blobs": [7]},
        {"blobs": [str(Digest.of(b"not a layer"))]},
        rows("x"),
        rows({"kind": "file"}),
        rows({"kind": "link", "path": "x"}),
        rows({"kind": "link", "path": "x", "target": 3}),
        *(
            {**BLOBS, **rows({**ROW, **field})}
            for field in (
                {"size": -1},
                {"size": "2"},
                {"size": 2.0},
                {"size": 3},
                {"mode": "0777"},
                {"mode": 420},
                {"role": None},
                {"sha256": "x"},
                {"sha256": None},
                {"sha256": Digest.of(b"else").hex},
                {"at": []},
                {"at": [1]},
                {"at": [-1]},
                {"at": ["0"]},
                {"at": [True]},
                {"at": [0, 0, 0]},
                {"at": {}},
            )
        ),
    ],
)
def test_an_index_that_cannot_be_trusted_is_corrupt(change: dict[str, Any]) -> None:
    with pytest.raises(Corrupt):
        read(forged(change), never)


@pytest.mark.parametrize("lie", [{"size": 3}, {"sha256": Digest.of(b"else").hex}])
def test_a_row_that_disagrees_with_its_layer_is_corrupt_even_under_a_content_digest_of_its_own(
    lie: dict[str, Any],
) -> None:
    row = {**ROW, **lie}
    told = Snapshot({"x": Entry("file", Digest("sha256", row["sha256"]), row["size"])})
    with pytest.raises(Corrupt, match="disagree in digest or size"):
        read(forged({**BLOBS, **rows(row)}, {media.CONTENT: str(told.content)}), never)


@pytest.mark.parametrize("field", [{"kind": "device"}, {"kind": None}, {"at": None}])
def test_an_index_of_a_newer_kind_is_unsupported(field: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        read(forged({**BLOBS, **rows({**ROW, **field})}), never)


PACKED = Snapshot(
    {
        "README.md": file("hi", role="doc"),
        "bin/a": file("#!", executable=True),
        "bin/b": file("", executable=True),
        "l": Entry.link("bin/a"),
        "logs": Entry.directory(),
        "src/x.py": file("x" * 3000),
    }
)


def packing(tree: Snapshot, mode: packs.Mode = "always") -> tuple[packs.Pack, ...]:
    """The packs of `tree`, with digests that were not looked for."""
    return tuple(
        packs.Pack(members, packs.listing(members), packs.gzip_size(packs.tar_size(members)))
        for members in packs.cut(tree, mode)
    )


def test_a_packed_tree_reads_back_with_every_place() -> None:
    made = build(PACKED, packed=packing(PACKED))
    contents = reread(made)
    files, links = packing(PACKED)
    assert contents.snapshot == PACKED
    assert contents.snapshot.content == build(PACKED).snapshot.content
    offsets = packs.offsets(files.members)
    assert {path: place.offset for path, place in contents.places.items()} == {"README.md": None, **offsets}
    assert {contents.places[path].blob.digest for path in offsets} == {files.digest}
    assert [path for path, _ in links.members] == ["l"]


def test_packs_look_to_others_like_documents_and_to_oras_like_the_root() -> None:
    packed = packing(PACKED)
    layers = {layer.digest: layer for layer in build(PACKED, packed=packed).manifest.layers}
    numbers = sorted(range(len(packed)), key=lambda number: packed[number].digest.hex)
    for title, number in enumerate(numbers):
        layer = layers[packed[number].digest]
        assert layer.media_type == "application/vnd.cncf.model.doc.v1.raw"
        assert layer.size == packed[number].size
        assert layer.annotations == {
            "org.cncf.model.filepath": f".bundle/packs/{layer.digest.hex}.tar.gz",
            "org.opencontainers.image.title": packs.title(title),
            "io.deis.oras.content.unpack": "true",
        }


def test_no_two_titles_are_equal_and_layers_stand_by_filepath() -> None:
    tree = Snapshot({f"d/{number}": file(str(number) * 500_000) for number in range(10)} | {"l": Entry.link("d/1")})
    members = [*packs._cut(list(tree.items())[:10], 1 << 20), (("l", tree["l"]),)]
    packed = tuple(packs.Pack(m, packs.listing(m), 1) for m in members)
    layers = build(tree, packed=packed).manifest.layers
    assert len(packed) > 4
    assert len({layer.annotations[media.TITLE] for layer in layers}) == len(layers)
    paths = [layer.annotations[media.FILEPATH] for layer in layers]
    assert paths == sorted(paths)
    assert build(tree, packed=packed[::-1]).digest == build(tree, packed=packed).digest


def test_the_content_digest_does_not_know_of_packs() -> None:
    digests = {
        (made.manifest.annotations[media.CONTENT], made.digest)
        for made in (
            build(PACKED),
            build(PACKED, packed=packing(PACKED)),
            build(PACKED, packed=packing(PACKED, "auto")),
        )
    }
    assert len({content for content, _ in digests}) == 1
    assert len({digest for _, digest in digests}) == 3


def inside(offset: int, *, blob_size: int = 1 << 20) -> artifact.Contents:
    """What is read of a file of two bytes that is said to be in a blob at `offset`."""
    layer = Descriptor(media.layer_type("doc"), Digest.of(b"pack"), blob_size, {media.TITLE: "."})
    row = {"kind": "file", "path": "x", "size": 2, "mode": "0644", "role": "code", "sha256": file("hi").digest.hex}
    index = canonical.dumps({"blobs": [str(layer.digest)], **rows({**row, "at": [0, offset]})})
    first = Descriptor.of(media.layer_type("doc"), index, {media.TITLE: INDEX_PATH}, inline=True)
    annotations = {
        media.VERSION: "0",
        media.INDEX: str(first.digest),
        media.CONTENT: str(Snapshot({"x": file("hi")}).content),
    }
    return read(Manifest(Descriptor.of(media.MODEL_CONFIG, b"{}"), (first, layer), annotations), never)


def test_a_place_inside_a_pack_is_read() -> None:
    assert inside(1536).places["x"].offset == 1536


@pytest.mark.parametrize("offset", [-1, (1 << 20) - 2, (1 << 20) - 20, 1 << 20, 1 << 70, 1.0, True, "1", None])
def test_a_place_that_no_pack_of_that_size_can_have_is_corrupt(offset: Any) -> None:
    with pytest.raises(Corrupt):
        inside(offset)


@pytest.mark.parametrize("content", ["", str(Digest.of(b"else"))])
def test_another_content_digest_is_corrupt(content: str) -> None:
    with pytest.raises(Corrupt, match="does not list the content"):
        read(forged(annotations={media.CONTENT: content}), never)


@pytest.mark.parametrize("index", ["", "x", str(Digest.of(b"else"))])
def test_an_index_that_is_no_layer_is_corrupt(index: str) -> None:
    with pytest.raises(Corrupt):
        read(forged(annotations={media.INDEX: index}), never)


def test_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(Unsupported) as caught:
        read(forged(annotations={media.VERSION: "2"}), never)
    assert caught.value.hint == "upgrade modelops-bundle"


def test_wrong_inline_data_is_fetched_instead() -> None:
    made = build(TREE)
    index = made.generated()[0][0]
    lying = Descriptor(index.media_type, index.digest, index.size, index.annotations, b"x" * index.size)
    manifest = Manifest(made.manifest.config, (lying, *made.manifest.layers[1:]), made.manifest.annotations)
    asked: list[Descriptor] = []

    def fetch(what: Descriptor) -> bytes:
        asked.append(what)
        return made.index

    assert read(manifest, fetch).snapshot == TREE
    assert len(asked) == 1


# --- reading what others wrote ---------------------------------------------------------------------------------------


def others(*layers: Descriptor, config: Descriptor | None = None) -> Manifest:
    return Manifest(config or Descriptor.of(media.OCI_EMPTY, b"{}"), layers, {}, "application/vnd.acme")


def titled(path: str, data: bytes = b"x", **more: str) -> Descriptor:
    return Descriptor.of("application/octet-stream", data, {media.TITLE: path, **more})


def test_titled_layers_are_files() -> None:
    found = read(others(titled("a.json", b"1"), titled("./d/b.bin", b"22")), never)
    assert found.version is None
    assert found.snapshot == {"a.json": file("1"), "d/b.bin": file("22")}
    assert [entry.role for entry in found.snapshot.values()] == ["config", "weight"]


def test_modelpack_paths_and_types_are_understood() -> None:
    layer = Descriptor.of(media.layer_type("dataset"), b"x", {media.FILEPATH: "a.bin"})
    found = read(others(layer, config=Descriptor.of(media.MODEL_CONFIG, b"{}")), never)
    assert found.snapshot["a.bin"].role == "dataset"


def test_a_titled_config_is_a_file_too() -> None:
    config = Descriptor.of("x/y", b"{}", {media.TITLE: "conf.json"})
    assert set(read(others(titled("a"), config=config), never).snapshot) == {"a", "conf.json"}


def test_untitled_layers_are_not_files() -> None:
    assert set(read(others(titled("a"), Descriptor.of("x/y", b"?")), never).snapshot) == {"a"}


def test_nothing_named_is_unsupported_and_says_what_it_is() -> None:
    with pytest.raises(Unsupported, match=r"application/vnd\.acme"):
        read(others(Descriptor.of(media.OCI_LAYER, b"x")), never)


@pytest.mark.parametrize(
    "layer",
    [
        titled("d", **{media.UNPACK: "true"}),
        Descriptor.of("application/vnd.cncf.model.weight.v1.tar", b"x", {media.FILEPATH: "d"}),
        Descriptor.of("application/vnd.cncf.model.weight.v1.tar+gzip", b"x", {media.FILEPATH: "d"}),
    ],
)
def test_archives_to_unpack_are_unsupported(layer: Descriptor) -> None:
    with pytest.raises(Unsupported, match="archive"):
        read(others(layer), never)


@pytest.mark.parametrize("path", ["../x", "/x", "a\\b", ".git/hooks/x", "a\x1bb", "CON", "", "./", "././x"])
def test_unsafe_titles_are_refused(path: str) -> None:
    if path == "":
        layer = Descriptor.of("t/x", b"x", {media.TITLE: "", media.FILEPATH: ""})
    else:
        layer = titled(path)
    with pytest.raises(UnsafePath):
        read(others(layer), never)


def test_one_title_twice_is_refused() -> None:
    with pytest.raises(UnsafePath, match="one path twice"):
        read(others(titled("a", b"1"), titled("./a", b"2")), never)


# --- chunks ----------------------------------------------------------------------------------------------------------

ONE, TWO, THREE = b"a" * 1000, b"b" * 1000, b"c" * 500
PLAIN = chunked.plain({"m.bin": [ONE, TWO], "small": b"x"})
DELTA = chunked.delta({"m.bin": [ONE, THREE], "n.bin": ONE + TWO, "small": b"x"}, PLAIN)
BORROWING = chunked.delta({"m.bin": [ONE, THREE], "small": b"x"}, PLAIN, borrow=True)


def layers_of(version: chunked.Version) -> dict[str, Descriptor]:
    return {layer.annotations[media.FILEPATH]: layer for layer in version.artifact.manifest.layers}


def test_a_chunk_list_changes_neither_layers_nor_content() -> None:
    without = build(PLAIN.artifact.snapshot).manifest
    manifest = PLAIN.artifact.manifest
    assert manifest.annotations[media.STORAGE] == "plain"
    assert manifest.annotations[media.CONTENT] == without.annotations[media.CONTENT]
    assert [layer.digest for layer in manifest.layers[1:]] == [layer.digest for layer in without.layers[1:]]
    place = reread(PLAIN.artifact).places["m.bin"]
    assert place.blob is not None
    assert place.recipe is not None
    assert place.recipe.listed() == chunked.listed([ONE, TWO])
    assert place.blobs == (place.blob,)


def test_a_delta_version_has_a_pointer_at_the_path_and_every_pack_among_its_layers() -> None:
    layers, made = layers_of(DELTA), DELTA.artifact
    digest = Digest.of(ONE + THREE)
    assert made.manifest.annotations[media.STORAGE] == "delta"
    assert layers["m.bin"].digest == Digest.of(pointer.pointer("m.bin", 1500, digest))
    assert layers["m.bin"].media_type == media.layer_type("doc")
    packs = {path for path in layers if path.startswith(artifact.PACKS_PATH)}
    assert packs == {f"{artifact.PACKS_PATH}{Digest.of(THREE).hex}"}, "a blob that is a file here has its layer already"
    assert all(layer.annotations[media.TITLE] == layer.annotations[media.FILEPATH] for layer in layers.values())
    paths = [layer.annotations[media.FILEPATH] for layer in made.manifest.layers]
    assert paths == sorted(paths, key=str.encode)
    jsonschema.validate(json.loads(made.config), SCHEMA)


@pytest.mark.parametrize("version", [DELTA, BORROWING], ids=["literal", "borrowing"])
def test_a_delta_version_reads_back(version: chunked.Version) -> None:
    found = read(Manifest.from_bytes(version.artifact.manifest.to_bytes()), lambda what: version.blobs[what.digest])
    assert found.snapshot == version.artifact.snapshot
    place = found.places["m.bin"]
    assert place.blob is None
    assert {blob.digest for blob in place.blobs} == {Digest.of(ONE + TWO), Digest.of(THREE)}
    assert found.index is not None
    assert found.index.digest == Digest.of(version.artifact.index)


def test_what_borrows_lists_names_and_keeps_the_indexes_that_have_them() -> None:
    made = BORROWING.artifact
    path = f"{artifact.EARLIER_PATH}{Digest.of(PLAIN.artifact.index).hex}.json"
    assert path in layers_of(BORROWING)
    inline = layers_of(BORROWING)[INDEX_PATH].data is not None
    kept = artifact.kept_indexes(made.manifest)
    assert [what.annotations[media.FILEPATH] for what in kept] == ([path] if inline else [INDEX_PATH, path])
    assert made.kept is not None
    assert PLAIN.artifact.index in made.kept.split(b"\n")
    assert reread(PLAIN.artifact).chunks.packs[0].chunks == chunked.listed([ONE, TWO])
    assert PLAIN.artifact.kept is None, "inline"


def test_generated_are_the_small_blobs_and_files_the_others() -> None:
    made = BORROWING.artifact
    generated = {what.digest for what, _ in made.generated()}
    assert generated == {
        Digest.of(made.index),
        Digest.of(made.config),
        Digest.of(PLAIN.artifact.index),
        layers_of(BORROWING)["m.bin"].digest,
    }
    assert all(Digest.of(data) == what.digest and len(data) == what.size for what, data in made.generated())
    assert {what.digest for what, _ in made.file_blobs()} == {
        Digest.of(ONE + TWO),
        Digest.of(THREE),
        Digest.of(b"x"),
    }


def test_too_many_earlier_indexes_are_corrupt() -> None:
    layer = layers_of(BORROWING)[INDEX_PATH]
    many = [replace(layer, annotations={media.FILEPATH: f"{artifact.EARLIER_PATH}{n}.json"}) for n in range(9)]
    manifest = BORROWING.artifact.manifest
    with pytest.raises(Corrupt, match="9 earlier"):
        artifact.kept_indexes(replace(manifest, layers=(*manifest.layers[:1], *many), received=None))


def changed(version: chunked.Version, change: Callable[[dict[str, Any]], object]) -> artifact.Contents:
    """What reading says when the index was changed before it was sent."""
    index = json.loads(version.artifact.index)
    change(index)
    data = canonical.dumps(index)
    manifest = version.artifact.manifest
    layer = Descriptor.of(manifest.layers[0].media_type, data, manifest.layers[0].annotations, inline=True)
    others = tuple(each for each in manifest.layers if each.annotations[media.FILEPATH] != INDEX_PATH)
    annotations = {**manifest.annotations, media.INDEX: str(layer.digest)}
    forged = replace(manifest, layers=(layer, *others), annotations=annotations, received=None)
    return read(Manifest.from_bytes(forged.to_bytes()), lambda what: version.blobs[what.digest])


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["files"][0].update(segments=[[0, 0, 1]]),
        lambda index: index["files"][0].update(segments=[]),
        lambda index: index["files"][0].update(segments=[[9, 0, 1]]),
        lambda index: index["files"][0].update(size=1499),
        lambda index: index["chunks"]["packs"].pop(),
        lambda index: index["chunks"].update(packs={}),
        lambda index: index["blobs"].append(str(Digest.of(b"nowhere"))),
    ],
)
def test_chunks_that_do_not_make_the_file_are_corrupt(change: Callable[[dict[str, Any]], object]) -> None:
    assert changed(DELTA, lambda _: None).snapshot == DELTA.artifact.snapshot
    with pytest.raises(Corrupt):
        changed(DELTA, change)


@pytest.mark.parametrize("change", [lambda index: index["files"][0].pop("chunker"), lambda index: index.pop("chunks")])
def test_a_file_without_place_and_chunks_is_unsupported(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(Unsupported):
        changed(DELTA, change)


# --- what an index alone says


def test_an_index_alone_says_how_files_are_put_together() -> None:
    old, new = b"a" * 2000, b"b" * 1000 + b"a" * 1000
    first = chunked.plain({"m.bin": chunked.cut(old)})
    for borrow in (False, True):
        version = chunked.delta({"m.bin": chunked.cut(new), "n.bin": old}, first, borrow=borrow)
        snapshot, recipes = artifact.recipes_of(version.artifact.index, version.artifact.made.__getitem__)
        assert snapshot == version.artifact.snapshot
        assert recipes.keys() == {"m.bin"}
        found, wanted = recipes["m.bin"], version.recipe("m.bin")
        assert found.segments == wanted.segments
        assert [pack.chunks for pack in found.packs] == [pack.chunks for pack in wanted.packs]
        assert [(pack.blob.digest, pack.blob.size) for pack in found.packs] == [
            (pack.blob.digest, pack.blob.size) for pack in wanted.packs
        ]


def test_an_index_without_delta_storage_names_no_recipes() -> None:
    made = chunked.plain({"m.bin": chunked.cut(b"a" * 2000)}).artifact
    assert artifact.recipes_of(made.index, lambda _: b"") == (made.snapshot, {})


def test_an_index_alone_with_links_that_leave_is_unsafe() -> None:
    snapshot = Snapshot({"x": Entry.link("../out")})
    with pytest.raises(UnsafePath):
        artifact.recipes_of(artifact.index_bytes(snapshot), lambda _: b"")


def test_an_index_alone_of_a_newer_format_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        artifact.recipes_of(dumps({"schemaVersion": 2, "blobs": [], "files": []}), lambda _: b"")


def test_packs_that_are_there_already_need_not_name_links_and_directories() -> None:
    snapshot = Snapshot({"run.sh": Entry("file", Digest.of(b"x"), 1, True), "link": Entry.link("run.sh")})
    members = packs.cut(snapshot, "auto")
    made = [Pack(each, Digest.of(str(number).encode()), 2000) for number, each in enumerate(members)]
    again = [Pack((), pack.digest, pack.size, offsets=packs.offsets(pack.members)) for pack in made]
    files = [(path, entry) for path, entry in snapshot.items() if entry.kind == "file"]
    again[0] = Pack(tuple(files), again[0].digest, 2000, offsets=again[0].offsets)
    assert artifact.build(snapshot, None, again).digest == artifact.build(snapshot, None, made).digest
