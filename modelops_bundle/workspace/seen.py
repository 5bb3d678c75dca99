"""What this clone last saw of each reference: the push lease, and what it needs to notice a lost push (DESIGN §6)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modelops_bundle.disk.files import read_file, remove_file, version, write_file
from modelops_bundle.errors import Corrupt, UsageError
from modelops_bundle.model import canonical, media
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import parse
from modelops_bundle.model.snapshot import Entry

_REFERENCE, _MANIFEST, _DIGEST, _INDEX, _PUSHED = "reference", "manifest", "digest", "index", "pushed"

_NOTED = re.compile(rb"(sha256:[0-9a-f]{64}) ")


class Sighting:
    """A manifest as it was last seen under `reference`, with its index blob when it has a separate one."""

    def __init__(self, reference: str, manifest: bytes, index: bytes | None) -> None:
        self.reference = reference
        self.manifest = manifest
        self.index = index

    @cached_property
    def digest(self) -> Digest:
        """The digest the tag had."""
        return Digest.of(self.manifest)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sighting):
            return NotImplemented
        mine = (self.reference, self.digest, self.index)
        return mine == (other.reference, other.digest, other.index)

    __hash__ = None  # type: ignore[assignment]


class _Kept(Sighting):
    """One in its folder below `seen/`; its bytes are read when they are asked for, its digest was noted with them."""

    def __init__(self, reference: str, folder: Path, digest: Digest) -> None:
        self.reference = reference
        self.digest = digest
        self._folder = folder

    @cached_property
    def manifest(self) -> bytes:  # type: ignore[override]
        data = read_file(self._folder / _MANIFEST)
        if data is None or Digest.of(data) != self.digest:
            raise Corrupt(
                f"what was kept of {self.reference} is another version by now",
                hint="another command is at work here; run this one again",
            )
        return data

    @cached_property
    def index(self) -> bytes | None:  # type: ignore[override]
        return read_file(self._folder / _INDEX)


_LIMIT = 1 << 28
"""Bytes."""


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
        return _sighting(reference, self._at(reference))

    def put(self, sighting: Sighting) -> None:
        """Record a sighting. The manifest goes last: it is what makes the rest count."""
        folder = self._at(sighting.reference)
        write_file(folder / _REFERENCE, sighting.reference.encode())
        if sighting.index is None:
            remove_file(folder / _INDEX)
        else:
            write_file(folder / _INDEX, sighting.index)
        write_file(folder / _MANIFEST, sighting.manifest)
        write_file(folder / _DIGEST, _note(folder / _MANIFEST, sighting.digest))

    def forget(self, reference: str) -> None:
        """Forget all that was seen of `reference`, which was removed on purpose. The manifest goes first."""
        for name in (_MANIFEST, _DIGEST, _INDEX, _PUSHED, _REFERENCE):
            remove_file(self._at(reference) / name)

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
        """Every sighting, in no particular order; the bytes of each are read when they are asked for."""
        if not self._folder.is_dir():
            return
        for folder in sorted(self._folder.iterdir()):
            reference = _text(folder / _REFERENCE)
            found = _sighting(reference, folder) if reference is not None and _has_size(folder) else None
            if found is not None:
                yield found

    def damaged(self) -> list[Path]:
        """What holds a sighting that cannot be read, or not under the reference it is of; the folder, when it is none.

        Without a manifest there is none: a kill while one was recorded or forgotten leaves such.
        """
        if not self._folder.is_dir():
            return [self._folder] if version(self._folder) is not None else []
        kept = (folder for folder in sorted(self._folder.iterdir()) if version(folder / _MANIFEST) is not None)
        return [folder for folder in kept if not self._is_whole(folder)]

    def _is_whole(self, folder: Path) -> bool:
        reference = _text(folder / _REFERENCE)
        if reference is None or self._at(reference) != folder or not _has_size(folder):
            return False
        try:
            canonical.loads(read_file(folder / _MANIFEST) or b"", "the manifest", limit=media.MAX_MANIFEST)
        except Corrupt:
            return False
        return True

    def references(self) -> Iterator[str]:
        """Every reference that was ever seen; manifests are not read."""
        if self._folder.is_dir():
            for folder in sorted(self._folder.iterdir()):
                reference = _text(folder / _REFERENCE)
                if reference is not None:
                    yield reference


def _has_size(folder: Path) -> bool:
    at = version(folder / _MANIFEST)
    return at is not None and at[1] <= media.MAX_MANIFEST


def _sighting(reference: str, folder: Path) -> Sighting | None:
    noted = read_file(folder / _DIGEST) or b""
    # A new manifest has another inode than the one it replaces: a note about that one is no note about this.
    if found := _NOTED.match(noted):
        digest = Digest.parse(found[1].decode())
        if noted == _note(folder / _MANIFEST, digest):
            return _Kept(reference, folder, digest)
    manifest = read_file(folder / _MANIFEST)
    return None if manifest is None else Sighting(reference, manifest, read_file(folder / _INDEX))


def _note(manifest: Path, digest: Digest) -> bytes:
    """The digest of a manifest, and which file it was found to be the digest of."""
    return " ".join(map(str, (digest, *(version(manifest) or ())))).encode()


def _text(path: Path) -> str | None:
    """The reference in a file; None when it is absent or damaged, which makes its folder count for nothing."""
    try:
        text = (read_file(path) or b"").decode()
        parse(text)
    except (UnicodeDecodeError, UsageError):
        return None
    return text


def _pushed(data: bytes) -> Pushed:
    value = canonical.loads(data, "the push record", limit=_LIMIT)
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
