"""What sources offer: files with their sizes and digests, where each can be read, and the port of those who know.

Nothing here holds a token: a place is an address without secrets, and who asks there is found by its host when it is
asked (facts: fetch §1.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable
from urllib.parse import parse_qsl, urlsplit

from modelops_bundle.errors import Corrupt
from modelops_bundle.model import paths
from modelops_bundle.model.source_text import SECRET_PARAMETERS
from modelops_bundle.model.source_uri import SourceUri

API = 1
"""The version of the port `Resolver`: a plugin of another one is refused."""
MAX_FILES = 1_000_000
"""Files of one resolution."""

_HEX_LENGTHS = {"sha256": 64, "blake3": 64, "sha1": 40, "git-sha1": 40, "md5": 32, "crc32": 8}

ValidatorKind = Literal["digest", "etag", "last-modified"]
PlaceKind = Literal["http", "xet", "oci", "object", "file"]


@dataclass(frozen=True, slots=True)
class Validator:
    """What tells one version of a remote file from the next (RFC 9110 §8.8). A strong one never stays when bytes change."""

    kind: ValidatorKind
    value: str
    strong: bool

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validator | None:
        """The best that an answer gives; None when it says nothing.

        :param headers: names in lower case.
        """
        etag = headers.get("etag", "").strip()
        if etag:
            return cls("etag", etag, etag.startswith('"') and len(etag) > 2)
        date = headers.get("last-modified", "").strip()
        return cls("last-modified", date, False) if date else None


@dataclass(frozen=True, slots=True)
class Place:
    """One address that a file can be read at.

    :param url: without secrets: signed addresses live in the `RangeSource` that asked for them, and end with it.
    :raises Corrupt: it holds a user or a token.
    """

    kind: PlaceKind
    url: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        if "@" in parts.netloc or names & (SECRET_PARAMETERS - {"key"}):
            raise Corrupt(f"an address at {parts.hostname} holds a secret")

    @property
    def host(self) -> str:
        """`HOST[:PORT]`, whose limits and credentials apply; empty for a file of this machine."""
        return urlsplit(self.url).netloc.lower()


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a source offers.

    :param path: where it belongs below the destination.
    :param size: bytes, None when only the transfer will tell.
    :param digests: hex by algorithm (`sha256`, `blake3`, `sha1`, `git-sha1`, `md5`, `crc32`), as the provider says.
    :param places: the best first; all have the same content.
    :param meta: what names and placement are made from: plain JSON values.
    :raises UnsafePath: `path` may not be created. :raises Corrupt: a size or digest that cannot be, or no place.
    """

    path: str
    size: int | None
    digests: Mapping[str, str]
    validator: Validator | None
    places: tuple[Place, ...]
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        paths.validate(self.path)
        shown = paths.display(self.path)
        if self.size is not None and (isinstance(self.size, bool) or self.size < 0):
            raise Corrupt(f"the size of {shown} cannot be {self.size}")
        for name, value in self.digests.items():
            length = _HEX_LENGTHS.get(name)
            if length is None or len(value) != length or set(value) - set("0123456789abcdef"):
                raise Corrupt(f"{shown} has no {name[:20]} that can be one: {value[:70]!r}")
        if not self.places:
            raise Corrupt(f"there is no place to read {shown} from")
        object.__setattr__(self, "digests", MappingProxyType(dict(self.digests)))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def __hash__(self) -> int:
        return hash((self.path, self.size, tuple(sorted(self.digests.items())), self.places))


@dataclass(frozen=True, slots=True)
class Resolution:
    """What an address stands for at this moment.

    :param canonical: the address, as one spells it. :param pinned: the same that stays what it is: a commit, a version.
    :param files: sorted by path.
    :param warnings: what the user should read before anything is fetched.
    :param licence: as the provider names it.
    :raises UnsafePath: two of the files cannot be in one tree.
    """

    canonical: str
    pinned: str
    files: tuple[RemoteFile, ...]
    warnings: tuple[str, ...] = ()
    licence: str | None = None

    def __post_init__(self) -> None:
        if len(self.files) > MAX_FILES:
            raise Corrupt(f"{self.canonical} has more than {MAX_FILES} files")
        paths.validate_tree(file.path for file in self.files)
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda file: file.path)))

    @property
    def size(self) -> int | None:
        """Bytes of all files, None when one of them does not say."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


# --- asking


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer: names of headers in lower case, the address it came from after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str = field(repr=False)


class Stream(Protocol):
    """An answer whose body is still to be read."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def url(self) -> str:
        """Where it came from, after redirects."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """The body, in pieces of at most about 1 MiB."""
        ...


class Ctx(Protocol):
    """All that a resolver may use: it asks the network through this, and touches nothing else.

    Credentials are added by host and dropped where a redirect leaves its origin; rate limits are waited for; answers
    outside `accept` raise.
    """

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] = ...,
        body: bytes | None = None,
        limit: int = ...,
    ) -> Heard:
        """The whole answer, of any status below 500 but 408 and 429.

        :raises BundleError: no such answer came, or one of more than `limit` bytes.
        """
        ...

    def stream(self, url: str, *, headers: Mapping[str, str] = ...) -> AbstractContextManager[Stream]:
        """An answer to read from the wire, of any status. One attempt: who reads knows how to go on."""
        ...

    def knows_us(self, url: str) -> bool:
        """Whether there are credentials for the host of `url`."""
        ...

    def endpoint(self, name: str) -> str | None:
        """The root URL that stands in for that of the source `name` (a mirror, a test); None for its own."""
        ...


@dataclass(frozen=True, slots=True)
class SourceCaps:
    """What a place can do.

    :param ranges: whether it sends parts. None: `probe` tells.
    :param connections: the most that make sense at a time.
    """

    ranges: bool | None = None
    connections: int = 16


@dataclass(frozen=True, slots=True)
class Probe:
    """What one small request told: None where it did not.

    :param host: who sends the bytes, after redirects.
    """

    size: int | None
    validator: Validator | None
    ranges: bool
    host: str


class RangeSource(Protocol):
    """Brings the bytes of one file from one place. Any number of threads use it at a time."""

    @property
    def caps(self) -> SourceCaps: ...

    def probe(self) -> Probe:
        """Ask for as good as nothing.

        :raises BundleError: the file cannot be had, with what to do.
        """
        ...

    def read(self, start: int, stop: int | None) -> Iterator[tuple[int, bytes]]:
        """Offsets and bytes from `start` to `stop` (exclusive; None is the end), not always in order, unverified.

        :raises SourceChanged: the file is another one by now.
        """
        ...

    def refresh(self, reason: str) -> None:
        """Forget what may have expired; the next read asks anew."""
        ...


@runtime_checkable
class Resolver(Protocol):
    """Knows one kind of source. It keeps no state, reads no files, and sees no secrets.

    `api` is that of this port; `schemes` are those of canonical addresses.
    """

    api: ClassVar[int]
    name: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]

    def parse(self, text: str) -> SourceUri:
        """Read an address. Pure.

        :raises UsageError: it is none, with a hint.
        """
        ...

    def resolve(self, uri: SourceUri, ctx: Ctx) -> Resolution:
        """Look it up, and pin it.

        :raises NotFound: there is no such thing. :raises Unauthorized: with the page to visit or the variable to set.
        :raises Unavailable: it cannot be asked. :raises Corrupt: its answers make no sense.
        """
        ...

    def open(self, file: RemoteFile, place: Place, ctx: Ctx) -> RangeSource:
        """What reads `file` at `place`. Asks nothing yet."""
        ...
