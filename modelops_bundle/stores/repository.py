"""One repository of one registry: its URLs, the login its requests need, and the clock it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from modelops_bundle.errors import BundleError, Corrupt, UsageError
from modelops_bundle.model import reference
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.digest import Digest
from modelops_bundle.net import problems
from modelops_bundle.net.auth import pull_scope, push_scope
from modelops_bundle.net.exchange import Answer, Body, Reply, Request
from modelops_bundle.net.options import Origin, is_docker_hub
from modelops_bundle.net.redact import redact_url
from modelops_bundle.net.retry import Transient

if TYPE_CHECKING:
    from modelops_bundle.net.client import Client

OK = frozenset([200])


class Repository:
    """Speaks to `host`/v2/`name`.

    :param host: the registry as references spell it, `HOST[:PORT]`.
    :raises UsageError: `name` is no repository name (distribution-spec, "Pulling manifests").
    """

    def __init__(self, client: Client, host: str, name: str) -> None:
        parsed = reference.parse(f"oci://{host}/{name}")
        if parsed.at() != parsed:
            raise UsageError(f"not a repository name: {name[:200]!r}")
        self.client = client
        self.host = host
        # On Docker Hub, and only there, a single word is short for `library/WORD`.
        self.name = f"library/{name}" if is_docker_hub(host) and "/" not in name else name
        self.origin = client.options.registry(host)
        self._date: str | None = None

    def request(
        self,
        method: str,
        path: str,
        kind: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        length: int | None = None,
        accept: Iterable[int] = OK,
        actions: str | None = None,
        key: str | None = None,
        patience: float = 0.0,
    ) -> Request:
        """A request to `path` below the repository, or to the absolute URL `path` of the same origin.

        :param actions: what the login must allow; reads pull, everything else pulls and pushes, when None.
        """
        url = path if "://" in path else f"{self.origin}/v2/{self.name}/{path}"
        if actions is not None:
            scope = f"repository:{self.name}:{actions}"
        else:
            scope = pull_scope(self.name) if method in ("GET", "HEAD") else push_scope(self.name)
        return Request(method, url, kind, headers or {}, body, length, frozenset(accept), scope, key, patience)

    def fetch(self, request: Request, limit: int = problems.MAX_ERROR) -> Reply:
        """`Client.fetch`, noting the registry's clock."""
        reply = self.client.fetch(request, limit)
        self._note(reply.headers)
        return reply

    def once(self, request: Request) -> Answer:
        """`Client.once`, noting the registry's clock."""
        answer = self.client.once(request)
        self._note(answer.headers)
        return answer

    def error(self, request: Request, reply: Reply) -> BundleError:
        """The error of a status that was accepted only to look at it."""
        what = f"{request.method} {request.kind}"
        host = Origin.of(reply.url).netloc
        hide = self.client.secrets
        return problems.of_status(reply.status, reply.headers, reply.body, host=host, what=what, hide=hide)

    def below(self, base: str, target: str) -> str | None:
        """The URL that the registry, asked at `base`, means by `target`; None when it is of another origin.

        A proxy that ends TLS may hide it from the registry, which then says http to its own name: that is mended.

        :raises Corrupt: `target` is no URL.
        """
        return below(self.origin, base, target)

    def now(self) -> float | None:
        """Seconds since the epoch by the registry's `Date` of the last answer (RFC 9110 §6.6.1)."""
        if self._date is None:
            return None
        from email.utils import parsedate_to_datetime

        try:
            return parsedate_to_datetime(self._date).timestamp()
        except (ValueError, OverflowError, TypeError):
            return None

    def _note(self, headers: Mapping[str, str]) -> None:
        self._date = headers.get("date", self._date)


def below(origin: Origin, base: str, target: str) -> str | None:
    """`Repository.below` for any part of the registry at `origin`.

    :raises Corrupt: `target` is no URL.
    """
    try:
        url = urljoin(base, target)
    except ValueError as error:
        raise Corrupt(f"{origin.netloc} names something that is no URL: {redact_url(target)[:200]}") from error
    there = Origin.of(url)
    if origin.scheme == "https" and there.scheme == "http" and there.netloc == origin.netloc:
        url = "https" + url.removeprefix("http")
        there = Origin.of(url)
    return url if there == origin else None


def said_otherwise(headers: Mapping[str, str], digest: Digest, host: str) -> Corrupt | None:
    """The error of a `Docker-Content-Digest` that is not `digest`; absent or of another algorithm it says nothing."""
    said = headers.get("docker-content-digest", "").strip()
    if not said.startswith("sha256:") or said == str(digest):
        return None
    return Corrupt(f"{host} says {said[:80]!r} of content that is {digest}", digest=str(digest), host=host)


def wrong(message: str, **facts: Any) -> Transient:
    """An answer that is not what was asked for: once may be an accident on the way."""
    return Transient(Corrupt(message, **facts), cause="corrupt")


def key_of(what: Descriptor) -> str:
    """How events name the transfer of `what`."""
    return str(what.digest)
