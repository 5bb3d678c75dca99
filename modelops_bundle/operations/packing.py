"""Packs of the working tree: which there are, and their digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelops_bundle.disk.files import free_bytes
from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import DiskError
from modelops_bundle.events import Advanced, Finished, ItemStarted, Started
from modelops_bundle.model import packs
from modelops_bundle.model.image import Image
from modelops_bundle.model.image import cut as layers_of
from modelops_bundle.model.packs import Member, Pack
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import engine, pack
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.packs import PackCache
from modelops_bundle.workspace.tree import WorkTree

_MOST_SPOOLS = 128
"""Files that are held open at once."""


def seal(
    session: Session,
    snapshot: Snapshot,
    keys: Mapping[str, tuple[int, ...]],
    how: str,
    layers: int | None = None,
    *,
    keep: bool = False,
    image: Image | None = None,
) -> tuple[Pack, ...]:
    """The packs of the working tree, those that were made before without reading a file.

    :param layers: the most layers that the registry takes.
    :param keep: keep what is made for the push that follows, where there is room.
    :param image: everything is packed, as layers of that.
    :raises WorkspaceChanged: a file changed since it was hashed.
    """
    cut = layers_of(snapshot, image) if image else packs.cut(snapshot, how, layers)
    if not cut:
        return ()
    cache = PackCache(session.project.folder / layout.PACKS)
    made = [cache.get(members, inner=image is not None) for members in cut]
    todo = [number for number, known in enumerate(made) if known is None]
    if todo:
        keep = keep and _has_room(session, [cut[number] for number in todo])
        contents = contents_of(WorkTree(session.tree, snapshot, keys), image)
        _make(session, contents, cut, todo, made, keep=keep, inner=image is not None)
    found = tuple(known for known in made if known is not None)
    cache.save(found)
    return found


def contents_of(tree: WorkTree, image: Image | None) -> pack.Contents:
    """The bytes of the members of packs, by the names they have there."""
    return tree.content if image is None else lambda path: tree.content(image.outside(path))


def _make(
    session: Session,
    contents: pack.Contents,
    cut: Sequence[tuple[Member, ...]],
    todo: Sequence[int],
    made: list[Pack | None],
    *,
    keep: bool,
    inner: bool,
) -> None:
    run = session.run
    run.emit(Started("pack", len(todo), sum(_size(cut[number]) for number in todo)))

    def one(number: int) -> None:
        members, spool = cut[number], _spool(session) if keep else None
        size, key = _size(members), f"pack {number}"
        run.emit(ItemStarted(key, label(members), size))
        with session.tree.keeping():
            made[number] = sealed = pack.seal(members, contents, run, spool, inner=inner)
        if spool is not None and spool.is_whole:
            session.spooled[sealed.digest] = spool
        run.emit(Advanced(key, size))
        run.emit(Finished(key, "copied"))

    engine.each(todo, one, run)


def _has_room(session: Session, todo: Sequence[tuple[Member, ...]]) -> bool:
    """Whether the packs can be kept without taking much of what is free."""
    size = sum(_size(members) for members in todo)
    return len(todo) <= _MOST_SPOOLS and size * 4 <= free_bytes(session.project.folder)


def _spool(session: Session) -> Spool | None:
    try:
        return Spool(session.project.parts)
    except DiskError:
        # It only saves work.
        return None


def _size(members: tuple[Member, ...]) -> int:
    """Bytes of the members' content: what people watch."""
    return sum(entry.size for _, entry in members)


def label(members: tuple[Member, ...]) -> str:
    """What people are told of a pack."""
    first, last = members[0][0], members[-1][0]
    return first if len(members) == 1 else f"{first} … {last} ({len(members)} packed)"
