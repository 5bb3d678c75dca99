"""inspect --tensors: what the weights of a version hold, read from their headers alone."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import BundleError, Corrupt
from modelops_bundle.formats import gguf, safetensors
from modelops_bundle.formats.tensors import Header
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
    chosen = {path: entry for path, entry in remote.contents.snapshot.items() if _reader(path, entry) is not None}
    found: dict[str, Weights] = {}
    lock = threading.Lock()

    def one(path: str) -> None:
        weights = _read(store, path, chosen[path], remote.contents.places[path])
        with lock:
            found[path] = weights

    engine.each(chosen, one, session.run)
    return str(reference), [found[path] for path in sorted(found)]


def _reader(path: str, entry: Entry) -> Any:
    if entry.kind != "file":
        return None
    return next((read for fits, read in _READERS if fits(path)), None)


def _read(store: Reader, path: str, entry: Entry, place: Place) -> Weights:
    read_header = _reader(path, entry)
    try:
        return Weights(path, entry.size, read_header(_Parts(store, place, entry.size).read, entry.size))
    except Corrupt as error:
        # One file that is none does not hide the others.
        return Weights(path, entry.size, None, error)


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
