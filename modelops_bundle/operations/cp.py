"""cp: versions from one store to another, without a working tree: manifests, blobs, and what refers to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from modelops_bundle.errors import BundleError, NotFound, PartialFailure, Unsupported, UsageError
from modelops_bundle.events import checkpoint
from modelops_bundle.model import canonical, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Lister, Mounter, Referrers, Rooted, Store
from modelops_bundle.model.reference import Reference, is_service_tag
from modelops_bundle.operations import tagging
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import copy, publish
from modelops_bundle.transfer.closure import Node, blobs_of, closure


@dataclass(frozen=True, slots=True)
class Request:
    """What to copy.

    :param tags: a pattern of tags (`fnmatch`) instead of the one that the source names; None for that one.
    :param recursive: with what refers to it. :param expect: what the destination's tag may stand for.
    """

    source: str
    destination: str
    tags: str | None = None
    recursive: bool = False
    force: bool = False
    expect: str | None = None
    dry_run: bool = False


@dataclass(slots=True)
class Result:
    """What was copied, or would be: tags with their digests; blobs and bytes that were really sent."""

    source: str
    destination: str
    tags: dict[str, Digest] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)
    manifests: int = 0
    blobs: int = 0
    size: int = 0
    sent_blobs: int = 0
    sent_bytes: int = 0
    existing_blobs: int = 0
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "source": self.source,
            "destination": self.destination,
            "tags": {tag: str(digest) for tag, digest in self.tags.items()},
            "moved": self.moved,
            "manifests": self.manifests,
            "blobs": self.blobs,
            "size": self.size,
            "sent_blobs": self.sent_blobs,
            "sent_bytes": self.sent_bytes,
            "existing_blobs": self.existing_blobs,
            "dry_run": self.dry_run,
        }


@dataclass(frozen=True, slots=True)
class _One:
    """A version to copy, and the tag that it gets; None is none."""

    what: Descriptor
    target: Reference


def cp(session: Session, request: Request) -> Result:
    """Copy versions: blobs that are missing, manifests each after what it names, then the tags.

    A tag of the destination that stands for something else moves as with `tag`: when this clone has seen that, or it is
    expected, or by force. All are checked before the first byte.

    :raises NotFound: the source is not there. :raises UsageError: the words do not fit.
    :raises TagMoved: a tag of the destination stands for something else. :raises Corrupt: the source is damaged.
    """
    source, destination = session.reference(request.source), _destination(session, request)
    if destination.scheme == "tar":
        raise UsageError("an archive is made whole", hint="bundle export REF -o FILE")
    store, target = session.store(source), session.store(destination, create=True)
    copies = list(_copies(store, source, destination, request))
    found = Result(str(source), str(destination), dry_run=request.dry_run)
    found.tags = {one.target.tag: one.what.digest for one in copies if one.target.tag}
    with session.project.locked() if session.has_project else nullcontext():
        wishes = _wishes(session, target, copies, request)
        nodes = closure(store, [one.what for one in copies], session.run, referrers=request.recursive)
        blobs = blobs_of(nodes)
        found.manifests, found.blobs, found.size = len(nodes), len(blobs), sum(what.size for what in blobs)
        if not request.dry_run:
            _bring(session, source, destination, nodes, found)
            _put(target, nodes)
            data = {node.what.digest: node.data for node in nodes}
            filled = [replace(wish, data=data[wish.what.digest]) for wish in wishes]
            found.moved = _move(session, target, destination, filled)
    return found


def _destination(session: Session, request: Request) -> Reference:
    """Where it goes: with the tag that was written, else without."""
    destination = session.reference(request.destination)
    if destination.digest is not None:
        raise UsageError("copy to a place or a tag, not to a digest", hint="the digest stays what it is")
    return destination if session.written_tag(request.destination) else destination.at()


def _copies(store: Store, source: Reference, destination: Reference, request: Request) -> Iterator[_One]:
    if request.tags is not None:
        if destination.tag is not None:
            raise UsageError("several tags keep their names", hint="write the destination without a tag")
        yield from _tagged(store, source, destination, request.tags)
        return
    found = store.resolve(source.name or "")
    if found is None:
        raise NotFound(f"{source} does not exist", hint="bundle tags lists what there is", reference=str(source))
    tag = destination.tag or (None if source.digest is not None else source.tag)
    yield _One(found, destination.at(tag))


def _tagged(store: Store, source: Reference, destination: Reference, pattern: str) -> Iterator[_One]:
    if not isinstance(store, Lister):
        raise Unsupported(f"{source.place} cannot list its tags")
    if isinstance(store, Rooted) and not store.tags():
        yield from (_One(what, destination.at()) for what, _ in store.roots())
        return
    names = [name for name in store.tags() if not is_service_tag(name) and fnmatchcase(name, pattern)]
    if not names:
        raise NotFound(f"{source.place} has no tag like {pattern}", hint="bundle tags lists what there is")
    for name in names:
        found = store.resolve(name)
        # One that was deleted a moment ago is no tag any more.
        if found is not None:
            yield _One(found, destination.at(name))
    if source.scheme == "tar" and pattern == "*":
        yield from (_One(what, destination.at()) for what in _nameless(store))


def _nameless(store: Store) -> Iterator[Descriptor]:
    """Versions that are in an archive for themselves: without a tag, and attached to nothing."""
    roots = store.roots() if isinstance(store, Rooted) else ()
    named = {what.digest for what, tag in roots if tag is not None}
    for what in dict.fromkeys(what for what, _ in roots if what.digest not in named):
        found = store.resolve(str(what.digest), data=True)
        value = canonical.loads(found.data or b"", "a manifest", limit=media.MAX_MANIFEST) if found else {}
        if "subject" not in value:
            yield what


def _wishes(session: Session, target: Store, copies: Sequence[_One], request: Request) -> list[publish.Wish]:
    expected = tagging.whole_digest(request.expect)
    return [
        tagging.wish(session, target, one.target, one.what, b"", expected, request.force)
        for one in copies
        if one.target.tag is not None
    ]


def _bring(session: Session, source: Reference, destination: Reference, nodes: Sequence[Node], found: Result) -> None:
    store, target = session.store(source), session.store(destination, create=True)
    wanted = [(what, _name(what)) for what in blobs_of(nodes)]
    beside = source.scheme == destination.scheme == "oci" and source.host == destination.host
    mounts: dict[str, Sequence[str]] = {}
    if beside and isinstance(target, Mounter) and source.repository != destination.repository:
        mounts = {str(what.digest): [source.repository] for what, _ in wanted}
    likely = () if mounts else frozenset(str(what.digest) for what, _ in wanted)
    copied = copy.copy_blobs(wanted, store, target, session.run, likely=likely, mounts=mounts)
    found.sent_blobs, found.sent_bytes, found.existing_blobs = copied.blobs, copied.size, copied.existing
    checkpoint("blobs copied")


def _name(what: Descriptor) -> str:
    return what.annotations.get(media.TITLE) or what.annotations.get(media.FILEPATH) or str(what.digest)


def _put(target: Store, nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.subject is not None and isinstance(target, Referrers):
            target.refer(node.subject, node.what, node.data)
        else:
            target.put(node.what, [node.data])
        checkpoint("manifest copied")


def _move(session: Session, target: Store, destination: Reference, wishes: Sequence[publish.Wish]) -> list[str]:
    remote = session.remote_of(destination)
    note = tagging.announcement(session, destination)
    if note is not None:
        note.settle(target)
    moved: list[str] = []
    for wish in wishes:
        try:
            publish.publish(target, wish, session.run, race=remote.race if remote else "default", note=note)
        except BundleError as error:
            if not moved:
                raise
            failed = [{"tag": wish.tag, "state": "failed", "error": error.to_json()}]
            raise PartialFailure(f"not every tag was moved: {wish.tag} failed", failed=failed, moved=moved) from error
        if wish.found != wish.what.digest:
            moved.append(wish.tag)
        checkpoint("tag moved")
        if session.has_project:
            what = replace(wish.what, data=wish.data)
            seen = tagging.sighting_of(session, destination.at(wish.tag), what, target)
            if seen is not None:
                session.seen.put(seen)
    return moved
