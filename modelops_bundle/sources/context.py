"""What resolvers ask the network through: the HTTP client, with logins by host (`model.remote.Ctx`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from modelops_bundle.errors import Unavailable
from modelops_bundle.model.remote import Heard
from modelops_bundle.net.client import Client
from modelops_bundle.net.exchange import Answer, Request
from modelops_bundle.net.options import Origin
from modelops_bundle.net.redact import HIDDEN
from modelops_bundle.net.retry import Policy, Transient
from modelops_bundle.sources.logins import Logins

MOST = 32 * 1024 * 1024
"""Bytes of an answer that is read whole: a page of a listing has a tenth of them."""
PATIENT = Policy(attempts=8, ceiling=30.0, patience=600.0)
"""How hubs are asked (facts: fetch §3.4): a window of their limits is 300 s long."""

_REDIRECTS = frozenset([301, 302, 303, 307, 308])
_FINAL = frozenset(range(200, 500)) - _REDIRECTS - {408, 429}
"""Statuses that another attempt does not change, and that mean something to whoever asked."""
_NO_HEADERS: Mapping[str, str] = {}


class NetCtx:
    """Asks with `client`; adds what `logins` knows for the origin asked, which the client drops where it is left.

    :param endpoints: root URLs that stand in for those of sources, by the resolver's name.
    """

    def __init__(self, client: Client, logins: Logins, endpoints: Mapping[str, str] | None = None) -> None:
        self._client = client
        self._logins = logins
        self._endpoints = {name: url.rstrip("/") for name, url in (endpoints or {}).items()}

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | None = None,
        limit: int = MOST,
    ) -> Heard:
        """As the port says."""
        reply = self._client.fetch(self._request(method, url, headers, body), limit)
        return Heard(reply.status, reply.headers, self._unquoted(url, reply.body), reply.url)

    @contextmanager
    def stream(self, url: str, *, headers: Mapping[str, str] = _NO_HEADERS) -> Iterator[_Wire]:
        """As the port says."""
        try:
            answer = self._client.once(self._request("GET", url, headers, None))
        except Transient as trouble:
            raise _given_up(trouble) from trouble
        with answer:
            yield _Wire(answer)

    def knows_us(self, url: str) -> bool:
        """As the port says."""
        return bool(self._logins.at(Origin.of(url)))

    def endpoint(self, name: str) -> str | None:
        """As the port says."""
        return self._endpoints.get(name)

    def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Request:
        login = self._logins.at(Origin.of(url))
        return Request(method, url, "source", {**headers, **login}, body, accept=_FINAL, scope=None)

    def _unquoted(self, url: str, body: bytes) -> bytes:
        for secret in self._logins.secrets(Origin.of(url)):
            body = body.replace(secret.encode(), HIDDEN.encode())
        return body


class _Wire:
    """An answer on the wire, whose troubles are errors."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers = answer.headers
        self.url = answer.url

    def chunks(self) -> Iterator[bytes]:
        """As the port says. :raises Unavailable: the connection broke or stalled."""
        try:
            yield from self._answer.chunks()
        except Transient as trouble:
            raise _given_up(trouble) from trouble


def _given_up(trouble: Transient) -> Exception:
    """The error of one attempt, telling that another may succeed, and when."""
    error = trouble.error
    if isinstance(error, Unavailable):
        error.facts["transient"] = True
        if trouble.after is not None:
            error.facts["retry_after"] = trouble.after
    return error
