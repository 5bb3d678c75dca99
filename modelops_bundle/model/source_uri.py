"""Addresses of what is fetched: every form that people write or paste, to one value with one canonical spelling.

Pure: nothing is looked up. The grammar is that of facts: fetch §1.1; a canonical address is what a lock file holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from urllib.parse import SplitResult, quote, unquote, urlsplit

from modelops_bundle.errors import UsageError
from modelops_bundle.model import civitai_uri, hub_uri, object_uri, reference
from modelops_bundle.model.source_text import check, decoded, encoded, parameters, refuse, refuse_secret, split

HASHES = {"sha256": 64, "blake3": 64, "md5": 32}
"""What may be expected of a URL's content, with the number of hex digits."""
OLLAMA_HOST = "registry.ollama.ai"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_ALIAS = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,99}[a-z0-9])?")
_OLLAMA_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,127})")
_OLLAMA_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_DRIVE = re.compile(r"/?([A-Za-z]):[\\/]")
_URL_SAFE = "/:@!$&'()*+,;=~%-._?[]"


@runtime_checkable
class SourceUri(Protocol):
    """An address that was understood. `str()` is its canonical spelling, which parses to an equal value."""

    @property
    def scheme(self) -> str:
        """That of the canonical spelling: it names the resolver."""
        ...


@dataclass(frozen=True, slots=True)
class UrlUri:
    """A file at an `http` or `https` URL. `digest` is the algorithm and the hex that its content must have."""

    url: str
    digest: tuple[str, str] | None = None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self.url.partition(":")[0]

    def __str__(self) -> str:
        return self.url + (f"#{self.digest[0]}={self.digest[1]}" if self.digest else "")


@dataclass(frozen=True, slots=True)
class FileUri:
    """A file or directory of this machine; the path is absolute, with `/` between its parts."""

    path: str

    @property
    def scheme(self) -> str:
        """`file`."""
        return "file"

    def __str__(self) -> str:
        return f"file://{'' if self.path.startswith('/') else '/'}{encoded(self.path)}"


@dataclass(frozen=True, slots=True)
class OciUri:
    """An artifact in a registry, or the layer in it whose title is `title`."""

    reference: reference.Reference
    title: str = ""

    @property
    def scheme(self) -> str:
        """`oci`."""
        return "oci"

    def __str__(self) -> str:
        bare = str(self.reference).removeprefix("oci://")
        return f"oci://{bare}" + (f"#{encoded(self.title)}" if self.title else "")


@dataclass(frozen=True, slots=True)
class OllamaUri:
    """A model in a registry as Ollama has them: `HOST/NAMESPACE/MODEL:TAG`."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def scheme(self) -> str:
        """`ollama`."""
        return "ollama"

    def __str__(self) -> str:
        return f"ollama://{self.host}/{self.namespace}/{self.model}:{self.tag}"


@dataclass(frozen=True, slots=True)
class StarterUri:
    """A name that a catalog file gives to another address."""

    alias: str

    @property
    def scheme(self) -> str:
        """`starter`."""
        return "starter"

    def __str__(self) -> str:
        return f"starter://{self.alias}"


def scheme_of(text: str) -> str | None:
    """The scheme that `text` begins with, in lower case; None when there is none."""
    found = _SCHEME.fullmatch(text)
    return found[1].lower() if found else None


def parse(text: str) -> SourceUri:
    """Read an address as people write or paste it.

    :raises UsageError: it is none, with the nearest form that is, or it holds a secret.
    :raises UnsafePath: the path in it may not be created on anybody's disk.
    """
    check(text)
    found = _SCHEME.fullmatch(text)
    if found is None and civitai_uri.is_air(text):
        return civitai_uri.parse_air(text)
    if found is None:
        refuse(text, _nearest(text))
    scheme, rest = found[1].lower(), found[2]
    if not rest:
        refuse(text, f"something follows {scheme}://")
    if scheme in object_uri.SPELLINGS:
        return object_uri.parse(object_uri.SPELLINGS[scheme], rest, text)
    parser = _PARSERS.get(scheme)
    if parser is None:
        refuse(text, f"the schemes are {', '.join(f'{name}://' for name in SCHEMES)}")
    return parser(scheme, rest, text)


def _nearest(text: str) -> str:
    """What was meant, perhaps."""
    if text.startswith(("/", "./", "../")) or _DRIVE.match(text):
        return "write file:// and the absolute path"
    first, slash, rest = text.partition("/")
    if first.lower() in hub_uri.HOSTS or civitai_uri.is_host(first.lower()):
        return f"did you mean https://{text.partition('?')[0][:200]}?"
    if slash and "." not in first and rest:
        return f"did you mean hf://{text.partition('?')[0][:200]}?"
    return "an address begins with its scheme: hf://, civitai://, modelscope://, https://, s3://, oci://, …"


def _hub(scheme: str, rest: str, whole: str) -> SourceUri:
    return hub_uri.parse("hf" if scheme == "hf" else "modelscope", rest, whole)


def _civitai(_scheme: str, rest: str, whole: str) -> SourceUri:
    return civitai_uri.parse(rest, whole)


def _abfs(_scheme: str, rest: str, whole: str) -> SourceUri:
    return object_uri.parse_abfs(rest, whole)


# --- URLs


def _url(_scheme: str, _rest: str, whole: str) -> SourceUri:
    """A URL, or what the page at it shows when its host is one we know."""
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError:
        refuse(whole, "it is not a URL")
    if not parts.hostname or "\\" in whole or any(c.isspace() for c in whole):
        refuse(whole, "a URL has a host, and neither blanks nor backslashes")
    if "@" in parts.netloc:
        raise UsageError("the URL holds a user name", hint="take it out; logins of hosts belong into ~/.netrc")
    host = parts.hostname.lower()
    if port in (None, 80, 443):
        if host in hub_uri.HOSTS:
            return hub_uri.parse_page(host, parts.path, parts.query, whole)
        if civitai_uri.is_host(host):
            return civitai_uri.parse_page(unquote(parts.path), parts.query, whole)
        if (found := object_uri.of_url(host, parts.path, parts.query, whole)) is not None and not parts.fragment:
            return found
    return _plain_url(parts, host, port, whole)


def _plain_url(parts: SplitResult, host: str, port: int | None, whole: str) -> UrlUri:
    for pair in parts.query.split("&"):
        # "key" names an object as often as a secret here; what signs an address expires.
        if (name := pair.partition("=")[0].lower()) not in ("key", ""):
            refuse_secret(name)
    scheme = parts.scheme.lower()
    shown = f"[{host}]" if ":" in host else _ascii(host, whole)
    if port is not None and port != {"http": 80, "https": 443}[scheme]:
        shown += f":{port}"
    query = f"?{quote(parts.query, safe=_URL_SAFE)}" if parts.query else ""
    path = quote(parts.path, safe=_URL_SAFE.replace("?", "")) or "/"
    return UrlUri(f"{scheme}://{shown}{path}{query}", _digest(parts.fragment, whole))


def _ascii(host: str, whole: str) -> str:
    try:
        found = host if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        found = ""
    # The codec lets through what mapping makes of a few characters, blanks among them.
    if not re.fullmatch(r"[0-9a-z._-]+", found):
        refuse(whole, "its host is no name that can be looked up")
    return found


def _digest(fragment: str, whole: str) -> tuple[str, str] | None:
    """What a fragment says of the content; a part of a page (`#files`) says nothing."""
    name, equals, value = fragment.partition("=")
    if not equals:
        return None
    length = HASHES.get(name.lower())
    if length is None or not re.fullmatch(rf"[0-9A-Fa-f]{{{length}}}", value):
        refuse(whole, f"after '#' stands ALGORITHM=HEX, of {', '.join(f'{key} ({n})' for key, n in HASHES.items())}")
    return name.lower(), value.lower()


# --- files, registries, names


def _file(scheme: str, rest: str, whole: str) -> SourceUri:
    place, query, fragment = split(rest)
    if query or fragment:
        refuse(whole, "write %3F for '?' and %23 for '#' in a path")
    place = decoded(place.removeprefix("localhost") if place.startswith("localhost/") else place, whole)
    if drive := _DRIVE.match(place):
        return FileUri(f"{drive[1].upper()}:/" + place[drive.end() :].replace("\\", "/"))
    if not place.startswith("/"):
        refuse(whole, f"the path of {scheme}:// is absolute: {scheme}:///PATH")
    return FileUri("/" + place.lstrip("/"))


def _oci(_scheme: str, rest: str, whole: str) -> SourceUri:
    place, hash_, title = rest.partition("#")
    if "?" in place or (hash_ and not title):
        refuse(whole, "write oci://HOST/REPOSITORY[:TAG][@DIGEST][#TITLE]")
    found = reference.parse(f"oci://{place}")
    if found.prefix is not None:
        refuse(whole, "write the whole digest: sha256: and 64 hex digits")
    return OciUri(found, decoded(title, whole))


def _ollama(_scheme: str, rest: str, whole: str) -> SourceUri:
    place, _, last = rest.rpartition("/")
    model, colon, tag = last.partition(":")
    outer = place.split("/") if place else []
    host = outer.pop(0) if outer and (len(outer) == 2 or "." in outer[0] or ":" in outer[0]) else OLLAMA_HOST
    namespace = outer.pop(0) if outer else "library"
    names = (namespace, model, *([tag] if colon else []))
    if outer or not _OLLAMA_HOST.fullmatch(host) or not all(_OLLAMA_NAME.fullmatch(name) for name in names):
        refuse(whole, "write ollama://[HOST/][NAMESPACE/]MODEL[:TAG]")
    return OllamaUri(host.lower(), namespace, model, tag or "latest")


def _starter(_scheme: str, rest: str, whole: str) -> SourceUri:
    place, query, _ = split(rest)
    parameters(query, (), whole)
    if not _ALIAS.fullmatch(place):
        refuse(whole, "an alias has lower-case letters, digits, '.', '_' and '-'")
    return StarterUri(place)


_PARSERS = {
    "hf": _hub,
    "civitai": _civitai,
    "modelscope": _hub,
    "ms": _hub,
    "http": _url,
    "https": _url,
    "abfs": _abfs,
    "abfss": _abfs,
    "file": _file,
    "local": _file,
    "oci": _oci,
    "ollama": _ollama,
    "starter": _starter,
}
SCHEMES = tuple(sorted([*_PARSERS, *object_uri.SPELLINGS]))
"""Every scheme of the grammar, spellings included."""
