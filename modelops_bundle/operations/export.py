"""export: versions, or the working tree, as an OCI image layout in one tar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelops_bundle.disk.files import staged
from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import NotFound, UsageError, WouldOverwrite
from modelops_bundle.model import packs
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Reader
from modelops_bundle.model.reference import Reference, check_tag, parse
from modelops_bundle.operations import push
from modelops_bundle.operations.send import Source
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer.archive import Listing, archive
from modelops_bundle.transfer.closure import blobs_of, closure

Compression = Literal["none", "gzip", "zstd"]
_SUFFIXES: Mapping[str, Compression] = {
    ".tar": "none",
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.zst": "zstd",
    ".tzst": "zstd",
}
_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Request:
    """What goes into the archive.

    :param references: versions; none of them is the working tree. :param tag: the name of the working tree in there.
    :param since: versions whose blobs the other side has. :param recursive: with what refers to the versions.
    """

    references: Sequence[str] = ()
    tag: str | None = None
    since: Sequence[str] = ()
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What an archive holds: versions by name, blobs and bytes; and what was left out."""

    versions: tuple[tuple[str | None, Digest], ...]
    manifests: int
    blobs: int
    size: int
    left_out: int
    path: str | None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "versions": [{"tag": tag, "digest": str(digest)} for tag, digest in self.versions],
            "manifests": self.manifests,
            "blobs": self.blobs,
            "size": self.size,
            "left_out": self.left_out,
            "path": self.path,
        }


def compression_of(name: str) -> Compression:
    """How an archive of this file name is compressed.

    :raises UsageError: the name does not tell.
    """
    for suffix, compression in _SUFFIXES.items():
        if name.lower().endswith(suffix):
            return compression
    raise UsageError(f"{name} does not say what it is", hint=f"a name that ends in {', '.join(_SUFFIXES)}")


class Export:
    """An archive that is decided on, with everything that is needed to write it.

    :raises NotFound: a version is not there. :raises NoMatch: the working tree tracks nothing.
    """

    def __init__(self, session: Session, request: Request) -> None:
        self._session = session
        self._places: dict[Digest, Reader] = {}
        self._named: dict[tuple[Digest, str | None], Descriptor] = {}
        self._manifests: dict[Digest, bytes] = {}
        self._blobs: dict[Digest, Descriptor] = {}
        self._left_out = 0
        if request.references:
            for text in request.references:
                self._add(session.reference(text), request.recursive)
        else:
            self._add_tree(request.tag)
        self._check_names()
        self._leave_out(request.since)
        self.listing = Listing(
            tuple((what, tag) for (_, tag), what in self._named.items()), tuple(self._blobs.values())
        )

    def done(self, path: str | None) -> Exported:
        """The result, once it is written."""
        versions = sorted(
            ((tag, digest) for digest, tag in self._named), key=lambda each: (each[0] or "", str(each[1]))
        )
        blobs = len(self._blobs) - len(self._manifests)
        return Exported(tuple(versions), len(self._manifests), blobs, self.listing.size, self._left_out, path)

    def chunks(self, compression: Compression) -> Iterator[bytes]:
        """The bytes of the archive.

        :raises Corrupt: a store holds other bytes than it says. :raises WorkspaceChanged: a file changed meanwhile.
        """
        plain = archive(self.listing, self._open, self._session.run)
        if compression == "gzip":
            return packs.framed(plain, self.listing.size)
        return _zstd(plain) if compression == "zstd" else plain

    # --- gathering

    def _add(self, reference: Reference, recursive: bool) -> None:
        store = self._session.store(reference)
        found = store.resolve(reference.name or "")
        if found is None:
            hint = "bundle tags lists what there is"
            raise NotFound(f"{reference} does not exist", hint=hint, reference=str(reference))
        self._named[found.digest, None if reference.digest else reference.tag] = found
        nodes = closure(store, [found], self._session.run, referrers=recursive)
        for node in nodes:
            self._manifests[node.what.digest] = node.data
            self._blobs[node.what.digest] = node.what
            if node.subject is not None:
                # Nothing else in the archive names it.
                self._named[node.what.digest, None] = node.what
        for what in blobs_of(nodes):
            self._blobs.setdefault(what.digest, what)
            self._places.setdefault(what.digest, store)

    def _add_tree(self, tag: str | None) -> None:
        """The version that a push would make."""
        name = check_tag(tag or self._session.project.config.default_tag)
        plan = push.plan_push(self._session, push.PushRequest(f"mem:bundle-export:{name}"))
        made = plan.artifact
        source = Source(self._session, plan, made, self._session.store(parse(plan.place), create=True))
        what, data = made.manifest.descriptor(), made.manifest.to_bytes()
        self._named[what.digest, name] = what
        self._manifests[what.digest] = data
        self._blobs[what.digest] = what
        for each in (made.manifest.config, *made.manifest.layers):
            self._blobs.setdefault(each.digest, each)
            self._places.setdefault(each.digest, source)

    def _check_names(self) -> None:
        """:raises UsageError: one tag would stand for two versions."""
        seen: dict[str, Digest] = {}
        for digest, tag in self._named:
            if tag is not None and seen.setdefault(tag, digest) != digest:
                raise UsageError(f"two versions would be called {tag} in the archive", hint="export them one by one")

    def _leave_out(self, since: Iterable[str]) -> None:
        for text in since:
            reference = self._session.reference(text)
            store = self._session.store(reference)
            found = store.resolve(reference.name or "")
            if found is None:
                raise NotFound(f"{reference} does not exist", hint="bundle tags lists what there is")
            for what in blobs_of(closure(store, [found], self._session.run)):
                if what.digest not in self._manifests and self._blobs.pop(what.digest, None) is not None:
                    self._left_out += 1

    def _open(self, what: Descriptor) -> AbstractContextManager[Chunks]:
        from contextlib import nullcontext

        data = self._manifests.get(what.digest)
        return nullcontext(iter([data])) if data is not None else self._places[what.digest].open(what)


def _zstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    import zstandard

    press = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    for chunk in chunks:
        data = press.compress(chunk)
        if data:
            yield data
    yield press.flush()


def write(export: Export, path: Path, compression: Compression, *, force: bool = False) -> Exported:
    """Write the archive to `path`: whole, or not at all.

    :raises WouldOverwrite: something is there, and not `force`. :raises DiskFull: there is no room for it.
    """
    if path.exists() and not force:
        raise WouldOverwrite(f"{path} exists already", hint="--force replaces it", path=str(path))
    with translated(f"write {path}"), staged(path) as out:
        for chunk in export.chunks(compression):
            out.write(chunk)
        out.commit()
    return export.done(str(path))
