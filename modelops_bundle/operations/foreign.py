"""Reading versions of other tools: their archives are read once, from front to back, and what is in them is written down."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from modelops_bundle.disk.files import free_bytes
from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import Corrupt, DiskError, NotFound, UnsafePath
from modelops_bundle.events import Advanced, Finished, ItemStarted, Started
from modelops_bundle.formats import coding, tar, untar
from modelops_bundle.model import artifact, foreign, image_index, inventory, paths
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.foreign import Piece
from modelops_bundle.model.inventory import Inventory, Row
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.ports import Store
from modelops_bundle.model.roles import role_of
from modelops_bundle.operations.session import Session
from modelops_bundle.stores.shelf import Shelf
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.verify import read_small, verified

Members = dict[Digest, list[untar.Found]]
"""By layer, what is in it."""
_MOST_KEPT = 64
"""Archives that are kept for a pull, each in an open file."""


def of_manifest(session: Session, store: Store, manifest: Manifest) -> Inventory | None:
    """What a manifest of another tool holds; None where the manifest itself says it.

    :raises Unsupported: a kind we cannot read, naming what it is; nothing was brought then but the config.
    :raises Corrupt: an archive or a config that cannot be believed. :raises UnsafePath: a path nobody may create.
    """
    shelf = _shelf(session)
    if (known := shelf.get(manifest.digest)) is not None:
        return known
    found = _pieces(store, manifest)
    if not foreign.needs_config(manifest) and not any(piece.archive for piece in found):
        return None
    rows = tuple(_rows(session, store, found))
    return shelf.put(Inventory(manifest.digest, manifest.config, manifest.layers, rows))


def is_hidden(manifest: Manifest) -> bool:
    """Whether the manifest itself does not say what is in it."""
    return foreign.needs_config(manifest) or any(piece.archive for piece in foreign.pieces(manifest))


def of_index(session: Session, store: Store, data: bytes, platform: str | None = None) -> Inventory:
    """What an image index holds: one manifest by platform, or all of them in one tree.

    :param platform: the one that is meant when the user names none; by default this machine's.
    :raises Unsupported: nothing for this platform, or manifests of a kind we cannot read.
    :raises UnsafePath: two manifests want different things at one path.
    """
    wanted, shelf = session.options.platform or platform or host_platform(), _shelf(session)
    if (known := shelf.get(Digest.of(data), wanted)) is not None:
        return known
    listed = image_index.chosen(image_index.children(data), wanted)
    manifests = [_child(store, child.what) for child in listed]
    parts: list[list[Row]] = []
    for manifest in manifests:
        parts.append(_rows_of(session, store, manifest))
        _refuse_many(sum(map(len, parts)))
    rows = inventory.merged(parts)
    layers = {layer.digest: layer for manifest in manifests for layer in (manifest.config, *manifest.layers)}
    by_platform = wanted if any(child.platform for child in listed) else None
    kept = tuple(inventory.without_full_directories(rows))
    made = Inventory(Digest.of(data), manifests[0].config, tuple(layers.values()), kept, by_platform)
    return shelf.put(made, wanted)


def _shelf(session: Session) -> Shelf:
    wanted = not (session.has_project and session.project.config.get("cache") is False)
    folder = session.options.cache if wanted else None
    return Shelf(None if folder is None else folder / "inventories")


def _child(store: Store, what: Descriptor) -> Manifest:
    found = store.resolve(str(what.digest), data=True)
    if found is None or found.data is None:
        raise NotFound(f"the index names the manifest {what.digest}, which is not there", digest=str(what.digest))
    if Digest.of(found.data) != what.digest:
        raise Corrupt(f"the manifest {what.digest} does not match its digest")
    return Manifest.from_bytes(found.data, found.media_type)


def _rows_of(session: Session, store: Store, manifest: Manifest) -> list[Row]:
    if not artifact.is_ours(manifest):
        return _rows(session, store, _pieces(store, manifest))
    contents = artifact.read(manifest, lambda what: read_small(store, what, artifact.MAX_INDEX))
    return [(path, entry, contents.places.get(path)) for path, entry in contents.snapshot.items()]


def _pieces(store: Store, manifest: Manifest) -> tuple[Piece, ...]:
    config = None
    if foreign.needs_config(manifest):
        config = read_small(store, manifest.config, foreign.MAX_CONFIG)
    return foreign.pieces(manifest, config)


def _rows(session: Session, store: Store, found: Sequence[Piece]) -> list[Row]:
    members = _members(session, store, [piece.layer for piece in found if piece.archive])
    rows: list[Row] = []
    for piece in found:
        if piece.archive:
            rows += (_placed(piece, member) for member in members[piece.layer.digest])
        else:
            rows.append((piece.path, artifact.entry_of(piece), Place(piece.layer)))
    kept = inventory.without_full_directories(rows)
    # Here and now, for every part: a path twice is found before parts are put together.
    inventory.snapshot(kept)
    return kept


def _placed(piece: Piece, member: untar.Found) -> Row:
    path = f"{piece.path}/{member.name}" if piece.path else member.name
    if piece.within and path != piece.within and not path.startswith(f"{piece.within}/"):
        parent = member.entry.kind == "dir" and piece.within.startswith(f"{path}/")
        if not parent:
            raise UnsafePath(
                f"an archive that is to hold {paths.display(piece.within)} holds {paths.display(path)}",
                path=paths.display(path),
            )
    if member.entry.kind != "file":
        return path, member.entry, None
    entry = replace(member.entry, role=piece.role or role_of(path))
    return path, entry, Place(piece.layer, member.offset, archive=True)


def _members(session: Session, store: Store, layers: Iterable[Descriptor]) -> Members:
    listed = {layer.digest: layer for layer in layers}
    found: Members = {}
    run, numbers = session.run, itertools.count(1)

    def one(layer: Descriptor) -> None:
        key = str(layer.digest)
        run.emit(ItemStarted(key, f"the archive {layer.digest.short}", layer.size))
        members = []
        for member in untar.scan(_unpacked(session, store, layer), coding.most(layer.size), run.check):
            members.append(member)
            # All archives together: one alone is not what a hostile version would have.
            _refuse_many(next(numbers))
        run.emit(Finished(key, "copied"))
        found[layer.digest] = members

    if listed:
        run.emit(Started("read", len(listed), sum(layer.size for layer in listed.values())))
        engine.each(listed.values(), one, run)
    return found


def _refuse_many(count: int) -> None:
    if count > tar.MOST_MEMBERS:
        raise Corrupt(f"the version holds more than {tar.MOST_MEMBERS} paths in archives")


def _unpacked(session: Session, store: Store, layer: Descriptor) -> Iterator[bytes]:
    """What a layer holds, its own bytes verified at the end, and kept where they are needed again soon."""
    spool = _spool(session, layer)

    def kept(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            session.run.check()
            if spool is not None:
                spool.write(chunk)
            session.run.emit(Advanced(str(layer.digest), len(chunk)))
            yield chunk

    with store.open(layer) as chunks:
        yield from coding.decoded(kept(verified(layer, chunks)))
    if spool is not None and spool.is_whole:
        session.spooled[layer.digest] = spool


def _spool(session: Session, layer: Descriptor) -> Spool | None:
    folder = session.keep_in
    if folder is None or len(session.spooled) >= _MOST_KEPT:
        return None
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        # What lands from it needs room as well.
        return Spool(folder) if layer.size * 4 <= free_bytes(folder) else None
    except (DiskError, OSError):
        # It only saves a second download.
        return None


def host_platform() -> str:
    """The platform of this machine."""
    facts = os.uname()
    return image_index.platform_of(facts.sysname, facts.machine)
