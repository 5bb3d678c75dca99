"""What this clone last saw of each reference: the push lease, and what it needs to notice a lost push (DESIGN §6)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelops_bundle.disk.files import read_file, remove_file, write_file
from modelops_bundle.errors import Corrupt, UsageError
from modelops_bundle.model import canonical, media
from modelops_bundle.model.artifact import MAX_INDEX
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import parse
from modelops_bundle.model.snapshot import Entry

_REFERENCE, _MANIFEST, _INDEX, _PUSHED = "reference", "manifest", "index", "pushed"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A manifest as it was last seen under `reference`, with its index blob when it has a separate one."""

    reference: str
    manifest: bytes
    index: bytes | None

    @property
    def digest(self) -> Digest:
        """The digest the tag had."""
        return Digest.of(self.manifest)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What our pushes since the last pull changed: per path the entries before each of them, and after the last."""

    digest: Digest
    changes: Mapping[str, tuple[tuple[Entry | None, ...], Entry | None]]


class Seen:
    """The folder `seen/`, one subfolder per reference."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _at(self, reference: str) -> Path:
        return self._folder / hashlib.sha256(reference.encode()).hexdigest()

    def get(self, reference: str) -> Sighting | None:
        """What was last seen under `reference`, None when nothing ever was."""
        folder = self._at(reference)
        manifest = read_file(folder / _MANIFEST)
        if manifest is None:
            return None
        return Sighting(reference, manifest, read_file(folder / _INDEX))

    def put(self, sighting: Sighting) -> None:
        """Record a sighting. The manifest goes last: it is what makes the rest count."""
        folder = self._at(sighting.reference)
        write_file(folder / _REFERENCE, sighting.reference.encode())
        if sighting.index is None:
            remove_file(folder / _INDEX)
        else:
            write_file(folder / _INDEX, sighting.index)
        write_file(folder / _MANIFEST, sighting.manifest)

    def pushed(self, reference: str) -> Pushed | None:
        """What we pushed to `reference` since the last pull from it; a damaged record is none."""
        data = read_file(self._at(reference) / _PUSHED)
        try:
            return None if data is None else _pushed(data)
        except Corrupt:
            return None

    def put_pushed(self, reference: str, pushed: Pushed) -> None:
        """Add a push to the record of `reference`: every earlier value of each path stays."""
        old = self.pushed(reference)
        merged = dict(old.changes) if old else {}
        for path, (befores, after) in pushed.changes.items():
            known = merged[path][0] if path in merged else ()
            merged[path] = (*known, *(before for before in befores if before not in known)), after
        value = {
            path: [[_write(before) for before in befores], _write(after)] for path, (befores, after) in merged.items()
        }
        write_file(self._at(reference) / _PUSHED, canonical.dumps({"digest": str(pushed.digest), "changes": value}))

    def forget_pushed(self, reference: str) -> None:
        """A pull took the remote's state over: nothing of ours is at risk under `reference` any more."""
        remove_file(self._at(reference) / _PUSHED)

    def all(self) -> Iterator[Sighting]:
        """Every sighting, in no particular order."""
        if not self._folder.is_dir():
            return
        for folder in sorted(self._folder.iterdir()):
            reference = _text(folder / _REFERENCE)
            manifest = read_file(folder / _MANIFEST)
            if reference is not None and manifest is not None and len(manifest) <= media.MAX_MANIFEST:
                yield Sighting(reference, manifest, read_file(folder / _INDEX))

    def references(self) -> Iterator[str]:
        """Every reference that was ever seen; manifests are not read."""
        if self._folder.is_dir():
            for folder in sorted(self._folder.iterdir()):
                reference = _text(folder / _REFERENCE)
                if reference is not None:
                    yield reference


def _text(path: Path) -> str | None:
    """The reference in a file; None when it is absent or damaged, which makes its folder count for nothing."""
    try:
        text = (read_file(path) or b"").decode()
        parse(text)
    except (UnicodeDecodeError, UsageError):
        return None
    return text


def _pushed(data: bytes) -> Pushed:
    value = canonical.loads(data, "the push record", limit=MAX_INDEX)
    changes = value.get("changes")
    if not isinstance(changes, dict) or not all(_is_pair(pair) for pair in changes.values()):
        raise Corrupt("the push record cannot be read")
    return Pushed(
        Digest.parse(value.get("digest", "")),
        {
            path: (tuple(_read(before) for before in befores), _read(after))
            for path, (befores, after) in changes.items()
        },
    )


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], list)


def _read(value: object) -> Entry | None:
    return None if value is None else Entry.from_json(value)


def _write(entry: Entry | None) -> dict[str, object] | None:
    return None if entry is None else entry.to_json()
