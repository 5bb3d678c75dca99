"""verify: whether a tree, or a stored version, holds the bytes it should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from modelops_bundle.disk.hashing import Hashed, hash_files
from modelops_bundle.errors import Corrupt, NotFound, VerifyFailed
from modelops_bundle.events import Run, Started
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.paths import display
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.recover import recover_if_free
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.unpack import Member, others
from modelops_bundle.transfer.verify import verified
from modelops_bundle.workspace.scan import look


@dataclass(frozen=True, slots=True)
class Report:
    """Files read, and what was wrong: `corrupt` bytes changed although nothing says the file did."""

    what: str
    files: int
    size: int
    modified: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    corrupt: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "what": self.what,
            "files": self.files,
            "size": self.size,
            "modified": list(self.modified),
            "missing": list(self.missing),
            "corrupt": list(self.corrupt),
        }

    def check(self) -> None:
        """:raises Corrupt: bytes rotted. :raises VerifyFailed: edits or missing files."""
        if self.corrupt:
            shown = ", ".join(display(path) for path in self.corrupt[:10])
            raise Corrupt(
                f"bytes changed under unchanged time stamps: {shown}", hint="bundle restore PATH", **self.to_json()
            )
        if self.modified or self.missing:
            told = [f"{display(p)} (modified)" for p in self.modified] + [
                f"{display(p)} (missing)" for p in self.missing
            ]
            raise VerifyFailed(f"not as in {self.what}: {', '.join(told[:10])}", hint="bundle status", **self.to_json())


def verify_tree(session: Session) -> Report:
    """Read every file of the merge base again and compare; offline."""
    recover_if_free(session)
    at = session.project.at()
    base = at.snapshot
    found = look(session.tree, base)
    missing = [path for path in base if path not in found]
    files = [
        (p, found[p].key.size) for p, e in base.items() if e.kind == "file" and p in found and found[p].kind == "file"
    ]
    modified = [
        path
        for path, entry in base.items()
        if path in found
        and (found[path].kind != entry.kind or (entry.kind == "link" and found[path].target != entry.target))
    ]
    corrupt: list[str] = []

    def each(path: str, hashed: Hashed) -> None:
        entry = base[path]
        known = session.index.get(path, hashed.key, strict=False)
        if hashed.digest != entry.digest:
            (corrupt if known == entry.digest else modified).append(path)
        elif found[path].executable != entry.executable:
            modified.append(path)

    hash_files(session.tree, files, session.run, each)
    size = sum(size for _, size in files)
    what = at.reference or "(never synced)"
    return Report(what, len(files), size, tuple(sorted(modified)), tuple(missing), tuple(sorted(corrupt)))


def verify_remote(session: Session, text: str) -> Report:
    """Read every blob of a version and compare it with its digest, and the files in packs with theirs.

    :raises NotFound: the version, or one of its blobs, is absent.
    """
    reference = session.reference(text)
    remote = remote_state.require(session, reference)
    store = session.store(reference)
    blobs = {what.digest: what for what in (remote.manifest.config, *remote.manifest.layers)}
    packed = _packed(remote)
    corrupt: list[str] = []
    missing: list[str] = []
    session.run.emit(Started("verify", len(blobs), sum(what.size for what in blobs.values())))

    def one(what: Descriptor) -> None:
        name = what.annotations.get(media.FILEPATH) or what.annotations.get(media.TITLE, str(what.digest))
        try:
            with store.open(what) as chunks:
                inside = packed.get(what.digest, {})
                lies = others(_watched(verified(what, chunks), session.run), inside)
            corrupt.extend(inside[member] for member in lies)
        except NotFound:
            missing.append(name)
        except Corrupt:
            corrupt.append(name)

    engine.each(blobs.values(), one, session.run)
    size = sum(what.size for what in blobs.values())
    return Report(str(reference), len(blobs), size, (), tuple(sorted(missing)), tuple(sorted(corrupt)))


def _packed(remote: remote_state.Remote) -> dict[Digest, dict[Member, str]]:
    """By pack, the members that the index puts there, with their paths."""
    found: dict[Digest, dict[Member, str]] = {}
    for path, place in remote.contents.places.items():
        if place.offset is not None:
            entry = remote.contents.snapshot[path]
            found.setdefault(place.blob.digest, {})[Member(entry.digest, entry.size, place.offset, place.archive)] = (
                path
            )
    return found


def _watched(chunks: Iterable[bytes], run: Run) -> Iterator[bytes]:
    for chunk in chunks:
        run.check()
        yield chunk
