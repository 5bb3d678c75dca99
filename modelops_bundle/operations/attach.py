"""attach: what says something about a version, as a manifest of its own that refers to it (image-spec 1.1)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from modelops_bundle.disk.files import read_file
from modelops_bundle.disk.hashing import hash_file
from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import NoMatch, NotFound, UsageError
from modelops_bundle.events import checkpoint
from modelops_bundle.model import canonical, media, paths, sboms
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Reader, Store
from modelops_bundle.model.reference import Reference
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.operations.referrers import able, find
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import copy
from modelops_bundle.workspace.tree import WorkTree

BLOB = "application/octet-stream"
_EMPTY = Descriptor.of(media.OCI_EMPTY, b"{}", inline=True)
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}")
"""RFC 6838 §4.2, which image-spec descriptor.md refers to."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was attached, or found attached already (`changed` False)."""

    subject: str
    digest: Digest
    artifact_type: str
    files: int
    sent_bytes: int
    changed: bool

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "subject": self.subject,
            "digest": str(self.digest),
            "artifact_type": self.artifact_type,
            "files": self.files,
            "sent_bytes": self.sent_bytes,
            "changed": self.changed,
        }


@dataclass(frozen=True, slots=True)
class _File:
    title: str
    media_type: str
    path: Path


def attach(
    session: Session,
    text: str,
    files: Sequence[str],
    artifact_type: str,
    annotations: Mapping[str, str] | None = None,
) -> Result:
    """Attach `files` (`PATH` or `PATH:MEDIA/TYPE`, seen from the session's directory) to the version `text`.

    The same files, type and annotations make the same manifest, whoever attaches them in whatever order.

    :raises UsageError: no media type, nothing to attach, or two files of one name. :raises NoMatch: no such file.
    :raises NotFound: no such version. :raises WorkspaceChanged: a file changed while it was read.
    """
    named = _named(session, files)
    if not _MEDIA_TYPE.fullmatch(artifact_type):
        raise UsageError(f"not a media type: {artifact_type[:100]!r}", hint="--type application/vnd.example.sbom")
    if not named and not annotations:
        raise UsageError("nothing to attach", hint="name a FILE, or an --annotation KEY=VALUE")
    found = find(session, text)
    able(found[2], found[0])
    with _Files(session, named) as held:
        return refer(session, found, held, artifact_type, annotations)


def refer(
    session: Session,
    found: tuple[Reference, Descriptor, Store],
    held: Held,
    artifact_type: str,
    annotations: Mapping[str, str] | None = None,
) -> Result:
    """Store a manifest with the layers of `held` that refers to what was found, unless it is there.

    :raises Unsupported: the store knows nothing of referrers.
    """
    reference, subject, store = found
    there = able(store, reference)
    data = _manifest(subject, held.layers, artifact_type, annotations or {})
    what = Descriptor.of(media.OCI_MANIFEST, data)
    place = f"{reference.at()}@{subject.digest}"
    listed = any(one.digest == what.digest for one in there.referrers(subject.digest, artifact_type))
    if listed and store.has(what):
        return Result(place, what.digest, artifact_type, len(held.layers), 0, changed=False)
    wanted = [(_EMPTY, "(metadata)"), *held.wanted()]
    copied = copy.copy_blobs(wanted, held, store, session.run)
    checkpoint("attachment sent")
    there.refer(subject.digest, what, data)
    return Result(place, what.digest, artifact_type, len(held.layers), copied.size, changed=True)


def sbom_type(session: Session, name: str) -> str:
    """The media type of the SBOM in a file, seen from the session's directory.

    :raises NoMatch: no such file. :raises UsageError: it is none. :raises Corrupt: not JSON.
    """
    path = session.cwd / name
    if not path.is_file():
        raise NoMatch(f"no such file: {paths.display(name)}", hint="--sbom FILE")
    if path.stat().st_size > sboms.MAX_SBOM:
        raise UsageError(f"{paths.display(name)} is too large to be looked into", hint="attach it with --type")
    return sboms.media_type(read_file(path.resolve()) or b"", paths.display(name))


def _named(session: Session, files: Sequence[str]) -> list[_File]:
    named = [_file(session.cwd, text) for text in files]
    titles = [file.title for file in named]
    twice = next((title for title in titles if titles.count(title) > 1), None)
    if twice is not None:
        raise UsageError(f"two files would be called {paths.display(twice)}", hint="attach them one by one")
    return sorted(named, key=lambda file: file.title)


def _file(cwd: Path, text: str) -> _File:
    """A file, and the media type behind its last colon: as oras has it."""
    name, media_type = text, BLOB
    head, colon, tail = text.rpartition(":")
    if colon and _MEDIA_TYPE.fullmatch(tail) and not (cwd / text).exists():
        name, media_type = head, tail
    path = cwd / name
    if not path.is_file():
        raise NoMatch(f"no such file: {paths.display(name)}", hint="PATH or PATH:MEDIA/TYPE")
    # Where it lies here is nobody's business: a path that leads out of this directory leaves its last part.
    plain = os.path.normpath(name).replace(os.sep, "/")
    title = path.name if plain.startswith(("/", "..")) else plain
    return _File(paths.validate(title), media_type, path.resolve())


def _manifest(
    subject: Descriptor, layers: Sequence[Descriptor], artifact_type: str, annotations: Mapping[str, str]
) -> bytes:
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": _EMPTY.to_json(),
        # image-spec manifest.md, "Guidelines for Artifact Usage": at least one.
        "layers": [layer.to_json() for layer in layers] or [_EMPTY.to_json()],
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
    }
    if annotations:
        value["annotations"] = dict(annotations)
    return canonical.dumps(value)


class Held(Reader, Protocol):
    """The layers of an attachment, and their content."""

    layers: list[Descriptor]

    def wanted(self) -> Iterator[tuple[Descriptor, str]]:
        """Each content once, with a name for people."""
        ...


class Document:
    """One short content as a `Reader`.

    :param title: what it is called where it is pulled as a file.
    """

    def __init__(self, media_type: str, content: bytes, title: str) -> None:
        self._content = {_EMPTY.digest: b"{}", Digest.of(content): content}
        self._title = title
        self.layers = [Descriptor.of(media_type, content, {media.TITLE: title})]

    def wanted(self) -> Iterator[tuple[Descriptor, str]]:
        """The content, with a name for people."""
        yield self.layers[0], self._title

    def has(self, what: Descriptor) -> bool:
        return what.digest in self._content

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        yield iter([self._content[what.digest][start:stop]])


class _Files:
    """Files as a `Reader`: hashed when it is entered, and refused when they changed since."""

    def __init__(self, session: Session, named: Sequence[_File]) -> None:
        self._session = session
        self._named = named
        self._open = ExitStack()
        self._places: dict[Digest, tuple[WorkTree, str]] = {}
        self.layers: list[Descriptor] = []

    def __enter__(self) -> _Files:
        with ExitStack() as opened:
            trees: dict[Path, Tree] = {}
            for file in self._named:
                folder = file.path.parent
                # Each is an open descriptor: one for every folder, not for every file.
                tree = trees.get(folder) or opened.enter_context(Tree(folder))
                trees[folder] = tree
                found = hash_file(tree, file.path.name, self._session.run, lambda _: None)
                work = WorkTree(tree, Snapshot(), {file.path.name: tuple(found.key)})
                self._places[found.digest] = work, file.path.name
                title = {media.TITLE: file.title}
                self.layers.append(Descriptor(file.media_type, found.digest, found.key.size, title))
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def wanted(self) -> Iterator[tuple[Descriptor, str]]:
        """Each content once, with a name for people."""
        titles = {layer.digest: (layer, layer.annotations[media.TITLE]) for layer in self.layers}
        yield from titles.values()

    def has(self, what: Descriptor) -> bool:
        return what.digest in self._places or what.digest == _EMPTY.digest

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        place = self._places.get(what.digest)
        if place is not None:
            work, name = place
            with work.open_path(name, start, what.size if stop is None else stop) as chunks:
                yield chunks
        elif what.digest == _EMPTY.digest:
            yield iter([b"{}"[start:stop]])
        else:
            raise NotFound(f"no file here has the content {what.digest}")
