"""The merge base as a file: columns, sealed, so that a status of what did not change parses none of it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import canonical
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.workspace.columns import DIGEST, WIDTH, Columns

_MAGIC = b"MOBAT1\n"
_HEADER = struct.Struct("<QQQ")
_SEAL = 32
_LIMIT = 1 << 30


class At:
    """The merge base: the reference this tree was last synced with, its manifest, and the snapshot per path.

    `digest` is None when the tree was never synced, or when a merge left conflicts and so no one manifest is it.
    `recipe` says what else a push made the manifest of (annotations, roles, format): equal content under an equal
    recipe is the same manifest, and need not be made to know that. None: somebody else may have made it.
    """

    def __init__(
        self, reference: str | None, digest: Digest | None, content: Snapshot | Columns, recipe: str | None = None
    ) -> None:
        self.reference = reference
        self.digest = digest
        self.recipe = recipe
        self._content = content

    @cached_property
    def snapshot(self) -> Snapshot:
        """The entries; made of the columns when they are asked for."""
        return self._content.snapshot() if isinstance(self._content, Columns) else self._content

    @cached_property
    def columns(self) -> Columns:
        """The entries as columns."""
        return self._content if isinstance(self._content, Columns) else Columns.of(self._content)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, At):
            return NotImplemented
        same = (self.reference, self.digest, self.recipe) == (other.reference, other.digest, other.recipe)
        return same and self.snapshot == other.snapshot

    __hash__ = None  # type: ignore[assignment]


def at_to_bytes(at: At) -> bytes:
    """The merge base as its file holds it."""
    columns = Columns.of(at.snapshot)
    roles: dict[str, int] = {}
    numbers = [roles.setdefault(entry.role, len(roles)) for entry in at.snapshot.values()]
    head = canonical.dumps(
        {
            "reference": at.reference,
            "digest": str(at.digest) if at.digest else None,
            "recipe": at.recipe,
            "targets": dict(columns.targets),
            "roles": list(roles),
        }
    )
    body = b"".join(
        [
            _MAGIC,
            _HEADER.pack(len(columns), len(head), len(columns.names)),
            head,
            columns.names,
            columns.kinds,
            b"".join(number.to_bytes(2, "little") for number in numbers),
            columns.sizes,
            columns.digests,
        ]
    )
    return body + hashlib.sha256(body).digest()


def at_from_bytes(data: bytes) -> At:
    """Read what `at_to_bytes` made.

    :raises Corrupt: anything else.
    """
    start = len(_MAGIC) + _HEADER.size
    if not data.startswith(_MAGIC) or len(data) < start + _SEAL:
        raise Corrupt("it is no merge base")
    if hashlib.sha256(memoryview(data)[:-_SEAL]).digest() != data[-_SEAL:]:
        raise Corrupt("its seal is broken")
    count, *sizes = _HEADER.unpack_from(data, len(_MAGIC))
    parts: list[bytes] = []
    for size in (*sizes, count, 2 * count, WIDTH * count, DIGEST * count):
        parts.append(data[start : start + size])
        start += size
    if start != len(data) - _SEAL:
        raise Corrupt("its parts do not add up")
    head = canonical.loads(parts[0], "the merge base", limit=_LIMIT)
    return _read(head, parts[1:])


def _read(head: Mapping[str, object], parts: Sequence[bytes]) -> At:
    names, kinds, numbers, sizes, digests = parts
    digest, reference, recipe = head.get("digest"), head.get("reference"), head.get("recipe")
    targets, roles = head.get("targets"), head.get("roles")
    if not isinstance(reference, str | None) or not isinstance(recipe, str | None):
        raise Corrupt("it cannot be read")
    if not isinstance(targets, dict) or not isinstance(roles, list):
        raise Corrupt("it cannot be read")

    def role(row: int) -> str:
        return str(roles[int.from_bytes(numbers[2 * row : 2 * row + 2], "little")])

    columns = Columns(names, kinds, sizes, digests, targets, role)
    return At(reference, Digest.parse(str(digest)) if digest is not None else None, columns, recipe)
