"""ensure: a directory holds exactly one version, switched in as a whole (docs/decisions/0015)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import free_bytes, supports_links
from modelops_bundle.disk.filesystems import tick_of
from modelops_bundle.disk.tree import StatKey, Tree
from modelops_bundle.errors import Corrupt, DiskFull, NotFound, Unavailable, Unsupported, UsageError, WouldOverwrite
from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started, checkpoint
from modelops_bundle.model.artifact import Contents
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.paths import display
from modelops_bundle.model.reference import Reference, parse
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations import policy, remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.operations.shelving import Counts, Waiting, shelved
from modelops_bundle.stores.cache import Cache
from modelops_bundle.transfer import engine, ensured
from modelops_bundle.transfer.ensured import Record, Standing
from modelops_bundle.transfer.hosts import Hosts
from modelops_bundle.transfer.populate import Source, populate, shares_blocks
from modelops_bundle.transfer.staging import Staging
from modelops_bundle.transfer.switch import Site
from modelops_bundle.workspace import layout

_ATTEMPTS = 3
"""Times that a version is brought when somebody tidies the cache up meanwhile."""
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Choices:
    """How a version is put into its directory.

    :param cache: keep its blobs in the shared cache. :param link: let files be hard links into it, and read-only.
    :param mirror: what is not ours may be there, and stays. :param force: edits of our files are dropped.
    :param verify: read what is there instead of trusting its stamps.
    :param keep_previous: keep the tree that was there for a rollback without copying.
    """

    cache: bool = True
    link: bool = False
    mirror: bool = False
    force: bool = False
    verify: bool = False
    keep_previous: bool = False


@dataclass(slots=True)
class Result:
    """What was done: files by the way they were placed, files of the version before that are gone, edits that were
    dropped, and where somebody's files were put that stood in the way.
    """

    reference: str
    digest: Digest
    dest: Path
    changed: bool = False
    counts: Counts = field(default_factory=Counts)
    placed: Mapping[str, int] = field(default_factory=dict)
    removed: int = 0
    dropped: tuple[str, ...] = ()
    kept: int = 0
    saved: tuple[str, ...] = ()
    previous: Digest | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "reference": self.reference,
            "digest": str(self.digest),
            "dest": str(self.dest),
            "changed": self.changed,
            "fetched_blobs": self.counts.fetched,
            "fetched_bytes": self.counts.size,
            "cached_bytes": self.counts.cached,
            "waited_seconds": round(self.counts.waited, 3),
            "placed": dict(self.placed),
            "removed_paths": self.removed,
            "dropped_edits": list(self.dropped),
            "kept_paths": self.kept,
            "saved": list(self.saved),
            "previous": str(self.previous) if self.previous else None,
        }


def ensure(session: Session, text: str | None, dest: Path, choices: Choices | None = None) -> Result:
    """Let the directory `dest` hold exactly the version that `text` names; None goes back to the version before.

    The old tree and the new one exchange their names: nobody ever finds something in between. A version that is named
    by its digest and complete in the cache takes no request.

    :raises WouldOverwrite: `dest` holds what is not ours, or edits of what is. Nothing was changed.
    :raises NotFound: the reference does not exist. :raises Unavailable: it cannot be reached.
    :raises Unsupported: `dest` is a mount point. :raises DiskFull: there is no room; `dest` is as it was.
    :raises UsageError: links into a cache that is not there.
    """
    if choices is not None and choices.link and not (choices.cache and session.options.cache):
        raise UsageError("files can be links into the shared cache only where there is one")
    return _Ensuring(session, dest, choices or Choices()).run(text)


class _Ensuring:
    def __init__(self, session: Session, dest: Path, choices: Choices) -> None:
        self._session = session
        self._choices = choices
        self._site = Site(dest)
        self._counts = Counts()
        folder = session.options.cache
        if layout.FOLDER in dest.parts or (folder is not None and _overlap(self._site.place, folder)):
            raise UsageError(
                f"{dest} is where bundle keeps its own files", hint="name a directory of its own: --dest DIR"
            )
        self._cache = Cache(folder) if folder is not None else None

    def run(self, text: str | None) -> Result:
        site, run = self._site, self._session.run
        with site.locked(Waiting(self._session, self._counts, str(site.place))):
            saved = site.recover()
            record = self._record()
            target = self._target(text, record)
            began = time.time_ns()
            standing = ensured.compare(site.place, record, run, verify=self._choices.verify) if self._exists() else None
            assert target.digest is not None
            result = Result(str(target), target.digest, site.place, counts=self._counts)
            right = record is not None and standing is not None and self._is_right(record, standing, target.digest)
            if not (right and self._session.options.offline):
                # What is there was asked for when it came; signatures cannot be looked for without a network.
                policy.require(self._session, target, target.digest)
            if right and record is not None and standing is not None:
                self._refresh(record, standing, began)
            else:
                self._check(record, standing)
                more = self._replace(target, record, standing or Standing(), result)
                saved = more or saved
            if site.parts.is_dir():
                Staging(site.parts).clear()
                site.parts.rmdir()
            if self._cache is not None and self._choices.cache:
                self._cache.uses.note(target.digest, remote_state.key(target))
        result.saved = (str(saved),) if saved else ()
        result.kept = len(standing.unknown) if standing else 0
        return result

    # --- looking

    def _exists(self) -> bool:
        if self._site.place.is_dir():
            return True
        if os.path.lexists(self._site.place):
            raise WouldOverwrite(f"{self._site.place} is no directory", hint="ensure replaces directories only")
        return False

    def _record(self) -> Record | None:
        if not self._exists():
            return None
        if (self._site.place / layout.FOLDER / layout.VERSION).exists():
            raise WouldOverwrite(f"{self._site.place} is a bundle", hint="'bundle pull' brings another version there")
        return ensured.read(self._site.place)

    def _target(self, text: str | None, record: Record | None) -> Reference:
        """The version to have, by its digest."""
        if text is None:
            if record is None or record.previous is None:
                raise NotFound(f"no version before this one is known of {self._site.place}", hint="name one: REF")
            before, digest = record.previous
            return parse(before).at(parse(before).tag, digest)
        reference = self._session.reference(text)
        if reference.digest is not None:
            return reference
        return reference.at(reference.tag, self._resolve(reference))

    def _resolve(self, reference: Reference) -> Digest:
        """What a tag stands for: one request, or a note when there is no network."""
        uses, key = (self._cache.uses if self._cache else None), remote_state.key(reference)
        if self._session.options.offline and reference.scheme == "oci":
            stood = uses.stood(key) if uses else None
            if stood is None:
                raise Unavailable(f"offline, and nobody looked at {key} before", hint="name a digest", offline=True)
            self._session.run.notice("ensure-offline", f"offline: {key} stood for {stood} when last looked at")
            return stood
        try:
            found = remote_state.resolve(self._session, reference)
        except Unavailable as error:
            stood = uses.stood(key) if uses else None
            if stood is not None:
                error.hint = f"--offline takes what it stood for last: {stood}"
            raise
        if found is None:
            raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is")
        if uses is not None and self._choices.cache:
            uses.stands(key, found.digest)
        return found.digest

    def _is_right(self, record: Record, standing: Standing, digest: Digest) -> bool:
        unknown = standing.unknown and not self._choices.mirror
        right = record.digest == digest and record.linked == self._choices.link
        return right and standing.whole and not unknown

    def _refresh(self, record: Record, standing: Standing, began: int) -> None:
        """Files that were read again, and found right, need not be read the next time.

        :param began: the wall clock (ns) before they were: what is written later must not pass for what was read.
        """
        if not all(record.is_as_written(path, key) for path, key in standing.keys.items()):
            ensured.write(self._site.place, replace(record, keys=standing.keys, taken_ns=began))

    def _check(self, record: Record | None, standing: Standing | None) -> None:
        """:raises WouldOverwrite: something there would be lost. :raises Unsupported: something is mounted there."""
        self._site.check_mounts()
        if self._choices.keep_previous:
            self._site.check_previous()
        if standing is None:
            return
        if standing.unknown and not self._choices.mirror:
            what = "holds files that 'ensure' did not write" if record else "is not empty"
            raise _refusal(f"{self._site.place} {what}", standing.unknown, "--mirror leaves them, and adds the version")
        if standing.edited and not self._choices.force:
            raise _refusal(
                f"files of {self._site.place} were edited", standing.edited, "--force drops the edits; or copy them"
            )

    # --- replacing

    def _replace(self, target: Reference, record: Record | None, standing: Standing, result: Result) -> Path | None:
        try:
            fresh, result.placed = self._build(target, record, standing)
            had = self._site.switch()
        except BaseException:
            self._site.recover()
            raise
        result.changed = True
        result.previous = fresh.previous[1] if fresh.previous else None
        if record is not None:
            result.removed = sum(1 for path in record.entries if path not in fresh.entries)
            result.dropped = tuple(standing.edited)
        return self._after(had, record, standing)

    def _build(self, target: Reference, record: Record | None, standing: Standing) -> tuple[Record, Mapping[str, int]]:
        """Make the new tree, with its record; from the version that was kept, when that is the one."""
        kept = self._kept(target)
        if kept is not None:
            self._check_fits(kept.entries, standing)
            fresh = replace(kept, reference=str(target), previous=_before(record, target))
            ensured.write(self._site.reuse(), fresh)
            return fresh, {"previous": len(kept.keys)}
        for _ in range(_ATTEMPTS - 1):
            with suppress(_Again):
                return self._fill(target, record, standing)
        return self._fill(target, record, standing)

    def _kept(self, target: Reference) -> Record | None:
        previous = self._site.previous
        record = ensured.read(previous) if previous.is_dir() and not previous.is_symlink() else None
        if record is None or record.digest != target.digest or record.linked != self._choices.link:
            return None
        standing = ensured.compare(previous, record, self._session.run, verify=self._choices.verify)
        return record if standing.whole and not standing.unknown else None

    def _fill(self, target: Reference, record: Record | None, standing: Standing) -> tuple[Record, Mapping[str, int]]:
        assert target.digest is not None
        with self._contents(target) as (contents, source):
            self._check_fits(contents.snapshot, standing)
            root = self._site.begin()
            self._check_disk(root, contents, source)
            try:
                with Tree(root) as tree:
                    ways = populate(tree, contents, source, self._session.run)
            except (Corrupt, NotFound) as error:
                # A blob went away, or bad, between its verification and its use.
                raise _Again(error.message, hint=error.hint, **error.facts) from error
        fresh = Record(
            str(target), target.digest, contents.snapshot, {}, 0, self._choices.link, _before(record, target)
        )
        fresh = _with_keys(root, fresh, self._session.run)
        ensured.write(root, fresh)
        return fresh, ways

    @contextmanager
    def _contents(self, target: Reference) -> Iterator[tuple[Contents, Source]]:
        """What the version holds, and where its verified bytes are meanwhile."""
        if self._cache is not None and self._choices.cache:
            with shelved(self._session, self._cache, target, self._counts, verify=self._choices.verify) as found:
                yield found.contents, Source(found.blobs, found.keys, self._choices.link)
            return
        found_there = remote_state.require(self._session, target)
        # The record says which version is there, not which part of an index of several: none is taken.
        Manifest.from_bytes(found_there.sighting.manifest)
        contents = found_there.contents
        staging = Staging(self._site.parts, Hosts(most=self._session.run.limits.connections))
        blobs = {blob.digest: blob for place in contents.places.values() for blob in place.blobs}
        self._fetch(target, list(blobs.values()), staging)
        yield contents, Source(staging, move=True)

    def _fetch(self, target: Reference, blobs: Sequence[Descriptor], staging: Staging) -> None:
        """Bring blobs that no cache keeps beside the directory."""
        run, counts = self._session.run, self._counts
        needed, free = sum(staging.needed_space(what) for what in blobs), free_bytes(self._site.place.parent)
        if needed > free:
            raise _full(f"{self._site.place} needs {needed} bytes, and {free} are free beside it", needed)
        store, sizes = self._session.store(target), [0]
        run.emit(Started("download", len(blobs), sum(what.size for what in blobs)))

        def one(what: Descriptor) -> None:
            key = str(what.digest)
            run.emit(ItemStarted(key, what.digest.short, what.size))
            if not staging.has(what):
                sizes.append(staging.fetch(what, store, run, lambda count: run.emit(Advanced(key, count))))
            run.emit(Finished(key, "copied"))

        engine.each(sorted(blobs, key=lambda what: -what.size), one, run)
        counts.fetched, counts.size = len(sizes) - 1, sum(sizes)

    def _check_fits(self, entries: Snapshot, standing: Standing) -> None:
        blocked = ensured.in_the_way(standing.unknown, entries)
        if blocked:
            raise _refusal("files that are not ours are where the version has its own", blocked, "move them away")

    def _check_disk(self, root: Path, contents: Contents, source: Source) -> None:
        """:raises DiskFull: copies of the files do not fit. :raises Unsupported: there are no symbolic links."""
        if contents.snapshot.links() and not supports_links(root):
            raise Unsupported("this file system has no symbolic links, and the bundle holds some")
        size, free = contents.snapshot.size, free_bytes(root)
        if size > free and not source.link and not source.move and not shares_blocks(contents, source, root):
            raise _full(f"{self._site.place} needs {size} bytes, and {free} are free beside it", size)

    def _after(self, had: bool, record: Record | None, standing: Standing) -> Path | None:
        """What the old tree becomes; where somebody's files were put that could not go back."""
        if not had:
            return None
        if self._choices.keep_previous and record is not None:
            return self._site.keep_previous(standing.edits if self._choices.force else {})
        dropped = {**standing.keys, **(standing.edits if self._choices.force else {})}
        return self._site.retire(dropped)


class _Again(Corrupt):
    """The version has to be looked at once more: its blobs were fine a moment ago."""


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _full(message: str, needed: int) -> DiskFull:
    return DiskFull(message, hint="free some space and run the same command again", needed=needed)


def _refusal(message: str, paths: Sequence[str], hint: str) -> WouldOverwrite:
    shown = ", ".join(display(path) for path in paths[:_SHOWN]) + (" …" if len(paths) > _SHOWN else "")
    return WouldOverwrite(f"{message}: {shown}", hint=hint, paths=list(paths))


def _before(record: Record | None, target: Reference) -> ensured.Version | None:
    """What a rollback goes back to."""
    if record is None or record.digest == target.digest:
        return record.previous if record else None
    return record.reference, record.digest


def _with_keys(root: Path, record: Record, run: Run) -> Record:
    """The record with the states of the files, taken when no later write can leave them as they are."""
    keys = {path: StatKey.of((root / path).lstat()) for path, entry in record.entries.items() if entry.kind == "file"}
    now = time.time_ns()
    for key in keys.values():
        stamp = max(key.mtime_ns, key.ctime_ns)
        young = stamp + tick_of(key.mtime_ns, key.ctime_ns) - now
        # Where that is shorter than reading the file the next time.
        if 0 < young / 1e9 < key.size / 1.5e9:
            run.cancelled.wait(young / 1e9)
            now = time.time_ns()
    checkpoint("record ready")
    return replace(record, keys=keys, taken_ns=now)
