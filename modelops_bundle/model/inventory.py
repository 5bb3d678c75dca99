"""What a version of another tool holds, where its manifest alone does not say: written down when its archives are read.

This clone keeps the inventory with the manifest it is of, so that nothing is read twice. It never leaves the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelops_bundle.errors import Corrupt, UnsafePath
from modelops_bundle.model import artifact, canonical, image_index, media, paths
from modelops_bundle.model.artifact import Contents, Place
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.manifest import Manifest
from modelops_bundle.model.snapshot import Entry, Snapshot

_MARK = b"inventory 1 "
"""What every inventory begins with: to be raised when the same manifest is read in another way."""

Row = tuple[str, Entry, Place | None]
"""A path, what is there, and for a file where its bytes are."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The rows of a version, with all its blobs.

    :param platform: for which platform it was chosen, where there was a choice.
    """

    of: Digest
    config: Descriptor
    layers: tuple[Descriptor, ...]
    rows: tuple[Row, ...]
    platform: str | None = None

    def manifest(self, received: bytes) -> Manifest:
        """The version as one manifest: that of an index has the blobs of all that were chosen.

        :param received: the bytes that have its digest.
        """
        if image_index.is_one(received, None):
            return Manifest(self.config, self.layers, media_type=media.OCI_INDEX, received=received)
        return Manifest.from_bytes(received)

    def contents(self) -> Contents:
        """What it holds. :raises UnsafePath: a path that must not be created."""
        places = {path: place for path, _, place in self.rows if place is not None}
        return artifact.checked(
            Contents(artifact.distinct((path, entry) for path, entry, _ in self.rows), places, None)
        )

    def to_bytes(self) -> bytes:
        """A sealed text that `read` takes back."""
        blobs = list({what.digest: what for what in (self.config, *self.layers)}.values())
        numbers = {what.digest: number for number, what in enumerate(blobs)}
        body = canonical.dumps(
            {
                "of": str(self.of),
                "config": numbers[self.config.digest],
                "layers": [numbers[layer.digest] for layer in self.layers],
                "blobs": [replace(what, data=None).to_json() for what in blobs],
                "platform": self.platform,
                "rows": [[path, entry.to_json(), _at(place, numbers)] for path, entry, place in self.rows],
            }
        )
        return _MARK + Digest.of(body).hex.encode() + b"\n" + body


def _at(place: Place | None, numbers: Mapping[Digest, int]) -> list[Any] | None:
    """Of versions of other tools only: their files are never made of chunks."""
    if place is None or place.blob is None:
        return None
    return [numbers[place.blob.digest], place.offset, place.archive]


def is_one(data: bytes | None) -> bool:
    """Whether `data` was made by `Inventory.to_bytes`."""
    return data is not None and data.startswith(_MARK)


def read(data: bytes, of: Digest) -> Inventory:
    """Read what `to_bytes` made.

    :param of: the manifest that it should be of.
    :raises Corrupt: it is damaged, or of another one.
    """
    seal, _, body = data.removeprefix(_MARK).partition(b"\n")
    if Digest.of(body).hex.encode() != seal:
        raise Corrupt("the kept inventory of a version is damaged", hint="bundle remote seen reads it again")
    value = canonical.loads(body, "the kept inventory", limit=artifact.MAX_INDEX)
    if value["of"] != str(of):
        raise Corrupt("the kept inventory is of another version", hint="bundle remote seen reads it again")
    blobs = [Descriptor.from_json(item) for item in value["blobs"]]
    rows = ((path, Entry.from_json(entry), _place(at, blobs)) for path, entry, at in value["rows"])
    layers = tuple(blobs[number] for number in value["layers"])
    return Inventory(of, blobs[value["config"]], layers, tuple(rows), value["platform"])


def _place(at: Sequence[Any] | None, blobs: Sequence[Descriptor]) -> Place | None:
    return None if at is None else Place(blobs[at[0]], at[1], at[2])


# --- putting it together


def merged(parts: Iterable[Sequence[Row]]) -> list[Row]:
    """The rows of several manifests in one tree; a file that several of them hold in the same way is there once.

    :raises UnsafePath: two of them want different things at one path.
    """
    found: dict[str, Row] = {}
    for part in parts:
        for row in part:
            known = found.setdefault(row[0], row)
            if known is not row and known[1] != row[1]:
                raise UnsafePath(
                    f"two manifests of the index hold {paths.display(row[0])}, and not the same",
                    path=paths.display(row[0]),
                )
    return list(found.values())


def without_full_directories(rows: Sequence[Row]) -> list[Row]:
    """The rows without directories that have something in them: a tree has entries only for empty ones."""
    full = {parent for path, _, _ in rows for parent in paths.parents(path)}
    seen: set[str] = set()
    kept: list[Row] = []
    for row in rows:
        if row[1].kind == "dir":
            if row[0] in full or row[0] in seen:
                continue
            seen.add(row[0])
        kept.append(row)
    return kept


def snapshot(rows: Iterable[Row]) -> Snapshot:
    """The tree of `rows`."""
    return artifact.distinct((path, entry) for path, entry, _ in rows)
