"""Notes of the shared cache: when a version was used last, under which references, and what a tag stood for.

One small file each, replaced as a whole, so that processes need no lock for them. The times are written here because
those of the file system are not told by `noatime` mounts and change with every copy. A damaged note is none.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import read_file, remove_file, write_file
from modelops_bundle.errors import Corrupt, DiskError
from modelops_bundle.model import canonical
from modelops_bundle.model.digest import Digest

_LIMIT = 1 << 16
_MOST = 20
"""References that are remembered of one version."""
_FINE = 60
"""Seconds that a use has to be newer to be written down."""
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Use:
    """When a version was used last (seconds since the epoch), and under which references."""

    at: int
    references: tuple[str, ...] = ()


class Uses:
    """The notes in the folder of the cache.

    :param now: seconds since the epoch.
    """

    def __init__(self, root: Path, now: Callable[[], float] = time.time) -> None:
        self._uses = root / "uses"
        self._references = root / "references"
        self._now = now

    def note(self, digest: Digest, reference: str) -> None:
        """A version is used under `reference`. A note that cannot be written is not worth failing for."""
        now, old = int(self._now()), self.get(digest)
        if old is not None and reference in old.references and 0 <= now - old.at < _FINE:
            return
        others = [each for each in (old.references if old else ()) if each != reference]
        value = {"at": now, "references": [reference, *others][:_MOST]}
        with suppress(DiskError):
            write_file(self._uses / digest.hex, canonical.dumps(value))

    def get(self, digest: Digest) -> Use | None:
        """The last use, None when nobody noted any."""
        value = _read(self._uses / digest.hex)
        at, references = value.get("at"), value.get("references")
        if type(at) is not int or not isinstance(references, list):
            return None
        return Use(at, tuple(each for each in references if isinstance(each, str)))

    def forget(self, digest: Digest) -> None:
        """A version is gone: no note tells of it any more."""
        remove_file(self._uses / digest.hex)
        with suppress(OSError):
            for name in os.listdir(self._references):
                if _read(self._references / name).get("digest") == str(digest):
                    remove_file(self._references / name)

    def all(self) -> list[Digest]:
        """The versions that there are notes of."""
        with suppress(OSError):
            return [Digest("sha256", name) for name in sorted(os.listdir(self._uses)) if _HEX.fullmatch(name)]
        return []

    def stands(self, reference: str, digest: Digest) -> None:
        """`reference` stands for `digest` now."""
        path = self._at(reference)
        value = {"reference": reference, "digest": str(digest)}
        if _read(path) != value:
            with suppress(DiskError):
                write_file(path, canonical.dumps(value))

    def stood(self, reference: str) -> Digest | None:
        """What `reference` stood for when somebody looked last, None when nobody ever did."""
        value = _read(self._at(reference))
        if value.get("reference") != reference:
            return None
        with suppress(Corrupt):
            return Digest.parse(value.get("digest", ""))
        return None

    def _at(self, reference: str) -> Path:
        return self._references / hashlib.sha256(reference.encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        data = read_file(path)
        return {} if data is None else canonical.loads(data, str(path), limit=_LIMIT)
    except (Corrupt, DiskError):
        return {}
