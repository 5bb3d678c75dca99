"""Landing in a tree: stage and verify everything, write down the intent, then change the tree; roll forward after
a crash (DESIGN §5, §6).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from modelops_bundle.disk.batch import IN_THE_WAY, Batch
from modelops_bundle.disk.tree import ABSENT, Guard, StatKey, Tree
from modelops_bundle.errors import DiskError, WorkspaceChanged, WouldOverwrite
from modelops_bundle.events import Run, Started, checkpoint
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import TEMPORARY_PREFIX, display
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.plan.pull import Step, needs_bytes
from modelops_bundle.transfer.intent import Packed
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.transfer.unpack import Staged

Look = Callable[[Collection[str]], Mapping[str, Entry]]
"""What is on disk at these paths now: absent paths left out, directories as directory entries."""

Keys = Callable[[Collection[str]], Mapping[str, StatKey]]
"""The stat keys on disk at these paths now."""

_MOST_OFFSET = 1 << 62
"""Bytes: what a file can have at most, with room for a frame."""


def check_unchanged(steps: Sequence[Step], look: Look) -> None:
    """:raises WorkspaceChanged: a path is not what the plan saw; nothing was changed yet."""
    now = look([step.path for step in steps])
    changed = [step.path for step in steps if _state(step, now) == "changed"]
    if changed:
        shown = ", ".join(display(path) for path in changed[:10])
        raise WorkspaceChanged(
            f"changed since the plan was made: {shown}", hint="nothing was done; run the command again", paths=changed
        )


def apply(
    tree: Tree,
    staging: Staging,
    steps: Sequence[Step],
    look: Look,
    run: Run,
    *,
    packed: Packed = MappingProxyType({}),
    verified: bool = False,
    keys: Keys | None = None,
    placed: dict[str, StatKey] | None = None,
) -> tuple[Step, ...]:
    """Carry the steps out, skipping those already done.

    :param packed: the small files whose bytes are in staged packs.
    :param verified: they were looked at a moment ago, by this process.
    :param keys: the stat keys at paths now; with them each path is looked at once more right before it is changed.
    :param placed: takes the keys of files whose content they prove.
    :returns: steps that were not carried out because somebody changed their path, or their bytes are gone.
    """
    if steps:
        run.emit(Started("apply", len(steps)))
    # Keys first: an edit between the two looks shows in the second one.
    seen = keys([step.path for step in steps]) if keys is not None else None
    now = look([step.path for step in steps])
    left: list[Step] = []
    todo: list[Step] = []
    for step in steps:
        state = _state(step, now)
        if state == "changed":
            left.append(step)
        elif state == "before" or _is_repeatable(step):
            todo.append(step)
    landing = _Landing(tree, staging, _uses(todo, packed), now, seen, {} if placed is None else placed, verified)
    small = landing.small(todo, packed)
    batch = {step.path for step in small}
    left += [step for step in sorted(todo, key=_order) if step.path not in batch and not landing.attempt(step)]
    left += landing.place_small(small, packed)
    tree.sync({directory for step in todo for directory in _directories(step.path)})
    checkpoint("tree synced")
    return tuple(left)


def _is_repeatable(step: Step) -> bool:
    """Whether to carry out even what looks done: a deletion may leave directories empty that a killed command did not
    come to remove, and removes those that are empty, one that is to stay among them.
    """
    return step.after is None or step.after.kind == "dir"


def _order(step: Step) -> tuple[bool, int, str]:
    # Deletions first, deepest first: a file may be needed where a directory was.
    gone = step.after is None
    return not gone, -step.path.count("/") if gone else 0, step.path


def _directories(path: str) -> Iterable[str]:
    parent = path.rpartition("/")[0]
    yield parent
    while parent:
        parent = parent.rpartition("/")[0]
        yield parent


def _uses(steps: Iterable[Step], packed: Packed) -> dict[Digest, int]:
    # Somebody's file may be a pack himself; the bytes of its members are still wanted when it gets its place.
    uses = {pack: 1 for pack, _ in packed.values()}
    for step in steps:
        if step.after is not None and needs_bytes(step):
            uses[step.after.digest] = uses.get(step.after.digest, 0) + 1
    return uses


def _state(step: Step, now: Mapping[str, Entry]) -> str:
    found = now.get(step.path)
    if found == step.after:
        return "done"
    if found == step.before:
        return "before"
    # An implied directory where the plan wants something else: its content goes by steps of its own.
    if found is not None and found.kind == "dir" and step.before is None:
        return "before"
    # An empty directory that is gone holds nobody's work; one with other steps below it is not in `now` at all.
    if found is None and step.before is not None and step.before.kind == "dir":
        return "before"
    return _state_of_room_made(step, found)


def _state_of_room_made(step: Step, found: Entry | None) -> str:
    """How far a killed command came that removed a file or link to make a directory there."""
    if step.before is None or step.before.kind == "dir":
        return "changed"
    if step.after is None and found is not None and found.kind == "dir":
        return "done"
    if step.after is not None and step.after.kind == "dir" and found is None:
        return "before"
    return "changed"


@dataclass(frozen=True, slots=True)
class _Landing:
    """What carrying out a step needs to know of the others and of the look before."""

    tree: Tree
    staging: Staging
    uses: dict[Digest, int]
    now: Mapping[str, Entry]
    seen: Mapping[str, StatKey] | None
    placed: dict[str, StatKey]
    verified: bool

    def attempt(self, step: Step) -> bool:
        """Carry one step out; False when something that was put there meanwhile stands in its way."""
        return self._tried(self._carry_out, step)

    @staticmethod
    def _tried(work: Callable[[Step], bool], step: Step) -> bool:
        try:
            return work(step)
        except (WouldOverwrite, WorkspaceChanged):
            return False
        except DiskError as error:
            if error.facts.get("errno") in IN_THE_WAY:
                return False
            raise

    def small(self, steps: Iterable[Step], packed: Packed) -> list[Step]:
        """The steps that bring files whose bytes are in a staged pack, and not staged by themselves."""
        staged = self.staging.names() if packed else ()
        brought = ((step, step.after.digest) for step in steps if step.after is not None and needs_bytes(step))
        return [step for step, digest in brought if digest in packed and digest.hex not in staged]

    def place_small(self, steps: Sequence[Step], packed: Packed) -> list[Step]:
        """Carry out steps that bring small files from staged packs; returns those that were not."""
        left = [step for step in steps if not self._tried(self._make_room, step)]
        ready = sorted((step for step in steps if step not in left), key=lambda step: step.path)
        with Staged(self.staging, packed) as staged, Batch(self.tree, len(ready)) as batch:
            for step in ready:
                after = step.after
                data = None if after is None else staged.read(after.digest, after.size, verify=not self.verified)
                if after is None or data is None:
                    left.append(step)
                    continue
                batch.write(step.path, data, executable=after.executable, guard=self._guard(step.path))
            batch.commit()
        self.placed.update(batch.placed)
        refused = set(batch.refused)
        return left + [step for step in ready if step.path in refused]

    def _make_room(self, step: Step) -> bool:
        """Remove the directory where a file is to be, if there is one."""
        found = self.now.get(step.path)
        if found is not None and found.kind == "dir":
            self.tree.remove(step.path, self._guard(step.path))
        return True

    def _guard(self, path: str) -> Guard | None:
        found = self.now.get(path)
        if self.seen is None:
            return None
        # A directory's stamps change with the steps below it; a file that came in its place is somebody's.
        return ABSENT if found is None or found.kind == "dir" else self.seen.get(path, ABSENT)

    def _carry_out(self, step: Step) -> bool:
        after, path = step.after, step.path
        found = self.now.get(path)
        guard = self._guard(path)
        if after is None:
            self.tree.remove(path, guard)
            return True
        if found is not None and (found.kind == "dir") != (after.kind == "dir"):
            self.tree.remove(path, guard)
            guard = None if self.seen is None else ABSENT
        if after.kind == "dir":
            self.tree.make_directory(path)
        elif after.kind == "link":
            self.tree.link(after.target or "", path, guard)
        elif not needs_bytes(step):
            self.tree.set_executable(path, after.executable, guard)
        else:
            return self._place(after, path, guard)
        return True

    def _place(self, after: Entry, path: str, guard: Guard | None) -> bool:
        staged = self.staging.path(after.digest)
        if not staged.is_file():
            return False
        self.uses[after.digest] -= 1
        keep = self.uses[after.digest] > 0
        key = self.tree.place(staged, path, executable=after.executable, keep=keep, guard=guard)
        if key is not None:
            self.placed[path] = key
        return True


def sweep(tree: Tree, paths: Iterable[str]) -> None:
    """Remove temporary files that a killed command left beside `paths`."""
    tree.sweep({path.rpartition("/")[0] for path in paths}, TEMPORARY_PREFIX)
