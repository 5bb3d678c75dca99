"""What a push will do, decided once and frozen (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

from modelops_bundle.errors import ConfigError, TagMoved
from modelops_bundle.model import artifact
from modelops_bundle.model import image as image_layout
from modelops_bundle.model.chunkmap import ChunkMap, is_whole
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.packs import Pack
from modelops_bundle.model.paths import display
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan import saved
from modelops_bundle.plan.changes import Action, action

PLAN_VERSION = 2

Standing = Literal["new", "current", "adopted", "moved"]


@dataclass(frozen=True, slots=True)
class TagMove:
    """One tag: what it stood for when the plan was made (None: absent) and whether the lease allows moving it.

    `standing`: `new` was absent and never seen; `current` is what this clone last saw (or was told to expect);
    `adopted` stands for exactly this push already; `moved` is none of these, and refused unless forced. `seen` is
    what this clone last saw there, or was told to expect.
    """

    tag: str
    found: Digest | None
    standing: Standing
    seen: Digest | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {
            "tag": self.tag,
            "found": str(self.found) if self.found else None,
            "standing": self.standing,
            "seen": str(self.seen) if self.seen else None,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` made."""
        found, seen = (Digest.parse(value[key]) if value[key] else None for key in ("found", "seen"))
        return cls(value["tag"], found, value["standing"], seen)

    def told(self) -> str:
        """What the tag is and what this clone knew, for people."""
        now = f"is sha256:{self.found.short}" if self.found else "is gone"
        then = f"last saw sha256:{self.seen.short}" if self.seen else "has never seen it"
        return f"{self.tag} {now}, this clone {then}"


@dataclass(frozen=True, slots=True)
class Loss:
    """A path that the tag's present version has and this push would replace or drop unseen."""

    path: str
    action: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json`` and saved plans."""
        return {"path": self.path, "action": self.action}


@dataclass(frozen=True)
class PushPlan:
    """Everything a push writes, byte for byte, and what it stands on.

    `place` is the repository without tag; `base` what the first tag holds now; `gone` the tracked paths that are no
    longer on disk; `keys` the stat key of each file when its digest held; `losses` what a moved tag would lose;
    `known` the digests that the repository holds, by the manifest it has under one of the tags.
    """

    place: str
    tags: tuple[TagMove, ...]
    snapshot: Snapshot
    annotations: Mapping[str, str]
    keys: Mapping[str, tuple[int, ...]]
    base: Snapshot
    losses: tuple[Loss, ...] = ()
    gone: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    race: str = "default"
    force: bool = False
    strays_from: str | None = None
    """The reference this tree was pulled from, when nobody said that the push goes to another existing tag."""
    packed: tuple[Pack, ...] = ()
    open: frozenset[str] = frozenset()
    """Paths whose digest is found while they are sent: until then a stand-in that no content has."""
    recipe: str | None = None
    """Says what the manifest is made of besides the tree: the same tree by the same recipe need not be made again."""
    image: image_layout.Image | None = None
    """How the tree is an image, in that layout."""
    chunks: ChunkMap = field(default_factory=ChunkMap)
    """The chunks of large files."""
    fresh: frozenset[Digest] = frozenset()
    """Chunk packs that this push makes."""
    ways: Mapping[str, int] = field(default_factory=dict)
    """Bytes of large files that each way of storing them (`plain`, `delta`) would send, where somebody looked."""
    reused: int = 0
    """Bytes of large files that are stored as chunks which the repository holds."""

    @cached_property
    def artifact(self) -> artifact.Artifact:
        """The artifact: a pure function of snapshot, annotations and packs.

        :raises ValueError: digests are open.
        """
        if self.open:
            raise ValueError("a plan with open digests has no artifact yet")
        if self.image is not None:
            return image_layout.build(self.snapshot, self.annotations, self.packed, self.image)
        return artifact.build(self.snapshot, self.annotations, self.packed, self.chunks)

    @cached_property
    def inside(self) -> frozenset[str]:
        """The paths that are in packs, or made of chunks: no blobs of their own."""
        image, snapshot = self.image or image_layout.Image(), self.snapshot
        made = (path for path, recipe in self.chunks.files.items() if not is_whole(recipe, snapshot[path].digest))
        return frozenset(image.outside(path) for pack in self.packed for path, _ in pack.members).union(made)

    def sharing(self, other: PushPlan) -> Self:
        """This plan, with the artifact that `other` of the same snapshot, annotations and packs has made already."""
        vars(self)["artifact"] = other.artifact
        return self

    def complete(self, digests: Mapping[str, Digest]) -> Self:
        """This plan with the digests of its open paths, which were sent."""
        found = {path: replace(self.snapshot[path], digest=digest) for path, digest in digests.items()}
        known = self.known | {str(digest) for digest in digests.values()}
        return replace(self, snapshot=self.snapshot.replaced(found), known=known, open=self.open.difference(digests))

    @property
    def upload_size(self) -> int:
        """Bytes of the files and packs that the repository is not known to hold."""
        inside = self.inside
        blobs = {pack.digest: pack.size for pack in self.packed}
        blobs |= {pack.blob.digest: pack.blob.size for pack in self.chunks.packs if pack.blob.digest in self.fresh}
        blobs |= {e.digest: e.size for path, e in self.snapshot.items() if e.kind == "file" and path not in inside}
        return sum(size for digest, size in blobs.items() if str(digest) not in self.known)

    def with_tags(self, tags: Iterable[TagMove]) -> Self:
        """The same plan for `tags` only."""
        return replace(self, tags=tuple(tags)).sharing(self)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Paths of the base that this push no longer has."""
        return tuple(path for path in self.base if path not in self.snapshot)

    def changes(self) -> tuple[tuple[str, Action, Entry | None], ...]:
        """What differs from the base: path, action, the entry afterwards."""
        return self._changes

    @cached_property
    def _changes(self) -> tuple[tuple[str, Action, Entry | None], ...]:
        listed = []
        for path in sorted(self.base.keys() | self.snapshot.keys()):
            what = action(self.base.get(path), self.snapshot.get(path))
            if what is not Action.NONE:
                listed.append((path, what, self.snapshot.get(path)))
        return tuple(listed)

    @property
    def nothing(self) -> bool:
        """Whether every tag stands for this push's manifest already."""
        return not self.open and all(move.found == self.artifact.digest for move in self.tags)

    def check(self) -> None:
        """:raises TagMoved: a tag is not what this clone last saw, and the push is not forced."""
        moved = [move for move in self.tags if move.standing == "moved"]
        if self.force or not moved:
            return
        raise moved_error(self.place, moved, self.losses)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {
            "plan": "push",
            "version": PLAN_VERSION,
            "place": self.place,
            "tags": [move.to_json() for move in self.tags],
            "snapshot": self.snapshot.to_json(),
            "annotations": dict(self.annotations),
            "manifest": str(self.artifact.digest),
            "keys": {path: list(key) for path, key in self.keys.items()},
            "base": self.base.to_json(),
            "losses": [loss.to_json() for loss in self.losses],
            "gone": list(self.gone),
            "known": sorted(self.known),
            "race": self.race,
            "force": self.force,
            "strays_from": self.strays_from,
            "recipe": self.recipe,
            "packs": [_pack_to_json(pack) for pack in self.packed],
            "image": self.image.to_json() if self.image else None,
            "chunks": saved.map_to_json(self.chunks),
            "fresh": sorted(map(str, self.fresh)),
            "ways": dict(self.ways),
            "reused": self.reused,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` made.

        :raises ConfigError: another version of this tool wrote it, so that it would make another manifest.
        """
        if value.get("version") != PLAN_VERSION:
            raise ConfigError("this plan was written by another version of this tool", hint="make it again")
        snapshot = Snapshot.from_json(value["snapshot"])
        image = image_layout.Image.from_json(value["image"]) if value.get("image") else None
        plan = cls(
            value["place"],
            tuple(TagMove.from_json(move) for move in value["tags"]),
            snapshot,
            value["annotations"],
            {path: tuple(key) for path, key in value["keys"].items()},
            Snapshot.from_json(value["base"]),
            tuple(Loss(loss["path"], loss["action"]) for loss in value["losses"]),
            tuple(value["gone"]),
            frozenset(value["known"]),
            value["race"],
            value["force"],
            value["strays_from"],
            tuple(_pack(pack, snapshot, image or image_layout.Image()) for pack in value["packs"]),
            recipe=value["recipe"],
            image=image,
            chunks=saved.map_from_json(value["chunks"]),
            fresh=frozenset(map(Digest.parse, value["fresh"])),
            ways=value["ways"],
            reused=value["reused"],
        )
        if str(plan.artifact.digest) != value["manifest"]:
            raise ConfigError("this plan was written by another version of this tool", hint="make it again")
        return plan


def _pack_to_json(pack: Pack) -> dict[str, Any]:
    value: dict[str, Any] = {"digest": str(pack.digest), "size": pack.size, "paths": [path for path, _ in pack.members]}
    return {**value, "tar": str(pack.tar)} if pack.tar else value


def _pack(value: Mapping[str, Any], snapshot: Snapshot, image: image_layout.Image) -> Pack:
    members = tuple((path, snapshot[image.outside(path)]) for path in value["paths"])
    tar = Digest.parse(value["tar"]) if "tar" in value else None
    return Pack(members, Digest.parse(value["digest"]), value["size"], tar)


def stand_in(path: str, key: tuple[int, ...]) -> Digest:
    """What stands for the digest of the file `path` in the state `key` while that is open."""
    return Digest.of(f"open {path} {key}".encode("utf-8", "surrogateescape"))


def moved_error(place: str, moved: Sequence[TagMove], losses: Sequence[Loss]) -> TagMoved:
    """The refusal, naming what would be lost."""
    shown = ", ".join(f"{display(loss.path)} ({loss.action} there)" for loss in losses[:10]) + (
        " …" if len(losses) > 10 else ""
    )
    message = f"{place}:{'; '.join(move.told() for move in moved)}"
    if shown:
        message += f"; this push would lose: {shown}"
    gone = all(move.found is None and move.seen is not None for move in moved)
    forgets = " ".join(f"{place}:{move.tag}" for move in moved)
    return TagMoved(
        message,
        # Nothing is there to be pulled: somebody deleted it, or a command of ours was killed while it did.
        hint=f"push --force makes it anew; bundle untag {forgets} --missing-ok forgets it" if gone else None,
        tags=[
            {"tag": m.tag, "digest": str(m.found) if m.found else None, "seen": str(m.seen) if m.seen else None}
            for m in moved
        ],
        losses=[loss.to_json() for loss in losses],
    )


def standing(found: Digest | None, seen: Digest | None, ours: Digest | None, expected: Digest | None) -> Standing:
    """The lease rule for one tag.

    :param found: what it stands for now. :param seen: what this clone last saw there. :param ours: what this push
        writes, None while it is not known and cannot be there. :param expected: what the user said it stands for.
    """
    if ours is not None and found == ours:
        return "adopted"
    if expected is not None:
        return "current" if found == expected else "moved"
    if found is None:
        return "new" if seen is None else "moved"
    return "current" if found == seen else "moved"


def losses(base: Mapping[str, Entry], ours: Mapping[str, Entry], theirs: Mapping[str, Entry]) -> tuple[Loss, ...]:
    """What `theirs` changed since `base` and `ours` would undo."""
    found = []
    for path in sorted(base.keys() | theirs.keys()):
        mine, other = ours.get(path), theirs.get(path)
        if other == base.get(path) or other == mine:
            continue
        found.append(Loss(path, str(action(base.get(path), other))))
    return tuple(found)


def drops_most(base: Mapping[str, Entry], snapshot: Mapping[str, Entry]) -> bool:
    """Whether a push would drop all, or more than half of at least four, of the paths the remote has."""
    gone = sum(1 for path in base if path not in snapshot)
    return bool(base) and (gone == len(base) or (gone > len(base) / 2 and len(base) >= 4))
