"""Stores in memory, for tests and `mem:` references. Everything is gone when the process ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from modelops_bundle.errors import Corrupt, NotFound, TagMoved
from modelops_bundle.model import media
from modelops_bundle.model import referrers as lists
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import ABSENT, ANYTHING, Chunks, Expected
from modelops_bundle.model.reference import check_tag

_BLOCK = 1024 * 1024


class MemoryStore:
    """Every port that needs no server, atomic tags included. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._blobs: dict[Digest, bytes] = {}
        self._manifests: dict[Digest, str] = {}
        self._tags: dict[str, Digest] = {}

    @property
    def atomic_tags(self) -> Literal[True]:
        return True

    def has(self, what: Descriptor) -> bool:
        with self._lock:
            held = self._blobs.get(what.digest)
        return held is not None and len(held) == what.size

    @contextmanager
    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Iterator[Chunks]:
        with self._lock:
            held = self._blobs.get(what.digest)
        if held is None:
            raise NotFound(f"no {what.digest} in this memory store", digest=str(what.digest))
        end = len(held) if stop is None else min(stop, len(held))
        yield (held[at : min(at + _BLOCK, end)] for at in range(max(start, 0), end, _BLOCK))

    def put(self, what: Descriptor, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        if len(data) != what.size or Digest.of(data) != what.digest:
            raise Corrupt(f"the content to store as {what.digest} is something else", digest=str(what.digest))
        with self._lock:
            self._blobs[what.digest] = data
            if what.media_type in media.MANIFEST_TYPES:
                self._manifests[what.digest] = what.media_type

    def upload(self, name: str, size: int, chunks: Iterable[bytes]) -> Digest | None:
        data = b"".join(chunks)
        if len(data) != size:
            raise Corrupt(f"{name} has {len(data)} bytes instead of {size}")
        digest = Digest.of(data)
        with self._lock:
            self._blobs[digest] = data
        return digest

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None:
        with self._lock:
            digest = Digest.parse(name) if name.startswith("sha256:") else self._tags.get(check_tag(name))
            if digest is None or digest not in self._manifests:
                return None
            held = self._blobs[digest]
            return Descriptor(self._manifests[digest], digest, len(held), data=held if data else None)

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None:
        check_tag(name)
        with self._lock:
            standing = self._tags.get(name)
            check_expected(name, standing, expect)
            self.put(what, [data])
            self._manifests[what.digest] = what.media_type
            self._tags[name] = what.digest

    def tags(self) -> Sequence[str]:
        with self._lock:
            return sorted(self._tags)

    def untag(self, name: str, what: Descriptor, *, keep: bool = False) -> bool:  # noqa: ARG002 - it always stays
        with self._lock:
            if self._tags.get(name, what.digest) != what.digest:
                return False
            self._tags.pop(name, None)
            return True

    def delete(self, what: Descriptor) -> None:
        with self._lock:
            if self._manifests.pop(what.digest, None) is None:
                raise NotFound(f"no {what.digest} in this memory store", digest=str(what.digest))
            del self._blobs[what.digest]
            self._tags = {name: digest for name, digest in self._tags.items() if digest != what.digest}

    def referrers(self, subject: Digest, artifact_type: str | None = None) -> Sequence[Descriptor]:
        with self._lock:
            held = [(kind, self._blobs[digest]) for digest, kind in self._manifests.items()]
        return lists.referring(((Descriptor.of(kind, data), data) for kind, data in held), subject, artifact_type)

    def refer(self, subject: Digest, what: Descriptor, data: bytes) -> None:  # noqa: ARG002 - it is in the manifest
        self.put(what, [data])


def check_expected(name: str, standing: Digest | None, expect: Expected) -> None:
    """Compare what a tag stands for with what its writer expects.

    :raises TagMoved: they differ.
    """
    wanted = None if expect is ABSENT else standing if expect is ANYTHING else expect.digest
    if standing != wanted:
        raise TagMoved(
            f"tag {name} is not what it was",
            hint="pull, then push again",
            tag=name,
            found=None if standing is None else str(standing),
        )


_named: dict[str, MemoryStore] = {}
_naming = threading.Lock()


def named(name: str) -> MemoryStore:
    """The store that `mem:NAME` means in this process."""
    with _naming:
        return _named.setdefault(name, MemoryStore())
