"""Wiring: one project, its remotes and stores, for the time of one operation."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from modelops_bundle.disk.files import read_file
from modelops_bundle.disk.tree import Tree
from modelops_bundle.errors import ConfigError, NotFound, Unavailable, Unsupported, UsageError
from modelops_bundle.events import Run
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Lister, Store
from modelops_bundle.model.reference import Reference, is_service_tag, parse
from modelops_bundle.operations.options import Options
from modelops_bundle.stores.schemes import open_store
from modelops_bundle.workspace import layout
from modelops_bundle.workspace.config import Config, Remote
from modelops_bundle.workspace.index import Index
from modelops_bundle.workspace.project import Project
from modelops_bundle.workspace.seen import Seen, Sighting

if TYPE_CHECKING:
    from modelops_bundle.disk.hashing import Watcher
    from modelops_bundle.disk.spool import Spool
    from modelops_bundle.model.artifact import Contents
    from modelops_bundle.net.client import Client
    from modelops_bundle.net.credentials import CredentialSource
    from modelops_bundle.stores.cache import Cache
    from modelops_bundle.stores.learned import Learned
    from modelops_bundle.transfer.staging import Staging
    from modelops_bundle.workspace.chunks import ChunkCache
    from modelops_bundle.workspace.ignore import Ignore


def remote_place(session: Session, text: str) -> Reference:
    """The place that `text` names for a remote: absolute, with or without a tag.

    :raises UsageError: not a reference, or one with a digest. :raises Unsupported: a place nothing is pushed to.
    """
    place = local_place(session.parse(text), session.cwd)
    if place.digest is not None or place.prefix is not None:
        raise UsageError("a remote is a place, without a digest", hint="bundle clone REF brings one version")
    if place.scheme == "tar":
        raise Unsupported("a tar archive cannot be a remote in this version", hint="use a directory: layout:PATH")
    return place


_MAX_IGNORE_FILE = 1 << 20
"""Bytes. Rules come with bundles of others too; building them is linear, but not free."""


def local_place(reference: Reference, cwd: Path) -> Reference:
    """`reference` with its path absolute, in one spelling; references that are no paths as they are."""
    if reference.scheme not in ("layout", "tar"):
        return reference
    return replace(reference, place=os.path.normpath(cwd / reference.place))


Surrounding = tuple[Mapping[str, Any], Mapping[str, str]]
"""Settings of the user below a bundle's own, and those of one invocation above them."""


class Session:
    """`project` is None for commands that need no bundle (`tags REPO`, `clone`).

    :param around: the settings below and above those of a bundle, for one that is made meanwhile.
    """

    def __init__(
        self,
        project: Project | None,
        run: Run,
        options: Options | None = None,
        *,
        cwd: Path,
        around: Surrounding = ({}, {}),
    ) -> None:
        self._project = project
        self.around = around
        self.run = run
        self.options = options or Options()
        self.cwd = cwd
        self._clients: list[Client] = []
        self._stores: dict[tuple[str, str], Store] = {}
        self.read: dict[Digest, Sighting] = {}
        """Manifests read during this session, so that none is fetched twice."""
        self.parsed: dict[Digest, Contents] = {}
        """What the manifests read or looked into during this session hold: parsing ten thousand rows takes a while."""
        self.spooled: dict[Digest, Spool] = {}
        """Blobs that what follows needs, in files without a name: packs made for a push, archives read before a pull."""
        self.keep_in: Path | None = None
        """A folder, there or to be made, on whose file system archives that are read are kept for a pull that follows."""
        self.trusted: set[tuple[Digest, object]] = set()
        """Versions with what was asked of them, whose signatures were verified during this session."""
        self.attempts: int | None = None
        """How often each request is tried, by clients made from now on; None is as often as usual."""
        self.fresh: dict[str, Sighting] = {}
        """By reference, what was read a moment ago and may be taken as current once."""

    @classmethod
    def find(cls, cwd: Path, run: Run, options: Options | None = None) -> Session:
        """A session on the bundle at or above `cwd`.

        :raises NotABundle: there is none.
        """
        return cls(Project.find(cwd), run, options, cwd=cwd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections, files and the tree; the session cannot be used any more."""
        for client in self._clients:
            client.close()
            self.run.stoppers.remove(client.abort)
        self._clients.clear()
        self._stores.clear()
        self.remember()
        self.spooled.clear()
        if "tree" in vars(self):
            self.tree.close()

    def remember(self) -> None:
        """Let what was learnt of registries last."""
        if "learned" in vars(self):
            self.learned.save()

    @property
    def project(self) -> Project:
        """The bundle. :raises NotABundle: there is none."""
        if self._project is None:
            self._project = Project.find(self.cwd)
        return self._project

    @property
    def has_project(self) -> bool:
        """Whether the session is inside a bundle."""
        return self._project is not None

    @cached_property
    def seen(self) -> Seen:
        """The leases of this clone."""
        return Seen(self.project.folder / layout.SEEN)

    @cached_property
    def index(self) -> Index:
        """The digest cache."""
        return Index(self.project.folder / layout.INDEX)

    @cached_property
    def chunks(self) -> ChunkCache:
        """The chunk lists of large files."""
        from modelops_bundle.workspace import chunks

        return chunks.ChunkCache(self.project.folder / layout.CHUNKS)

    def watch(self, path: str, size: int, read: Callable[[int, int], bytes]) -> Watcher | None:
        """Who wants to see a file of the tree that is hashed (`disk.hashing.Watch`): its chunk list is kept."""
        return self.chunks.watch(path, size, read)

    @cached_property
    def staging(self) -> Staging:
        """Downloads on their way into the working tree."""
        from modelops_bundle.transfer import hosts, staging  # commands that move nothing come without

        return staging.Staging(self.project.parts, hosts.Hosts(most=self.run.limits.connections))

    @cached_property
    def cache(self) -> Cache | None:
        """Blobs that working trees share, where the caller has a folder for them."""
        from modelops_bundle.stores import cache

        wanted = self.project.config.get("cache")
        if self.options.cache is None or wanted is False:
            return None
        return cache.Cache(self.options.cache, copies=wanted is True)

    @cached_property
    def learned(self) -> Learned:
        """What is known of registries; it lasts where the caller has a folder for it."""
        from modelops_bundle.stores import learned

        return learned.Learned(self.options.cache / learned.FILE if self.options.cache is not None else None)

    @cached_property
    def tree(self) -> Tree:
        """The working tree, open."""
        return Tree(self.project.root, self.project.config.follow_links())

    @cached_property
    def ignore(self) -> Ignore:
        """The ignore rules of the working tree."""
        from modelops_bundle.workspace import ignore

        defaults = self.project.config.get("ignore.defaults")
        return ignore.Ignore(self._read_ignore, defaults=defaults is not False)

    def _read_ignore(self, path: str) -> bytes | None:
        native = self.project.root / path
        if native.is_symlink() or not native.is_file():
            # As git does: only a regular file has rules, and a bundle may bring anything else under this name.
            return None
        data = read_file(native)
        if data is not None and len(data) > _MAX_IGNORE_FILE:
            raise ConfigError(f"{path} has {len(data)} bytes; ignore files may have {_MAX_IGNORE_FILE}")
        return data

    @cached_property
    def remotes(self) -> dict[str, Remote]:
        """The remotes of the bundle by name; none outside a bundle."""
        return self._project.config.remotes() if self._project is not None else {}

    def reference(self, text: str | None) -> Reference:
        """What `text` names, with the default tag where it names no tag or digest; None is the default remote.

        :raises UsageError: not a reference. :raises NotFound: a shortened digest that nothing here begins with.
        """
        if text is None:
            name = self.project.config.default_remote
            if name not in self.remotes:
                raise UsageError(f"there is no remote {name!r}", hint="bundle remote add origin REF")
            return self.remotes[name].default
        found = self._parse(text)
        if found.scheme in ("layout", "tar") and not self._is_remote_place(found):
            found = local_place(found, self.cwd)
        if found.prefix is not None:
            return self._complete(found)
        if found.tag is None and found.digest is None:
            return found.at(self._default_tag(found))
        return found

    def current(self, text: str | None) -> Reference:
        """`text`, or what the tree was last synced with, or the default remote."""
        if text is None:
            at = self.project.at()
            if at.reference is not None:
                known = parse(at.reference)
                if self.remote_of(known) is not None:
                    return known
        return self.reference(text)

    @property
    def namespace(self) -> str | None:
        """The place below which the settings look for names; None without one."""
        if self._project is not None:
            value = self._project.config.get("namespace")
        else:
            below, above = self.around
            value = above.get("namespace", below.get("namespace"))
        if value and not isinstance(value, str):
            raise ConfigError(f"namespace cannot be {value!r}", hint="it is text: HOST[/PATH]")
        return value or None

    def parse(self, text: str, remotes: Mapping[str, Reference] | None = None, tags: Collection[str] = ()) -> Reference:
        """`model.reference.parse` in the namespace of the settings."""
        if remotes is None and self._project is not None:
            remotes = {}
        return parse(text, remotes, tags, self.namespace)

    def _parse(self, text: str, *, bare: bool = False) -> Reference:
        if self._project is None:
            return self.parse(text)
        named = {name: remote.reference.at() if bare else remote.default for name, remote in self.remotes.items()}
        default = self._project.config.default_remote
        if default in named:
            named[""] = named[default]
        return self.parse(text, named, self._known_tags() if default in named else ())

    def written_tag(self, text: str) -> str | None:
        """The tag that `text` itself spells out; None when it leaves the choice to the settings."""
        return self._parse(text, bare=True).tag

    def _known_tags(self) -> set[str]:
        """Tags of the default remote that this clone has seen: what a bare word may mean, without asking anybody."""
        place = self.remotes[self.project.config.default_remote].reference.place
        references = (parse(text) for text in self.seen.references())
        return {reference.tag for reference in references if reference.place == place and reference.tag}

    def _is_remote_place(self, reference: Reference) -> bool:
        return any(remote.reference.place == reference.place for remote in self.remotes.values())

    def _default_tag(self, reference: Reference) -> str:
        for remote in self.remotes.values():
            if remote.reference.place == reference.place:
                return remote.reference.tag or remote.tag
        return self._project.config.default_tag if self._project is not None else "latest"

    def _complete(self, reference: Reference) -> Reference:
        """Find the digest that a shortened one begins: first among what this clone knows, then among the tags."""
        prefix = reference.prefix or ""
        found = {s.digest for s in (self.seen.all() if self.has_project else ()) if s.digest.hex.startswith(prefix)}
        if not found:
            store = self.store(reference)
            if isinstance(store, Lister):
                resolved = [store.resolve(tag) for tag in store.tags() if not is_service_tag(tag)]
                found = {what.digest for what in resolved if what and what.digest.hex.startswith(prefix)}
        if len(found) > 1:
            raise UsageError(
                f"several manifests begin with {prefix}: {', '.join(sorted(str(d) for d in found))}",
                hint="write more digits",
            )
        if not found:
            raise NotFound(
                f"no tagged manifest of {reference.place} begins with {prefix}", hint="write the whole digest"
            )
        return reference.at(reference.tag, found.pop())

    def remote_of(self, reference: Reference) -> Remote | None:
        """The remote whose place `reference` is in."""
        for remote in self.remotes.values():
            if (remote.reference.scheme, remote.reference.place) == (reference.scheme, reference.place):
                return remote
        return None

    def store(self, reference: Reference, *, create: bool = False) -> Store:
        """The store that holds `reference`; opened once.

        :param create: an OCI layout directory may be made.
        :raises Unavailable: offline was asked for and the store is on the network.
        """
        key = (reference.scheme, reference.place)
        # The layout of a remote comes into being with the first push; one that was only named has to be there.
        create = create or self.remote_of(reference) is not None
        if key not in self._stores:
            if reference.scheme == "oci":
                self._refuse_offline(reference.host)
            root = self._project.root if self._project is not None else self.cwd
            self._stores[key] = open_store(
                reference,
                client_factory=lambda: self.client(reference.host, self.remote_of(reference)),
                root=root,
                run=self.run,
                create=create,
                journal=self._project.folder / layout.JOURNAL / layout.UPLOADS if self._project is not None else None,
                learned=self.learned if reference.scheme == "oci" else None,
                scratch=self.scratch,
            )
        return self._stores[key]

    @property
    def scratch(self) -> Path:
        """Where something may be unpacked for a moment."""
        if self._project is not None:
            return self._project.parts
        if self.options.cache is not None:
            return self.options.cache / layout.PARTS
        return self.cwd

    def client(self, host: str, remote: Remote | None = None) -> Client:
        """A client for the registry at `host`, open as long as the session.

        :param remote: whose settings say how to reach it; the first one there when None.
        :raises Unavailable: offline was asked for.
        """
        self._refuse_offline(host)
        client = self.make_client(host, remote or self.remote_at(host))
        self.run.stoppers.append(client.abort)
        self._clients.append(client)
        return client

    def _refuse_offline(self, host: str) -> None:
        if self.options.offline:
            raise Unavailable(f"{host} is not asked: offline", hint="this needs the network", offline=True)

    def remote_at(self, host: str) -> Remote | None:
        """A remote on the registry `host`, whose settings say how to reach it."""
        there = (remote for remote in self.remotes.values() if remote.reference.scheme == "oci")
        return next((remote for remote in there if remote.reference.host == host), None)

    def trusts(self, host: str) -> bool:
        """Whether a login from the environment, which names no host, is meant for `host`.

        Inside a bundle it is for the registries of its remotes, and nobody else.
        """
        hosts = {known.reference.host for known in self.remotes.values() if known.reference.scheme == "oci"}
        return not hosts or host in hosts

    def make_client(self, host: str, remote: Remote | None, credentials: CredentialSource | None = None) -> Client:
        """A client for the registry at `host`, for the caller to close.

        :param remote: whose settings say how to reach it. :param credentials: who we are, whatever the options say.
        """
        from modelops_bundle.operations.wiring import make_client

        return make_client(
            self.options,
            remote,
            host,
            self.run,
            trusted=self.trusts(host),
            credentials=credentials,
            config=self.project.config if self.has_project else Config({}).layered(*self.around),
            root=self.project.root if self.has_project else self.cwd,
            attempts=self.attempts,
        )
