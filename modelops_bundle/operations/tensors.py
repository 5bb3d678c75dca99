"""inspect --tensors: what the weights of a version hold, read from their headers alone."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import BundleError, Corrupt, Unsupported
from modelops_bundle.formats import gguf, safetensors
from modelops_bundle.formats.tensors import Header, Read
from modelops_bundle.model.artifact import Place
from modelops_bundle.model.ports import Reader
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.operations import remote_state
from modelops_bundle.operations.session import Session
from modelops_bundle.transfer import engine
from modelops_bundle.transfer.unpack import reading

_AHEAD = 256 * 1024
"""Bytes of the first request: most headers are whole in there."""
_READERS = ((safetensors.is_safetensors, safetensors.read_header), (gguf.is_gguf, gguf.read_header))


@dataclass(frozen=True, slots=True)
class Weights:
    """One file of weights: its header, or why it cannot be read."""

    path: str
    size: int
    header: Header | None
    problem: BundleError | None = None

    @property
    def types(self) -> dict[str, int]:
        """Numbers by their type."""
        found: Counter[str] = Counter()
        for tensor in self.header.tensors if self.header else ():
            found[tensor.dtype] += tensor.parameters
        return dict(found.most_common())

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        header = self.header
        return {
            "path": self.path,
            "size": self.size,
            "format": header.format if header else None,
            "parameters": header.parameters if header else None,
            "types": self.types,
            "metadata": dict(header.metadata) if header else {},
            "tensors": [tensor.to_json() for tensor in header.tensors] if header else [],
            "error": self.problem.to_json() if self.problem else None,
        }


def tensors(session: Session, text: str | None) -> tuple[str, list[Weights]]:
    """The safetensors and GGUF files of a version; a few requests for parts of each, and nothing written.

    What is read cannot be checked against the file's digest, which is of the whole.

    :raises NotFound: there is no such version.
    """
    reference = session.reference(text)
    remote = remote_state.require(session, reference)
    store = session.store(reference)
    chosen = {path: entry for path, entry in remote.contents.snapshot.items() if is_weights(path, entry)}
    found: dict[str, Weights] = {}
    lock = threading.Lock()

    def one(path: str) -> None:
        entry = chosen[path]
        weights = weights_in(path, entry, stored(store, remote.contents.places[path], entry.size))
        with lock:
            found[path] = weights

    engine.each(chosen, one, session.run)
    return str(reference), [found[path] for path in sorted(found)]


def is_weights(path: str, entry: Entry) -> bool:
    """Whether a file of this name is said to hold tensors."""
    return entry.kind == "file" and any(fits(path) for fits, _ in _READERS)


def weights_in(path: str, entry: Entry, read: Read) -> Weights:
    """What the header of a file says, for which `is_weights` holds."""
    read_header = next(reader for fits, reader in _READERS if fits(path))
    try:
        return Weights(path, entry.size, read_header(read, entry.size))
    except (Corrupt, Unsupported) as error:
        # One file that is none does not hide the others.
        return Weights(path, entry.size, None, error)


def stored(store: Reader, place: Place, size: int) -> Read:
    """A reader of the beginning of a stored file of `size` bytes, which fetches as little as it can."""
    return _Parts(store, place, size).read


class _Parts:
    """The beginning of a stored file, fetched as far as it is asked for."""

    def __init__(self, store: Reader, place: Place, size: int) -> None:
        self._store = store
        self._place = place
        self._size = size
        self._held = b""

    def read(self, at: int, size: int) -> bytes:
        stop = min(at + size, self._size)
        if stop > len(self._held):
            self._held += self._fetch(len(self._held), min(self._size, max(stop, _AHEAD)))
        return self._held[at:stop]

    def _fetch(self, start: int, stop: int) -> bytes:
        with reading(self._store, self._place, self._size, start, stop) as chunks:
            return b"".join(chunks)
