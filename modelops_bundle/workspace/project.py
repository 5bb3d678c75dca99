"""A bundle on disk: where it is, what it tracks, what it was last synced with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modelops_bundle.disk import files
from modelops_bundle.disk.files import read_file, require_directory, write_file
from modelops_bundle.disk.locks import exclusive
from modelops_bundle.errors import AlreadyABundle, Corrupt, NoMatch, NotABundle, Unsupported
from modelops_bundle.model import canonical, paths
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Snapshot
from modelops_bundle.workspace import config as configuration
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.base import At, at_from_bytes, at_to_bytes

__all__ = ["At", "Project"]

State = tuple[tuple[int, ...] | None, tuple[int, ...] | None]


class Project:
    """A bundle's directory. Cheap to make; every read goes to the disk once and is kept."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / layout.FOLDER
        self._config: configuration.Config | None = None
        self._at: tuple[tuple[int, ...] | None, At] | None = None
        self._around: tuple[Mapping[str, Any], Mapping[str, str]] = ({}, {})

    @classmethod
    def find(cls, start: Path) -> Project:
        """The bundle at `start` or above it.

        :raises NotABundle: there is none. :raises Unsupported: a newer version of this tool made it.
        """
        for directory in (start, *start.parents):
            if (directory / layout.FOLDER / layout.VERSION).is_file():
                project = cls(directory)
                project._check_version()
                return project
        raise NotABundle(f"no bundle in {start} or above", hint="run 'bundle init' in the directory to track")

    @classmethod
    def create(cls, root: Path, url: str, tag: str | None) -> Project:
        """Make `root` a bundle whose remote `origin` is `url`.

        :raises AlreadyABundle: it is one, or is inside one.
        """
        for directory in (root, *root.parents):
            if (directory / layout.FOLDER / layout.VERSION).is_file():
                raise AlreadyABundle(
                    f"{directory} is a bundle already" + ("" if directory == root else f", and {root} is inside it"),
                    hint="bundle remote set origin REF changes where it pushes",
                )
        project = cls(root)
        require_directory(project.folder)
        write_file(project.folder / ".gitignore", b"*\n")
        lines = ["# Settings of this bundle; see 'bundle config list'.", "", "[remotes.origin]", f"url = {_quote(url)}"]
        lines += [f"tag = {_quote(tag)}"] if tag else []
        write_file(project.folder / layout.CONFIG, ("\n".join(lines) + "\n").encode())
        # Last: a killed init leaves no bundle, and the next one starts over.
        write_file(project.folder / layout.VERSION, f"{layout.CURRENT_VERSION}\n".encode())
        return project

    def _check_version(self) -> None:
        text = (read_file(self.folder / layout.VERSION) or b"").decode("ascii", "replace").strip()
        if not text.isdecimal():
            raise Corrupt(f"{self.folder / layout.VERSION} cannot be read")
        if int(text) > layout.CURRENT_VERSION:
            raise Unsupported(
                f"this bundle's folder has version {text}, newer than this tool knows", hint="upgrade modelops-bundle"
            )

    @contextmanager
    def locked(self, wait: float = 30.0) -> Iterator[None]:
        """Be the one writer.

        :raises Locked: somebody else still is after `wait` seconds.
        """
        with exclusive(self.folder / layout.LOCK, wait=wait, what=str(self.root)):
            yield

    def sweep(self) -> None:
        """Remove what killed commands left half-written in the bundle's own folder."""
        seen = self.folder / layout.SEEN
        folders = [self.folder, self.folder / layout.JOURNAL, self.parts, self.folder / layout.CHUNKS, seen]
        if seen.is_dir():
            folders += [folder for folder in seen.iterdir() if folder.is_dir()]
        for folder in folders:
            files.sweep(folder)

    @property
    def config(self) -> configuration.Config:
        """The settings, read once."""
        if self._config is None:
            self._config = self.own_config().layered(*self._around)
        return self._config

    def own_config(self) -> configuration.Config:
        """What the bundle's own file says, without what `surround` put around it."""
        return configuration.Config.load(self.folder / layout.CONFIG)

    def surround(self, below: Mapping[str, Any], above: Mapping[str, str]) -> None:
        """Let settings of the user stand below the file's, and those of this invocation above them."""
        self._around = (below, above)
        self._config = None

    def edit_config(self, changes: dict[str, object]) -> None:
        """Change dotted keys in the settings."""
        configuration.edit(self.folder / layout.CONFIG, changes)
        self._config = None

    @property
    def parts(self) -> Path:
        """Directory of downloads under way."""
        return self.folder / layout.PARTS

    def state(self) -> State:
        """Tells one merge base and list of tracked paths from another, without reading them."""
        return files.version(self.folder / layout.AT), files.version(self.folder / layout.TRACKED)

    @property
    def landing(self) -> Path:
        """The journal of the one landing that may be under way."""
        return self.folder / layout.JOURNAL / layout.LANDING

    @property
    def is_landing(self) -> bool:
        """Whether a pull is changing the tree, or was killed while it did."""
        return self.landing.exists()

    def tracked(self) -> set[str]:
        """The tracked paths."""
        return {line for line in self.tracked_lines().decode("utf-8", "surrogateescape").split("\n") if line}

    def tracked_lines(self) -> bytes:
        """The tracked paths as their file holds them: in byte order, one a line."""
        return read_file(self.folder / layout.TRACKED) or b""

    def write_tracked(self, tracked: Iterable[str]) -> None:
        """Replace the list of tracked paths."""
        lines = sorted({path.encode("utf-8", "surrogateescape") for path in tracked})
        write_file(self.folder / layout.TRACKED, b"".join(line + b"\n" for line in lines))

    def at(self) -> At:
        """The merge base; empty before the first sync. Parsed again only when its file is another one."""
        path = self.folder / layout.AT
        version = files.version(path)
        if self._at is None or self._at[0] != version:
            data = read_file(path)
            try:
                self._at = version, At(None, None, Snapshot()) if data is None else at_from_bytes(data)
            except Corrupt as error:
                hint = f"remove {path}; the next pull adopts what is identical"
                raise Corrupt(f"{path} is damaged: {error.message}", hint=hint) from error
        return self._at[1]

    def write_at(self, at: At) -> None:
        """Replace the merge base."""
        write_file(self.folder / layout.AT, at_to_bytes(at))

    def log(self, verb: str, reference: str, digest: Digest | None, **facts: object) -> None:
        """Note a push or pull in this clone's history."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = {"time": when, "verb": verb, "reference": reference, "digest": str(digest) if digest else None, **facts}
        previous = read_file(self.folder / layout.LOG) or b""
        write_file(self.folder / layout.LOG, previous + canonical.dumps(entry) + b"\n")

    def history(self) -> list[dict[str, object]]:
        """What this clone pushed and pulled, oldest first."""
        data = read_file(self.folder / layout.LOG) or b""
        found = []
        for line in data.splitlines():
            # A history with a hole is still a history.
            with suppress(Corrupt):
                found.append(canonical.loads(line, "the log", limit=1 << 20))
        return found

    def relative(self, path: Path) -> str:
        """`path` (absolute) as a POSIX path below the root, NFC; the root itself is `""`.

        :raises NoMatch: it is outside.
        """
        try:
            parts = path.relative_to(self.root).parts
        except ValueError as error:
            raise NoMatch(f"{paths.display(str(path))} is outside of the bundle {self.root}") from error
        return "/".join(parts)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
