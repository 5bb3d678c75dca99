"""What the fake Hugging Face keeps: repositories, commits, files as git and LFS see them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SMALL = 1024
"""Bytes from which on a file that is no text is in LFS here."""
_TEXT = (".md", ".txt", ".json", ".py", ".gitattributes", ".yaml")


@dataclass(frozen=True)
class HubFile:
    """One file of a commit."""

    data: bytes = field(repr=False)
    lfs: bool

    @property
    def oid(self) -> str:
        """The git blob's SHA-1: of the pointer, when the file is in LFS."""
        blob = self.pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob, usedforsecurity=False).hexdigest()

    @property
    def sha256(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        """What git has of a file in LFS (git-lfs specification)."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        return text.encode()

    def entry(self, path: str) -> dict[str, Any]:
        """As the tree lists it."""
        entry: dict[str, Any] = {"type": "file", "oid": self.oid, "size": len(self.data), "path": path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}
        return entry


@dataclass
class HubRepository:
    """A repository. `heads` are its branches, tags and `refs/…`, each with the commit it is at.

    :param gated: False, `"auto"` or `"manual"`. :param granted: users that may read it when it is gated or private.
    """

    kind: str
    name: str
    private: bool = False
    gated: bool | str = False
    disabled: bool = False
    licence: str | None = None
    granted: set[str] = field(default_factory=set)
    heads: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, HubFile]] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], branch: str = "main", lfs: frozenset[str] | None = None) -> str:
        """Let `branch` have exactly `files`; the commit's id.

        :param lfs: the paths that are in LFS, None: those that are large or no text.
        """
        tree = {path: HubFile(data, _is_lfs(path, data, lfs)) for path, data in files.items()}
        listing = "\n".join(f"{file.oid} {path}" for path, file in sorted(tree.items()))
        parent = self.heads.get(branch, "")
        sha = hashlib.sha1(f"{self.kind}{self.name}{parent}\n{listing}".encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = tree
        self.heads[branch] = sha
        return sha

    def find(self, revision: str) -> str | None:
        """The commit that `revision` names."""
        return self.heads.get(revision, revision if revision in self.commits else None)


def _is_lfs(path: str, data: bytes, lfs: frozenset[str] | None) -> bool:
    return path in lfs if lfs is not None else len(data) >= SMALL or not path.endswith(_TEXT)


def listing(files: Mapping[str, HubFile], below: str, recursive: bool) -> list[dict[str, Any]] | None:
    """The entries of a directory; None when there is no such directory."""
    prefix = f"{below}/" if below else ""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(files):
        if not path.startswith(prefix):
            continue
        steps = path[len(prefix) :].split("/")
        for depth in range(1, len(steps) if recursive else min(len(steps), 2)):
            directory = prefix + "/".join(steps[:depth])
            oid = hashlib.sha1(directory.encode(), usedforsecurity=False).hexdigest()
            found.setdefault(directory, {"type": "directory", "oid": oid, "size": 0, "path": directory})
        if recursive or len(steps) == 1:
            found[path] = files[path].entry(path)
    return list(found.values()) if found or not below else None
