"""push: plan, then apply exactly that (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modelops_bundle import __version__
from modelops_bundle.errors import (
    BundleError,
    NoMatch,
    PartialFailure,
    TagMoved,
    UnsafePath,
    Unsupported,
    UsageError,
    WorkspaceChanged,
)
from modelops_bundle.events import Run, checkpoint
from modelops_bundle.model import canonical, media, paths
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Store
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import losses, push_tags, recording, remote_state
from modelops_bundle.operations.layouts import image_of, profile_of, storage_of
from modelops_bundle.operations.local_state import Local, Scan, keys_at
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.project import At

if TYPE_CHECKING:
    # A push of nothing new comes without, here and below.
    from modelops_bundle.operations.delta import Ways
    from modelops_bundle.plan.push import Loss, PushPlan, TagMove
    from modelops_bundle.plan.semver import Part
    from modelops_bundle.stores.registries import Profile
    from modelops_bundle.transfer.publish import Note
    from modelops_bundle.workspace.project import State

OPEN = 8 * 1024 * 1024
"""Bytes from which a new file of a direct push is hashed while it is sent."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What the user asked for."""

    reference: str | None = None
    tags: Sequence[str] = ()
    bump: Part | None = None
    expect: str | None = None
    force: bool = False
    annotations: Mapping[str, str] | None = None
    pack: str | None = None
    layout: str | None = None
    prefix: str | None = None
    """The directory of an image that the tree is below."""
    delta: bool = False
    """Large files are stored as chunks, and those that the repository holds are not sent."""
    plain: bool = False
    """They are not, whatever the remote is set to."""
    xor_base: str | None = None
    """The version, or a directory with it (beginning with ``.`` or ``/``), that new chunks are differences to."""
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
    reused_bytes: int = 0
    """Of large files, in chunks that were there."""

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "place": self.place,
            "tags": list(self.tags),
            "digest": str(self.digest),
            "sent_blobs": self.sent,
            "sent_bytes": self.sent_bytes,
            "existing_blobs": self.existing,
            "reused_bytes": self.reused_bytes,
            "changed": self.changed,
        }


def plan_push(session: Session, request: PushRequest) -> PushPlan:
    """Decide a push: every tag looked at, nothing written but caches.

    Everything is hashed, but for large new files of a direct push: they are hashed while they are sent.

    :raises NoMatch: nothing is tracked. :raises UsageError: the words do not fit.
    """
    return Look(session, request).plan()


class Look:
    """A look at both sides of a push: the tree, and what the tags stand for.

    :raises UsageError: the words do not fit.
    """

    def __init__(self, session: Session, request: PushRequest, *, leave_open: bool = True) -> None:
        if session.project.is_landing:
            from modelops_bundle.operations.recover import recover  # all of a pull's machinery

            with session.project.locked():
                recover(session)
        self._expected = push_tags.expected(request.expect)
        self.state = session.project.state()
        """That of the project before the look."""
        self._session = session
        self._request = request
        self._reference = session.reference(request.reference)
        if self._reference.digest is not None:
            raise UsageError("push to a tag, not to a digest", hint="the digest is the result of a push")
        self._annotations = {**session.project.config.annotations(), **(request.annotations or {})}
        self._pack = request.pack or session.project.config.pack
        self._image = image_of(session, self._reference, request.layout, request.prefix, request.pack)
        # Every file of an image is in a pack, and the index needs its digest.
        leave_open = leave_open and request.direct and self._image is None
        self._tags = push_tags.tags_of(session, self._reference, request.reference, request.tags, request.bump)
        delta = request.delta or request.xor_base is not None
        self._storage = storage_of(
            session, self._reference, self._tags, delta=delta, plain=request.plain, image=self._image is not None
        )
        # Before the network: it may go on in a process of its own, which only one without threads can start.
        self._scan = Scan(
            session,
            strict=True,
            leave=self._may_leave_open if leave_open and self._storage in ("plain", "whole") else None,
        )
        self._standing = {tag: _resolve(session, self._reference.at(tag)) for tag in self._tags}

    @cached_property
    def _here(self) -> Local:
        return self._scan.finish()

    @cached_property
    def _found(self) -> dict[str, remote_state.Remote | None]:
        """What the tags hold, where that can be read."""
        return {
            tag: None if digest is None else _read(self._session, self._reference.at(tag), digest)
            for tag, digest in self._standing.items()
        }

    @property
    def _names_no_tag(self) -> bool:
        return self._request.reference is None and not self._request.tags and not self._request.bump

    @property
    def _host(self) -> str:
        """The registry, the empty text for other stores."""
        return self._reference.host if self._reference.scheme == "oci" else ""

    @property
    def _recipe(self) -> str:
        """Says what the manifest is made of besides the tree."""
        config = self._session.project.config
        # The host, because what it takes decides what is packed.
        parts = [self._annotations, config.roles(), self._pack, self._host, __version__]
        # Chunks that are there stay chunks until somebody wants them otherwise.
        parts += ["whole"] if self._storage == "whole" else []
        return Digest.of(canonical.dumps([*parts, self._image.to_json()] if self._image else parts)).hex

    def unchanged(self) -> Result | None:
        """The result of the push when every tag stands for exactly this already; None when a plan is needed.

        Nothing is read and no manifest made: the tree is as it was last synced, and the recipe is the same.
        """
        session, at = self._session, self._session.project.at()
        if at.digest is None or session.project.is_landing or not self._is_same_recipe(at):
            return None
        for tag, digest in self._standing.items():
            sighting = session.seen.get(remote_state.key(self._reference.at(tag)))
            if digest != at.digest or sighting is None or sighting.digest != digest:
                return None
        if not self._here.is_at(at) or self._here.gone:
            return None
        session.project.sweep()
        return Result(str(self._reference.at()), tuple(self._tags), at.digest, changed=False)

    def _is_same_recipe(self, at: At) -> bool:
        """Whether the present settings ask for no other manifest of the same tree than the one it was synced with.

        One that came by a pull was made by settings of others: theirs stay unless somebody says something else here.
        """
        if at.recipe is not None:
            return at.recipe == self._recipe
        config, request = self._session.project.config, self._request
        if config.roles() or config.get("pack") or request.pack or request.annotations or self._image:
            return False
        sighting = self._session.seen.get(at.reference or "")
        if sighting is None or sighting.digest != at.digest:
            return False
        with suppress(Unsupported):
            annotations = remote_state.manifest_of(sighting).annotations
            if self._storage == "whole" and annotations.get(media.STORAGE) == "delta":
                return False
            return media.VERSION in annotations and self._annotations.items() <= annotations.items()
        return False

    def plan(self) -> PushPlan:
        """Decide the push.

        :raises NoMatch: nothing is tracked. :raises UnsafePath: a path that nobody could pull.
        :raises Unsupported: the registry takes no such blobs. :raises IsPointer: a file is none, but stands for one.
        """
        from modelops_bundle.model import packs
        from modelops_bundle.operations import packing, pointers
        from modelops_bundle.plan.push import PushPlan

        session, here, reference = self._session, self._here.here, self._reference
        if not self._here.tracked:
            raise NoMatch("nothing is tracked", hint="bundle add PATH")
        paths.validate_tree(here)
        _refuse_escaping_links(here)
        pointers.refuse_new(session.tree, here, session.project.at().snapshot)
        keys = {path: tuple(key) for path, key in self._here.keys.items()}
        layers = self._profile.layers
        opened = self._here.open
        if opened and any(path in opened for cut in packs.cut(here, self._pack, layers) for path, _ in cut):
            # Only where so many layers would not fit: the index of a pack needs every digest.
            return Look(session, self._request, leave_open=False).plan()
        packed = packing.seal(session, here, keys, self._pack, layers, keep=self._request.direct, image=self._image)
        place, none = str(reference.at()), Snapshot()
        ways = self._stored(here, keys, frozenset(path for pack in packed for path, _ in pack.members), len(packed))
        draft = PushPlan(place, (), here, self._annotations, keys, none, packed=packed, open=opened, image=self._image)
        if ways is not None:
            draft = replace(draft, chunks=ways.chunks, fresh=ways.fresh, ways=ways.ways, reused=ways.reused)
        moves = self._moves(None if opened else draft.artifact.digest)
        remote_there, found = session.remote_of(reference), self._found
        plan = replace(
            draft,
            tags=tuple(moves),
            base=next((remote.contents.snapshot for remote in found.values() if remote), Snapshot()),
            losses=_losses(session, here, moves, found),
            gone=self._here.gone,
            known=frozenset().union(*(remote_state.blob_digests(r.manifest) for r in found.values() if r)),
            race=remote_there.race if remote_there else "default",
            force=self._request.force,
            strays_from=push_tags.strays_from(session, reference, moves[0]) if self._names_no_tag else None,
            recipe=self._recipe,
        )
        plan = plan if opened else plan.sharing(draft)
        self._refuse_limits(plan)
        return plan

    def _stored(
        self, here: Snapshot, keys: Mapping[str, tuple[int, ...]], inside: frozenset[str], packs: int
    ) -> Ways | None:
        """How large files are stored; None where there are none, or where that is decided once all digests are known."""
        from modelops_bundle.formats import cuts

        session, request = self._session, self._request
        large = any(entry.size >= cuts.SMALLEST for path, entry in here.items() if path not in inside)
        if request.xor_base is not None and not large:
            session.run.notice("no-base", f"no file is large enough to be a difference to {request.xor_base}")
        if not large or self._image is not None or self._here.open:
            return None
        from modelops_bundle.operations import delta

        bases = delta.bases_of(session, self._reference, (remote for remote in self._found.values() if remote))
        sides = delta.sides_of(session, self._reference, here, keys, inside, packs, bases)
        standing = delta.as_it_is(sides) if self._storage == "plain" else None
        if standing is not None:
            return standing
        store = session.store(self._reference, create=True)
        if self._storage in ("plain", "whole"):
            if request.direct or not bases:
                return delta.Ways(delta.plain(session, sides), {})
            return delta.foreseen(session, sides, store)
        return delta.chunked(session, sides, self._storage, store, request.xor_base)

    def _moves(self, ours: Digest | None) -> list[TagMove]:
        from modelops_bundle.plan.push import TagMove, standing

        expected = self._expected
        moves = []
        for tag, found in self._standing.items():
            sighting = self._session.seen.get(remote_state.key(self._reference.at(tag)))
            seen = sighting.digest if sighting else None
            moves.append(TagMove(tag, found, standing(found, seen, ours, expected), expected or seen))
        if self._request.bump and moves[0].found is not None and moves[0].standing != "adopted":
            raise TagMoved(f"the next release {moves[0].tag} exists already", hint="run the command again")
        return moves

    def _refuse_limits(self, plan: PushPlan) -> None:
        """:raises Unsupported: the registry is known to refuse a blob of this push; nothing was sent."""
        inside = plan.inside
        blobs = [(path, e.size) for path, e in plan.snapshot.items() if e.kind == "file" and path not in inside]
        blobs += [("a pack", pack.size) for pack in plan.packed]
        if plan.fresh or plan.reused:
            # Pointers and chunk packs count as well.
            blobs = [(what.annotations[media.FILEPATH], what.size) for what in plan.artifact.manifest.layers[1:]]
        from modelops_bundle.stores.registries import check_limits

        for refusal in check_limits(self._profile, blobs):
            raise Unsupported(refusal.message, hint=refusal.hint, file=refusal.file, limit=refusal.limit)

    def _may_leave_open(self, size: int) -> bool:
        """Whether a file of unknown digest can be hashed while it is sent: no blob known to be there can be it."""
        return size >= OPEN and size not in self._known_sizes

    @property
    def _profile(self) -> Profile:
        """What is known of where it goes."""
        return profile_of(self._session, self._reference)

    @cached_property
    def _known_sizes(self) -> frozenset[int]:
        sizes = {entry.size for entry in self._session.project.at().snapshot.values()}
        manifests = [remote.manifest for remote in self._found.values() if remote]
        here = self._reference.at()
        manifests += [found for _, found in remote_state.kept(self._session, lambda other: other.at() == here)]
        return frozenset(sizes | {layer.size for manifest in manifests for layer in manifest.layers})


def _refuse_escaping_links(here: Snapshot) -> None:
    if found := paths.links_problem(here.links()):
        path, reason = found
        raise UnsafePath(
            f"the link {paths.display(path)} cannot be pushed: {reason}",
            hint=f"bundle add --follow-links {paths.display(path)} stores what it points to",
            path=path,
        )


def _resolve(session: Session, reference: Reference) -> Digest | None:
    current = session.store(reference, create=True).resolve(reference.tag or "")
    return current.digest if current else None


def _read(session: Session, reference: Reference, found: Digest) -> remote_state.Remote | None:
    """What a tag holds; None when nobody could list it."""
    sighting = session.seen.get(remote_state.key(reference))
    if sighting is not None and sighting.digest == found:
        return remote_state.from_sighting(session, reference, sighting)
    try:
        return remote_state.require(session, reference.at(reference.tag, found))
    except Unsupported as error:
        # Somebody else's kind of artifact stands there: the lease refuses it; there is no listing to show.
        session.run.notice("unreadable", f"{reference} holds something else: {error.message}")
        return None


def _losses(
    session: Session, here: Snapshot, moves: Sequence[TagMove], found: Mapping[str, remote_state.Remote | None]
) -> tuple[Loss, ...]:
    from modelops_bundle.plan import push as rules

    listed: dict[str, Loss] = {}
    at = session.project.at()
    for move in moves:
        remote = found[move.tag]
        if move.standing == "moved" and remote is not None:
            losses.report(session, remote)
            for loss in rules.losses(at.snapshot, here, remote.contents.snapshot):
                listed.setdefault(loss.path, loss)
    return tuple(listed[path] for path in sorted(listed))


def apply_push(session: Session, plan: PushPlan, *, saved: bool = False, since: State | None = None) -> Result:
    """Carry a plan out: blobs, manifest by digest, then the tags.

    :param saved: the plan comes from a file, so even one with nothing to do is checked against the world again.
    :param since: the project's state before the tree was looked at, when the plan was made of that a moment ago: unless
        somebody changed it since then, only what is sent is looked at once more.
    :raises TagMoved: refused by the lease, or overtaken. :raises WorkspaceChanged: files changed since the plan.
    :raises PartialFailure: some of several tags failed; the list tells each one's state.
    """
    from modelops_bundle.operations.recover import recover
    from modelops_bundle.transfer import publish

    plan.check()
    reference = parse(plan.place)
    project, run = session.project, session.run
    with project.locked():
        recover(session)
        known = since is not None and project.state() == since
        store = session.store(reference, create=True)
        note = publish.Note(project.folder / layout.JOURNAL / "announcement", plan.place)
        note.settle(store)
        if plan.nothing and not saved:
            if since is not None and not known:
                _recheck(session, plan)
            recording.record(session, plan, plan.artifact)
            return Result(plan.place, tuple(m.tag for m in plan.tags), plan.artifact.digest, changed=False)
        if not known:
            _recheck(session, plan)
        plan, done = _send(session, plan, store)
        made = plan.artifact
        manifest, data = made.manifest.descriptor(), made.manifest.to_bytes()
        session.spooled.clear()
        states = _move_tags(store, plan, manifest, data, run, note)
        checkpoint("tags moved")
        moved = {state["tag"] for state in states if state["state"] == "moved"}
        recording.record(session, plan.with_tags(move for move in plan.tags if move.tag in moved), made)
        project.log("push", f"{plan.place}:{plan.tags[0].tag}", manifest.digest)
    if len(moved) < len(states):
        told = ", ".join(f"{state['tag']}: {state['state']}" for state in states)
        raise PartialFailure(f"not every tag was moved ({told})", failed=states, digest=str(manifest.digest))
    return done


def _send(session: Session, plan: PushPlan, store: Store) -> tuple[PushPlan, Result]:
    """Bring everything to the store; chunks that it turned out to have lost are made anew of the tree."""
    from modelops_bundle.operations.send import Lost, send, send_files

    opened = [plan.snapshot[path].size for path in plan.open]
    plan = send_files(session, plan, store)
    copied, gone = None, frozenset[Digest]()
    while copied is None:
        try:
            copied = send(session, plan, store)
        except Lost as lost:
            if lost.blobs <= gone:
                raise
            from modelops_bundle.operations import delta

            if not gone:
                told = f"{plan.place} lost blobs that this push counted on: their chunks are sent again"
                session.run.notice("lost", told)
            # Registries need not name all of them at once.
            gone |= lost.blobs
            plan = delta.rebuilt(session, plan, store, gone)
    if plan.fresh or plan.reused:
        # What is there already was not opened while it was sent.
        _recheck(session, plan)
    sent, size = copied.blobs + len(opened), copied.size + sum(opened)
    tags, digest = tuple(move.tag for move in plan.tags), plan.artifact.digest
    return plan, Result(plan.place, tags, digest, sent, size, copied.existing, reused_bytes=plan.reused)


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


def _move_tags(
    store: Store, plan: PushPlan, manifest: Descriptor, data: bytes, run: Run, note: Note
) -> list[dict[str, Any]]:
    from modelops_bundle.transfer import publish

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


def created(epoch: int) -> dict[str, str]:
    """The `created` annotation for a time the caller fixed (SOURCE_DATE_EPOCH, reproducible-builds.org).

    :param epoch: seconds since 1970.
    """
    return {media.CREATED: datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
