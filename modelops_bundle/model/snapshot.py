"""Snapshots: what a tree holds, the same value whether read from disk or from a manifest."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import canonical
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest

Kind = Literal["file", "link", "dir"]
_EMPTY = Digest.of(b"")


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree.

    `digest` and `size` (bytes) are those of a file's content or of a link's target text; an empty directory has
    those of nothing. The executable bit is the only mode. `role` says what the file is for and takes no part in
    equality.
    """

    kind: Kind
    digest: Digest
    size: int
    executable: bool = False
    role: str = field(default="code", compare=False)
    target: str | None = field(default=None, compare=False)

    @classmethod
    def link(cls, target: str) -> Self:
        """A symbolic link with this target text."""
        data = target.encode("utf-8", "surrogateescape")
        return cls("link", Digest.of(data), len(data), role="", target=target)

    @classmethod
    def directory(cls) -> Self:
        """An empty directory."""
        return cls("dir", _EMPTY, 0, role="")

    @property
    def content(self) -> Descriptor:
        """A file's content, as something a store may hold."""
        return Descriptor("application/octet-stream", self.digest, self.size)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        if self.kind == "dir":
            return {"kind": "dir"}
        if self.kind == "link":
            return {"kind": "link", "target": self.target}
        value: dict[str, Any] = {"kind": "file", "digest": str(self.digest), "size": self.size, "role": self.role}
        if self.executable:
            value["executable"] = True
        return value

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` made.

        :raises Corrupt: anything else.
        """
        if not isinstance(value, dict):
            raise Corrupt("an entry of a snapshot cannot be read")
        kind = value.get("kind")
        if kind == "dir":
            return cls.directory()
        target = value.get("target")
        if kind == "link" and isinstance(target, str):
            return cls.link(target)
        size, role = value.get("size"), value.get("role", "code")
        if kind != "file" or type(size) is not int or size < 0 or not isinstance(role, str):
            raise Corrupt("an entry of a snapshot cannot be read")
        return cls("file", Digest.parse(value.get("digest", "")), size, value.get("executable") is True, role)


class Snapshot(Mapping[str, Entry]):
    """Paths to entries, in byte order of the paths."""

    __slots__ = ("_content", "_entries")

    def __init__(self, entries: Mapping[str, Entry] | Iterable[tuple[str, Entry]] = ()) -> None:
        pairs: Iterable[tuple[str, Entry]] = entries.items() if isinstance(entries, Mapping) else entries
        self._entries: dict[str, Entry] = dict(
            sorted(pairs, key=lambda pair: pair[0].encode("utf-8", "surrogateescape"))
        )
        self._content: Digest | None = None

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    # What `Mapping` makes of the three above takes ten times as long, and trees have many paths.

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def get(self, path: str, default: Any = None) -> Any:
        return self._entries.get(path, default)

    def keys(self) -> KeysView[str]:
        return self._entries.keys()

    def values(self) -> ValuesView[Entry]:
        return self._entries.values()

    def items(self) -> ItemsView[str, Entry]:
        return self._entries.items()

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self)} paths>"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self._entries.values() if entry.kind == "file")

    def links(self) -> dict[str, str]:
        """The links with their target texts."""
        return {path: entry.target or "" for path, entry in self._entries.items() if entry.kind == "link"}

    @property
    def content(self) -> Digest:
        """Digest of the canonical listing of path, kind, digest, size and executable: what the tree *is*, however
        its bytes are stored.
        """
        if self._content is None:
            rows = [
                {
                    "path": path,
                    "kind": entry.kind,
                    "digest": str(entry.digest),
                    "size": entry.size,
                    "executable": entry.executable,
                }
                for path, entry in self._entries.items()
            ]
            self._content = Digest.of(canonical.dumps(rows))
        return self._content

    def replaced(self, changes: Mapping[str, Entry | None]) -> Snapshot:
        """A snapshot with `changes` made; None removes a path."""
        entries: dict[str, Entry | None] = {**self._entries, **changes}
        return Snapshot({path: entry for path, entry in entries.items() if entry is not None})

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {path: entry.to_json() for path, entry in self._entries.items()}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` made.

        :raises Corrupt: anything else.
        """
        if not isinstance(value, dict):
            raise Corrupt("a snapshot cannot be read")
        return cls({path: Entry.from_json(item) for path, item in value.items()})
