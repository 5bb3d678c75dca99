"""Small values for unit and property tests: entries, descriptors, snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry, Snapshot


def file(text: str | bytes, *, executable: bool = False, role: str = "code") -> Entry:
    """The entry of a file with this content."""
    data = text.encode() if isinstance(text, str) else text
    return Entry("file", Digest.of(data), len(data), executable, role)


def snapshot(**files: str | Entry) -> Snapshot:
    """A snapshot by path: content or entry. `__` in a name stands for a slash, `_dot_` for a dot."""
    return Snapshot(
        {
            name.replace("_dot_", ".").replace("__", "/"): value if isinstance(value, Entry) else file(value)
            for name, value in files.items()
        }
    )


def blob(data: bytes, annotations: Mapping[str, str] | None = None) -> Descriptor:
    """The descriptor of a raw file layer."""
    return Descriptor.of(media.layer_type("code"), data, annotations or {})
