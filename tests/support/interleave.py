"""Every interleaving of the store calls of several writers, without threads.

A writer is a function of a store. It is run again from its start for each of its calls, with the answers of the earlier
ones (so it must be deterministic); the call after those ends the run. Equal situations are explored once: what the
store holds, and what each writer has been answered so far, is all that the future depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelops_bundle.errors import BundleError
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.ports import Chunks, Expected

Tagged = tuple[tuple[str, Digest], ...]
Answer = Any
"""Hashable: what a call returned."""


class Pause(BaseException):
    """The writer made a call that has no answer yet."""


@dataclass
class Registry:
    """What all writers share: no compare and swap, every call by itself atomic."""

    tags: dict[str, Digest]
    manifests: dict[Digest, bytes]

    def do(self, method: str, arguments: tuple[Any, ...]) -> Answer:
        if method == "resolve":
            name, with_data = arguments
            digest = self.tags.get(name)
            if digest is None:
                return None
            data = self.manifests[digest]
            return Descriptor(media.OCI_MANIFEST, digest, len(data), data=data if with_data else None)
        if method == "tag":
            name, digest, data = arguments
            self.tags[name] = digest
            self.manifests[digest] = data
            return None
        if method == "tags":
            return tuple(sorted(self.tags))
        name, digest = arguments
        if self.tags.get(name) == digest:
            del self.tags[name]
        return True


@dataclass
class Link:
    """The store as one run of one writer sees it."""

    answers: Sequence[Answer]
    used: int = 0
    pending: tuple[str, tuple[Any, ...]] | None = None

    def call(self, method: str, *arguments: Any) -> Any:
        if self.pending is None and self.used < len(self.answers):
            self.used += 1
            return self.answers[self.used - 1]
        if self.pending is None:
            self.pending = (method, arguments)
        raise Pause

    def has(self, what: Descriptor) -> bool:
        raise NotImplementedError

    def open(self, what: Descriptor, start: int = 0, stop: int | None = None) -> Any:
        raise NotImplementedError

    def put(self, what: Descriptor, chunks: Chunks) -> None:
        """Content by digest disturbs nobody."""

    def resolve(self, name: str, *, data: bool = False) -> Descriptor | None:
        found: Descriptor | None = self.call("resolve", name, data)
        return found

    def tag(self, name: str, what: Descriptor, data: bytes, expect: Expected) -> None:
        self.call("tag", name, what.digest, data)

    def tags(self) -> Sequence[str]:
        found: Sequence[str] = self.call("tags")
        return found


class UntaggingLink(Link):
    """A store that can remove tags as well."""

    def untag(self, name: str, what: Descriptor) -> bool:
        return bool(self.call("untag", name, what.digest))


Writer = Callable[[Any], None]


@dataclass(frozen=True)
class End:
    """How everybody ended: per writer None or its error, or "died"; and what the tags stand for."""

    results: tuple[BundleError | str | None, ...]
    tags: dict[str, Digest]
    manifests: dict[Digest, bytes] = field(repr=False)


@dataclass
class Explorer:
    """Explores; `states` counts the situations met, `most` is the guard against an explosion."""

    writers: Sequence[Writer]
    manifests: dict[Digest, bytes]
    link: type[Link] = UntaggingLink
    mortal: frozenset[int] = frozenset()
    """Writers that may die before any of their calls."""
    most: int = 300_000
    states: int = 0
    _runs: dict[tuple[int, tuple[Answer, ...]], Any] = field(default_factory=dict)

    def _run(self, number: int, answers: tuple[Answer, ...]) -> Any:
        key = (number, answers)
        if key not in self._runs:
            link = self.link(answers)
            try:
                self.writers[number](link)
                self._runs[key] = ("end", None)
            except Pause:
                self._runs[key] = ("call", link.pending)
            except BundleError as error:
                self._runs[key] = ("end", error)
        return self._runs[key]

    def ends(self, tags: dict[str, Digest]) -> list[End]:
        """Every way in which it can end."""
        found: list[End] = []
        start = (tuple(sorted(tags.items())), tuple(() for _ in self.writers))
        todo: list[Any] = [start]
        seen = {start}
        while todo:
            held, histories = todo.pop()
            self.states += 1
            if self.states > self.most:
                raise AssertionError(f"more than {self.most} situations")
            runs = [self._run(n, h) if h != "died" else ("end", "died") for n, h in enumerate(histories)]
            if all(kind == "end" for kind, _ in runs):
                found.append(End(tuple(result for _, result in runs), dict(held), self.manifests))
            for number, (kind, call) in enumerate(runs):
                if kind == "end":
                    continue
                for following in self._after(held, histories, number, call):
                    if following not in seen:
                        seen.add(following)
                        todo.append(following)
        return found

    def _after(self, held: Tagged, histories: tuple[Any, ...], number: int, call: Any) -> list[Any]:
        registry = Registry(dict(held), self.manifests)
        answer = registry.do(*call)

        def replaced(history: Any) -> tuple[Any, ...]:
            return tuple(history if n == number else h for n, h in enumerate(histories))

        after = [(tuple(sorted(registry.tags.items())), replaced((*histories[number], answer)))]
        if number in self.mortal:
            after.append((held, replaced("died")))
        return after
