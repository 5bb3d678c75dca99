"""Small worlds for fault campaigns: a remote, a working directory in some state, and what must become of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

from modelops_bundle.events import Run
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import ANYTHING, Store
from modelops_bundle.model.reference import parse
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace import layout
from tests.support.zygote import Zygote

TEMPORARY = ".~bundle-"

What = tuple[str, ...]
Tree = dict[str, What]


def file(content: bytes, *, executable: bool = False) -> What:
    """How a `Tree` holds a regular file."""
    return ("file", hashlib.sha256(content).hexdigest(), "x" if executable else "-")


def look(root: Path) -> Tree:
    """Everything below `root` except our folder and temporary files: files, links, empty directories."""
    found: Tree = {}
    for directory, names, files in os.walk(root):
        if layout.FOLDER in names:
            names.remove(layout.FOLDER)
        for name in [*names, *files]:
            path = Path(directory, name)
            key = path.relative_to(root).as_posix()
            if name.startswith(TEMPORARY):
                continue
            if path.is_symlink():
                found[key] = ("link", str(path.readlink()))
            elif path.is_dir():
                if not any(path.iterdir()):
                    found[key] = ("dir",)
            else:
                found[key] = file(path.read_bytes(), executable=bool(path.stat().st_mode & stat.S_IXUSR))
    return found


def litter(*roots: Path) -> list[str]:
    """What no command may leave behind: temporary files, downloads, journals."""
    found = []
    for root in roots:
        for directory, names, files in os.walk(root):
            for name in [*names, *files]:
                path = Path(directory, name)
                unfinished = (
                    path.parent.name in (layout.PARTS, layout.JOURNAL) and path.parent.parent.name == layout.FOLDER
                )
                if unfinished or name.startswith(TEMPORARY):
                    found.append(str(path.relative_to(root)))
    return sorted(found)


def torn(now: Mapping[str, What], old: Mapping[str, What], new: Mapping[str, What]) -> list[str]:
    """Paths that are neither wholly what they were nor wholly what they are to be."""
    wrong = []
    for path in sorted(now.keys() | old.keys() | new.keys()):
        seen, before, after = now.get(path), old.get(path), new.get(path)
        changing_kind = before is not None and after is not None and before[0] != after[0]
        above = any(other.startswith(f"{path}/") for other in (*old, *new))
        emptied = seen == ("dir",) and (above or before is after is None)
        if seen not in (before, after) and not emptied and not (seen is None and changing_kind):
            wrong.append(path)
    return wrong


def write(root: Path, tree: Mapping[str, bytes | str | None]) -> None:
    """Make files (bytes), links (text) and empty directories (None) below `root`."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        elif isinstance(content, str):
            path.unlink(missing_ok=True)
            path.symlink_to(content)
        else:
            path.write_bytes(content)


_RANDOM = Random(20_251_120)
BIG_OLD, BIG_NEW = _RANDOM.randbytes(1_500_000), _RANDOM.randbytes(2_600_000)


def write_first(root: Path) -> None:
    """The first version."""
    write(
        root,
        {
            "a.txt": b"one",
            "weights/big.bin": BIG_OLD,
            "run.sh": b"#!/bin/sh\n",
            "d/old.txt": b"goes away",
            "keep/same.txt": b"never changes",
            "edit.txt": b"edited by its user",
            "link": "a.txt",
            "x": b"becomes a directory",
            "empty": None,
            "soon/empty.txt": b"leaves an empty directory that is tracked",
        },
    )
    (root / "run.sh").chmod(0o755)


def write_second(root: Path) -> None:
    """What the other one makes of the first: every kind of change."""
    (root / "x").unlink()
    shutil.rmtree(root / "d")
    (root / "empty").rmdir()
    (root / "soon/empty.txt").unlink()
    write(
        root,
        {
            "a.txt": b"two",
            "weights/big.bin": BIG_NEW,
            "new/n.txt": b"new content",
            "new/copy.txt": b"new content",
            "link": "keep/same.txt",
            "x/y.txt": b"below what was a file",
            "hollow": None,
        },
    )
    (root / "run.sh").chmod(0o644)
    (root / "keep/same.txt").chmod(0o755)


def write_many(root: Path, text: str) -> None:
    """So many small files that they are made durable together."""
    write(root, {f"many/{number:02}.txt": f"{text} {number}".encode() for number in range(20)})


class World:
    """A directory `root` with the working directory `work` in it, and a remote: an OCI layout inside, or a repository.

    `reset` brings a saved state back, as far as it is on this disk.
    """

    def __init__(self, base: Path, zygote: Zygote, registry: str | None) -> None:
        self.root = base / "world"
        self._saved = base / "saved"
        self.zygote = zygote
        self._registry = registry
        self.work = self.root / "work"
        self.remote = ""
        self.clear()

    @property
    def on_registry(self) -> bool:
        """Whether the remote is a registry: then `reset` cannot bring it back."""
        return self._registry is not None

    def clear(self) -> None:
        """Start anew, with a remote nobody has used."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        self.remote = f"{self._registry}/w/{uuid.uuid4().hex}" if self._registry else f"layout:{self.root}/remote"

    def save(self) -> None:
        """Remember the state on disk."""
        shutil.rmtree(self._saved, ignore_errors=True)
        shutil.copytree(self.root, self._saved, symlinks=True)

    def reset(self) -> None:
        """Bring the remembered state back."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self._saved, self.root, symlinks=True)

    def store(self) -> Store:
        """The remote, as a store."""
        return Session(None, Run(), cwd=self.root).store(parse(self.remote))

    def tagged(self, tag: str = "latest") -> Descriptor | None:
        """The manifest `tag` stands for, with its bytes."""
        return self.store().resolve(tag, data=True)

    def set_tag(self, what: Descriptor, tag: str = "latest") -> None:
        """What a writer does who looks at nothing."""
        assert what.data is not None
        self.store().tag(tag, Descriptor(what.media_type, what.digest, what.size), what.data, ANYTHING)

    def fetched(self, tag: str = "latest") -> Tree:
        """What a fresh clone gets."""
        target = self.root / "fetched"
        shutil.rmtree(target, ignore_errors=True)
        self.zygote.ok(["clone", f"{self.remote}:{tag}", str(target)], cwd=self.root)
        try:
            return look(target)
        finally:
            shutil.rmtree(target)

    def publish_first(self, *, packed: bool = False) -> None:
        """Push the first version from `work`; `packed`: with many small files, all of them in packs."""
        self.work.mkdir()
        write_first(self.work)
        if packed:
            write_many(self.work, "one")
        self.zygote.ok(["init", self.remote], ["add", "."], _push(packed), cwd=self.work)

    def publish_second(self, *, packed: bool = False) -> None:
        """Push the second version from a clone that then disappears."""
        other = self.root / "other"
        self.zygote.ok(["clone", f"{self.remote}:latest", str(other)], cwd=self.root)
        write_second(other)
        if packed:
            write_many(other, "two")
        self.zygote.ok(["add", "."], [*_push(packed), "--yes"], cwd=other)
        shutil.rmtree(other)


def _push(packed: bool) -> list[str]:
    return ["push", "--pack", "always"] if packed else ["push"]


def moments(total: int, wanted: int, random: Random) -> Iterator[int]:
    """The moments 1 to `total` to try: all when `wanted` is enough for them, else a sample in order."""
    everything = range(1, total + 1)
    yield from everything if wanted >= total else sorted(random.sample(everything, wanted))
