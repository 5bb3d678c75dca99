"""An OCI image layout directory as a store (image-spec 1.1, `image-layout.md`).

One directory is one repository; a tag is the annotation `org.opencontainers.image.ref.name` of an entry in
`index.json`. Manifests without a tag keep an entry without that annotation, so that other tools' garbage collection
(oras, skopeo) leaves them alone. Files we do not know are left alone.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from modelops_bundle.disk.files import (
    read_file,
    remove_file,
    require_directory,
    staged,
    sweep,
    sync_directory,
    write_file,
)
from modelops_bundle.disk.locks import exclusive
from modelops_bundle.disk.problems import translated
from modelops_bundle.disk.reflink import reflink
from modelops_bundle.errors import BundleError, Corrupt, NotFound, UnsafePath, Unsupported
from modelops_bundle.events import Run
from modelops_bundle.model import canonical, media
from modelops_bundle.model import referrers as lists
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Expected
from modelops_bundle.model.reference import check_tag
from modelops_bundle.stores import graph
from modelops_bundle.stores.memory import check_expected

LOCK = ".modelops-bundle.lock"
_MARKER = "oci-layout"
_INDEX = "index.json"
_IMAGE_LAYOUT = "1.0.0"
_BLOCK = 1024 * 1024
_MAX_INDEX = 64 * 1024 * 1024
_OPEN = "a blob without digest yet"
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)

Entry = dict[str, Any]


class LayoutStore:
    """`Reader`, `Writer`, `Tags`, `Atomic`, `Lister`, `Untagger`, `Deleter`, `Referrers` and `Upload` on a directory.
    Safe between threads and processes.

    :param root: the directory that holds `oci-layout`.
    :param create: make it at the first write when it is not there; else it must be.
    :raises NotFound: it is not there. :raises Unsupported: it is of a version this tool does not know.
    """

    def __init__(self, root: Path, create: bool = False, run: Run | None = None) -> None:
        self.root = root
        self._run = run or Run()
        self._attached: tuple[list[Entry], list[tuple[Descriptor, bytes]]] | None = None
        marker = read_file(root / _MARKER)
        if marker is not None:
            _check_version(marker, root)
        elif not create:
            raise NotFound(f"no OCI layout at {root}", hint="the directory must hold a file named oci-layout")

    def __repr__(self) -> str:
        return f"LayoutStore({str(self.root)!r})"

    @property
    def atomic_tags(self) -> Literal[True]:
        return True

    # --- content

    def has(self, what: Descriptor) -> bool:
        path = self._path(what.digest)
        with translated(f"look at {path}"):
            try:
                facts = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return False
        if stat.S_ISLNK(facts.st_mode):
            raise _no_link(path)
        return stat.S_ISREG(facts.st_mode) and facts.st_size == what.size

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        descriptor = self._open_blob(what.digest)
        if descriptor is None:
            raise NotFound(f"{self.root} lacks {what.digest}", digest=str(what.digest))
        try:
            size = os.fstat(descriptor).st_size
            if size != what.size:
                raise Corrupt(f"{what.digest} in {self.root} has {size} bytes instead of {what.size}")
            yield self._pieces(descriptor, max(start, 0), size if stop is None else min(stop, size))
        finally:
            os.close(descriptor)

    def put(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        if not self.has(what):
            self._ensure()
            self._write_blob(what, chunks)
        if what.media_type in media.MANIFEST_TYPES:
            with self._index() as index:
                self._check_whole(what)
                if not any(entry.get("digest") == str(what.digest) for entry in index):
                    index.append(_plain(what).to_json())

    def upload(self, name: str, size: int, chunks: Iterable[bytes]) -> Digest | None:
        self._ensure()
        hasher, left = hashlib.sha256(), size
        with staged(self.root / "blobs" / "sha256" / _OPEN) as out:
            for chunk in chunks:
                self._run.check()
                left -= len(chunk)
                if left < 0:
                    break
                hasher.update(chunk)
                out.write(chunk)
            if left:
                raise Corrupt(f"{name} has {'more than' if left < 0 else 'fewer than'} {size} bytes")
            out.commit(directory=False, name=hasher.hexdigest())
        return Digest("sha256", hasher.hexdigest())

    def open_file(self, what: Descriptor) -> int | None:
        """A descriptor of the file that holds the content, for the caller to close; None when it is not there."""
        return self._open_blob(what.digest) if self.has(what) else None

    def share(self, what: Descriptor, source: int) -> bool:
        """Store the content of the open file `source`, verified by the caller, without copying it.

        :returns: False where the file system cannot share blocks between files.
        """
        if self.has(what):
            return True
        self._ensure()
        with staged(self._path(what.digest)) as out:
            if not reflink(source, out.fileno()):
                return False
            out.commit(directory=False)
        return True

    # --- names

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None:
        digest = Digest.parse(name) if name.startswith("sha256:") else None
        index = self._read_index()
        if digest is None:
            found = _tagged(index, check_tag(name))
            if found is None:
                return None
        else:
            found = self._manifest_at(index, digest)
            if found is None or not self.has(found):
                return None
        if not data:
            if not self.has(found):
                raise Corrupt(f"{self.root} names {found.digest} in its index and lacks it", digest=str(found.digest))
            return found
        return Descriptor(found.media_type, found.digest, found.size, data=self._read_manifest(found))

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None:
        check_tag(name)
        self._ensure()
        for folder in (self.root, self.root / "blobs" / "sha256"):
            sweep(folder)
        with self._index() as index:
            standing = _tagged(index, name)
            check_expected(name, None if standing is None else standing.digest, expect)
            if Digest.of(data) != what.digest or not self.has(what):
                self._write_blob(what, [data])
            _remove_tag(index, name)
            bare = _plain(what).to_json()
            index[:] = [entry for entry in index if entry != bare]
            index.append({**bare, "annotations": {media.REF_NAME: name}})

    def tags(self) -> Sequence[str]:
        return sorted({name for entry in self._read_index() if (name := _tag_of(entry)) is not None})

    def untag(self, name: str, what: Descriptor, *, keep: bool = False) -> bool:  # noqa: ARG002 - it always stays
        if not (self.root / _INDEX).exists():
            return True
        with self._index() as index:
            standing = _tagged(index, name)
            if standing is not None and standing.digest != what.digest:
                return False
            _remove_tag(index, name)
        return True

    def delete(self, what: Descriptor) -> None:
        """Remove the manifest, and the blobs that no other manifest of this layout needs.

        Under the lock, and `put` looks for the blobs of a manifest under the lock: a push that counted on one of them
        finds it gone and sends it. Killed after the index was written, it leaves blobs that nothing needs.
        """
        with exclusive(self.root / LOCK, what=str(self.root)):
            value = self._load_index()
            before: list[Entry] = value.get("manifests", [])
            after = [entry for entry in before if entry.get("digest") != str(what.digest)]
            if len(after) == len(before):
                raise NotFound(f"{self.root} lists no {what.digest}", digest=str(what.digest))
            needed, whole = graph.reachable(_listed(after), self._read_manifest)
            held, _ = graph.reachable([_plain(what)], self._read_manifest)
            write_file(self.root / _INDEX, _index_bytes(value, after))
            # Of a manifest that cannot be read nobody knows what it needs.
            for digest in held - needed if whole else {what.digest} - needed:
                remove_file(self._path(digest))

    def manifests(self) -> Sequence[Descriptor]:
        """The manifests of the index, tagged or not."""
        return _listed(self._read_index())

    # --- referrers

    def referrers(self, subject: Digest, artifact_type: str | None = None) -> Sequence[Descriptor]:
        """Those among the manifests of the index and of the indexes in it: one reading of each."""
        entries, known = self._read_index(), self._attached
        if known is None or known[0] != entries:
            # A walk asks for those of each manifest in turn, and the index tells when there are others.
            known = self._attached = entries, graph.attached(_listed(entries), self._read_manifest)
        return lists.referring(known[1], subject, artifact_type)

    def refer(self, subject: Digest, what: Descriptor, data: bytes) -> None:  # noqa: ARG002 - it is in the manifest
        self.put(what, [data])

    # --- files

    def _path(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.hex

    def _ensure(self) -> None:
        """Make this an image layout. Two makers at once write the same bytes."""
        if read_file(self.root / _MARKER) is None:
            with exclusive(self.root / LOCK, what=str(self.root)):
                if read_file(self.root / _INDEX) is None:
                    write_file(self.root / _INDEX, _index_bytes({}, []))
                require_directory(self.root / "blobs" / "sha256")
                # Last, so that the marker promises the rest.
                write_file(self.root / _MARKER, canonical.dumps({"imageLayoutVersion": _IMAGE_LAYOUT}))

    def _write_blob(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        hasher, size = hashlib.sha256(), 0
        with staged(self._path(what.digest)) as out:
            for chunk in chunks:
                self._run.check()
                size += len(chunk)
                if size > what.size:
                    break
                hasher.update(chunk)
                out.write(chunk)
            if size != what.size or hasher.hexdigest() != what.digest.hex:
                raise Corrupt(f"the content to store as {what.digest} is something else", digest=str(what.digest))
            # The names of all blobs are made durable at once, before the index counts on them.
            out.commit(directory=False)

    def _check_whole(self, what: Descriptor) -> None:
        """:raises NotFound: blobs of the manifest are not there; somebody deleted them since they were looked for."""
        missing = [part for part in graph.needs(self._read_manifest(what)) if not self.has(part)]
        if missing:
            raise NotFound(
                f"{self.root} lacks {len(missing)} blobs of the manifest",
                hint="run the same command again: they are sent anew",
                blobs=sorted({str(part.digest) for part in missing}),
            )

    def _open_blob(self, digest: Digest) -> int | None:
        """A descriptor of the blob's regular file, None when it is absent.

        :raises UnsafePath: it is a link, which could lead anywhere on this disk.
        """
        path = self._path(digest)
        if path.is_symlink():
            raise _no_link(path)
        with translated(f"read {path}"):
            try:
                descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnsafePath(f"{path} is not a regular file")
        return descriptor

    def _pieces(self, descriptor: int, start: int, stop: int) -> Iterator[bytes]:
        at = start
        while at < stop:
            self._run.check()
            with translated(f"read {self.root}"):
                data = os.pread(descriptor, min(_BLOCK, stop - at), at)
            if not data:
                raise Corrupt(f"a blob of {self.root} shrank while it was read")
            at += len(data)
            yield data

    def _read_manifest(self, what: Descriptor) -> bytes:
        if what.size > media.MAX_MANIFEST:
            raise Corrupt(f"{what.digest} has {what.size} bytes, too many for a manifest")
        with self.open(what) as chunks:
            data = b"".join(chunks)
        if Digest.of(data) != what.digest:
            raise Corrupt(f"{what.digest} in {self.root} has other bytes than its name says", digest=str(what.digest))
        return data

    def _manifest_at(self, index: Sequence[Entry], digest: Digest) -> Descriptor | None:
        """The manifest `digest`: as the index describes it, else by looking into the blob."""
        listed = next((entry for entry in index if entry.get("digest") == str(digest)), None)
        if listed is not None:
            return _plain(Descriptor.from_json(listed))
        path = self._path(digest)
        try:
            size = path.lstat().st_size
        except OSError:
            return None
        blob = Descriptor("", digest, size)
        if size > media.MAX_MANIFEST or not self.has(blob):
            return None
        media_type = _media_type(self._read_manifest(blob))
        return None if media_type is None else Descriptor(media_type, digest, size)

    # --- the index

    def _load_index(self) -> dict[str, Any]:
        data = read_file(self.root / _INDEX)
        if data is None:
            return {}
        value = canonical.loads(data, str(self.root / _INDEX), limit=_MAX_INDEX)
        entries = value.get("manifests")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise Corrupt(f"{self.root / _INDEX} lists no manifests")
        return value

    def _read_index(self) -> list[Entry]:
        entries: list[Entry] = self._load_index().get("manifests", [])
        return entries

    @contextmanager
    def _index(self) -> Iterator[list[Entry]]:
        """Change the entries of `index.json` under the lock; nothing is written when nothing changed or on error."""
        with exclusive(self.root / LOCK, what=str(self.root)):
            value = self._load_index()
            before = value.get("manifests", [])
            after = list(before)
            yield after
            if after != before:
                with translated(f"write {self.root}"):
                    sync_directory(self.root / "blobs" / "sha256")
                write_file(self.root / _INDEX, _index_bytes(value, after))


def _check_version(marker: bytes, root: Path) -> None:
    version = canonical.loads(marker, str(root / _MARKER), limit=65536).get("imageLayoutVersion")
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise Unsupported(f"{root} is an OCI layout of version {version!r}", hint=f"this tool knows {_IMAGE_LAYOUT}")


def _index_bytes(value: dict[str, Any], entries: list[Entry]) -> bytes:
    return canonical.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, **value, "manifests": entries})


def _plain(what: Descriptor) -> Descriptor:
    return Descriptor(what.media_type, what.digest, what.size)


def _listed(index: Sequence[Entry]) -> list[Descriptor]:
    found = []
    for entry in index:
        try:
            found.append(_plain(Descriptor.from_json(entry)))
        except Corrupt:
            # Of another algorithm, say: nothing here can read it.
            continue
    return found


def _tag_of(entry: Entry) -> str | None:
    annotations = entry.get("annotations")
    name = annotations.get(media.REF_NAME) if isinstance(annotations, dict) else None
    # Other tools also write whole references here; those are no tags of this repository.
    return name if isinstance(name, str) and _is_tag(name) else None


def _is_tag(name: str) -> bool:
    try:
        check_tag(name)
    except BundleError:
        return False
    return True


def _tagged(index: Sequence[Entry], name: str) -> Descriptor | None:
    # The last of several, as oras and containerd read it.
    found = next((entry for entry in reversed(index) if _tag_of(entry) == name), None)
    return None if found is None else _plain(Descriptor.from_json(found))


def _remove_tag(index: list[Entry], name: str) -> None:
    """Take the name from its manifest, which stays listed."""
    kept: list[Entry] = [entry for entry in index if _tag_of(entry) != name]
    listed = {entry.get("digest") for entry in kept}
    for entry in index:
        if _tag_of(entry) == name and entry.get("digest") not in listed:
            listed.add(entry.get("digest"))
            kept.append(_without_name(entry))
    index[:] = kept


def _without_name(entry: Entry) -> Entry:
    annotations = {key: value for key, value in entry["annotations"].items() if key != media.REF_NAME}
    bare = {key: value for key, value in entry.items() if key != "annotations"}
    return {**bare, "annotations": annotations} if annotations else bare


def _media_type(data: bytes) -> str | None:
    """What kind of manifest `data` is, None when it is none."""
    try:
        value = canonical.loads(data, "a blob", limit=media.MAX_MANIFEST)
    except Corrupt:
        return None
    said = value.get("mediaType")
    if said is None and value.get("schemaVersion") == 2:
        said = media.OCI_INDEX if "manifests" in value else media.OCI_MANIFEST if "layers" in value else None
    return said if said in media.MANIFEST_TYPES else None


def _no_link(path: Path) -> UnsafePath:
    return UnsafePath(f"{path} is a symbolic link, which a layout must not have", path=str(path))
