"""push: plan, then apply exactly that (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from modelops_bundle.errors import (
    BundleError,
    Corrupt,
    NoMatch,
    PartialFailure,
    TagMoved,
    UnsafePath,
    Unsupported,
    UsageError,
    WorkspaceChanged,
)
from modelops_bundle.events import Run, checkpoint
from modelops_bundle.model import artifact, media, paths
from modelops_bundle.model.artifact import Artifact
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.packs import Pack
from modelops_bundle.model.ports import Atomic, Chunks, Lister, Store
from modelops_bundle.model.reference import Reference, check_tag, is_service_tag, parse
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import losses, packing, remote_state
from modelops_bundle.operations.local_state import keys_at, local
from modelops_bundle.operations.recover import recover
from modelops_bundle.operations.session import Session
from modelops_bundle.plan import push as rules
from modelops_bundle.plan import semver
from modelops_bundle.plan.changes import difference
from modelops_bundle.plan.push import PushPlan, TagMove
from modelops_bundle.transfer import copy, publish
from modelops_bundle.transfer.pack import Packs, Spooled
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.project import At
from modelops_bundle.workspace.seen import Pushed, Sighting
from modelops_bundle.workspace.tree import WorkTree


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What the user asked for."""

    reference: str | None = None
    tags: Sequence[str] = ()
    bump: semver.Part | None = None
    expect: str | None = None
    force: bool = False
    annotations: Mapping[str, str] | None = None
    pack: str | None = None
    direct: bool = False
    """The plan is carried out at once, not shown or saved: packs that are made for it are kept until they are sent."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a push really did."""

    place: str
    tags: tuple[str, ...]
    digest: Digest
    sent: int = 0
    sent_bytes: int = 0
    existing: int = 0
    changed: bool = True

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "place": self.place,
            "tags": list(self.tags),
            "digest": str(self.digest),
            "sent_blobs": self.sent,
            "sent_bytes": self.sent_bytes,
            "existing_blobs": self.existing,
            "changed": self.changed,
        }


def plan_push(session: Session, request: PushRequest) -> PushPlan:
    """Decide a push: everything is hashed, every tag looked at, nothing written but caches.

    :raises NoMatch: nothing is tracked. :raises UsageError: the words do not fit.
    """
    reference = session.reference(request.reference)
    if reference.digest is not None:
        raise UsageError("push to a tag, not to a digest", hint="the digest is the result of a push")
    here = local(session, strict=True)
    if not here.tracked:
        raise NoMatch("nothing is tracked", hint="bundle add PATH")
    paths.validate_tree(here.here)
    _refuse_escaping_links(here.here)
    annotations = {**session.project.config.annotations(), **(request.annotations or {})}
    keys = {path: tuple(key) for path, key in here.keys.items()}
    packed = packing.seal(session, here.here, keys, packing.mode(session, request.pack), keep=request.direct)
    draft = PushPlan(str(reference.at()), (), here.here, annotations, keys, Snapshot(), packed=packed)
    ours = draft.artifact.digest
    expected = _expected(request)
    moves: list[TagMove] = []
    found: dict[str, remote_state.Remote | None] = {}
    for tag in _tags(session, reference, request):
        move, remote = _stand(session, reference.at(tag), ours, expected)
        moves.append(move)
        found[tag] = remote
    if request.bump and moves[0].found is not None and moves[0].standing != "adopted":
        raise TagMoved(f"the next release {moves[0].tag} exists already", hint="run the command again")
    remote_there = session.remote_of(reference)
    base = next((remote.contents.snapshot for remote in found.values() if remote), Snapshot())
    plan = replace(
        draft,
        tags=tuple(moves),
        base=base,
        losses=_losses(session, here.here, moves, found),
        gone=here.gone,
        known=frozenset().union(*(remote_state.blob_digests(r.manifest) for r in found.values() if r)),
        race=remote_there.race if remote_there else "default",
        force=request.force,
        strays_from=_strays_from(session, request, moves[0], reference),
    )
    return plan.sharing(draft)


def _strays_from(session: Session, request: PushRequest, move: TagMove, reference: Reference) -> str | None:
    """The version this tree was pulled from, when a push that names no tag is about to replace another one."""
    if (
        request.reference is not None
        or request.tags
        or request.bump
        or move.found is None
        or move.standing == "adopted"
    ):
        return None
    at = session.project.at().reference
    history = session.project.history()
    if at is None or not history or history[-1].get("verb") != "pull":
        return None
    # Another place is another matter: bringing work from there to the default remote is what remotes are for.
    known = parse(at)
    return at if str(known.at()) == str(reference.at()) and known.tag != move.tag else None


def _refuse_escaping_links(here: Snapshot) -> None:
    if found := paths.links_problem(here.links()):
        path, reason = found
        raise UnsafePath(
            f"the link {paths.display(path)} cannot be pushed: {reason}",
            hint=f"bundle add --follow-links {paths.display(path)} stores what it points to",
            path=path,
        )


def _expected(request: PushRequest) -> Digest | None:
    if request.expect is None:
        return None
    try:
        return Digest.parse(request.expect)
    except Corrupt as error:
        raise UsageError(
            f"--expect takes a whole digest, not {request.expect!r}", hint="sha256: and 64 hex digits"
        ) from error


def _tags(session: Session, reference: Reference, request: PushRequest) -> list[str]:
    written = session.written_tag(request.reference) if request.reference is not None else None
    tags = [check_tag(tag) for tag in ([written] if written else []) + list(request.tags)]
    if request.bump:
        store = session.store(reference, create=True)
        if not isinstance(store, Lister):
            raise Unsupported("this store cannot list tags, so there is no next release", hint="push --tag VERSION")
        tags.insert(0, semver.bump((tag for tag in store.tags() if not is_service_tag(tag)), request.bump))
    if not tags:
        tags.append(reference.tag or session.project.config.default_tag)
    reserved = [tag for tag in tags if is_service_tag(tag)]
    if reserved:
        raise UsageError(f"the tag {reserved[0]} has a form that this tool keeps for itself")
    return list(dict.fromkeys(tags))


def _stand(
    session: Session, reference: Reference, ours: Digest, expected: Digest | None
) -> tuple[TagMove, remote_state.Remote | None]:
    """How one tag stands to the lease; what it holds is read only where somebody has to be told about it."""
    current = session.store(reference, create=True).resolve(reference.tag or "")
    sighting = session.seen.get(remote_state.key(reference))
    found = current.digest if current else None
    standing = rules.standing(found, sighting.digest if sighting else None, ours, expected)
    move = TagMove(reference.tag or "", found, standing, expected or (sighting.digest if sighting else None))
    if found is None:
        return move, None
    if sighting is not None and sighting.digest == found:
        return move, remote_state.from_sighting(session, reference, sighting)
    try:
        return move, remote_state.require(session, reference.at(reference.tag, found))
    except Unsupported as error:
        # Somebody else's kind of artifact stands there: the lease refuses it; there is no listing to show.
        session.run.notice("unreadable", f"{reference} holds something else: {error.message}")
        return move, None


def _losses(
    session: Session, here: Snapshot, moves: Sequence[TagMove], found: Mapping[str, remote_state.Remote | None]
) -> tuple[rules.Loss, ...]:
    listed: dict[str, rules.Loss] = {}
    at = session.project.at()
    for move in moves:
        remote = found[move.tag]
        if move.standing == "moved" and remote is not None:
            losses.report(session, remote)
            for loss in rules.losses(at.snapshot, here, remote.contents.snapshot):
                listed.setdefault(loss.path, loss)
    return tuple(listed[path] for path in sorted(listed))


def apply_push(session: Session, plan: PushPlan, *, saved: bool = False) -> Result:
    """Carry a plan out: blobs, manifest by digest, then the tags.

    :param saved: the plan comes from a file, so even one with nothing to do is checked against the world again.
    :raises TagMoved: refused by the lease, or overtaken. :raises WorkspaceChanged: files changed since the plan.
    :raises PartialFailure: some of several tags failed; the list tells each one's state.
    """
    plan.check()
    reference = parse(plan.place)
    project, run = session.project, session.run
    with project.locked():
        recover(session)
        store = session.store(reference, create=True)
        note = publish.Note(project.folder / layout.JOURNAL / "announcement", plan.place)
        note.settle(store)
        made = plan.artifact
        manifest = made.manifest.descriptor()
        data = made.manifest.to_bytes()
        if plan.nothing and not saved:
            _record(session, plan, made)
            return Result(plan.place, tuple(m.tag for m in plan.tags), manifest.digest, changed=False)
        _recheck(session, plan)
        copied = _send(session, plan, made, store, manifest, data)
        states = _move_tags(store, plan, manifest, data, run, note)
        checkpoint("tags moved")
        moved = {state["tag"] for state in states if state["state"] == "moved"}
        _record(session, plan.with_tags(move for move in plan.tags if move.tag in moved), made)
        project.log("push", f"{plan.place}:{plan.tags[0].tag}", manifest.digest)
    if len(moved) < len(states):
        told = ", ".join(f"{state['tag']}: {state['state']}" for state in states)
        raise PartialFailure(f"not every tag was moved ({told})", failed=states, digest=str(manifest.digest))
    return Result(
        plan.place,
        tuple(move.tag for move in plan.tags),
        manifest.digest,
        copied.blobs,
        copied.size,
        copied.existing,
    )


def _recheck(session: Session, plan: PushPlan) -> None:
    """:raises WorkspaceChanged: a file is not in the state its digest was taken in. No content is read."""
    now = keys_at(session, plan.keys)
    changed = [path for path, key in plan.keys.items() if now.get(path) != tuple(key)]
    if changed:
        shown = ", ".join(paths.display(path) for path in changed[:10])
        raise WorkspaceChanged(
            f"changed since the plan was made: {shown}",
            hint="nothing was pushed; run the command again",
            paths=changed,
        )


def _send(
    session: Session, plan: PushPlan, made: Artifact, store: Store, manifest: Descriptor, data: bytes
) -> copy.Copied:
    source = _Source(WorkTree(session.tree, plan.snapshot, plan.keys), plan.packed, made, session.spooled)
    # A registry refuses a manifest whose blobs it lacks; a directory takes it, so there each blob is looked for.
    known = frozenset[str]() if isinstance(store, Atomic) else plan.known
    wanted = [
        (what, name)
        for what, name in (*made.file_blobs(), *((what, "(metadata)") for what, _ in made.generated()))
        if str(what.digest) not in known
    ]
    likely = plan.known | _likely(session, plan.place)
    copied = copy.copy_blobs(wanted, source, store, session.run, likely=likely)
    checkpoint("blobs sent")
    try:
        store.put(manifest, [data])
    except BundleError as error:
        missing = set(error.facts.get("blobs", ()))
        if not missing:
            raise
        # The registry lost blobs it was known to have: bring exactly those back, once.
        again = [
            (what, "(again)") for what in (made.manifest.config, *made.manifest.layers) if str(what.digest) in missing
        ]
        copy.copy_blobs(again, source, store, session.run)
        store.put(manifest, [data])
    checkpoint("manifest sent")
    return copied


def _likely(session: Session, place: str) -> frozenset[str]:
    """Blobs that the repository held under any tag this clone ever saw there: asked for before they are sent."""
    known: set[str] = set()
    for sighting in session.seen.all():
        if str(parse(sighting.reference).at()) == place:
            known |= remote_state.blob_digests(Manifest.from_bytes(sighting.manifest))
    return frozenset(known)


class _Source:
    """The working tree, its packs and the blobs made for this push, as one reader."""

    def __init__(self, tree: WorkTree, packed: Sequence[Pack], made: Artifact, spooled: Spooled) -> None:
        self._tree = tree
        self._packs = Packs(packed, tree.content, spooled)
        self._made = {what.digest: content for what, content in made.generated()}

    def has(self, what: Descriptor) -> bool:
        return what.digest in self._made or self._packs.has(what) or self._tree.has(what)

    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> AbstractContextManager[Chunks]:
        content = self._made.get(what.digest)
        if content is not None:
            return nullcontext(iter([content[start:stop]]))
        return self._open_pack(what, start, stop) if self._packs.has(what) else self._tree.open(what, start, stop)

    @contextmanager
    def _open_pack(self, what: Descriptor, start: int, stop: int | None) -> Iterator[Chunks]:
        with self._tree.keeping(), self._packs.open(what, start, stop) as chunks:
            yield chunks


def _move_tags(
    store: Store, plan: PushPlan, manifest: Descriptor, data: bytes, run: Run, note: publish.Note
) -> list[dict[str, Any]]:
    wishes = [publish.Wish(move.tag, move.found, manifest, data, plan.force) for move in plan.tags]
    if len(wishes) > 1:
        for wish in wishes:
            publish.check_tag(store, wish)
    states: list[dict[str, Any]] = []
    for wish in wishes:
        try:
            publish.publish(store, wish, run, race=plan.race, note=note)
            states.append({"tag": wish.tag, "state": "moved"})
        except BundleError as error:
            if not states:
                raise
            states.append({"tag": wish.tag, "state": "failed", "error": error.to_json()})
    return states


def _record(session: Session, plan: PushPlan, made: Artifact) -> None:
    """The lease, the merge base and the list of tracked paths after a push, in an order that a kill may cut."""
    data = made.manifest.to_bytes()
    index = made.index if artifact.index_descriptor(made.manifest).data is None else None
    for move in plan.tags:
        key = remote_state.key(parse(plan.place).at(move.tag))
        _note_pushed(session, key, plan, adopted=move.found == made.digest)
        session.seen.put(Sighting(key, data, index))
        checkpoint("lease recorded")
    first = remote_state.key(parse(plan.place).at(plan.tags[0].tag))
    session.project.write_at(At(first, made.digest, plan.snapshot))
    checkpoint("base recorded")
    gone = set(plan.gone)
    session.project.write_tracked(path for path in session.project.tracked() if path not in gone)


def _note_pushed(session: Session, key: str, plan: PushPlan, *, adopted: bool) -> None:
    """Remember what this push changed, so that its loss can be told."""
    digest = plan.artifact.digest
    known = session.seen.pushed(key)
    if known is not None and known.digest == digest:
        return
    # An adopted tag is a push that was killed after its last PUT: what it stood on is the merge base.
    before = session.project.at().snapshot if adopted else plan.base
    changes = {c.path: ((c.base,), c.here) for c in difference(before, plan.snapshot)}
    if changes:
        session.seen.put_pushed(key, Pushed(digest, changes))


def created(epoch: int) -> dict[str, str]:
    """The `created` annotation for a time the caller fixed (SOURCE_DATE_EPOCH, reproducible-builds.org).

    :param epoch: seconds since 1970.
    """
    return {media.CREATED: datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
