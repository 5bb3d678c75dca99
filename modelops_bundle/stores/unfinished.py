"""Uploads that were begun: what the next attempt, also of another process, needs to go on with them."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from modelops_bundle.disk.files import read_file, remove_file, write_file
from modelops_bundle.errors import Corrupt, DiskError
from modelops_bundle.model import canonical

_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Begun:
    """One upload: whose, of what, where its session was last said to be, and the bytes it had by then."""

    registry: str
    repository: str
    digest: str
    size: int
    location: str
    offset: int


class Unfinished:
    """Keeps `Begun` values: a small file each, or in memory.

    A location is a login to its session on some registries (`_state` of distribution): the files are their owner's.

    :param folder: made at the first write; None keeps them as long as this object lives.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: dict[str, Begun] = {}

    def find(self, registry: str, repository: str, digest: str, size: int) -> Begun | None:
        """The upload of this content to this repository that was begun last; None also when its file is unreadable."""
        name = _name(registry, repository, digest)
        found = self._held.get(name) or self._read(name)
        same = found is not None and (found.registry, found.repository) == (registry, repository)
        return found if same and found is not None and (found.digest, found.size) == (digest, size) else None

    def keep(self, begun: Begun) -> None:
        """Replace what is known of this upload. A folder that cannot be written costs only the saving."""
        name = _name(begun.registry, begun.repository, begun.digest)
        self._held[name] = begun
        if self._folder is not None:
            with suppress(DiskError):
                write_file(self._folder / name, canonical.dumps(asdict(begun)), mode=0o600)

    def forget(self, registry: str, repository: str, digest: str) -> None:
        """It ended, well or not."""
        name = _name(registry, repository, digest)
        self._held.pop(name, None)
        if self._folder is not None:
            remove_file(self._folder / name)

    def _read(self, name: str) -> Begun | None:
        if self._folder is None:
            return None
        try:
            data = read_file(self._folder / name)
            return None if data is None else _parse(data)
        except (Corrupt, DiskError):
            # Only a saving: the upload begins anew.
            return None


def _name(registry: str, repository: str, digest: str) -> str:
    return hashlib.sha256(f"{registry}/{repository}@{digest}".encode()).hexdigest() + ".json"


def _parse(data: bytes) -> Begun:
    value = canonical.loads(data, "the note of an upload", limit=_LIMIT)
    texts = [value.get(name) for name in ("registry", "repository", "digest", "location")]
    size, offset = value.get("size"), value.get("offset")
    if not all(isinstance(text, str) for text in texts) or type(size) is not int or type(offset) is not int:
        raise Corrupt("the note of an upload is damaged")
    registry, repository, digest, location = (str(text) for text in texts)
    return Begun(registry, repository, digest, size, location, offset)
