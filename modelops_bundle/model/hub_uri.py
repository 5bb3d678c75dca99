"""Addresses at Hugging Face and ModelScope: repositories, revisions, paths in them (facts: fetch §1.1).

    hf://[datasets/|spaces/|…]NAMESPACE/NAME[@REVISION][/PATH or GLOB][?quant=&include=&exclude=&rev=]
    modelscope://[datasets/]NAMESPACE/NAME[@REVISION][/PATH or GLOB]

As huggingface_hub reads them (`utils/_hf_uris.py`), and the pages that people copy from a browser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from modelops_bundle.model import paths
from modelops_bundle.model.source_text import (
    agree,
    decoded,
    encoded,
    parameters,
    query_of,
    refuse,
    refuse_secret,
    single,
    split,
)

HubScheme = Literal["hf", "modelscope"]
Kind = Literal["models", "datasets", "spaces", "kernels", "buckets"]

KINDS: dict[HubScheme, tuple[Kind, ...]] = {
    "hf": ("models", "datasets", "spaces", "kernels", "buckets"),
    "modelscope": ("models", "datasets"),
}
HOSTS: dict[str, HubScheme] = {
    "huggingface.co": "hf",
    "www.huggingface.co": "hf",
    "hf.co": "hf",
    "modelscope.cn": "modelscope",
    "www.modelscope.cn": "modelscope",
    "modelscope.ai": "modelscope",
    "www.modelscope.ai": "modelscope",
}
"""Whose pages are understood, by host."""

_PARAMETERS = ("quant", "include", "exclude", "rev")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION_REST = re.compile(r"refs/(?:pr/[0-9]+|convert/[A-Za-z0-9._-]+)(?=/|$)")
# git-check-ref-format(1), and a leading dash for good measure.
_NO_REVISION = re.compile(r"^-|^/|/$|//|\.\.|[\s~^:?*\[\\]|@\{|\.lock$|^@$")
_HUB_VERBS = ("blob", "resolve", "raw", "tree", "blame")
_HUB_PAGES = frozenset(
    "api blog chat collections docs join login models organizations papers posts pricing settings".split()
)
_SCOPE_VERBS = ("resolve", "tree", "file/view")
_SCOPE_PAGES = ("", "files", "summary", "feedback")


@dataclass(frozen=True, slots=True)
class HubUri:
    """A repository, or what is chosen of it.

    :param repository: `NAMESPACE/NAME`; a bare `NAME` is one of Hugging Face's oldest.
    :param revision: branch, tag or commit; None is the default branch.
    :param path: a file, a directory or a glob in it; empty is everything.
    :param quant: the quantisation whose files are wanted, `Q4_K_M`.
    :param include: globs of which one must match. :param exclude: globs of which none may.
    """

    scheme: HubScheme
    kind: Kind
    repository: str
    revision: str | None = None
    path: str = ""
    quant: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.scheme}://{'' if self.kind == 'models' else self.kind + '/'}{self.repository}"
        if self.revision is not None:
            plain = _REVISION_REST.fullmatch(self.revision)
            text += "@" + (self.revision if plain else quote(self.revision, safe=""))
        if self.path:
            text += "/" + encoded(self.path)
        pairs = [("quant", self.quant)] if self.quant else []
        pairs += [("include", glob) for glob in self.include] + [("exclude", glob) for glob in self.exclude]
        return text + query_of(pairs)

    @property
    def is_glob(self) -> bool:
        """Whether the path is a pattern."""
        return any(c in self.path for c in "*?[")


def parse(scheme: HubScheme, rest: str, whole: str) -> HubUri:
    """What follows `SCHEME://`.

    :raises UsageError: it is no repository, or a parameter, revision or path in it is wrong.
    """
    place, query, fragment = split(rest)
    if fragment:
        refuse(whole, f"a {scheme}:// address has no part after '#'; write %23 for one in a path")
    kind, place = _kind(scheme, place)
    repository, place = _repository(place)
    revision: str | None = None
    if place.startswith("@"):
        revision, place = _revision(place[1:], whole)
        if not revision:
            refuse(whole, "no revision follows the '@'")
    given = parameters(query, _PARAMETERS, whole)
    revision = agree(revision, single(given, "rev", whole), "revision", whole)
    path = decoded(place.removeprefix("/").removesuffix("/"), whole)
    chosen = {
        name: tuple(dict.fromkeys(value for value in given.get(name, ()) if value)) for name in ("include", "exclude")
    }
    return _checked(HubUri(scheme, kind, repository, revision, path, single(given, "quant", whole), **chosen), whole)


def _kind(scheme: HubScheme, place: str) -> tuple[Kind, str]:
    for kind in KINDS[scheme]:
        if place.startswith(f"{kind}/"):
            return kind, place.removeprefix(f"{kind}/")
    return "models", place


def _repository(place: str) -> tuple[str, str]:
    """The name, and what follows it: nothing, `@…` or `/…`."""
    found = re.match(r"[^/@]+(?:/[^/@]+)?", place)
    name = found[0] if found else ""
    return name, place[len(name) :]


def _revision(text: str, whole: str) -> tuple[str, str]:
    """The revision at the beginning of `text`, and the path after it."""
    found = _REVISION_REST.match(text)
    raw = found[0] if found else text.partition("/")[0]
    return decoded(raw, whole), text[len(raw) :]


def _checked(uri: HubUri, whole: str) -> HubUri:
    parts = uri.repository.split("/")
    if uri.scheme == "modelscope" and len(parts) != 2:
        refuse(whole, "write modelscope://NAMESPACE/NAME")
    for part in parts:
        if not _NAME.fullmatch(part) or "--" in part or ".." in part:
            refuse(whole, f"{part[:100]!r} is no name there; write {uri.scheme}://NAMESPACE/NAME[@REVISION][/PATH]")
    if len(parts) == 1 and uri.path and uri.revision is None:
        refuse(whole, f"write {uri.scheme}://{uri.repository}@main/{uri.path[:80]}")
    if uri.revision is not None and (_NO_REVISION.search(uri.revision) or len(uri.revision) > 255):
        refuse(whole, f"{uri.revision[:100]!r} is no branch, tag or commit")
    if uri.path and not uri.is_glob:
        paths.validate(uri.path)
    if uri.is_glob and any(part in ("", ".", "..") for part in uri.path.split("/")):
        refuse(whole, "a pattern has no empty, '.' or '..' parts")
    return uri


# --- pages


def parse_page(host: str, path: str, query: str, whole: str) -> HubUri:
    """The repository that a page shows, of an address copied from a browser.

    :param path: undecoded, beginning with `/`.
    :raises UsageError: another kind of page.
    """
    for pair in query.split("&"):
        refuse_secret(pair.partition("=")[0])
    scheme = HOSTS[host]
    place = path.strip("/")
    return _hub_page(place, whole) if scheme == "hf" else _scope_page(place, whole)


def _hub_page(place: str, whole: str) -> HubUri:
    kind, place = _kind("hf", place)
    parts = place.split("/")
    if kind == "models" and parts[0] in _HUB_PAGES:
        refuse(whole, "that page shows no repository; write hf://NAMESPACE/NAME")
    names = 1 if len(parts) == 1 or (len(parts) > 2 and parts[1] in _HUB_VERBS) else 2
    repository, rest = "/".join(parts[:names]), parts[names:]
    if not rest:
        return _checked(HubUri("hf", kind, repository), whole)
    if rest[0] not in _HUB_VERBS:
        refuse(whole, f"that page shows no files; write hf://{'' if kind == 'models' else kind + '/'}{repository}")
    return _at(HubUri("hf", kind, repository), "/".join(rest[1:]), whole)


def _scope_page(place: str, whole: str) -> HubUri:
    found = re.fullmatch(r"(models|datasets)/([^/]+/[^/]+)(?:/(.*))?", place)
    if found is None:
        refuse(whole, "that page shows no repository; write modelscope://NAMESPACE/NAME")
    base = HubUri("modelscope", "datasets" if found[1] == "datasets" else "models", found[2])
    rest = found[3] or ""
    for verb in _SCOPE_VERBS:
        if rest.startswith(f"{verb}/"):
            return _at(base, rest.removeprefix(f"{verb}/"), whole)
    if rest not in _SCOPE_PAGES:
        refuse(whole, f"that page shows no files; write modelscope://{found[2]}")
    return _checked(base, whole)


def _at(base: HubUri, text: str, whole: str) -> HubUri:
    """`base` at the `REVISION[/PATH]` of a page."""
    revision, after = _revision(text, whole)
    path = decoded(after.strip("/"), whole)
    if any(c in path for c in "*?["):
        # In the address of a page these are letters of a name, and no file we could write has them.
        paths.validate(path)
    return _checked(HubUri(base.scheme, base.kind, base.repository, revision or None, path), whole)
