"""The three hubs behind one face: what the contract of resolvers is tried on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from modelops_bundle.events import Event, Run
from modelops_bundle.model.remote import Resolver
from modelops_bundle.net.client import Client
from modelops_bundle.net.options import NetOptions
from modelops_bundle.net.retry import Policy
from modelops_bundle.sources.civitai import Civitai
from modelops_bundle.sources.context import NetCtx
from modelops_bundle.sources.huggingface import HuggingFace
from modelops_bundle.sources.logins import Logins
from modelops_bundle.sources.modelscope import COOKIE, Modelscope
from modelops_bundle.testing import civitai, hub, modelscope
from modelops_bundle.testing.site import Site, Storage

WEIGHTS = bytes(range(256)) * 40
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS}
"""What is at `address`; of CivitAI only the one that is asked for."""


@dataclass
class World:
    """A hub with `FILES` at `address`, in public and for `user` alone, and a resolver that asks it.

    `waited` are the pauses that the client made; it made them in no time.
    """

    resolver: Resolver
    server: Any
    address: str
    private: str
    missing: str
    files: dict[str, bytes]
    cookie: str | None = None
    token: str | None = None
    waited: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    on_wait: Callable[[], None] = lambda: None

    @property
    def site(self) -> Site:
        """The hub's own origin."""
        found: Site = self.server.site
        return found

    @property
    def storage(self) -> Storage:
        """The second origin."""
        found: Storage = self.server.storage
        return found

    def ctx(self) -> NetCtx:
        """What the resolver may use."""

        def sleep(seconds: float) -> None:
            self.waited.append(seconds)
            self.on_wait()

        client = Client(
            NetOptions(user_agent="modelops-bundle/test"),
            run=Run(emit=self.events.append),
            policy=Policy(attempts=4, base=0.0, patience=600.0),
            sleep=sleep,
        )
        host = self.site.host
        logins = Logins({host: lambda: self.token}, {host: self.cookie} if self.cookie else None)
        return NetCtx(client, logins, {self.resolver.name: self.server.url})

    def resolve(self, address: str | None = None) -> Any:
        """The resolution of `address`."""
        return self.resolver.resolve(self.resolver.parse(address or self.address), self.ctx())


@contextlib.contextmanager
def huggingface(user: str) -> Iterator[World]:
    """A Hugging Face."""
    with hub.Hub() as server:
        server.add("ns/name", licence="mit").commit(FILES)
        server.add("ns/secret", private=True, granted={user}).commit(FILES)
        yield World(HuggingFace(), server, "hf://ns/name", "hf://ns/secret", "hf://ns/none", dict(FILES))


@contextlib.contextmanager
def civitai_site(user: str) -> Iterator[World]:
    """A CivitAI."""
    with civitai.Civitai() as server:
        one = {"model.safetensors": WEIGHTS}
        server.add(1, 10, one)
        server.add(2, 20, one, login=True)
        yield World(Civitai(), server, "civitai://1", "civitai://2", "civitai://3", one)


@contextlib.contextmanager
def modelscope_site(user: str) -> Iterator[World]:
    """A ModelScope."""
    with modelscope.Modelscope() as server:
        server.add("ns/name", FILES)
        server.add("ns/secret", FILES, private=True, granted={user})
        places = ("modelscope://ns/name", "modelscope://ns/secret", "modelscope://ns/none")
        yield World(Modelscope(), server, *places, dict(FILES), COOKIE)


WORLDS = {"huggingface": huggingface, "civitai": civitai_site, "modelscope": modelscope_site}
