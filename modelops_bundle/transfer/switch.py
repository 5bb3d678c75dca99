"""Replacing a directory as a whole: the new one is built beside it, then the two exchange their names.

Beside DEST, while somebody is at work or was killed:

    .~bundle-DEST-new    the new tree; `building` in its folder of ours says that nobody but us ever knew it
    .~bundle-DEST-old    the tree that was switched out, until what is not ours is moved back and the rest is gone
    .~bundle-DEST-parts  blobs on their way that no cache keeps
    .~bundle-DEST-lock   one at a time

`.DEST.previous` is the version before, where that was asked for. `recover` finishes or undoes what a killed run left.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from modelops_bundle.disk.exclusive import exchange
from modelops_bundle.disk.files import require_directory, sweep, sync_directory, write_file
from modelops_bundle.disk.filesystems import mounts
from modelops_bundle.disk.holds import Wait, take
from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.tree import ABSENT, StatKey, Tree, put
from modelops_bundle.errors import DiskError, Unsupported, WorkspaceChanged, WouldOverwrite
from modelops_bundle.events import checkpoint
from modelops_bundle.model.paths import TEMPORARY_PREFIX, parents
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.transfer import ensured

_BUILDING = "building"
_LONGEST = 200
"""Bytes of a name that still has room for what is put around it."""


class Site:
    """A directory that is replaced as a whole, and what lies beside it.

    :param place: its absolute path; a symbolic link there stands for its target, which stays.
    :raises Unsupported: it is a mount point or a root: its name cannot be given to another directory.
    """

    def __init__(self, place: Path) -> None:
        self.place = Path(os.path.realpath(place))
        if self.place == self.place.parent or os.path.ismount(self.place) or self.place in mounts():
            raise _mounted(self.place)
        parent, name = self.place.parent, self.place.name
        if len(os.fsencode(name)) > _LONGEST:
            name = hashlib.sha256(os.fsencode(name)).hexdigest()
        self.new, self.old, self.parts, self._lock = (
            parent / f"{TEMPORARY_PREFIX}{name}-{what}" for what in ("new", "old", "parts", "lock")
        )
        self.previous = parent / f".{name}.previous"
        self._name = name

    @contextmanager
    def locked(self, wait: Wait) -> Iterator[None]:
        """Alone at work here."""
        try:
            require_directory(self.place.parent)
            hold = take(self._lock, wait=wait)
        except DiskError as error:
            error.hint = f"{self.place} is replaced as a whole, so {self.place.parent} must be writable"
            raise
        assert hold is not None
        try:
            yield
        finally:
            hold.release(remove=True)

    def check_mounts(self) -> None:
        """:raises Unsupported: something is mounted in the directory: it would go away with the old tree."""
        for place in mounts():
            if self.place in place.parents:
                raise Unsupported(
                    f"{place} is a mount point, and would go with the tree that is replaced", hint="unmount it"
                )

    # --- building

    def begin(self) -> Path:
        """The new directory, empty but for the mark that says whose it is."""
        self.abandon()
        with translated(f"create {self.new}"):
            os.mkdir(self.new)
            if self.place.is_dir():
                os.chmod(self.new, stat.S_IMODE(self.place.stat().st_mode) | stat.S_IRWXU)
            os.mkdir(self.new / ensured.FOLDER)
        write_file(self.new / ensured.FOLDER / _BUILDING, b"")
        checkpoint("building")
        return self.new

    def abandon(self) -> None:
        """Remove a new directory that was not switched in."""
        with translated(f"remove {self.new}"):
            _remove_ours(self.new)

    def reuse(self) -> Path:
        """Make the kept previous version the new directory."""
        self.abandon()
        _sweep(self.previous)
        with translated(f"use {self.previous}"):
            write_file(self.previous / ensured.FOLDER / _BUILDING, b"")
            os.rename(self.previous, self.new)
        checkpoint("previous taken")
        return self.new

    # --- switching

    def switch(self) -> bool:
        """Let the new directory have the name, at once; whether there is an old one now.

        Where the system cannot exchange two names, nothing has the name for a moment; killed right then, `recover`
        gives it back to the old one.

        :raises WouldOverwrite: something came into the empty directory that was there.
        """
        checkpoint("tree ready")
        with translated(f"switch {self.place}"):
            sync_directory(self.new)
            try:
                had = self._exchange()
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise _mounted(self.place) from error
                raise
            sync_directory(self.place.parent)
        self._unmark()
        checkpoint("switched")
        return had

    def _exchange(self) -> bool:
        if not os.path.lexists(self.place) or (self.place.is_dir() and not any(self.place.iterdir())):
            try:
                os.rename(self.new, self.place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                raise WouldOverwrite(f"something came to {self.place} just now", hint="run it again") from error
            return False
        parent = os.open(self.place.parent, os.O_RDONLY)
        try:
            if exchange(parent, self.new.name, self.place.name):
                checkpoint("exchanged")
                self._unmark()
                os.rename(self.new, self.old)
                return True
        finally:
            os.close(parent)
        os.rename(self.place, self.old)
        checkpoint("old away")
        os.rename(self.new, self.place)
        return True

    def _unmark(self) -> None:
        # While it is under `new`, the mark says that it may be removed; under the name itself it must not.
        _unlink(self.place, _BUILDING)

    # --- what is left

    def recover(self) -> Path | None:
        """Finish or undo what a killed run left; where somebody's files were put that could not go back."""
        with translated(f"repair {self.place}"):
            if os.path.lexists(self.old) and not os.path.lexists(self.place):
                os.rename(self.old, self.place)
            self._unmark()
            _sweep(self.place)
            if os.path.lexists(self.new):
                if _is_building(self.new):
                    _remove_ours(self.new)
                elif not os.path.lexists(self.old):
                    os.rename(self.new, self.old)
        return self.retire() if os.path.lexists(self.old) else None

    def keep_previous(self, dropped: Mapping[str, StatKey]) -> Path | None:
        """Keep the old tree as the previous version; what is not ours goes back into the new one.

        :param dropped: files of ours in states that are known to be no loss; they go.
        """
        saved = self.drop_previous()
        with translated(f"keep {self.previous}"):
            with Tree(self.old) as tree:
                for path, key in dropped.items():
                    facts = tree.lstat(path)
                    if facts is not None and StatKey.of(facts) == key:
                        tree.remove(path)
            self._move_back(self.old, {})
            os.rename(self.old, self.previous)
        return saved

    def drop_previous(self) -> Path | None:
        """Remove the previous version that was kept."""
        self.check_previous()
        return self._remove(self.previous, {}, back=False) if os.path.lexists(self.previous) else None

    def check_previous(self) -> None:
        """:raises WouldOverwrite: something else has the name of the previous version."""
        if os.path.lexists(self.previous) and (self.previous.is_symlink() or ensured.read(self.previous) is None):
            raise WouldOverwrite(f"{self.previous} is no version that was kept", hint="move it out of the way")

    def retire(self, dropped: Mapping[str, StatKey] | None = None) -> Path | None:
        """Remove the tree that was switched out, but for what is not ours: that goes back to where it was.

        :param dropped: files of ours in states that are known to be no loss.
        :returns: where what could not go back lies now, for its owner; nothing is ever deleted that we did not write.
        """
        return self._remove(self.old, dropped or {})

    def _remove(self, tree: Path, dropped: Mapping[str, StatKey], *, back: bool = True) -> Path | None:
        checkpoint("retiring")
        try:
            return self._retired(tree, dropped, back=back)
        except DiskError as error:
            if error.facts.get("errno") not in (errno.EACCES, errno.EPERM, errno.EBUSY):
                raise
            # Somebody made a directory in it read-only, or a mount point: that must not keep everybody from the
            # next version.
            return self._save(tree)

    def _retired(self, tree: Path, dropped: Mapping[str, StatKey], *, back: bool) -> Path | None:
        with translated(f"remove {tree}"):
            if tree.is_symlink() or not tree.is_dir():
                return self._save(tree)
            if back:
                self._move_back(tree, dropped)
            self._remove_recorded(tree, dropped)
            _sweep(tree)
            for name in (_BUILDING, ensured.FILE):
                _unlink(tree, name)
            _remove_empty(tree)
            return self._save(tree) if tree.exists() else None

    def _save(self, tree: Path) -> Path:
        saved = tree.with_name(f"{self._name}.saved-{os.urandom(4).hex()}")
        os.rename(tree, saved)
        return saved

    def _move_back(self, old: Path, dropped: Mapping[str, StatKey]) -> None:
        record = ensured.read(old)
        entries: Mapping[str, Entry] = record.entries if record else {}
        known = {parent for path in entries for parent in parents(path)} | set(entries)
        if not self.place.is_dir():
            return
        here = ensured.walk(old, known=known, whole=lambda path: path not in known and self._is_free(path))
        with Tree(old) as source, Tree(self.place) as target:
            for path, facts in list(here):
                if path in entries and _is_ours(old, record, path, facts, dropped):
                    continue
                # It stays where it is when something else is there by now.
                with suppress(WorkspaceChanged, WouldOverwrite, DiskError):
                    _move(source, target, path)
                    checkpoint("moved back")

    def _is_free(self, path: str) -> bool:
        return not os.path.lexists(self.place / path)

    def _remove_recorded(self, old: Path, dropped: Mapping[str, StatKey]) -> None:
        record = ensured.read(old)
        if record is None:
            return
        with Tree(old) as tree:
            for path in record.entries:
                facts = tree.lstat(path)
                if facts is not None and _is_ours(old, record, path, facts, dropped):
                    tree.remove(path)


def _mounted(place: Path) -> Unsupported:
    return Unsupported(
        f"{place} is a mount point, which cannot be replaced as a whole",
        hint=f"name a directory in it: --dest {place / 'model'}",
    )


def _is_ours(
    root: Path, record: ensured.Record | None, path: str, facts: os.stat_result, dropped: Mapping[str, StatKey]
) -> bool:
    """Whether what is at `path` was written by us and by nobody since."""
    if record is None:
        return False
    entry = record.entries[path]
    if entry.kind == "link":
        return stat.S_ISLNK(facts.st_mode) and os.readlink(root / path) == entry.target
    if entry.kind == "dir":
        return stat.S_ISDIR(facts.st_mode)
    if not stat.S_ISREG(facts.st_mode):
        return False
    key = StatKey.of(facts)
    return dropped.get(path) == key or record.is_as_written(path, key) or _holds(root / path, entry)


def _holds(path: Path, entry: Entry) -> bool:
    """Whether a file whose stamps tell nothing has the content of `entry`: then it can be had again."""
    with open(path, "rb") as file:
        return (
            path.lstat().st_size == entry.size and hashlib.file_digest(file, "sha256").hexdigest() == entry.digest.hex
        )


def _unlink(tree: Path, name: str) -> None:
    """Remove a file of ours from our folder in `tree`, which may be a link that somebody put there."""
    folder = tree / ensured.FOLDER
    if not folder.is_symlink():
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(folder / name)


def _sweep(tree: Path) -> None:
    """Remove from our folder in `tree` what a killed run had not finished writing."""
    if not (tree / ensured.FOLDER).is_symlink():
        sweep(tree / ensured.FOLDER)


def _move(source: Tree, target: Tree, path: str) -> None:
    with source.parent(path) as (old, name), target.parent(path, create=True) as (new, new_name):
        facts = None
        with suppress(FileNotFoundError):
            facts = os.stat(new_name, dir_fd=new, follow_symlinks=False)
        mine = os.stat(name, dir_fd=old, follow_symlinks=False)
        if facts is not None and os.path.samestat(facts, mine):
            # A killed run had given it its name there, and not yet taken the old one away.
            os.unlink(name, dir_fd=old)
        elif facts is not None:
            raise WorkspaceChanged(f"{path} is taken")
        elif stat.S_ISDIR(mine.st_mode):
            os.rename(name, new_name, src_dir_fd=old, dst_dir_fd=new)
        else:
            put(name, old, new_name, new, ABSENT)


def _is_building(tree: Path) -> bool:
    """Whether nobody but us ever knew the directory: it is marked so, or empty but for the place of the mark."""
    folder = tree / ensured.FOLDER
    if os.path.lexists(folder / _BUILDING):
        return True
    names = set(os.listdir(tree)) if tree.is_dir() and not tree.is_symlink() else {"?"}
    return names <= {ensured.FOLDER} and (not names or not any(_is_foreign(name) for name in os.listdir(folder)))


def _is_foreign(name: str) -> bool:
    return not name.startswith(TEMPORARY_PREFIX)


def _remove_ours(tree: Path) -> None:
    """Remove a marked directory, the mark last: killed meanwhile, it is known still."""
    if not os.path.lexists(tree):
        return
    for name in os.listdir(tree):
        path = tree / name
        if name == ensured.FOLDER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    checkpoint("half removed")
    shutil.rmtree(tree / ensured.FOLDER, ignore_errors=True)
    os.rmdir(tree)


def _remove_empty(tree: Path) -> None:
    """Remove the directories that have nothing in them, `tree` among them."""
    for directory, _, _ in os.walk(tree, topdown=False):
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
