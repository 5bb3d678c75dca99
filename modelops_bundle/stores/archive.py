"""An OCI image layout in a tar archive, to read: ours, `oras backup`, `skopeo copy oci-archive:` (image-spec 1.1);
or an image of ours as docker loads it.

The whole list of members is checked before anything is believed of it; blobs are read where they lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelops_bundle.errors import Corrupt, NotFound, Unsupported, UsageError
from modelops_bundle.events import Run
from modelops_bundle.formats import tar
from modelops_bundle.model import canonical, media
from modelops_bundle.model import referrers as lists
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Expected
from modelops_bundle.stores import docker_archive, graph, unpacked
from modelops_bundle.stores.docker_archive import Blob, Slice

_MAX_INDEX = 64 << 20
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_FILES = ("oci-layout", "index.json", "manifest.json", "repositories")
"""The last two are what `docker load` reads, written beside a layout by docker and skopeo."""
_DIRECTORIES = ("", ".", "blobs", "blobs/sha256", "ingest")


class ArchiveStore:
    """`Reader`, `Tags`, `Lister`, `Rooted` and `Referrers` on an archive that nobody changes meanwhile. Safe to share between threads.

    :param path: of a tar, plain or compressed by gzip or zstd.
    :param scratch: a folder where something may be unpacked for as long as the store is open.
    :raises NotFound: it is not there. :raises Corrupt: it is no such archive, or damaged.
    :raises UnsafePath: it holds what such an archive does not.
    """

    def __init__(self, path: Path, scratch: Path, run: Run | None = None) -> None:
        self._path = path
        self._run = run or Run()
        self._blobs: dict[str, Blob] = {}
        self._files: dict[str, tar.Member] = {}
        self._attached: Sequence[tuple[Descriptor, bytes]] | None = None
        self._bytes = unpacked.opened(path, scratch, self._run)
        try:
            for member in tar.members(self._bytes.read, self._bytes.size, _belongs, docker_archive.is_link):
                self._run.check()
                found = _BLOB.fullmatch(member.name)
                if found is not None:
                    self._blobs[found[1]] = Slice(self._bytes, member.offset, member.size)
                elif member.is_file:
                    self._files[member.name] = member
            self._index = self._load_index()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"ArchiveStore({str(self._path)!r})"

    def close(self) -> None:
        """Let go of the file."""
        self._bytes.close()

    # --- content

    def has(self, what: Descriptor) -> bool:
        blob = self._blobs.get(what.digest.hex)
        return blob is not None and blob.size == what.size

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        blob = self._blobs.get(what.digest.hex)
        if blob is None:
            raise NotFound(f"{self._path} lacks {what.digest}", digest=str(what.digest))
        if blob.size != what.size:
            raise Corrupt(f"{what.digest} in {self._path} has {blob.size} bytes instead of {what.size}")
        self._run.check()
        begin, end = max(start, 0), blob.size if stop is None else min(stop, blob.size)
        yield blob.chunks(begin, max(begin, end))

    def put(self, what: Descriptor, chunks: object) -> None:  # noqa: ARG002  (the port's signature)
        raise self._unchangeable()

    # --- names

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None:
        digest = Digest.parse(name) if name.startswith("sha256:") else None
        found = self._named(name) if digest is None else self._by_digest(digest)
        if found is None or not data:
            return found
        return Descriptor(found.media_type, found.digest, found.size, data=self._manifest(found))

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None:  # noqa: ARG002  (likewise)
        raise self._unchangeable()

    def tags(self) -> Sequence[str]:
        return sorted({name for entry in self._index if (name := tag_of(entry)) is not None})

    def referrers(self, subject: Digest, artifact_type: str | None = None) -> Sequence[Descriptor]:
        if self._attached is None:
            # Nobody changes it: one look is enough for as many questions.
            self._attached = graph.attached([what for what, _ in self.roots()], self._manifest)
        return lists.referring(self._attached, subject, artifact_type)

    def refer(self, subject: Digest, what: Descriptor, data: bytes) -> None:  # noqa: ARG002  (likewise)
        raise self._unchangeable()

    def roots(self) -> Sequence[tuple[Descriptor, str | None]]:
        return [(_plain(Descriptor.from_json(entry)), tag_of(entry)) for entry in self._index]

    # --- the rest

    def _named(self, tag: str) -> Descriptor | None:
        found = {what.digest: what for what, name in self.roots() if name == tag}
        if len(found) > 1:
            raise UsageError(
                f"{self._path} has the tag {tag} for {len(found)} versions",
                hint=f"name one by its digest: {', '.join(map(str, list(found)[:5]))}",
            )
        return next(iter(found.values()), None)

    def _by_digest(self, digest: Digest) -> Descriptor | None:
        for what, _ in self.roots():
            if what.digest == digest:
                return what
        blob = self._blobs.get(digest.hex)
        if blob is None or blob.size > media.MAX_MANIFEST:
            return None
        try:
            kind = canonical.loads(b"".join(blob.chunks(0, blob.size)), "a blob", limit=media.MAX_MANIFEST).get(
                "mediaType"
            )
        except Corrupt:
            # A file, not a manifest.
            return None
        return Descriptor(str(kind), digest, blob.size) if kind in media.MANIFEST_TYPES else None

    def _manifest(self, what: Descriptor) -> bytes:
        if what.size > media.MAX_MANIFEST:
            raise Corrupt(f"{what.digest} is no manifest: it has {what.size} bytes")
        with self.open(what) as chunks:
            data = b"".join(chunks)
        if Digest.of(data) != what.digest:
            raise Corrupt(f"{what.digest} in {self._path} is damaged", digest=str(what.digest))
        return data

    def _load_index(self) -> Sequence[dict[str, Any]]:
        if "oci-layout" not in self._files and docker_archive.LIST in self._files:
            entries, blobs = docker_archive.read(self._files, self._bytes, self._run)
            self._blobs.update(blobs)
            return entries
        if "oci-layout" not in self._files or "index.json" not in self._files:
            raise Unsupported(f"{self._path} is a tar archive and no OCI layout", hint="skopeo copy can make one of it")
        marker = canonical.loads(self._content(self._files["oci-layout"]), "oci-layout", limit=65536)
        version = marker.get("imageLayoutVersion")
        if not isinstance(version, str) or version.partition(".")[0] != "1":
            raise Unsupported(f"{self._path} is an OCI layout of version {version!r}", hint="this tool knows 1.0.0")
        index = canonical.loads(self._content(self._files["index.json"]), "index.json", limit=_MAX_INDEX)
        listed = index.get("manifests")
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise Corrupt(f"the index of {self._path} lists no manifests")
        return listed

    def _content(self, member: tar.Member) -> bytes:
        if member.size > _MAX_INDEX:
            raise Corrupt(f"{member.name} in {self._path} has {member.size} bytes")
        return self._bytes.read(member.offset, member.size)

    def _unchangeable(self) -> Unsupported:
        return Unsupported(f"{self._path} is an archive, which is made whole", hint="bundle export writes a new one")


def tag_of(entry: dict[str, Any]) -> str | None:
    """The tag under which an index names a manifest; other tools write whole references: their tag is meant."""
    annotations = entry.get("annotations")
    name = annotations.get(media.REF_NAME) if isinstance(annotations, dict) else None
    return name.rpartition(":")[2] if isinstance(name, str) and name else None


def _belongs(name: str, is_file: bool) -> bool:
    if not is_file:
        return name in _DIRECTORIES or docker_archive.belongs(name, is_file)
    return name in _FILES or _BLOB.fullmatch(name) is not None or docker_archive.belongs(name, is_file)


def _plain(what: Descriptor) -> Descriptor:
    return Descriptor(what.media_type, what.digest, what.size)
