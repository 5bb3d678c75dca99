"""delete: a version, with every tag that stands for it."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import NotFound, PartialFailure, TagMoved, Unauthorized, Unsupported
from modelops_bundle.events import checkpoint
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Deleter, Lister, Lists, Referrers, Store, Untagger
from modelops_bundle.model.reference import Reference
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import engine


@dataclass(frozen=True, slots=True)
class Deletion:
    """What would be deleted: a manifest, the tags that go with it, and what refers to it and stays behind.

    :param what: None when it is not there.
    :param tags: None when the store cannot list them.
    :param synced: the tree here was last synced with it.
    """

    reference: Reference
    what: Descriptor | None
    tags: tuple[str, ...] | None
    referrers: tuple[Descriptor, ...]
    synced: bool

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "place": str(self.reference.at()),
            "digest": str(self.what.digest) if self.what else None,
            "tags": list(self.tags) if self.tags is not None else None,
            "referrers": [{"digest": str(each.digest), "artifact_type": each.artifact_type} for each in self.referrers],
            "synced": self.synced,
        }


def plan_delete(session: Session, text: str, *, missing_ok: bool = False) -> Deletion:
    """Look at what deleting the version `text` would take along: one request for each tag of the repository.

    :raises NotFound: no such version. :raises Unsupported: nothing can be deleted there.
    """
    reference = session.reference(text)
    store = session.store(reference)
    what = store.resolve(reference.name or "", data=True)
    if what is None and reference.digest is not None and isinstance(store, Lists):
        what = store.listed(reference.digest)
    if what is None:
        if missing_ok:
            return Deletion(reference, None, (), (), synced=False)
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is", reference=str(reference))
    if not isinstance(store, Deleter):
        raise Unsupported(f"{reference.place} deletes nothing")
    referring = tuple(store.referrers(what.digest)) if isinstance(store, Referrers) else ()
    synced = session.has_project and session.project.at().digest == what.digest
    return Deletion(reference, what, _tags(session, store, what.digest), referring, synced)


def _tags(session: Session, store: Store, digest: Digest) -> tuple[str, ...] | None:
    if not isinstance(store, Lister):
        return None
    found: list[str] = []
    lock = threading.Lock()

    def one(name: str) -> None:
        standing = store.resolve(name)
        if standing is not None and standing.digest == digest:
            with lock:
                found.append(name)

    engine.each(store.tags(), one, session.run)
    return tuple(sorted(found))


def apply_delete(session: Session, deletion: Deletion) -> None:
    """Delete what was looked at.

    :raises TagMoved: another tag stands for it by now, or the one that was named does not; nothing was deleted.
    :raises NotFound: somebody else deleted it. :raises Unsupported: the registry does not let anybody.
    :raises PartialFailure: it was deleted, and the registry keeps tags for it.
    """
    if deletion.what is None:
        return
    reference = deletion.reference
    store = session.store(reference)
    if not isinstance(store, Deleter):
        raise Unsupported(f"{reference.place} deletes nothing")
    with session.project.locked() if session.has_project else nullcontext():
        _recheck(session, store, deletion, deletion.what.digest)
        checkpoint("deleting")
        store.delete(deletion.what)
        checkpoint("deleted")
        left = [tag for tag in deletion.tags or () if not _is_untagged(store, tag, deletion.what)]
        if session.has_project:
            for tag in set(deletion.tags or ()) - set(left):
                session.seen.forget(remote_state.key(reference.at(tag)))
    if left:
        raise PartialFailure(
            f"the version was deleted, and {reference.place} keeps tags for it: {', '.join(left)}",
            hint="move them to another version with bundle tag --force, or ask whoever runs the registry",
            failed=[{"tag": tag, "state": "kept"} for tag in left],
        )


def _is_untagged(store: Store, tag: str, what: Descriptor) -> bool:
    """Whether `tag` went with the manifest, as it should: `crane registry` and others keep tags of their own."""
    standing = store.resolve(tag)
    if standing is None or standing.digest != what.digest:
        return True
    try:
        return isinstance(store, Untagger) and store.untag(tag, what, keep=True)
    except Unauthorized:
        return False  # the version is gone: what stays is told, whoever may not remove it


def _recheck(session: Session, store: Store, deletion: Deletion, digest: Digest) -> None:
    reference = deletion.reference
    if reference.digest is None:
        standing = store.resolve(reference.tag or "")
        if standing is None and store.resolve(str(digest)) is None:
            raise NotFound(f"{reference} does not exist any more: somebody else deleted it", reference=str(reference))
        if standing is None or standing.digest != digest:
            did = "is gone" if standing is None else "moved"
            raise TagMoved(
                f"{reference} {did} meanwhile; nothing was deleted", hint="run the command again", tag=reference.tag
            )
    now = _tags(session, store, digest)
    more = sorted(set(now or ()) - set(deletion.tags or ()))
    if more:
        raise TagMoved(
            f"{', '.join(more)} stands for it meanwhile; nothing was deleted",
            hint="run the command again: it lists them",
            tag=more[0],
        )
