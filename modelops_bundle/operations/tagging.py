"""tag and untag: names for versions that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

from modelops_bundle.errors import BundleError, Corrupt, NotFound, PartialFailure, TagMoved, Unsupported, UsageError
from modelops_bundle.events import checkpoint
from modelops_bundle.model import artifact, media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.ports import Store, Untagger
from modelops_bundle.model.reference import Reference, check_tag, is_service_tag
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.layouts import for_every_tool
from modelops_bundle.operations.referrers import find
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.push import standing
from modelops_bundle.transfer import publish
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.seen import Sighting


@dataclass(frozen=True, slots=True)
class Tagged:
    """The tags that stand for `digest` now, and what each of them stood for before (None: it was absent)."""

    place: str
    digest: Digest
    before: dict[str, Digest | None]

    @property
    def changed(self) -> list[str]:
        """Those that did not before."""
        return [tag for tag, digest in self.before.items() if digest != self.digest]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "place": self.place,
            "digest": str(self.digest),
            "tags": [
                {"tag": tag, "before": str(before) if before else None, "changed": before != self.digest}
                for tag, before in self.before.items()
            ],
        }


def tag(session: Session, text: str, names: Sequence[str], *, expect: str | None = None, force: bool = False) -> Tagged:
    """Let each of `names` stand for the version `text`, in the same repository. Only its manifest is read and sent.

    A tag that stands for something else moves only when this clone has seen that (the lease of `push`), or it is
    `expect`, or with `force`. All are checked before the first is written.

    :raises UsageError: no tag, or no digest. :raises NotFound: no such version. :raises TagMoved: refused, or overtaken.
    :raises PartialFailure: some of several tags failed; the list tells each one's state.
    """
    wanted = list(dict.fromkeys(check_tag(name) for name in names))
    reserved = [name for name in wanted if is_service_tag(name)]
    if reserved:
        raise UsageError(f"the tag {reserved[0]} has a form that tools keep for themselves")
    expected = whole_digest(expect)
    with session.project.locked() if session.has_project else nullcontext():
        reference, what, store = find(session, text, data=True)
        data = what.data or b""
        what = replace(what, data=None)
        _refuse_chunks(session, data, wanted)
        remote = session.remote_of(reference)
        note = announcement(session, reference)
        if note is not None:
            note.settle(store)
        wishes = [wish(session, store, reference.at(name), what, data, expected, force) for name in wanted]
        sighting = sighting_of(session, reference, replace(what, data=data), store)
        states: list[dict[str, Any]] = []
        for each in wishes:
            try:
                publish.publish(store, each, session.run, race=remote.race if remote else "default", note=note)
            except BundleError as error:
                if not states:
                    raise
                states.append({"tag": each.tag, "state": "failed", "error": error.to_json()})
                continue
            states.append({"tag": each.tag, "state": "moved"})
            checkpoint("tag moved")
            if sighting is not None:
                key = remote_state.key(reference.at(each.tag))
                session.seen.put(Sighting(key, sighting.manifest, sighting.index))
    if any(state["state"] == "failed" for state in states):
        told = ", ".join(f"{state['tag']}: {state['state']}" for state in states)
        raise PartialFailure(f"not every tag was moved ({told})", failed=states, digest=str(what.digest))
    return Tagged(str(reference.at()), what.digest, {each.tag: each.found for each in wishes})


def _refuse_chunks(session: Session, data: bytes, tags: Sequence[str]) -> None:
    """:raises UsageError: a tag for every tool would stand for a version in delta storage."""
    closed = for_every_tool(session, tags)
    storage = None
    with suppress(BundleError):
        # Of an index, and of what no tool of ours made, nothing is asked.
        storage = Manifest.from_bytes(data).annotations.get(media.STORAGE) if closed is not None else None
    if storage == "delta":
        raise UsageError(
            f'the tag {closed} has interop = "plain", and the version is stored in chunks',
            hint=f"bundle flatten REF --tag {closed} writes a version that every tool reads",
        )


def whole_digest(text: str | None) -> Digest | None:
    """The digest that `--expect` names. :raises UsageError: it names none."""
    try:
        return None if text is None else Digest.parse(text)
    except Corrupt as error:
        raise UsageError(f"--expect takes a whole digest, not {text!r}", hint="sha256: and 64 hex digits") from error


def announcement(session: Session, reference: Reference) -> publish.Note | None:
    """Where this clone keeps track of what it announces at the place of `reference`; None outside of a bundle."""
    if not session.has_project:
        return None
    return publish.Note(session.project.folder / layout.JOURNAL / "announcement", str(reference.at()))


def wish(
    session: Session,
    store: Store,
    target: Reference,
    what: Descriptor,
    data: bytes,
    expected: Digest | None,
    force: bool,
) -> publish.Wish:
    """The move of one tag. :raises TagMoved: the lease forbids it."""
    current = store.resolve(target.tag or "")
    found = current.digest if current else None
    sighting = session.seen.get(remote_state.key(target)) if session.has_project else None
    seen = sighting.digest if sighting else None
    if standing(found, seen, what.digest, expected) == "moved" and not force:
        is_there = f"stands for {found}" if found else "is gone, and stood for something when it was last seen"
        raise TagMoved(
            f"tag {target.tag} {is_there}",
            hint=f"--expect {found} replaces that"
            if found
            else f"--force makes it anew; bundle untag {target} --missing-ok forgets it",
            tag=target.tag,
            found=str(found) if found else None,
        )
    return publish.Wish(target.tag or "", found, what, data, force)


def sighting_of(session: Session, reference: Reference, what: Descriptor, store: Store) -> Sighting | None:
    """What to remember of a tag that is moved: what it holds, where this tool can read that. None outside of a bundle."""
    if not session.has_project:
        return None
    data = what.data or b""
    try:
        if artifact.is_ours(Manifest.from_bytes(data, what.media_type)):
            return remote_state.read(session, reference, what, store).sighting
    except Unsupported:
        # Of somebody else's kind: its digest is all that the lease needs.
        pass
    return Sighting(remote_state.key(reference), data, None)


@dataclass(frozen=True, slots=True)
class Untagged:
    """A tag that was removed, and what it stood for; None when it was not there."""

    reference: str
    digest: Digest | None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"reference": self.reference, "digest": str(self.digest) if self.digest else None}


def untag(session: Session, texts: Sequence[str], *, missing_ok: bool = False) -> list[Untagged]:
    """Remove tags; what they stood for stays.

    :param missing_ok: a tag that is not there is no error.
    :raises UsageError: a reference without a tag of its own. :raises NotFound: not there; nothing was removed.
    :raises Unsupported: the registry removes no tags. :raises Unauthorized: this login may not remove them.
    """
    found = [_standing(session, text, missing_ok) for text in texts]
    done = []
    with session.project.locked() if session.has_project else nullcontext():
        for reference, what in found:
            if what is not None:
                _remove(session, reference, what)
            if session.has_project:
                session.seen.forget(remote_state.key(reference))
            done.append(Untagged(str(reference), what.digest if what else None))
    return done


def _standing(session: Session, text: str, missing_ok: bool) -> tuple[Reference, Descriptor | None]:
    reference = session.reference(text)
    if session.written_tag(text) is None or reference.digest is not None:
        raise UsageError(f"untag wants a tag: {text!r}", hint="bundle untag REPO:TAG; bundle delete removes a version")
    what = session.store(reference).resolve(reference.tag or "")
    if what is None and not missing_ok:
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is", reference=str(reference))
    return reference, what


def _remove(session: Session, reference: Reference, what: Descriptor) -> None:
    store = session.store(reference)
    if isinstance(store, Untagger) and store.untag(reference.tag or "", what, keep=True):
        return
    now = store.resolve(reference.tag or "")
    if now is not None and now.digest != what.digest:
        raise TagMoved(f"{reference} moved meanwhile, and stays", hint="run the command again", tag=reference.tag)
    raise Unsupported(
        f"{reference.place} removes no tags, only versions with all their tags",
        hint=f"bundle delete {reference} removes the version with every tag of it; bundle tag moves a tag to another one",
        reference=str(reference),
    )
