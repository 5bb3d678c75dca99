"""References: a place, a tag, a digest (DESIGN §10; distribution-spec, "Pulling manifests")."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from modelops_bundle.errors import ConfigError, UsageError
from modelops_bundle.model.digest import SHORTEST_PREFIX, Digest

Scheme = Literal["oci", "layout", "tar", "mem"]
SCHEMES: tuple[Scheme, ...] = ("oci", "layout", "tar", "mem")
_SCHEME_WORDS = tuple(f"{scheme}:" for scheme in SCHEMES)

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::(0|[1-9][0-9]{0,4}))?")
_LAST_PORT = 0xFFFF
_PREFIX = re.compile(rf"(?:sha256:)?([0-9a-f]{{{SHORTEST_PREFIX},64}})")
_REMOTE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

SERVICE_TAG = re.compile(r"_i\.|.*-lost-[0-9a-f]{12}$|sha256-[0-9a-f]{64}$")
"""Tags that tools keep for themselves: race intents, versions that lost a race, lists of referrers."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`place` is `HOST/REPOSITORY` for `oci`, a path for `layout` and `tar`, a name for `mem`.

    `prefix` is a digest shortened by the user, to be completed by whoever knows the candidates.
    """

    scheme: Scheme
    place: str
    tag: str | None = None
    digest: Digest | None = None
    prefix: str | None = None

    def __str__(self) -> str:
        plain = self.scheme == "oci" and _begins_with_host(self.place) and not self.place.startswith(_SCHEME_WORDS)
        text = self.place if plain else f"{self.scheme}:{'//' if self.scheme == 'oci' else ''}{self.place}"
        if self.tag is not None:
            text += f":{self.tag}"
        if self.digest is not None:
            text += f"@{self.digest}"
        elif self.prefix is not None:
            text += f"@{self.prefix}"
        return text

    @property
    def name(self) -> str | None:
        """What to ask a store for: the digest when there is one, else the tag."""
        return str(self.digest) if self.digest is not None else self.tag

    @property
    def host(self) -> str:
        """The registry's `HOST[:PORT]`, of an `oci` reference."""
        return self.place.partition("/")[0]

    @property
    def repository(self) -> str:
        """The repository's name on its registry, of an `oci` reference."""
        return self.place.partition("/")[2]

    def at(self, tag: str | None = None, digest: Digest | None = None) -> Reference:
        """The same place under another tag or digest."""
        return replace(self, tag=tag, digest=digest, prefix=None)


def check_tag(tag: str) -> str:
    """Return `tag` when the distribution specification allows it.

    :raises UsageError: it does not.
    """
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"not a tag: {tag[:140]!r}",
            hint="a tag has letters, digits, '.', '_' and '-', at most 128, and begins with none of '.' and '-'",
        )
    return tag


def is_repository(name: str) -> bool:
    """Whether the distribution specification allows `name` for a repository."""
    return len(name) <= 255 and _REPOSITORY.fullmatch(name) is not None


def is_service_tag(tag: str) -> bool:
    """Whether tools keep `tag` for themselves."""
    return SERVICE_TAG.match(tag) is not None


def is_remote_name(text: str) -> bool:
    """Whether `text` may name a remote: a word that no reference begins with."""
    return _REMOTE.fullmatch(text) is not None and text not in SCHEMES and text != "localhost" and "." not in text


def parse(
    text: str,
    remotes: Mapping[str, Reference] | None = None,
    known_tags: Collection[str] = (),
    namespace: str | None = None,
) -> Reference:
    """Read a reference as a person writes it.

    :param remotes: the bundle's remotes by name, the default one under `""`; None outside a bundle.
    :param known_tags: tags that a bare word may mean.
    :param namespace: `HOST[/PATH]`, below which names without a host are looked for that mean nothing else; inside a
        bundle only those with a `/`: a word there is a tag or a remote, or a slip for one.
    :raises UsageError: anything the grammar does not have, with the nearest spelling that it has.
    :raises ConfigError: the namespace begins with no registry's host.
    """
    if (
        not text
        or text != text.strip()
        or any(ord(c) < 0x20 or ord(c) == 0x7F or 0xD800 <= ord(c) < 0xE000 for c in text)
    ):
        raise UsageError(f"not a reference: {text!r}")
    scheme, rest = _split_scheme(text)
    if scheme is not None:
        return _parse_in(scheme, rest, text)
    if _is_local_path(text):
        return _parse_path("tar" if _without_name(text).endswith((".tar", ".tar.gz", ".tar.zst")) else "layout", text)
    if _begins_with_host(text):
        return _parse_oci(text)
    found = _parse_name(text, remotes, known_tags)
    if found is None and namespace and not text.startswith((":", "@")) and (remotes is None or "/" in text):
        return _parse_oci(_namespace(namespace) + text)
    if found is None:
        raise UsageError(f"not a reference: {text!r}", hint=_nearest(text, remotes, known_tags))
    return found


def _namespace(text: str) -> str:
    place = f"{text.removeprefix('oci://').rstrip('/')}/"
    if _is_local_path(place) or not _begins_with_host(place) or not _HOST.fullmatch(place.partition("/")[0]):
        raise ConfigError(f"namespace cannot be {text[:200]!r}", hint="it wants a registry's host: HOST[/PATH]")
    return place


def _split_scheme(text: str) -> tuple[Scheme | None, str]:
    for scheme in SCHEMES:
        if text.startswith(f"{scheme}:"):
            rest = text[len(scheme) + 1 :]
            return scheme, rest.removeprefix("//")
    if "://" in text:
        raise UsageError(
            f"unknown scheme in {text!r}",
            hint=f"write HOST/REPOSITORY:TAG without http://, or one of {', '.join(s + '://' for s in SCHEMES)}",
        )
    return None, text


def _parse_in(scheme: Scheme, rest: str, text: str) -> Reference:
    if not rest:
        raise UsageError(f"nothing follows the scheme in {text!r}")
    return _parse_oci(rest) if scheme == "oci" else _parse_path(scheme, rest)


def _is_local_path(text: str) -> bool:
    return text.startswith(("/", "./", "../")) or text in (".", "..") or re.match(r"[A-Za-z]:[\\/]", text) is not None


def _begins_with_host(text: str) -> bool:
    first, slash, _ = text.partition("/")
    return bool(slash) and (first.partition(":")[0] == "localhost" or "." in first or ":" in first)


def _split_digest(text: str) -> tuple[str, Digest | None, str | None]:
    place, at, digest = text.partition("@")
    if not at:
        return place, None, None
    found = _PREFIX.fullmatch(digest)
    if not found:
        raise UsageError(
            f"not a digest: {digest[:100]!r}",
            hint=f"write sha256: and 64 hex digits, or at least {SHORTEST_PREFIX} of them",
        )
    hexadecimal = found[1]
    if len(hexadecimal) == 64:
        return place, Digest("sha256", hexadecimal), None
    return place, None, hexadecimal


def _parse_oci(text: str) -> Reference:
    place, digest, prefix = _split_digest(text)
    head, colon, tag = place.rpartition(":")
    if colon and "/" not in tag and "/" in head:
        place = head
        check_tag(tag)
    else:
        tag = ""
    host, _, repository = place.partition("/")
    named = _HOST.fullmatch(host)
    if named is None or int(named[1] or 0) > _LAST_PORT:
        raise UsageError(f"not a registry host: {host[:100]!r}")
    if not _REPOSITORY.fullmatch(repository):
        lowered = f"{host}/{repository.lower()}"
        hint = f"did you mean {lowered}?" if _REPOSITORY.fullmatch(repository.lower()) else None
        raise UsageError(f"not a repository name: {repository[:200]!r}", hint=hint or "write HOST/REPOSITORY[:TAG]")
    return Reference("oci", f"{host.lower()}/{repository}", tag or None, digest, prefix)


def _without_name(text: str) -> str:
    place = text.partition("@")[0]
    head, colon, tag = place.rpartition(":")
    # The colon of a drive is followed by a slash of either kind.
    return head if colon and "/" not in tag and "\\" not in tag else place


def _parse_path(scheme: Scheme, text: str) -> Reference:
    _, digest, prefix = _split_digest(text)
    place = _without_name(text)
    rest = text.partition("@")[0][len(place) :]
    tag = check_tag(rest[1:]) if rest else None
    if not place:
        raise UsageError(f"no place in {text[:200]!r}", hint=f"write {scheme}:PATH[:TAG][@DIGEST]")
    root = "/" if place.startswith("/") else ""
    body = place.strip("/") if root else place.rstrip("/")
    # Without the slash, what follows the colon would be read as a tag.
    ambiguous = "/" if ":" in body.rpartition("/")[2] and place.endswith("/") else ""
    return Reference(scheme, f"{root}{body}{ambiguous}", tag, digest, prefix)


def _parse_name(text: str, remotes: Mapping[str, Reference] | None, known_tags: Collection[str]) -> Reference | None:
    """`:TAG`, `@DIGEST`, `:TAG@DIGEST`, `REMOTE`, `REMOTE:TAG`, or a known tag; None for anything else."""
    if remotes is not None:
        name, digest, prefix = _split_digest(text)
        head, colon, tag = name.partition(":")
        if head in remotes and (head or colon or "@" in text):
            base = remotes[head]
            return Reference(base.scheme, base.place, check_tag(tag) if colon else base.tag, digest, prefix)
        if not colon and name in known_tags:
            base = remotes[""]
            return Reference(base.scheme, base.place, name, digest, prefix)
    return None


def _nearest(text: str, remotes: Mapping[str, Reference] | None, known_tags: Collection[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  only for words that are no reference

    head, colon, tag = text.partition(":")
    if remotes:
        close = get_close_matches(head, [name for name in remotes if name], n=1)
        if close:
            return f"did you mean {close[0]}{colon}{tag}?"
        close = get_close_matches(text, known_tags, n=1)
        if close:
            return f"did you mean :{close[0]}?"
        if _TAG.fullmatch(text):
            return f"write :{text} for a tag of the default remote, or HOST/REPOSITORY:TAG"
    if "/" in text:
        return f"write the registry's host in front (HOST/{text}), or ./{text} for a local directory"
    return "write HOST/REPOSITORY[:TAG][@DIGEST], or ./PATH for a local OCI layout"
