"""verify: whether a tree, a directory, or stored versions hold the bytes they should."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import read_file
from modelops_bundle.disk.hashing import Hashed, hash_files
from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import BundleError, Corrupt, NotFound, UnsafePath, UsageError, VerifyFailed
from modelops_bundle.events import Run, Started
from modelops_bundle.model import artifact, media
from modelops_bundle.model.artifact import Contents
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.paths import display
from modelops_bundle.model.ports import Lister, Rooted, Store
from modelops_bundle.model.reference import Reference
from modelops_bundle.model.snapshot import Entry, Snapshot
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.recover import recover_if_free
from modelops_bundle.operations.session import Session
from modelops_bundle.operations.verify_chunks import ChunkCheck
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.closure import Node, blobs_of, closure
from modelops_bundle.transfer.unpack import Member, others
from modelops_bundle.transfer.verify import read_small, verified
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.project import Project
from modelops_bundle.workspace.scan import Found, look


@dataclass(frozen=True, slots=True)
class Report:
    """Files, or blobs, looked at, and what was wrong.

    :param deep: whether every byte was read. :param corrupt: bytes that nobody changed, and that are others.
    :param extra: what is there and should not be. :param broken: by file that is made of chunks, the blobs to blame.
    """

    what: str
    files: int
    size: int
    deep: bool = True
    modified: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    corrupt: tuple[str, ...] = ()
    hint: str = "bundle status"
    stored: bool = False
    broken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pointers: tuple[str, ...] = ()
    """Files that stand for others in delta storage, as other tools leave them."""

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "what": self.what,
            "files": self.files,
            "size": self.size,
            "deep": self.deep,
            "modified": list(self.modified),
            "missing": list(self.missing),
            "extra": list(self.extra),
            "corrupt": list(self.corrupt),
            "broken": {path: list(blobs) for path, blobs in self.broken.items()},
            "pointers": list(self.pointers),
        }

    @property
    def bad(self) -> tuple[str, ...]:
        """What `--repair` brings anew: what rotted or is gone, not what somebody edited."""
        return tuple(sorted({*self.corrupt, *self.missing}))

    def check(self) -> None:
        """:raises Corrupt: bytes rotted. :raises VerifyFailed: edits, missing or extra files."""
        if self.corrupt:
            shown = ", ".join(self._shown(path) for path in self.corrupt[:10])
            hint = "bundle verify --repair brings them anew" if self.hint == "bundle status" else self.hint
            raise Corrupt(f"damaged in {self.what}: {shown}", hint=hint, **self.to_json())
        kinds = (
            ("pointer: run bundle materialize", self.pointers),
            ("modified", self.modified),
            ("missing", self.missing),
            ("extra", self.extra),
        )
        told = [f"{self._shown(path)} ({kind})" for kind, paths in kinds for path in paths]
        if told:
            hint = "bundle materialize DIR puts the files together" if self.pointers else self.hint
            raise VerifyFailed(f"not as in {self.what}: {', '.join(told[:10])}", hint=hint, **self.to_json())

    def _shown(self, path: str) -> str:
        blamed = self.broken.get(path, ())
        return f"{display(path)}, for {' and '.join(blamed[:3])}" if blamed else display(path)


@dataclass(slots=True)
class _Compared:
    """What came out of comparing files with a snapshot."""

    files: list[tuple[str, int]] = field(default_factory=list)
    modified: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)


def verify_tree(session: Session, *, deep: bool = False) -> Report:
    """Compare the tracked files with the merge base; offline.

    :param deep: read every byte; else only files that changed since their digest was taken.
    """
    recover_if_free(session)
    at = session.project.at()
    found = look(session.tree, at.snapshot)

    def known(path: str) -> Digest | None:
        return session.index.get(path, found[path].key, strict=False)

    done = _compare(session.tree, at.snapshot, found, known, session.run, deep=deep, rotted=session.index.put)
    tracked = session.project.tracked() if at.digest is not None else ()
    extra = sorted(path for path in tracked if path not in at.snapshot)
    size = sum(size for _, size in done.files)
    return Report(
        at.reference or "(never synced)",
        len(done.files),
        size,
        deep,
        tuple(sorted(done.modified)),
        tuple(sorted(done.missing)),
        tuple(extra),
        tuple(sorted(done.corrupt)),
    )


def _compare(
    tree: Tree,
    wanted: Snapshot,
    found: Mapping[str, Found],
    known: Callable[[str], Digest | None],
    run: Run,
    *,
    deep: bool,
    rotted: Callable[[str, Hashed], object] | None = None,
) -> _Compared:
    """Compare files with what they should be.

    :param known: the digest that a path had when somebody hashed it under its present stamps, None when nobody did.
    :param rotted: called with what changed under unchanged stamps.
    """
    done = _looked(wanted, found)
    read = [(path, size) for path, size in done.files if deep or known(path) != wanted[path].digest]
    before = {path: known(path) for path, _ in read}

    def each(path: str, hashed: Hashed) -> None:
        if hashed.digest == wanted[path].digest:
            return
        if before[path] == wanted[path].digest and hashed.key == found[path].key:
            done.corrupt.append(path)
            if rotted is not None:
                rotted(path, hashed)
        else:
            done.modified.append(path)

    if read:
        hash_files(tree, read, run, each)
    done.modified = list(dict.fromkeys(done.modified))
    return done


def _looked(wanted: Snapshot, found: Mapping[str, Found]) -> _Compared:
    """What a look at the tree shows, without reading any file."""
    done = _Compared()
    for path, entry in wanted.items():
        there = found.get(path)
        if there is None:
            done.missing.append(path)
        elif there.kind != entry.kind or (entry.kind == "link" and there.target != entry.target):
            done.modified.append(path)
        elif entry.kind == "file":
            done.files.append((path, there.key.size))
            if there.executable != entry.executable:
                done.modified.append(path)
    return done


def verify_directory(session: Session, tree: Tree, wanted: Snapshot, what: str) -> Report:
    """Compare a directory that is no bundle with a version: every byte is read, and what differs is damage."""
    found = look(tree, wanted)
    done = _compare(tree, wanted, found, lambda _: None, session.run, deep=True)
    here = _everything(tree)
    extra = sorted(
        path for path in here if path not in wanted and not path.startswith((artifact.FOLDER, f"{layout.FOLDER}/"))
    )
    size = sum(size for _, size in done.files)
    hint = "pull it again; bundle ensure REF --dest DIR --verify repairs what it wrote"
    left = {path for path in done.modified if found[path].kind == "file" and _is_pointer(tree, path, wanted[path])}
    return Report(
        what,
        len(done.files),
        size,
        True,
        (),
        tuple(sorted(done.missing)),
        tuple(extra),
        tuple(sorted(left.symmetric_difference(done.modified))),
        hint,
        pointers=tuple(sorted(left)),
    )


def _is_pointer(tree: Tree, path: str, entry: Entry) -> bool:
    from modelops_bundle.operations import pointers

    return pointers.stands_for(tree, path, entry)


def _everything(tree: Tree) -> Iterator[str]:
    """Paths of files and links below `tree`."""
    for path in tree.root.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(tree.root).as_posix()


def verify(
    session: Session, text: str | None, *, deep: bool = False, against: str | None = None, repair: bool = False
) -> Report:
    """Verify what `text` names: a version, a directory, an OCI layout or archive with all it holds; without it the tree.

    :param against: the version that a directory should hold; by default what its `.bundle/index.json` says.
    :param repair: bring anew what rotted or is gone in a tree.
    :raises UsageError: the words do not fit.
    """
    place = None if text is None else session.cwd / text
    if place is not None and place.is_dir() and (place / layout.FOLDER / layout.VERSION).is_file():
        session, text = Session(Project(place), session.run, session.options, cwd=place, around=session.around), None
    if text is None and against is None:
        return _verified_tree(session, deep=deep, repair=repair)
    if repair:
        raise UsageError("--repair brings back files of a bundle's tree", hint="bundle ensure makes a directory whole")
    if text is None or (place is not None and place.is_dir() and not (place / "oci-layout").is_file()):
        return _verified_directory(session, place or session.cwd, against)
    if against is not None:
        raise UsageError("--against is for directories", hint="bundle diff A B compares versions")
    reference = session.reference(text)
    written = session.written_tag(text) or reference.digest
    return verify_stored(
        session, reference, everything=reference.scheme in ("layout", "tar") and not written, deep=deep
    )


def _verified_tree(session: Session, *, deep: bool, repair: bool) -> Report:
    report = verify_tree(session, deep=deep)
    if not repair or not report.bad:
        return report
    from modelops_bundle.operations import restore

    restore.apply_restore(session, restore.plan_restore(session, [f"./{path}" for path in report.bad]))
    return verify_tree(session, deep=deep)


def _verified_directory(session: Session, place: Path, against: str | None) -> Report:
    if against is not None:
        remote = remote_state.require(session, session.reference(against))
        wanted, what = remote.contents.snapshot, str(remote.reference)
    else:
        index = read_file(place / artifact.INDEX_PATH)
        if index is None:
            raise NotFound(f"{place} does not say what it should hold", hint="bundle verify DIR --against REF")
        wanted, what = artifact.snapshot_of(index), f"{place / artifact.INDEX_PATH}"
    with Tree(place) as tree:
        return verify_directory(session, tree, wanted, what)


# --- stored versions


def verify_stored(session: Session, reference: Reference, *, everything: bool = False, deep: bool = False) -> Report:
    """Look at a stored version: whether its manifests are what their digests say, and every blob is there.

    :param everything: all that the store holds under any name, instead of the one version.
    :param deep: read every blob, and the files in packs.
    :raises NotFound: there is no such version.
    """
    store = session.store(reference)
    nodes = closure(store, _roots(store, reference, everything=everything), session.run, referrers=everything)
    blobs = blobs_of(nodes)
    corrupt: list[str] = []
    missing: list[str] = []
    held = list(_contents(store, nodes, corrupt)) if deep else []
    packed, chunks = _packed(held), ChunkCheck(store, session.run)
    for contents in held:
        chunks.add(contents)
    session.run.emit(Started("verify", len(blobs) + chunks.files, sum(what.size for what in blobs) + chunks.size))
    names = {what.digest: _name(what) for what in blobs}

    def one(what: Descriptor) -> None:
        name = names[what.digest]
        try:
            if not deep:
                missing.extend([] if store.has(what) else [name])
                return
            with store.open(what) as stream:
                inside = packed.get(what.digest, {})
                passing = chunks.passing(what.digest, verified(what, stream))
                lies = others(_watched(passing, session.run), inside)
            corrupt.extend(inside[member] for member in lies)
        except NotFound:
            missing.append(name)
        except Corrupt:
            corrupt.append(name)

    engine.each(blobs, one, session.run)
    broken = {each.path: each for each in chunks.put_together()}
    return Report(
        reference.place if everything else str(reference),
        len(blobs),
        sum(what.size for what in blobs),
        deep,
        missing=tuple(sorted({*missing, *(path for path, each in broken.items() if each.missing)})),
        corrupt=tuple(sorted({*corrupt, *(path for path, each in broken.items() if not each.missing)})),
        hint="push or copy it there again from a place that has it",
        stored=True,
        broken={path: tuple(names.get(blob, str(blob)) for blob in each.blobs) for path, each in broken.items()},
    )


def _name(what: Descriptor) -> str:
    return what.annotations.get(media.FILEPATH) or what.annotations.get(media.TITLE, str(what.digest))


def _roots(store: Store, reference: Reference, *, everything: bool) -> list[Descriptor]:
    if everything:
        if isinstance(store, Rooted):
            return [what for what, _ in store.roots()]
        names: Sequence[str] = store.tags() if isinstance(store, Lister) else ()
        return [what for name in names if (what := store.resolve(name)) is not None]
    found = store.resolve(reference.name or "")
    if found is None:
        raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is", reference=str(reference))
    return [found]


def _contents(store: Store, nodes: Iterable[Node], corrupt: list[str]) -> Iterator[Contents]:
    """What the bundles among manifests hold.

    :param corrupt: gets the manifests of bundles whose index nobody can believe.
    """
    fetch = partial(read_small, store, limit=artifact.MAX_INDEX)
    for node in nodes:
        try:
            manifest = Manifest.from_bytes(node.data, node.what.media_type)
            if artifact.is_ours(manifest):
                yield artifact.read(manifest, fetch)
        except (Corrupt, UnsafePath):
            corrupt.append(str(node.what.digest))
        except BundleError:
            # Of no kind that we read, or its index is what is not there: all of it is read as blobs.
            continue


def _packed(held: Iterable[Contents]) -> dict[Digest, dict[Member, str]]:
    """By pack, the members that the indexes of bundles put there, with their paths."""
    found: dict[Digest, dict[Member, str]] = {}
    for contents in held:
        for path, place in contents.places.items():
            if place.blob is not None and place.offset is not None:
                entry = contents.snapshot[path]
                member = Member(entry.digest, entry.size, place.offset, place.archive)
                found.setdefault(place.blob.digest, {})[member] = path
    return found


def _watched(chunks: Iterable[bytes], run: Run) -> Iterator[bytes]:
    for chunk in chunks:
        run.check()
        yield chunk
