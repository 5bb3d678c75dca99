"""What a pull will do, decided once and frozen (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from modelops_bundle.errors import ConfigError, Conflict, NoMatch, WouldOverwrite
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.chunkmap import ChunkPack
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display, parents, validate
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.plan import saved
from modelops_bundle.plan.changes import Change, Side, compare

PLAN_VERSION = 2


@dataclass(frozen=True, slots=True)
class Step:
    """Let `path`, which is `before` now, be `after`. None is absence."""

    path: str
    before: Entry | None
    after: Entry | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {
            "path": self.path,
            "before": None if self.before is None else self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` made.

        :raises UnsafePath: the path leads out of a tree: a plan may come from anybody.
        """
        before, after = value.get("before"), value.get("after")
        return cls(
            validate(str(value["path"])),
            None if before is None else Entry.from_json(before),
            None if after is None else Entry.from_json(after),
        )


@dataclass(frozen=True, slots=True)
class PullPlan:
    """Steps on the disk, the merge base afterwards, and what stands against it.

    `reference` is what is pulled, `digest` the manifest it stood for when the plan was made: apply never resolves
    again. `complete` says that nothing stays unsettled, so the lease on `reference` may move to `digest`.
    """

    reference: str
    digest: Digest
    steps: tuple[Step, ...]
    base: Snapshot
    track: tuple[str, ...]
    untrack: tuple[str, ...]
    conflicts: tuple[Change, ...]
    collisions: tuple[str, ...]
    kept: tuple[str, ...]
    adopted: tuple[str, ...]
    discards: tuple[str, ...]
    places: Mapping[str, Place]
    complete: bool
    merge: bool = False
    keep_base: bool = False
    """The steps are local changes (`restore`): the merge base and the lease stay."""

    @property
    def refused(self) -> bool:
        """Whether applying must refuse."""
        return bool(self.conflicts or self.collisions) and not self.merge

    @property
    def nothing(self) -> bool:
        """Whether the disk stays as it is."""
        return not self.steps

    @property
    def size(self) -> int:
        """Bytes of the files that are written."""
        return sum(step.after.size for step in self.steps if step.after and needs_bytes(step))

    def check(self) -> None:
        """:raises Conflict, WouldOverwrite: the plan is refused as a whole."""
        if not self.refused:
            return
        listed = [change.path for change in self.conflicts] + list(self.collisions)
        shown = ", ".join(display(path) for path in listed[:10]) + (" …" if len(listed) > 10 else "")
        facts: dict[str, Any] = {
            "conflicts": [change.path for change in self.conflicts],
            "collisions": list(self.collisions),
        }
        if self.conflicts:
            raise Conflict(
                f"{len(listed)} path{'s' * (len(listed) != 1)} changed on both sides or would be overwritten: {shown}",
                **facts,
            )
        raise WouldOverwrite(f"files that are not tracked are in the way: {shown}", **facts)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {
            "plan": "pull",
            "version": PLAN_VERSION,
            "reference": self.reference,
            "digest": str(self.digest),
            "steps": [step.to_json() for step in self.steps],
            "base": self.base.to_json(),
            "track": list(self.track),
            "untrack": list(self.untrack),
            "conflicts": [change.to_json() for change in self.conflicts],
            "collisions": list(self.collisions),
            "kept": list(self.kept),
            "adopted": list(self.adopted),
            "discards": list(self.discards),
            "places": {path: _place_to_json(place) for path, place in self.places.items()},
            "chunks": saved.packs_to_json(_packs(self.places.values())),
            "complete": self.complete,
            "merge": self.merge,
            "keep_base": self.keep_base,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` made.

        :raises ConfigError: another version of this tool wrote it.
        """
        if value.get("version") != PLAN_VERSION:
            raise ConfigError("this plan was written by another version of this tool", hint="make it again")
        packs = saved.packs_from_json(value["chunks"])
        return cls(
            value["reference"],
            Digest.parse(value["digest"]),
            tuple(Step.from_json(step) for step in value["steps"]),
            Snapshot.from_json(value["base"]),
            tuple(validate(path) for path in value["track"]),
            tuple(value["untrack"]),
            tuple(_change(item) for item in value["conflicts"]),
            tuple(value["collisions"]),
            tuple(value["kept"]),
            tuple(value["adopted"]),
            tuple(value["discards"]),
            {path: _place(place, packs) for path, place in value["places"].items()},
            value["complete"],
            value["merge"],
            value["keep_base"],
        )


def _place_to_json(place: Place) -> dict[str, Any]:
    value: dict[str, Any] = {"blob": place.blob.to_json() if place.blob else None, "offset": place.offset}
    if place.archive:
        value["archive"] = True
    return {**value, "recipe": saved.recipe_to_json(place.recipe)} if place.recipe is not None else value


def _packs(places: Iterable[Place]) -> tuple[ChunkPack, ...]:
    """The packs that recipes count in: those of one version, so all the same."""
    return next((place.recipe.packs for place in places if place.recipe is not None), ())


def _place(value: Mapping[str, Any], packs: tuple[ChunkPack, ...]) -> Place:
    """:raises Corrupt: its recipe names chunks that are not there."""
    blob = Descriptor.from_json(value["blob"]) if value["blob"] else None
    recipe = saved.recipe_from_json(value["recipe"], packs) if "recipe" in value else None
    return Place(blob, value["offset"], value.get("archive", False), recipe)


def _change(value: Mapping[str, Any]) -> Change:
    def entry(key: str) -> Entry | None:
        return None if value[key] is None else Entry.from_json(value[key])

    return Change(value["path"], entry("base"), entry("here"), entry("there"))


def needs_bytes(step: Step) -> bool:
    """Whether file content has to be brought: not for deletions, links, directories and changes of mode alone."""
    after, before = step.after, step.before
    if after is None or after.kind != "file":
        return False
    return before is None or before.kind != "file" or before.digest != after.digest


@dataclass(frozen=True, slots=True)
class Choices:
    """How the user settles what a plain pull refuses."""

    merge: bool = False
    overwrite: bool = False
    ours: Collection[str] = ()
    theirs: Collection[str] = ()


PLAIN = Choices()


def plan_pull(
    reference: str,
    digest: Digest,
    base: Snapshot,
    here: Snapshot,
    there: Snapshot,
    *,
    tracked: Collection[str],
    untracked: Mapping[str, Entry],
    obstacles: Mapping[str, Collection[str]],
    places: Mapping[str, Place],
    choices: Choices = PLAIN,
) -> PullPlan:
    """Decide a pull.

    :param here: what is on disk at the tracked paths; a path that is not tracked is absent here.
    :param untracked: what is on disk at paths of `there` that are not tracked.
    :param obstacles: per path of `there`, the entries on disk that would have to go for it to exist (a file where a
        directory is needed, the content of a directory where a file is needed).
    :raises NoMatch: a path to settle is not in question.
    """
    changes = {change.path: change for change in compare(base, here, there)}
    _check_settled(choices, changes)
    sorter = _Sorter(tracked, untracked, choices)
    for change in changes.values():
        sorter.sort(change)
    sorter.block(obstacles)
    sorter.keep_directories(there)
    steps = tuple(sorter.steps[path] for path in sorted(sorter.steps))
    return PullPlan(
        reference,
        digest,
        steps,
        base.replaced(sorter.base),
        tuple(sorted(sorter.tracked.difference(tracked))),
        tuple(sorted(set(tracked) - sorter.tracked)),
        tuple(sorter.conflicts),
        tuple(sorted(sorter.collisions)),
        tuple(sorter.kept),
        tuple(sorter.adopted),
        tuple(sorted(sorter.discards)),
        {step.path: places[step.path] for step in steps if needs_bytes(step)},
        complete=not sorter.conflicts and not sorter.collisions,
        merge=choices.merge,
    )


def _check_settled(choices: Choices, changes: Mapping[str, Change]) -> None:
    for path in (*choices.ours, *choices.theirs):
        if path not in changes:
            raise NoMatch(f"{display(path)} has no conflict to settle", path=path)


class _Sorter:
    """Puts each change where the rules of DESIGN §6 want it."""

    def __init__(self, tracked: Collection[str], untracked: Mapping[str, Entry], choices: Choices) -> None:
        self._untracked = untracked
        self._choices = choices
        self._tracked_before = frozenset(tracked)
        self.tracked = set(tracked)
        self.steps: dict[str, Step] = {}
        self.base: dict[str, Entry | None] = {}
        self.conflicts: list[Change] = []
        self.collisions: set[str] = set()
        self.kept: list[str] = []
        self.adopted: list[str] = []
        self.discards: set[str] = set()

    def sort(self, change: Change) -> None:
        """Decide one change."""
        path = change.path
        if self._is_adoption(change):
            self._settle(change)
            self.adopted.append(path)
        elif path in self._choices.theirs or self._choices.overwrite:
            self._take(change)
        elif path in self._choices.ours:
            self.base[path] = change.there
            self.kept.append(path)
            if path in self._untracked:
                self.tracked.add(path)
        elif path in self._untracked and change.base is None:
            # On disk, not tracked, and not what the remote has: somebody's work.
            self.collisions.add(path)
        elif change.side is Side.THERE:
            self._take(change)
        elif change.side is Side.HERE:
            self.kept.append(path)
        else:
            self.conflicts.append(change)

    def _is_adoption(self, change: Change) -> bool:
        if change.side is Side.BOTH_SAME:
            return True
        # `rm` leaves the file on disk: a path taken out of the bundle here and untouched there stays out.
        same = change.there is not None and self._untracked.get(change.path) == change.there
        return same and change.side is not Side.HERE

    def _settle(self, change: Change) -> None:
        self.base[change.path] = change.there
        if change.there is None:
            self.tracked.discard(change.path)
        else:
            self.tracked.add(change.path)

    def _take(self, change: Change) -> None:
        self._settle(change)
        on_disk = change.here if change.here is not None else self._untracked.get(change.path)
        if on_disk == change.there:
            return
        if on_disk is not None and on_disk != change.base:
            self.discards.add(change.path)
        self.steps[change.path] = Step(change.path, on_disk, change.there)

    def block(self, obstacles: Mapping[str, Collection[str]]) -> None:
        """Turn steps into collisions where something that stays is in their way."""
        for path, blocking in obstacles.items():
            step = self.steps.get(path)
            if step is None or step.after is None:
                continue
            staying = [other for other in blocking if not self._goes(other)]
            if staying:
                del self.steps[path]
                self.base.pop(path, None)
                self.discards.discard(path)
                if path not in self._tracked_before:
                    self.tracked.discard(path)
                self.collisions.update(staying)

    def keep_directories(self, there: Mapping[str, Entry]) -> None:
        """Make an empty directory of the remote again after deletions below it, which take emptied ones along."""
        gone = {parent for step in self.steps.values() if step.after is None for parent in parents(step.path)}
        for path in gone:
            entry = there.get(path)
            stays = path not in self.steps and path in self.tracked and path not in self.kept
            if entry is not None and entry.kind == "dir" and stays:
                self.steps[path] = Step(path, entry, entry)

    def _goes(self, path: str) -> bool:
        step = self.steps.get(path)
        return step is not None and step.after is None
