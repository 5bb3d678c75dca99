"""The artifact (DESIGN §4): a snapshot as a ModelPack manifest with our index, and back from what others wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modelops_bundle.errors import Corrupt, UnsafePath, Unsupported, UsageError
from modelops_bundle.model import canonical, chunkmap, foreign, media, packs, paths
from modelops_bundle.model.chunkmap import ChunkMap, Recipe
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.packs import Pack
from modelops_bundle.model.pointer import pointer
from modelops_bundle.model.roles import role_of
from modelops_bundle.model.snapshot import Entry, Snapshot

FORMAT_VERSION = "1"
READABLE_VERSIONS = frozenset(["0", "1"])

FOLDER = ".bundle/"
INDEX_PATH = ".bundle/index.json"
PACKS_PATH = ".bundle/packs/"
EARLIER_PATH = ".bundle/indexes/"
INLINE_LIMIT = 64 * 1024
INLINE_DELTA_LIMIT = 4 * 1024
"""Bytes of an index in delta storage that is worth a request less, though it is sent twice (docs/decisions/0018)."""
MAX_INDEX = chunkmap.MAX_INDEX
_INDEX_TYPE = media.layer_type("doc")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file's bytes are: a blob, and the offset inside the blob's tar when that is a pack or an archive.

    `archive` says that somebody else made it: no place in it can be computed, it is read from its beginning. `recipe`
    says which chunks the file is made of; without a blob (delta storage) that is the only way to it.
    """

    blob: Descriptor | None
    offset: int | None = None
    archive: bool = False
    recipe: Recipe | None = field(default=None, repr=False)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Every blob that holds bytes of the file."""
        if self.blob is not None:
            return (self.blob,)
        recipe = self.recipe
        return tuple(recipe.packs[number].blob for number in sorted(recipe.named())) if recipe is not None else ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A manifest, the small blobs made for it, and the digests of the file blobs it needs."""

    manifest: Manifest
    config: bytes
    index: bytes
    snapshot: Snapshot
    made: Mapping[Digest, bytes] = field(default_factory=dict)
    """Pointers, and indexes of earlier versions, by digest."""

    @property
    def digest(self) -> Digest:
        """The artifact's identity."""
        return self.manifest.digest

    @property
    def kept(self) -> bytes | None:
        """What must be kept with the manifest to know what it holds (`kept_indexes`)."""
        known = {Digest.of(self.index): self.index, **self.made}
        kept = [known[what.digest] for what in kept_indexes(self.manifest)]
        return b"\n".join(kept) if kept else None

    def generated(self) -> tuple[tuple[Descriptor, bytes], ...]:
        """The blobs that are no file of the tree."""
        index = next(layer for layer in self.manifest.layers if layer.annotations.get(media.FILEPATH) == INDEX_PATH)
        others = {layer.digest: layer for layer in self.manifest.layers if layer.digest in self.made}
        known = [(what, self.made[digest]) for digest, what in others.items()]
        return ((index, self.index), (self.manifest.config, self.config), *known)

    def file_blobs(self) -> tuple[tuple[Descriptor, str], ...]:
        """Each distinct file blob with one path that holds it, in path order."""
        seen: dict[Digest, tuple[Descriptor, str]] = {}
        for layer in self.manifest.layers:
            path = layer.annotations[media.FILEPATH]
            if path != INDEX_PATH and layer.digest not in self.made:
                seen.setdefault(layer.digest, (layer, path))
        return tuple(seen.values())


@dataclass(frozen=True, slots=True)
class Contents:
    """What an artifact holds and where the bytes of each file are."""

    snapshot: Snapshot
    places: Mapping[str, Place]
    version: str | None
    """Our format version, None for artifacts of other tools."""
    chunks: ChunkMap = field(default_factory=ChunkMap)
    """What is known of chunks of its blobs."""
    index: Descriptor | None = None
    """The index that says so."""


def build(
    snapshot: Snapshot,
    annotations: Mapping[str, str] | None = None,
    packed: Sequence[Pack] = (),
    chunks: ChunkMap | None = None,
) -> Artifact:
    """The plain or delta artifact of `snapshot`: a pure function of its arguments.

    :param annotations: the user's own manifest annotations.
    :param packed: the packs of `packs.cut`; every file in none of them has a layer of its own.
    :param chunks: the chunk lists of large files. Those that are no blob of their own make it a delta artifact.
    :raises UsageError: an annotation of ours among them. :raises Unsupported: the manifest would pass 4 MiB.
    """
    chunks = chunks or ChunkMap()
    pointers = _pointers(snapshot, chunks)
    index = index_bytes(snapshot, packed, chunks=chunks)
    limit = INLINE_DELTA_LIMIT if pointers else INLINE_LIMIT
    layers = [_titled(_INDEX_TYPE, Digest.of(index), len(index), INDEX_PATH)]
    if len(index) < limit:
        layers = [Descriptor.of(_INDEX_TYPE, index, layers[0].annotations, inline=True)]
    layers += [_pack_layer(number, pack) for number, pack in enumerate(ordered(packed))]
    within = {path for pack in packed for path, _ in pack.members}.union(pointers)
    whole = {path: entry for path, entry in snapshot.items() if entry.kind == "file" and path not in within}
    layers += [_titled(media.layer_type(entry.role), entry.digest, entry.size, path) for path, entry in whole.items()]
    layers += [_titled(_INDEX_TYPE, Digest.of(data), len(data), path) for path, data in pointers.items()]
    layers += _chunk_layers(chunks, frozenset(entry.digest for entry in whole.values()))
    layers.sort(key=lambda layer: layer.annotations[media.FILEPATH].encode())
    config = canonical.dumps(
        {
            "config": {},
            "descriptor": {},
            "modelfs": {"type": "layers", "diffIds": [str(layer.digest) for layer in layers]},
        }
    )
    manifest = Manifest(
        Descriptor.of(media.MODEL_CONFIG, config),
        tuple(layers),
        annotated(annotations, "delta" if pointers else "plain", Digest.of(index), snapshot),
        media.MODEL_ARTIFACT,
    )
    made = {Digest.of(data): data for data in pointers.values()} | dict(chunks.earlier)
    return Artifact(settled(manifest), config, index, snapshot, made)


def _pointers(snapshot: Snapshot, chunks: ChunkMap) -> dict[str, bytes]:
    """The files that are no blob of their own, and what stands at their paths."""
    return {
        path: pointer(path, snapshot[path].size, snapshot[path].digest)
        for path, recipe in chunks.files.items()
        if not chunkmap.is_whole(recipe, snapshot[path].digest)
    }


def _chunk_layers(chunks: ChunkMap, whole: frozenset[Digest]) -> Iterator[Descriptor]:
    """Every blob that a file is made of, and that is none itself: what no layer names, a registry may remove."""
    for pack in chunks.packs:
        if pack.blob.digest not in whole:
            yield _titled(_INDEX_TYPE, pack.blob.digest, pack.blob.size, f"{PACKS_PATH}{pack.blob.digest.hex}")
    for digest, data in chunks.earlier.items():
        yield _titled(_INDEX_TYPE, digest, len(data), f"{EARLIER_PATH}{digest.hex}.json")


def annotated(annotations: Mapping[str, str] | None, storage: str, index: Digest, snapshot: Snapshot) -> dict[str, str]:
    """The annotations of a manifest, the user's own among them.

    :raises UsageError: one of the user's is ours.
    """
    taken = [key for key in annotations or {} if key.startswith(media.PREFIX)]
    if taken:
        raise UsageError(f"the annotation {taken[0]} is reserved")
    ours = {
        media.VERSION: FORMAT_VERSION,
        media.STORAGE: storage,
        media.INDEX: str(index),
        media.CONTENT: str(snapshot.content),
    }
    return {**(annotations or {}), **ours}


def ordered(packed: Iterable[Pack]) -> list[Pack]:
    """Packs in the order of their layers, which their titles count."""
    return sorted(packed, key=lambda pack: pack.digest.hex)


def settled(manifest: Manifest) -> Manifest:
    """`manifest` with its bytes, which are asked for again and again: ten thousand layers take a while to write.

    :raises Unsupported: no registry takes so many.
    """
    manifest = replace(manifest, received=manifest.to_bytes())
    size = len(manifest.to_bytes())
    if size > media.MAX_MANIFEST:
        raise Unsupported(
            f"{len(manifest.layers)} layers make a manifest of {size} bytes; registries take {media.MAX_MANIFEST}",
            hint="pack the small files (--pack auto), or split the bundle",
        )
    return manifest


def _titled(media_type: str, digest: Digest, size: int, path: str) -> Descriptor:
    return Descriptor(media_type, digest, size, {media.TITLE: path, media.FILEPATH: path})


def _pack_layer(number: int, pack: Pack) -> Descriptor:
    path = f"{PACKS_PATH}{pack.digest.hex}.tar.gz"
    # oras goes by title and unpack alone; to ModelPack readers it is a document of that name (facts: format §2.1).
    annotations = {media.TITLE: packs.title(number), media.FILEPATH: path, media.UNPACK: "true"}
    return Descriptor(media.layer_type("doc"), pack.digest, pack.size, annotations)


def index_bytes(
    snapshot: Snapshot,
    packed: Sequence[Pack] = (),
    path_of: Callable[[str], str] = str,
    chunks: ChunkMap | None = None,
) -> bytes:
    """The canonical index of `snapshot`: every file a whole blob, at an offset in a pack's tar, or made of chunks.

    :param path_of: the path in the tree of a member of a pack.
    """
    chunks = chunks or ChunkMap()
    inside = {
        path_of(path): (str(pack.digest), offset)
        for pack in packed
        for path, offset in (packs.offsets(pack.members) if pack.offsets is None else pack.offsets).items()
    }
    files = {path: entry for path, entry in snapshot.items() if entry.kind == "file"}
    made = {path for path, recipe in chunks.files.items() if not chunkmap.is_whole(recipe, snapshot[path].digest)}
    named = {inside[path][0] if path in inside else str(files[path].digest) for path in files.keys() - made}
    named.update(str(pack.blob.digest) for pack in chunks.packs)
    blobs = sorted(named.union(map(str, chunks.earlier)))
    numbers = {digest: number for number, digest in enumerate(blobs)}
    places: dict[str, list[int]] = {path: [numbers[digest], offset] for path, (digest, offset) in inside.items()}
    places |= {path: [numbers[str(files[path].digest)]] for path in files.keys() - made - places.keys()}
    rows = [_row(path, entry, places.get(path), chunks.files.get(path)) for path, entry in snapshot.items()]
    value = {"schemaVersion": int(FORMAT_VERSION), "blobs": blobs, "files": rows}
    return canonical.dumps({**value, "chunks": chunks.to_json(numbers)} if chunks.packs else value)


def packed_index(index: bytes) -> tuple[bytes, Digest]:
    """An index as a pack that holds nothing else, as images have it, and the digest of that pack's tar."""
    members = ((INDEX_PATH, Entry("file", Digest.of(index), len(index))),)
    tar = [index if isinstance(piece, str) else piece for piece in packs.pieces(members)]
    return b"".join(packs.framed(tar, packs.tar_size(members))), Digest.of(b"".join(tar))


def unpacked_index(data: bytes) -> bytes:
    """The index in the pack that `packed_index` made.

    :raises Corrupt: it is another.
    """
    start = sum(len(packs.header(path, entry)) for path, entry in _BEFORE_INDEX)
    head = b"".join(packs.unframed([data[packs.position(start - 512) :]], start - 512, start))
    said = head[124:135]
    # Whatever the size turns out to be: only the layer that we would make of it counts.
    size = int(said, 8) if said and not said.strip(b"01234567") else 0
    index = b"".join(packs.unframed([data[packs.position(start) :]], start, start + size))
    if packed_index(index)[0] != data:
        raise Corrupt("the layer of the bundle index is not as bundles have it")
    return index


_BEFORE_INDEX = ((".bundle", Entry.directory()), (INDEX_PATH, Entry("file", Digest.of(b""), 0)))


def _row(path: str, entry: Entry, at: list[int] | None, recipe: Recipe | None) -> dict[str, Any]:
    if entry.kind == "dir":
        return {"kind": "dir", "path": path}
    if entry.kind == "link":
        return {"kind": "link", "path": path, "target": entry.target}
    value: dict[str, Any] = {
        "kind": "file",
        "path": path,
        "size": entry.size,
        "sha256": entry.digest.hex,
        "mode": "0755" if entry.executable else "0644",
        "role": entry.role,
    }
    if recipe is None:
        return {**value, "at": at}
    value["chunker"] = recipe.chunker
    return {**value, "at": at} if at is not None else {**value, "segments": [list(each) for each in recipe.segments]}


def read(manifest: Manifest, fetch: Callable[[Descriptor], bytes]) -> Contents:
    """What `manifest` holds, with every path validated.

    :param fetch: brings the verified bytes of a small blob.
    :raises Corrupt: index and manifest disagree. :raises UnsafePath: a path that must not be created.
    :raises Unsupported: an artifact of a kind we cannot read, naming what it is.
    """
    return checked(_read_ours(manifest, fetch) if is_ours(manifest) else _read_foreign(manifest))


def checked(contents: Contents) -> Contents:
    """`contents`, when they may be created on anybody's disk.

    :raises UnsafePath: they may not.
    """
    paths.validate_tree(contents.snapshot)
    if found := paths.links_problem(contents.snapshot.links()):
        path, reason = found
        raise UnsafePath(f"unsafe link {paths.display(path)}: {reason}", path=paths.display(path), reason=reason)
    return contents


def is_ours(manifest: Manifest) -> bool:
    """Whether this tool made it: by config media type and our version, since some tools drop `artifactType`."""
    config, storage = manifest.config.media_type, manifest.annotations.get(media.STORAGE)
    is_kind = config == media.MODEL_CONFIG or (config == media.IMAGE_CONFIG and storage == "image")
    return is_kind and media.VERSION in manifest.annotations


def index_descriptor(manifest: Manifest) -> Descriptor:
    """The index layer of one of our manifests.

    :raises Corrupt: there is none. :raises Unsupported: a newer format.
    """
    version = manifest.annotations.get(media.VERSION, "")
    if version not in READABLE_VERSIONS:
        raise Unsupported(
            f"this bundle has format version {version[:20]!r}, newer than this tool reads",
            hint="upgrade modelops-bundle",
        )
    wanted = Digest.parse(manifest.annotations.get(media.INDEX, ""))
    for layer in manifest.layers:
        if layer.digest == wanted:
            return layer
    raise Corrupt("the manifest names an index that is not among its layers")


def kept_indexes(manifest: Manifest) -> list[Descriptor]:
    """What must be kept with one of our manifests to know what it holds: its index unless that is inline, and the
    indexes of earlier versions that chunk lists are taken from.

    :raises Corrupt: it has no index, or too many of them. :raises Unsupported: a newer format.
    """
    index = index_descriptor(manifest)
    earlier = [what for what in manifest.layers if what.annotations.get(media.FILEPATH, "").startswith(EARLIER_PATH)]
    if len(earlier) > chunkmap.MOST_EARLIER:
        raise Corrupt(f"the manifest names {len(earlier)} earlier indexes")
    inline = index.data is not None and Digest.of(index.data) == index.digest
    return earlier if inline else [index, *earlier]


def _read_ours(manifest: Manifest, fetch: Callable[[Descriptor], bytes]) -> Contents:
    descriptor = index_descriptor(manifest)
    data = descriptor.data
    if data is None or Digest.of(data) != descriptor.digest:
        data = fetch(descriptor)
    if manifest.annotations.get(media.STORAGE) == "image":
        data = unpacked_index(data)
    value = canonical.loads(data, "the bundle index", limit=MAX_INDEX)
    layers = {layer.digest: layer for layer in manifest.layers}
    blobs = [_blob(text, layers) for text in _list(value, "blobs")]
    rows = [(_entry(row), row) for row in _list(value, "files")]
    snapshot = distinct(entry for entry, _ in rows)
    chunks = ChunkMap()
    if "chunks" in value:
        chunks = chunkmap.read(value["chunks"], blobs, ((path, row) for (path, _), row in rows), fetch)
    places = {
        path: _place(path, row, entry, blobs, chunks.files.get(path))
        for (path, entry), row in rows
        if entry.kind == "file"
    }
    if manifest.annotations.get(media.CONTENT) != str(snapshot.content):
        raise Corrupt("the bundle index does not list the content that the manifest names")
    return Contents(snapshot, places, manifest.annotations[media.VERSION], chunks, descriptor)


def snapshot_of(index: bytes) -> Snapshot:
    """What a bundle's index alone says that the tree holds: for a directory that another tool pulled.

    :raises Corrupt: it cannot be read. :raises UnsafePath: a path that must not be created.
    """
    value = canonical.loads(index, "the bundle index", limit=MAX_INDEX)
    snapshot = distinct(_entry(row) for row in _list(value, "files"))
    paths.validate_tree(snapshot)
    return snapshot


def recipes_of(index: bytes, fetch: Callable[[Digest], bytes]) -> tuple[Snapshot, Mapping[str, Recipe]]:
    """What a bundle's index alone says that the tree holds, and how its files in delta storage are put together.

    The sizes of chunk packs are those that their lists make: nothing but a manifest says them.

    :param fetch: brings the verified bytes of the index of an earlier version.
    :raises Corrupt: it contradicts itself. :raises UnsafePath: a path or link that must not be created.
    :raises Unsupported: a newer format.
    """
    value = canonical.loads(index, "the bundle index", limit=MAX_INDEX)
    if str(value.get("schemaVersion")) not in READABLE_VERSIONS:
        raise Unsupported("the bundle index is of a newer format than this tool reads", hint="upgrade modelops-bundle")
    blobs = [Descriptor(_INDEX_TYPE, Digest.parse(str(text)), 0) for text in _list(value, "blobs")]
    rows = [(_entry(row), row) for row in _list(value, "files")]
    snapshot = distinct(entry for entry, _ in rows)
    checked(Contents(snapshot, {}, None))
    delta = {path: row for (path, entry), row in rows if entry.kind == "file" and "at" not in row}
    chunks = ChunkMap()
    if delta:
        found = value.get("chunks")
        chunks = chunkmap.read(found, blobs, delta.items(), lambda what: fetch(what.digest), sized=False)
    for path, row in delta.items():
        _place(path, row, snapshot[path], blobs, chunks.files.get(path))
    return snapshot, chunks.files


def _list(value: Mapping[str, Any], key: str) -> Sequence[Any]:
    items = value.get(key)
    if not isinstance(items, list):
        raise Corrupt(f"the bundle index lacks its list {key!r}")
    return items


def _blob(text: object, layers: Mapping[Digest, Descriptor]) -> Descriptor:
    digest = Digest.parse(text if isinstance(text, str) else "")
    if digest not in layers:
        raise Corrupt(f"the bundle index names {digest}, which is not among the manifest's layers")
    return layers[digest]


def _entry(row: object) -> tuple[str, Entry]:
    if not isinstance(row, dict) or not isinstance(row.get("path"), str):
        raise Corrupt("a row of the bundle index has no path")
    path, kind = row["path"], row.get("kind")
    if kind == "dir":
        return path, Entry.directory()
    if kind == "link":
        if not isinstance(row.get("target"), str):
            raise Corrupt("a link in the bundle index has no target")
        return path, Entry.link(row["target"])
    if kind != "file":
        raise Unsupported(f"the bundle index has an entry of kind {str(kind)[:40]!r}", hint="upgrade modelops-bundle")
    size, role = row.get("size"), row.get("role", "code")
    if type(size) is not int or size < 0 or row.get("mode") not in ("0644", "0755") or not isinstance(role, str):
        raise Corrupt(f"the row of {paths.display(path)} in the bundle index cannot be read")
    return path, Entry("file", Digest.parse(f"sha256:{row.get('sha256')}"), size, row["mode"] == "0755", role)


def _place(path: str, row: Any, entry: Entry, blobs: Sequence[Descriptor], recipe: Recipe | None) -> Place:
    at = row.get("at")
    if at is None and recipe is None:
        raise Unsupported(
            f"{paths.display(path)} is stored in a way this version cannot read", hint="upgrade modelops-bundle"
        )
    if at is None:
        return Place(None, recipe=recipe)
    if not isinstance(at, list) or not at or any(type(n) is not int or n < 0 for n in at) or at[0] >= len(blobs):
        raise Corrupt(f"the place of {paths.display(path)} in the bundle index cannot be read")
    blob = blobs[at[0]]
    if len(at) == 2 and packs.position(at[1] + entry.size) < blob.size:
        return Place(blob, at[1])
    if len(at) != 1 or blob.digest != entry.digest or blob.size != entry.size:
        raise Corrupt(f"{paths.display(path)} and the layer that holds it disagree in digest or size")
    return Place(blob, recipe=recipe)


def distinct(entries: Iterable[tuple[str, Entry]]) -> Snapshot:
    """A snapshot of `entries`. :raises UnsafePath: a path is among them twice."""
    listed = list(entries)
    snapshot = Snapshot(listed)
    if len(snapshot) != len(listed):
        raise UnsafePath("the artifact names one path twice")
    return snapshot


def _read_foreign(manifest: Manifest) -> Contents:
    """Artifacts of other tools that have one layer for each file, and say in the manifest which."""
    found = foreign.pieces(manifest)
    unread = next((piece.layer for piece in found if piece.archive), None)
    if unread is not None:
        raise Unsupported("what is in its archives was not read yet", media_type=unread.media_type[:200])
    places = {piece.path: Place(piece.layer) for piece in found}
    return Contents(distinct((piece.path, entry_of(piece)) for piece in found), places, None)


def entry_of(piece: foreign.Piece) -> Entry:
    """The file that a layer of another tool is."""
    role = piece.role or role_of(piece.path)
    return Entry("file", piece.layer.digest, piece.layer.size, piece.executable, role)
