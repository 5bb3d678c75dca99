"""materialize: the files of a delta version out of what a plain `oras pull` left, without any network (facts: format §5)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import free_bytes
from modelops_bundle.disk.hashing import hash_files
from modelops_bundle.disk.locks import hold
from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.rebuild import names_in, write_beside
from modelops_bundle.disk.tree import ABSENT, Guard, StatKey, Tree
from modelops_bundle.errors import Corrupt, DiskFull, IsPointer, NotFound, WouldOverwrite
from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started, checkpoint
from modelops_bundle.model import artifact, media, pointer
from modelops_bundle.model.chunkmap import Recipe
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import TEMPORARY_PREFIX, display, parents
from modelops_bundle.model.ports import Chunks
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.operations import pointers
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import chunks as chunk
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.verify import verified
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.project import Project
from modelops_bundle.workspace.scan import look

_SHOWN = 10
_AT_ONCE = 2
"""Files that are put together at a time."""
_PACK = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user asked for.

    :param overwrite: replace whatever files and links are at the paths. :param remove_packs: drop the chunk packs when
        every file is there.
    """

    overwrite: bool = False
    remove_packs: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Result:
    """What was done: files put together, files that were there already, chunk packs removed; sizes in bytes."""

    directory: str
    rebuilt: tuple[str, ...] = ()
    size: int = 0
    already: tuple[str, ...] = ()
    removed: int = 0
    removed_size: int = 0
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "directory": self.directory,
            "rebuilt": list(self.rebuilt),
            "size": self.size,
            "already": list(self.already),
            "removed_packs": self.removed,
            "removed_bytes": self.removed_size,
            "dry_run": self.dry_run,
        }


def materialize(session: Session, place: Path, choices: Choices) -> Result:
    """Put together every file of `place` that is stored in chunks, from the chunk packs beside them.

    Everything is looked at before the first write. A file gets its name when it is whole and verified, so a run that
    was killed is followed by one that does the rest.

    :raises NotFound: no index, or a chunk pack is missing. :raises WouldOverwrite: other things are at the paths.
    :raises Corrupt: index or packs are damaged. :raises DiskFull: there is no room. :raises Locked: it is being done.
    """
    if not place.is_dir():
        raise NotFound(f"{place} is not a directory", hint="give the directory that oras pulled a bundle into")
    with Tree(place) as tree, ExitStack() as stack:
        if (place / layout.FOLDER).is_dir():
            stack.enter_context(Project.find(place).locked() if not choices.dry_run else nullcontext())
        if tree.lstat(artifact.INDEX_PATH) is None:
            return _without_index(tree, place, choices)
        index = stack.enter_context(_index(tree, place))
        snapshot, recipes = artifact.recipes_of(index, lambda digest: _earlier(tree, digest))
        here = _Look(tree, snapshot, recipes, session.run)
        here.refuse(overwrite=choices.overwrite)
        packs = stack.enter_context(_Packs(tree, snapshot, recipes))
        packs.locate(here.missing)
        result = Result(str(place), tuple(sorted(here.missing)), here.size, tuple(sorted(here.already)))
        result.dry_run = choices.dry_run
        free = free_bytes(place)
        if result.size > free:
            raise DiskFull(
                f"the files need {result.size} bytes, and {free} are free in {place}",
                hint="free some space and run the same command again",
                needed=result.size,
            )
        if not choices.dry_run:
            _rebuild(tree, here, packs, session.run)
        if choices.remove_packs:
            result.removed, result.removed_size = _remove(tree, dry_run=choices.dry_run)
    return result


def _without_index(tree: Tree, place: Path, choices: Choices) -> Result:
    """A bundle of our own has no index: nothing is to be done in it, unless somebody put pointers there."""
    if (place / layout.FOLDER).is_dir():
        found = look(tree, Project.find(place).tracked())
        files = ((path, item.key.size) for path, item in found.items() if item.kind == "file")
        left = list(pointers.pointers(tree, files))
        if not left:
            return Result(str(place), dry_run=choices.dry_run)
        raise IsPointer(
            f"what the pointers here stand for is not here: {', '.join(display(path) for path in left[:_SHOWN])}",
            hint="bundle restore PATH brings the file from the remote",
            paths=left,
        )
    raise NotFound(
        f"{place} has no {artifact.INDEX_PATH}, so it does not say what it should hold",
        hint="give the directory that oras pulled a bundle into",
    )


@contextmanager
def _index(tree: Tree, place: Path) -> Iterator[bytes]:
    """The index, locked: one process at a time puts files together here."""
    descriptor = tree.open_read(artifact.INDEX_PATH)
    try:
        hold(descriptor, str(place))
        yield _read(descriptor, artifact.INDEX_PATH)
    finally:
        os.close(descriptor)


def _read(descriptor: int, path: str) -> bytes:
    size = os.fstat(descriptor).st_size
    if size > artifact.MAX_INDEX:
        raise Corrupt(f"{path} has {size} bytes, more than an index may have")
    with translated(f"read {path}"), open(descriptor, "rb", closefd=False) as file:
        return file.read(artifact.MAX_INDEX)


def _earlier(tree: Tree, digest: Digest) -> bytes:
    path = f"{artifact.EARLIER_PATH}{digest.hex}.json"
    if tree.lstat(path) is None:
        raise NotFound(f"{path} is missing, and chunks are listed in it", hint="pull the version again", path=path)
    descriptor = tree.open_read(path)
    try:
        data = _read(descriptor, path)
    finally:
        os.close(descriptor)
    if Digest.of(data) != digest:
        raise Corrupt(f"{path} is damaged", hint="pull the version again", path=path)
    return data


class _Look:
    """What is at the paths of the files that are made of chunks."""

    def __init__(self, tree: Tree, snapshot: Snapshot, recipes: Mapping[str, Recipe], run: Run) -> None:
        self._tree = tree
        self.wanted = {path: (snapshot[path], recipe) for path, recipe in recipes.items()}
        self.missing: dict[str, Guard] = {}
        """The files to put together, with what is in their place now."""
        self.already: set[str] = set()
        self._other: dict[str, StatKey] = {}
        self._fixed: list[str] = []
        same = [(path, entry.size) for path, (entry, _) in self.wanted.items() if self._may_be(path, entry)]
        if same:
            hash_files(tree, same, run, lambda path, hashed: self._hashed(path, hashed.digest, hashed.key))

    def _may_be(self, path: str, entry: Entry) -> bool:
        """Whether the file may be there whole already; everything else is decided at once."""
        facts = self._tree.lstat(path)
        above = [each for each in parents(path) if not _is_directory(self._tree, each)]
        if above:
            self._fixed.append(above[0])
        elif facts is None:
            self.missing[path] = ABSENT
        elif stat.S_ISREG(facts.st_mode) or stat.S_ISLNK(facts.st_mode):
            key = StatKey.of(facts)
            if stat.S_ISREG(facts.st_mode) and facts.st_size == entry.size:
                return True
            is_pointer = stat.S_ISREG(facts.st_mode) and facts.st_size <= pointer.MOST
            if is_pointer and pointers.stands_for(self._tree, path, entry):
                self.missing[path] = key
            else:
                self._other[path] = key
        else:
            self._fixed.append(path)
        return False

    def _hashed(self, path: str, digest: Digest, key: StatKey) -> None:
        if digest == self.wanted[path][0].digest:
            self.already.add(path)
        else:
            self._other[path] = key

    @property
    def size(self) -> int:
        """Bytes of the files to put together."""
        return sum(self.wanted[path][0].size for path in self.missing)

    def refuse(self, *, overwrite: bool) -> None:
        """:raises WouldOverwrite: something else than a pointer is where a file goes."""
        if overwrite and not self._fixed:
            self.missing.update(self._other)
            return
        found = sorted({*self._other, *self._fixed})
        if not found:
            return
        shown = ", ".join(display(path) for path in found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
        hint = "move them away" if self._fixed else "move them away, or --overwrite"
        raise WouldOverwrite(f"neither pointers nor the files they stand for: {shown}", hint=hint, paths=found)


def _is_directory(tree: Tree, path: str) -> bool:
    """Whether `path` is a directory, or nothing at all."""
    facts = tree.lstat(path)
    return facts is None or stat.S_ISDIR(facts.st_mode)


class _Packs:
    """The chunk packs of a directory as a `Reader`: under `.bundle/packs/`, or the file that a pack is."""

    def __init__(self, tree: Tree, snapshot: Snapshot, recipes: Mapping[str, Recipe]) -> None:
        self._tree = tree
        self._recipes = recipes
        self._files: dict[Digest, list[str]] = {}
        for path, entry in snapshot.items():
            if entry.kind == "file" and path not in recipes:
                self._files.setdefault(entry.digest, []).append(path)
        self._open: dict[Digest, int] = {}

    def __enter__(self) -> _Packs:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def locate(self, paths: Iterable[str]) -> None:
        """Find every pack that the files at `paths` need.

        :raises NotFound: one is missing, or shorter or longer than its list says.
        """
        for path in sorted(paths):
            recipe = self._recipes[path]
            for number in sorted(recipe.named()):
                blob = recipe.packs[number].blob
                if blob.digest not in self._open:
                    self._open[blob.digest] = self._find(blob, path)

    def _find(self, blob: Descriptor, path: str) -> int:
        pack = f"{artifact.PACKS_PATH}{blob.digest.hex}"
        for place in (pack, *self._files.get(blob.digest, ())):
            facts = self._tree.lstat(place)
            if facts is not None and stat.S_ISREG(facts.st_mode) and facts.st_size == blob.size:
                return self._tree.open_read(place)
        raise NotFound(
            f"{display(path)} needs {pack} ({blob.size} bytes), which is not there or not whole",
            hint="pull the version again with the same tool",
            pack=str(blob.digest),
            path=path,
        )

    def has(self, what: Descriptor) -> bool:
        """Whether it was found."""
        return what.digest in self._open

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        """The bytes of a pack, in one piece: whoever reads chunks asks for few at a time."""
        end = what.size if stop is None else stop
        with translated(f"read the chunk pack {what.digest.hex}"):
            yield iter([os.pread(self._open[what.digest], end - start, start)])


def _rebuild(tree: Tree, here: _Look, packs: _Packs, run: Run) -> None:
    tree.sweep({path.rpartition("/")[0] for path in here.wanted}, TEMPORARY_PREFIX)
    if not here.missing:
        return
    run.emit(Started("materialize", len(here.missing), here.size))

    def one(path: str) -> None:
        entry, recipe = here.wanted[path]
        what = Descriptor(media.layer_type(entry.role), entry.digest, entry.size)
        run.emit(ItemStarted(path, path, entry.size))
        try:
            with chunk.reading(packs, recipe, 0, entry.size) as pieces:
                told = _told(verified(what, pieces), path, run)
                write_beside(tree, path, told, entry.size, executable=entry.executable, guard=here.missing[path])
        except Corrupt as error:
            hint = "nothing was replaced; pull the version again with the same tool"
            raise Corrupt(f"{display(path)}: {error.message}", hint=hint, **{**error.facts, "path": path}) from error
        run.emit(Finished(path, "copied"))

    # Each holds what one look into a pack brings and what it is made into: more at a time would take too much memory.
    few = replace(run, limits=replace(run.limits, jobs=min(_AT_ONCE, run.limits.jobs)))
    engine.each(sorted(here.missing, key=lambda path: -here.wanted[path][0].size), one, few)
    checkpoint("materialized")


def _told(pieces: Iterable[bytes], path: str, run: Run) -> Iterator[bytes]:
    for piece in pieces:
        run.check()
        yield piece
        run.emit(Advanced(path, len(piece)))


def _remove(tree: Tree, *, dry_run: bool) -> tuple[int, int]:
    """Remove the chunk packs; how many, and their bytes."""
    folder, count, size = artifact.PACKS_PATH, 0, 0
    for name in filter(_PACK.fullmatch, names_in(tree, folder.rstrip("/"))):
        facts = tree.lstat(f"{folder}{name}")
        if facts is not None and stat.S_ISREG(facts.st_mode):
            count, size = count + 1, size + facts.st_size
            if not dry_run:
                tree.remove(f"{folder}{name}")
    return count, size
