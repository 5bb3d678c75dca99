"""flatten: the plain version of one in delta storage, put together in the registry for whoever cannot read chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from modelops_bundle.disk.chunks import FileChunks
from modelops_bundle.disk.files import free_bytes, require_directory
from modelops_bundle.disk.spool import Spool
from modelops_bundle.errors import Corrupt, DiskError, TagMoved, Unsupported, UsageError
from modelops_bundle.events import Advanced, Finished, ItemStarted, Run, Started, checkpoint, discard
from modelops_bundle.formats import cuts
from modelops_bundle.formats.chunker import Chunker
from modelops_bundle.model import artifact, chunkmap, media
from modelops_bundle.model.artifact import Contents, Place
from modelops_bundle.model.chunkmap import ChunkList
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.packs import Pack
from modelops_bundle.model.ports import Chunks, Store
from modelops_bundle.model.reference import Reference, check_tag, is_service_tag
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.operations import remote_state, tagging
from modelops_bundle.operations.referrers import find
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.push import standing
from modelops_bundle.transfer import chunks as chunk
from modelops_bundle.transfer import engine, publish
from modelops_bundle.transfer.copy import Content, Copied
from modelops_bundle.transfer.verify import mismatch
from modelops_bundle.workspace.seen import Sighting

Listed = tuple[str, ChunkList]
"""The chunker of a file, and the chunks that it makes."""
_AT_ONCE = 2
"""Files that are put together at a time."""


@dataclass(slots=True)
class Result:
    """What was written: `digest` stands under `reference` now, or would. None: that is not known before it is done.

    :param before: the version that was flattened. :param files: those that were in chunks; `size` their bytes.
    """

    reference: str
    before: Digest
    digest: Digest | None
    files: tuple[str, ...] = ()
    size: int = 0
    sent: int = 0
    sent_size: int = 0
    existing: int = 0
    changed: bool = True
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "reference": self.reference,
            "before": str(self.before),
            "digest": str(self.digest) if self.digest else None,
            "files": list(self.files),
            "size": self.size,
            "sent_blobs": self.sent,
            "sent_bytes": self.sent_size,
            "existing_blobs": self.existing,
            "changed": self.changed,
            "dry_run": self.dry_run,
        }


def flatten(
    session: Session,
    text: str,
    *,
    tag: str | None = None,
    expect: str | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Result:
    """Write the plain version of `text`, which is in delta storage, and let its tag, or `tag`, stand for that.

    The content stays the same, so nothing of the tag's own version is lost. Blobs that are there are not sent again.

    :param tag: a tag of the same repository; it moves as with `tag`.
    :param expect: what the tag may stand for besides.
    :raises NotFound: no such version. :raises TagMoved: refused, or overtaken.
    :raises UsageError: no tag to write. :raises Corrupt: chunks are damaged; the tag stays.
    """
    target_tag = check_tag(tag) if tag is not None else None
    expected = tagging.whole_digest(expect)
    with session.project.locked() if session.has_project else nullcontext():
        reference, what, store = find(session, text, data=True)
        own = reference.tag if reference.digest is None else session.written_tag(text)
        target = reference.at(target_tag or own)
        if target.tag is None or is_service_tag(target.tag):
            raise UsageError("flatten moves a tag, or writes one", hint="bundle flatten REF --tag NEW")
        manifest = Manifest.from_bytes(what.data or b"", what.media_type)
        if manifest.annotations.get(media.STORAGE) != "delta" or not artifact.is_ours(manifest):
            return Result(str(reference), what.digest, what.digest, changed=False, dry_run=dry_run)
        contents = remote_state.read(session, reference, what, store).contents
        lease = _Lease(session, store, target, what.digest, expected, force, is_same=target.tag == own)
        lease.check_early(manifest.annotations.get(media.CONTENT))
        whole = {path: place for path, place in contents.places.items() if place.blob is None}
        size = sum({contents.snapshot[path].digest: contents.snapshot[path].size for path in whole}.values())
        result = Result(str(target), what.digest, None, tuple(sorted(whole)), size, dry_run=dry_run)
        if dry_run:
            return result
        files = _Files(session.run, store, contents, session.scratch)
        made = _made(contents, files.bring(), manifest)
        checkpoint("files flattened")
        result.digest, result.sent, result.sent_size = made.digest, files.copied.blobs, files.copied.size
        result.existing = files.copied.existing
        _put(store, made)
        lease.move(made)
    return result


class _Lease:
    """The right to move a tag, taken before anything is sent."""

    def __init__(
        self,
        session: Session,
        store: Store,
        target: Reference,
        flattened: Digest,
        expected: Digest | None,
        force: bool,
        *,
        is_same: bool,
    ) -> None:
        self._session, self._store, self._target = session, store, target
        self._note = tagging.announcement(session, target)
        if self._note is not None:
            self._note.settle(store)
        found = store.resolve(target.tag or "")
        self._found = found.digest if found else None
        sighting = session.seen.get(remote_state.key(target)) if session.has_project else None
        self._seen = sighting.digest if sighting else None
        # Whoever flattens a tag in place has named the version: it is not lost. One that this clone saw must be it.
        self._expected = expected or (flattened if is_same and self._seen is None else None)
        self._force = force

    def move(self, made: artifact.Artifact) -> None:
        """Let the tag stand for `made`. :raises TagMoved: the lease forbids it, or somebody was faster."""
        what, data = made.manifest.descriptor(), made.manifest.to_bytes()
        self.check(what.digest)
        wish = publish.Wish(self._target.tag or "", self._found, what, data, self._force)
        remote = self._session.remote_of(self._target)
        publish.publish(
            self._store, wish, self._session.run, race=remote.race if remote else "default", note=self._note
        )
        checkpoint("tag moved")
        if self._session.has_project:
            # A version that this clone never saw stays one: its next push must not take it for known.
            if self._seen is not None or self._found is None:
                self._session.seen.put(Sighting(remote_state.key(self._target), data, made.kept))
            self._session.project.log("flatten", str(self._target), what.digest)

    def check_early(self, content: str | None) -> None:
        """As `check`, before anything is made: the same content may turn out to be just this, written by a run before.

        :param content: the content digest of what is going to be made.
        """
        there = self._store.resolve(str(self._found), data=True) if self._found else None
        annotations: Mapping[str, str] = {}
        with suppress(Corrupt, Unsupported):
            annotations = Manifest.from_bytes(there.data or b"").annotations if there is not None else {}
        if content is None or (annotations.get(media.CONTENT), annotations.get(media.STORAGE)) != (content, "plain"):
            self.check()

    def check(self, ours: Digest | None = None) -> None:
        """:raises TagMoved: the tag stands for something that would be lost."""
        if self._force or standing(self._found, self._seen, ours, self._expected) != "moved":
            return
        is_there = (
            f"stands for {self._found}" if self._found else "is gone, and stood for something when it was last seen"
        )
        raise TagMoved(
            f"tag {self._target.tag} {is_there}",
            hint=f"--expect {self._found} replaces that" if self._found else "--force makes it anew",
            tag=self._target.tag,
            found=str(self._found) if self._found else None,
        )


class _Files:
    """The files of a version, as whole blobs of its repository."""

    def __init__(self, run: Run, store: Store, contents: Contents, scratch: Path) -> None:
        # Each holds what one request brings and what it is made into: more at a time would take too much memory.
        self._run = replace(run, limits=replace(run.limits, jobs=min(_AT_ONCE, run.limits.jobs)))
        self._store = store
        self._contents = contents
        self._scratch = scratch
        self._listed: dict[Digest, Listed] = {}
        self.copied = Copied()
        """What was sent, and what was there."""

    def bring(self) -> dict[Digest, Listed]:
        """Store what is in chunks only; the chunk lists of all large files, by digest."""
        snapshot, places = self._contents.snapshot, self._contents.places
        missing = {path for path, place in places.items() if place.blob is None}
        large = [path for path, place in places.items() if place.blob is None or self._is_large(path)]
        # Of several paths with one content the first that has to be brought.
        one_each = {snapshot[path].digest: path for path in sorted(large, key=lambda path: path in missing)}
        todo = [path for path in one_each.values() if path in missing or not self._is_listed(path)]
        self._run.emit(Started("flatten", len(todo), sum(snapshot[path].size for path in todo)))
        engine.each(todo, self._one, self._run)
        return self._listed

    def _is_large(self, path: str) -> bool:
        return self._contents.snapshot[path].size >= cuts.SMALLEST and self._contents.places[path].offset is None

    def _is_listed(self, path: str) -> bool:
        """Whether the index has the chunks of a file that is a blob of its own."""
        entry, recipe = self._contents.snapshot[path], self._contents.places[path].recipe
        plan = self._plan(path, entry)
        if plan is None:
            return True
        if recipe is None or not chunkmap.is_whole(recipe, entry.digest) or recipe.chunker != plan.chunker:
            return False
        found = recipe.packs[recipe.segments[0][0]].chunks
        if plan.sizes is not None and plan.sizes != found.sizes:
            return False
        self._listed[entry.digest] = (recipe.chunker, found)
        return True

    def _plan(self, path: str, entry: Entry) -> cuts.Plan | None:
        def read(offset: int, size: int) -> bytes:
            with self._open(path, offset, min(offset + size, entry.size)) as pieces:
                return b"".join(pieces)

        return cuts.chunker_for(path, entry.size, read, smallest=cuts.SMALLEST)

    def _open(self, path: str, start: int, stop: int) -> AbstractContextManager[Chunks]:
        place: Place = self._contents.places[path]
        if place.blob is not None:
            return self._store.open(place.blob, start, stop)
        if place.recipe is None:
            raise ValueError(f"{path} is nowhere")
        return chunk.reading(self._store, place.recipe, start, stop)

    def _one(self, path: str) -> None:
        entry, place = self._contents.snapshot[path], self._contents.places[path]
        what = entry.content
        self._run.emit(ItemStarted(path, path, entry.size))
        plan = self._plan(path, entry)
        is_there = place.blob is not None or self._store.has(what)
        way = _Pass(what, plan, lambda: self._store.open(what) if is_there else self._open(path, 0, entry.size))
        if is_there:
            self.copied.count(None)
        else:
            self._send(path, what, way)
        if plan is not None:
            self._listed[entry.digest] = (plan.chunker, way.chunks(self._run))
        self._run.emit(Finished(path, "exists" if is_there else "copied"))
        checkpoint("file flattened")

    def _send(self, path: str, what: Descriptor, way: _Pass) -> None:
        """Store a file, out of a file without a name where there is room for it.

        Some registries let nobody read while they take a blob, and an upload that is begun anew needs its bytes again.
        """
        spool = self._spool(what.size)
        run = self._run
        if spool is not None:
            with way.open() as pieces:
                for piece in _told(pieces, path, run):
                    spool.write(piece)
            run = replace(run, emit=discard)
        kept = spool if spool is not None and spool.is_whole else None
        content = Content(path, way.open if kept is None else partial(_opened, kept, path, what.size), run)
        self._store.put(what, content)
        self.copied.count(what.size if content.sent else None)

    def _spool(self, size: int) -> Spool | None:
        # It is a help, and no more.
        with suppress(DiskError):
            require_directory(self._scratch)
            if size * 4 <= free_bytes(self._scratch):
                return Spool(self._scratch)
        return None


@contextmanager
def _opened(spool: Spool, path: str, size: int) -> Iterator[Chunks]:
    yield FileChunks(path, spool.fileno(), 0, size, lambda: None)


def _told(pieces: Iterable[bytes], path: str, run: Run) -> Iterator[bytes]:
    for piece in pieces:
        run.check()
        yield piece
        run.emit(Advanced(path, len(piece)))


class _Pass:
    """A file on its way into the store, hashed and cut meanwhile: the last time that it is read from its start counts."""

    def __init__(
        self, what: Descriptor, plan: cuts.Plan | None, source: Callable[[], AbstractContextManager[Chunks]]
    ) -> None:
        self._what, self._plan, self._source = what, plan, source
        self._begin()

    def _begin(self) -> None:
        self._hasher, self._read = hashlib.sha256(), 0
        self._chunker = None if self._plan is None else Chunker(self._plan, self._what.size)

    @contextmanager
    def open(self) -> Iterator[Chunks]:
        """The bytes, from the start. :raises Corrupt: at their end, when they are others."""
        self._begin()
        with self._source() as pieces:
            yield self._watched(pieces)

    def _watched(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._hasher.update(piece)
            if self._chunker is not None:
                self._chunker.feed(piece)
            self._read += len(piece)
            if self._read >= self._what.size:
                # Before the last bytes are handed on: after them the store has everything.
                self._check()
            yield piece
        self._check()

    def _check(self) -> None:
        if self._read != self._what.size or self._hasher.hexdigest() != self._what.digest.hex:
            raise mismatch(self._what, f"its chunks make {self._read} bytes of sha256:{self._hasher.hexdigest()}")

    def chunks(self, run: Run) -> ChunkList:
        """The chunks of the file, which is read for them when nobody has read it to its end."""
        if self._read != self._what.size:
            with self.open() as pieces:
                for _ in pieces:
                    run.check()
        if self._chunker is None:
            raise ValueError("the file is not cut")
        found = self._chunker.finish()
        return ChunkList(found.sizes, found.digests)


def _made(contents: Contents, listed: Mapping[Digest, Listed], manifest: Manifest) -> artifact.Artifact:
    """The plain artifact of the same content, as a push would make it of the tree.

    :param listed: chunker and chunk list of large files.
    """
    chunks = chunkmap.whole_files(
        (path, entry.content, *listed[entry.digest])
        for path, entry in contents.snapshot.items()
        if entry.kind == "file" and entry.digest in listed and contents.places[path].offset is None
    )
    annotations = {key: value for key, value in manifest.annotations.items() if not key.startswith(media.PREFIX)}
    return artifact.build(contents.snapshot, annotations, _packs(manifest, contents), chunks)


def _packs(manifest: Manifest, contents: Contents) -> list[Pack]:
    """The packs of small files, as they are."""
    found = []
    for layer in manifest.layers:
        if layer.annotations.get(media.UNPACK) != "true":
            continue
        inside = {
            path: place.offset
            for path, place in contents.places.items()
            if place.blob is not None and place.blob.digest == layer.digest and place.offset is not None
        }
        members = tuple((path, contents.snapshot[path]) for path in inside)
        found.append(Pack(members, layer.digest, layer.size, offsets=inside))
    return found


def _put(store: Store, made: artifact.Artifact) -> None:
    for what, data in made.generated():
        if not store.has(what):
            store.put(what, [data])
    store.put(made.manifest.descriptor(), [made.manifest.to_bytes()])
    checkpoint("manifest sent")
