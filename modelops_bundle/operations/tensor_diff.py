"""diff --tensors: which tensors differ between the tree and a version, or between two versions.

Headers say where tensors are, chunk lists which bytes are the same: no tensor of a large file is downloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from modelops_bundle.disk.tree import StatKey
from modelops_bundle.errors import NotFound
from modelops_bundle.formats import cuts
from modelops_bundle.formats.tensors import Tensor
from modelops_bundle.model.reference import parse
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import diff as files
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.operations.tensor_sides import Cuts, Slot, Span, WeightFile, stored_file, tree_file
from modelops_bundle.operations.tensors import is_weights
from modelops_bundle.plan.changes import Action
from modelops_bundle.transfer import engine


class Kind(StrEnum):
    """What became of a tensor."""

    CHANGED = "changed"
    RESHAPED = "reshaped"
    """Another type or shape."""
    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"
    """The same bytes, at another place of the file or in another file."""
    UNKNOWN = "unknown"
    """The bytes of neither side are near, and their chunks tell nothing."""
    SAME = "same"


class At(NamedTuple):
    """A tensor of a file."""

    file: WeightFile
    tensor: Tensor

    @property
    def path(self) -> str:
        """Of the file."""
        return self.file.weights.path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.tensor.stop - self.tensor.start

    @property
    def place(self) -> tuple[str, int]:
        """The file, and the offset behind its header: a longer header moves no tensor."""
        assert self.file.weights.header is not None
        return self.path, self.tensor.start - self.file.weights.header.size

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        tensor = self.tensor
        return {"path": self.path, "dtype": tensor.dtype, "shape": list(tensor.shape), "size": self.size}


@dataclass(frozen=True, slots=True)
class TensorChange:
    """What became of one tensor; without `old` it is new, without `new` it is gone."""

    kind: Kind
    old: At | None
    new: At | None

    @property
    def at(self) -> At:
        """Where it is now, or was."""
        found = self.new or self.old
        assert found is not None
        return found

    @property
    def name(self) -> str:
        """Of the tensor."""
        return self.at.tensor.name

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "change": str(self.kind),
            "from": self.old.to_json() if self.old else None,
            "to": self.new.to_json() if self.new else None,
        }


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A weight file that differs: what its header says otherwise.

    :param metadata: by key, whether it was added, removed or changed.
    :param header: its header differs in something that is not shown: order, padding, long values.
    :param problems: why a side has no tensors.
    """

    path: str
    action: Action
    size: int
    metadata: Mapping[str, str]
    header: bool
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "path": self.path,
            "action": str(self.action),
            "size": self.size,
            "metadata": dict(self.metadata),
            "header": self.header,
            "problems": list(self.problems),
        }


@dataclass(frozen=True, slots=True)
class TensorDiff:
    """What turns the tensors of one side into those of the other.

    :param total: tensors in the files that differ, on the new side. :param tensors: those that are not the same.
    :param why: why some are unknown. :param others: how many files differ that hold no tensors.
    """

    diff: files.Diff
    files: tuple[FileDiff, ...]
    tensors: tuple[TensorChange, ...]
    total: int
    why: tuple[str, ...]
    others: int

    def count(self, *kinds: Kind) -> int:
        """How many tensors became that."""
        return sum(1 for change in self.tensors if change.kind in kinds)

    def size(self, *kinds: Kind) -> int:
        """Their bytes."""
        return sum(change.at.size for change in self.tensors if change.kind in kinds)

    def shown(self, path: str) -> Iterator[TensorChange]:
        """The tensors to tell of under a file: what only moved is counted."""
        return (change for change in self.tensors if change.at.path == path and change.kind is not Kind.MOVED)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        counts = {str(kind): self.count(kind) for kind in Kind if kind is not Kind.SAME}
        return {
            "from": self.diff.old,
            "to": self.diff.new,
            "files": [file.to_json() for file in self.files],
            "tensors": [change.to_json() for change in self.tensors if change.kind is not Kind.MOVED],
            "summary": {
                "tensors": self.total,
                **counts,
                "size": self.size(Kind.CHANGED, Kind.RESHAPED, Kind.ADDED),
                "unknown_size": self.size(Kind.UNKNOWN),
                "why_unknown": list(self.why),
                "other_files": self.others,
            },
        }


Files = Mapping[str, WeightFile]


def tensor_diff(session: Session, old: str | None = None, new: str | None = None) -> TensorDiff:
    """Compare tensor by tensor; the sides as `diff.diff` takes them.

    Only files that differ are looked at, and of those that are stored only headers are brought, or all of them where
    they are too small for chunk lists. Which tensors of a large file differ cannot be told where a version has no list.

    :raises NotFound: a reference is absent, or the tree was not synced with one version.
    """
    sides = files.sides(session, old, new)
    found = files.difference_of(*sides)
    renamed = {name for rename in found.renames for name in (rename.old, rename.new)}
    chosen, actions, others = (set[str](), set[str]()), dict[str, Action](), 0
    for change in found.changes:
        if change.local is Action.MODE or change.path in renamed:
            continue
        pair = (change.base, change.here)
        weights = [entry is not None and is_weights(change.path, entry) for entry in pair]
        others += not any(weights)
        for side, holds in enumerate(weights):
            if holds:
                chosen[side].add(change.path)
                actions[change.path] = change.local
    olds, news = (_opened(session, side, paths) for side, paths in zip(sides, chosen, strict=True))
    comparison = _Comparison(olds, news)
    tensors = tuple(sorted(comparison.changes(), key=lambda each: (each.at.path, each.at.tensor.start)))
    return TensorDiff(
        found,
        tuple(_file(path, actions[path], olds.get(path), news.get(path)) for path in sorted(actions)),
        tensors,
        sum(1 for _ in _tensors(news)),
        tuple(sorted(comparison.why)),
        others,
    )


def _opened(session: Session, side: files.Side, paths: Iterable[str]) -> Files:
    """The weight files of one side, their headers read."""
    found: dict[str, WeightFile] = {}
    lock = threading.Lock()
    paths = sorted(paths)
    if not paths:
        return found
    if side.keys is not None:
        return _in_tree(session, side.snapshot, side.keys, paths)
    remote = side.remote or _base(session)
    slot = Slot(session.store(remote.reference))

    def one(path: str) -> None:
        entry, place = side.snapshot[path], remote.contents.places[path]
        opened = stored_file(slot, path, entry, place, smallest=cuts.SMALLEST, name=side.name)
        with lock:
            found[path] = opened

    engine.each(paths, one, session.run)
    return found


def _in_tree(session: Session, here: Snapshot, keys: Mapping[str, StatKey], paths: Iterable[str]) -> Files:
    from modelops_bundle.operations import chunking

    lists = chunking.chunk_lists(session, here, keys, paths)
    found: dict[str, WeightFile] = {}
    for path in paths:
        entry = here[path]
        known = Cuts.listed(lists[entry.digest][1]) if entry.digest in lists else None
        found[path] = tree_file(session.tree, path, entry, keys[path], session.run, known)
    return found


def _base(session: Session) -> remote_state.Remote:
    """The version that the tree was last synced with, wherever its tag is now."""
    at = session.project.at()
    if at.reference is None or at.digest is None:
        raise NotFound("the tree was not synced with one version", hint="bundle diff --tensors REF")
    reference = parse(at.reference)
    sighting = session.seen.get(remote_state.key(reference))
    if sighting is not None and sighting.digest == at.digest:
        return remote_state.from_sighting(session, reference, sighting)
    return remote_state.require(session, reference.at(None, at.digest))


def _tensors(side: Files) -> Iterator[At]:
    for path in sorted(side):
        header = side[path].weights.header
        if header is not None:
            yield from (At(side[path], tensor) for tensor in header.tensors)


class _Comparison:
    """Pairs the tensors of two sides by name, first within a file, then across files, and compares the pairs."""

    def __init__(self, olds: Files, news: Files) -> None:
        self._olds = olds
        self._news = news
        self.why: set[str] = set()

    def changes(self) -> Iterator[TensorChange]:
        """Every tensor that is not the same, or of which that is only said."""
        found = list(self._found())
        yield from found
        told = {at.path for change in found for at in (change.old, change.new) if at is not None}
        for path in sorted((self._olds.keys() & self._news.keys()) - told):
            old, new = self._olds[path], self._news[path]
            if contradict(old, new):
                self.why.add(f"the chunk lists of {path} say that nothing differs, and its digests that something does")
                before = {at.tensor.name: at for at in _tensors({path: old})}
                for at in _tensors({path: new}):
                    yield TensorChange(Kind.UNKNOWN, before[at.tensor.name], at)

    def _found(self) -> Iterator[TensorChange]:
        here = {(at.path, at.tensor.name): at for at in _tensors(self._news)}
        gone: dict[str, list[At]] = {}
        for old in _tensors(self._olds):
            new = here.pop((old.path, old.tensor.name), None)
            if new is None:
                gone.setdefault(old.tensor.name, []).append(old)
            else:
                yield from self._pair(old, new)
        for new in here.values():
            former = gone.get(new.tensor.name)
            if former:
                yield from self._pair(former.pop(0), new)
            else:
                yield TensorChange(Kind.ADDED, None, new)
        for left in gone.values():
            yield from (TensorChange(Kind.REMOVED, old, None) for old in left)

    def _pair(self, old: At, new: At) -> Iterator[TensorChange]:
        kind = self._kind(old, new)
        if kind is not Kind.SAME:
            yield TensorChange(kind, old, new)

    def _kind(self, old: At, new: At) -> Kind:
        if (old.tensor.dtype, old.tensor.shape) != (new.tensor.dtype, new.tensor.shape):
            return Kind.RESHAPED
        same = are_same(old, new)
        if same is None:
            self.why.update(at.file.why for at in (old, new) if not at.file.readable)
            return Kind.UNKNOWN
        if not same:
            return Kind.CHANGED
        return Kind.SAME if old.place == new.place else Kind.MOVED


def contradict(old: WeightFile, new: WeightFile) -> bool:
    """Whether two files that differ, and whose tensors are all said to be the same, have nothing else to differ in."""
    header = new.weights.header
    if header is None or old.head != new.head:
        return False
    # Others have bytes between tensors, which may be what differs.
    is_full = header.size + sum(tensor.stop - tensor.start for tensor in header.tensors) >= new.weights.size
    return is_full or (old.cuts is not None and old.cuts == new.cuts)


def are_same(old: At, new: At) -> bool | None:
    """Whether two tensors have the same bytes; None: it cannot be told."""
    size = old.size
    if size != new.size or not size:
        return size == new.size
    mine, theirs = old.file.known(old.tensor), new.file.known(new.tensor)
    found = _compared(mine, theirs, size)
    if found is None and old.file.readable and new.file.readable:
        mine, theirs = (at.file.hashed(at.tensor, [(0, size)]) for at in (old, new))
    elif found is None and new.file.readable:
        theirs = new.file.hashed(new.tensor, mine)
    elif found is None and old.file.readable:
        mine = old.file.hashed(old.tensor, theirs)
    else:
        return found
    return _compared(mine, theirs, size)


def _compared(one: Mapping[Span, bytes], other: Mapping[Span, bytes], size: int) -> bool | None:
    """What digests of parts of two tensors of `size` bytes tell of them.

    A part that reaches beyond the tensor holds bytes of something else: as the same it counts, as another it does not.
    """
    at = 0
    for span in sorted(one.keys() & other.keys()):
        start, stop = span[0], sum(span)
        if one[span] == other[span]:
            at = max(at, stop) if start <= at else at
        elif start >= 0 and stop <= size:
            return False
    return True if at >= size else None


def _file(path: str, action: Action, old: WeightFile | None, new: WeightFile | None) -> FileDiff:
    pair = [file for file in (old, new) if file is not None]
    problems = tuple(file.weights.problem.message for file in pair if file.weights.problem is not None)
    before, after = (None if file is None else file.weights.header for file in (old, new))
    metadata: dict[str, str] = {}
    hidden = False
    if old is not None and new is not None and before is not None and after is not None:
        metadata = _keys(before.metadata, after.metadata)
        told = bool(metadata) or [*map(_told, before.tensors)] != [*map(_told, after.tensors)]
        hidden = not told and old.head != new.head
    return FileDiff(path, action, pair[-1].weights.size, metadata, hidden, problems)


def _told(tensor: Tensor) -> tuple[str, str, tuple[int, ...]]:
    return tensor.name, tensor.dtype, tensor.shape


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    found = dict.fromkeys(old.keys() - new.keys(), "removed")
    found |= dict.fromkeys(new.keys() - old.keys(), "added")
    found |= {key: "changed" for key in old.keys() & new.keys() if old[key] != new[key]}
    return dict(sorted(found.items()))
