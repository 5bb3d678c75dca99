"""The HTTP client of registries: login, redirects, retries, bounded and streamed bodies, events.

One client serves all workers of an operation. urllib3 is imported at the first request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self, TypeVar
from urllib.parse import urljoin

from modelops_bundle.errors import BundleError, Corrupt, NotFound, Unauthorized, Unavailable
from modelops_bundle.events import Requested, Run, checkpoint
from modelops_bundle.model import canonical
from modelops_bundle.model.ports import Piece, Span
from modelops_bundle.net import problems
from modelops_bundle.net.auth import MAX_TOKEN, Authenticator, TokenRequest
from modelops_bundle.net.credentials import Anonymous, CredentialSource
from modelops_bundle.net.exchange import Answer, Raw, Reply, Request, Sender
from modelops_bundle.net.gate import Gate, Gates, Held, Place
from modelops_bundle.net.options import NetOptions, Origin, is_local, is_metadata
from modelops_bundle.net.redact import redact_url, safe
from modelops_bundle.net.retry import Policy, Retrier, Transient, interruptible_sleep, pause_asked
from modelops_bundle.net.throttle import Pieces, Throttle

MAX_REDIRECTS = 5
_REDIRECTS = frozenset([301, 302, 303, 307, 308])
_LOGINS = 3
"""Logins tried for one request: the first or a fresh one for a stale one, and one that allows more."""
_NO_OAUTH = (404, 405)
"""What token servers without OAuth2 answer to a POST."""

Result = TypeVar("Result")


class Client:
    """Asks registries.

    :param options: hosts, trust, timeouts, proxy.
    :param credentials: who we are, by host; None is anonymous.
    :param run: events, cancellation, byte rate.
    :param policy: how often and how long to retry.
    :param throttle: the byte rate's bucket, when several clients share one.
    :param transport: what sends; urllib3 when None.
    """

    def __init__(
        self,
        options: NetOptions | None = None,
        *,
        credentials: CredentialSource | None = None,
        run: Run | None = None,
        policy: Policy | None = None,
        throttle: Throttle | None = None,
        transport: Sender | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.options = options or NetOptions()
        self.run = run or Run()
        self.policy = policy or Policy()
        self._sleep = sleep or interruptible_sleep(self.run)
        self._retrier = Retrier(self.run, self.policy, self._sleep)
        self._throttle = throttle or Throttle(self.run.limits.rate, self._sleep)
        self.credentials = credentials or Anonymous()
        self._auth = Authenticator(self.credentials, self.options)
        self._gates = Gates(self._sleep, self.run.check, self.options.stall_timeout)
        self._login = threading.RLock()
        self._denied: set[tuple[str, str | None, bytes | None]] = set()
        self._transport = transport
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections. The client can be used again."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Wake the threads that wait for bytes, after `run.cancel()`: a stalled peer must not hold up Ctrl-C."""
        self._gates.wake()
        if self._transport is not None:
            self._transport.abort()

    # --- asking

    def retry(self, key: str, action: Callable[[], Result]) -> Result:
        """Do `action`, which uses `once`, again after each `Transient`, as the policy allows."""
        return self._retrier.call(key, action)

    def wait(self, key: str, failed: int, trouble: Transient) -> None:
        """Wait before attempt `failed` + 1, or raise the error of `trouble` when there is none."""
        self._retrier.wait(key, failed, trouble)

    def fetch(self, request: Request, limit: int = problems.MAX_ERROR) -> Reply:
        """Ask, with retries, and read the whole answer of at most `limit` bytes.

        :raises BundleError: no answer with one of the statuses in `request.accept`, or a larger one.
        """

        def attempt() -> Reply:
            with self.once(request) as answer:
                body = b"" if request.method == "HEAD" else answer.read(limit)
                return Reply(answer.status, answer.headers, body, answer.url)

        return self.retry(request.name, attempt)

    def once(self, request: Request) -> Answer:
        """Ask once (logging in and following redirects on the way); the caller closes the answer.

        :raises Transient: it failed, and may work next time. :raises BundleError: it failed for good.
        """
        origin = Origin.of(request.url)
        login = self._login_for(origin, request)
        answer = self._follow(request, origin, login)
        if request.scope is not None:
            answer = self._after_login(request, origin, answer, login)
        if answer.status in request.accept and not _is_web_page(request, answer):
            return answer
        with answer:
            raise self._problem(request, answer)

    # --- login

    def authorization(self, origin: Origin, scope: str) -> str | None:
        """The `Authorization` that requests for `scope` carry to `origin`; None when nobody asked for one yet."""
        return self._auth.header(origin, scope)

    @property
    def secrets(self) -> frozenset[str]:
        """What was sent to prove who we are: a server may quote it, and its words are printed."""
        return self._auth.secrets

    def _login_for(self, origin: Origin, request: Request) -> str | None:
        if request.scope is None:
            return None
        header = self._auth.header(origin, request.scope)
        if header is None and self._auth.wanted(origin, request.scope) is not None:
            header = self._renew(origin, request.scope, None, "")
        return header

    def _after_login(self, request: Request, origin: Origin, answer: Answer, sent: str | None) -> Answer:
        """`answer`, or the one to the same request with a better login than `sent`."""
        scope = request.scope or ""
        for _ in range(_LOGINS):
            if answer.status not in (401, 403) or Origin.of(answer.url) != origin:
                if sent is not None:
                    self._auth.accepted(sent, scope)
                return answer
            challenge = answer.headers.get("www-authenticate", "")
            if answer.status == 403 and not self._auth.may_be_stale(origin, scope, sent, challenge):
                return answer
            with answer:
                answer.read_error()
            sent = self._renew(origin, scope, sent, challenge)
            if not request.repeatable:
                # Its body is spent. The caller may have another; the login is fresh by then.
                raise Transient(self._auth.refusal(origin, scope), cause="renew")
            answer = self._follow(request, origin, sent)
        if answer.status == 401:
            with answer:
                raise self._auth.refusal(origin, scope)
        return answer

    def _renew(self, origin: Origin, scope: str, sent: str | None, challenge: str) -> str | None:
        """Get a login better than `sent`: one worker asks, the others wait and use what it got."""
        with self._login:
            known = self._auth.header(origin, scope)
            if known is not None and known != sent:
                return known
            if challenge:
                wanted = self._auth.challenged(origin, scope, challenge, sent)
            else:
                wanted = None if self._auth.is_spent(origin, scope, sent) else self._auth.wanted(origin, scope)
                if wanted is None:
                    raise self._auth.refusal(origin, scope)
            if wanted is None:
                return self._auth.header(origin, scope)
            return self._auth.granted(wanted, self._get_token(wanted))

    def _get_token(self, wanted: TokenRequest) -> Mapping[str, Any]:
        host = wanted.origin.netloc
        reply = self._ask_for_token(wanted)
        plain = self._auth.without_oauth(wanted) if reply.status in _NO_OAUTH else None
        if plain is not None:
            reply = self._ask_for_token(plain)
        if reply.status != 200:
            # Not "absent": that would read as if the repository were not there.
            what = "takes no identity tokens" if wanted.method == "POST" and plain is None else "is not there"
            raise Unavailable(f"the token server of {host} {what}", host=host)
        try:
            return canonical.loads(reply.body, "the token server's answer", limit=MAX_TOKEN)
        except Corrupt as error:
            raise Unavailable(f"the token server of {host} gave no usable token", host=host) from error

    def _ask_for_token(self, wanted: TokenRequest) -> Reply:
        asked = (wanted.url, wanted.headers.get("Authorization"), wanted.body)
        if asked in self._denied:
            # The workers that waited for this one: asked by each of them, a server may lock the user out.
            raise self._auth.refusal(wanted.origin, wanted.scope)
        accept = frozenset([200, *_NO_OAUTH])
        request = Request(
            wanted.method, wanted.url, "token", wanted.headers, wanted.body, accept=accept, scope=None, key="login"
        )
        try:
            return self.fetch(request, MAX_TOKEN)
        except Unauthorized as error:
            self._denied.add(asked)
            raise self._auth.refusal(wanted.origin, wanted.scope) from error
        except NotFound as error:
            raise Unavailable(f"the token server of {wanted.origin.netloc} is not there") from error
        except Corrupt as error:
            # Too long, or packed: no content is in doubt, it is the server that is of no use.
            host = wanted.origin.netloc
            raise Unavailable(f"the token server of {host} gave no usable token: {error.message}", host=host) from error

    # --- one exchange

    def _follow(self, request: Request, origin: Origin, login: str | None) -> Answer:
        """Send, and follow redirects of reads; `login` is for `origin` alone (facts: OCI §3, "redirects")."""
        at, here = request, origin
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._send(at, login if here == origin else None)
            target = answer.headers.get("location")
            if answer.status not in _REDIRECTS or answer.status in request.accept or target is None:
                return answer
            with answer:
                answer.read_error()
            at = replace(at, url=_redirected(request, at.url, target), headers=_without_login(at, target))
            here = Origin.of(at.url)
        raise Unavailable(f"{origin.netloc} redirects more than {MAX_REDIRECTS} times", host=origin.netloc)

    def _send(self, request: Request, login: str | None) -> Answer:
        self.run.check()
        gate = self._gates.at(Origin.of(request.url).netloc)
        # Whoever waits for the login may hold places: it needs none to be free.
        place = gate.enter(urgent=request.kind == "token")
        try:
            raw = self._exchange(request, login)
        except BaseException:
            place.leave()
            raise
        self._tell(gate, place, raw)
        return Answer(Held(raw, place), request.url, self.run, self._throttle)

    def _tell(self, gate: Gate, place: Place, raw: Raw) -> None:
        """Let the gate of the host know whether it had too much to do."""
        if raw.status != 429 and (raw.status != 503 or "retry-after" not in raw.headers):
            if raw.status < 400:
                gate.succeeded()
            return
        after = pause_asked(raw.headers, time.time())
        # A pause that is longer than anybody waits is everybody's own error.
        gate.complained(place, after if after is None or after <= self.policy.patience else None)

    def _exchange(self, request: Request, login: str | None) -> Raw:
        headers = {"Accept-Encoding": "identity", "User-Agent": self.options.user_agent, **request.headers}
        if login is not None:
            headers["Authorization"] = login
        body = request.body
        if isinstance(body, bytes):
            headers["Content-Length"] = str(len(body))
            body = self._paced((body,)) if body else None
        elif body is not None:
            headers["Content-Length"] = str(request.length)
            body = self._paced(body)
        elif request.method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = "0"
        checkpoint(f"request {request.method} {request.kind}")
        status, began = 0, time.monotonic()
        try:
            raw = self._sender().send(request.method, request.url, headers, body, request.patience)
            status = raw.status
        finally:
            self.run.emit(Requested(request.method, redact_url(request.url), status, time.monotonic() - began))
        checkpoint(f"answer {request.method} {request.kind}")
        return raw

    def _paced(self, body: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces of `body`, cut so that each is sent in a moment."""
        pieces = Pieces(self._throttle.block)
        for chunk in body:
            view = chunk if isinstance(chunk, Span) else memoryview(chunk)
            while view:
                self.run.check()
                piece = view[: pieces.size]
                self._throttle.take(len(piece))
                began = time.monotonic()
                yield piece  # type: ignore[misc]  # sockets take any buffer
                pieces.took(time.monotonic() - began)
                view = view[len(piece) :]

    def _sender(self) -> Sender:
        if self._transport is None:
            with self._starting:
                if self._transport is None:
                    from modelops_bundle.net.transport import Transport

                    self._transport = Transport(self.options, self.run.cancelled)
        return self._transport

    def _problem(self, request: Request, answer: Answer) -> BundleError | Transient:
        body = answer.read_error()
        origin = Origin.of(answer.url)
        host = origin.netloc
        if (found := self._misdirected(origin, answer, body)) is not None:
            return found
        what = f"{request.method} {request.kind}"
        if _is_web_page(request, answer):
            return Transient(Unavailable(f"{host} answered {what} with HTML, not as a registry does", host=host))
        error = problems.of_status(answer.status, answer.headers, body, host=host, what=what, hide=self.secrets)
        if answer.status in (400, 403) and Origin.of(answer.url) != (asked := Origin.of(request.url)):
            # A signed address that expired (400 at Google's store); the one who signed it is asked again.
            hint = f"{asked.netloc} sends its clients there with addresses that expire: check the clocks of both"
            return Transient(type(error)(error.message, hint=hint, **error.facts), cause="expired")
        if answer.status in problems.TRANSIENT:
            return Transient(error, after=pause_asked(answer.headers, time.time()))
        return error

    def _misdirected(self, origin: Origin, answer: Answer, body: bytes) -> BundleError | None:
        """The error of an answer that is not the registry's: that of a proxy, or of TLS asked in plain HTTP."""
        if answer.status == 407 and (through := self.options.proxy_for(origin)) is not None:
            from modelops_bundle.net.proxy import wants_login

            return wants_login(through)
        if origin.scheme != "http" or answer.status != 400:
            return None
        # Go's server says so in a body that HEAD does not show, and sends no header at all; nginx says it in HTML.
        if answer.headers and b"HTTPS server" not in body and b"sent to HTTPS port" not in body:
            return None
        known = is_local(origin.host) and not self.options.at(origin).plain_http
        hint = "give its authority with --ca-file, or use --insecure" if known else "leave out --plain-http"
        return Unavailable(f"{origin.netloc} speaks TLS, and was asked in plain HTTP", hint=hint, host=origin.netloc)


def _is_web_page(request: Request, answer: Answer) -> bool:
    """Whether a login page or proxy answered a request to change something, which would read as if that were done."""
    return request.method not in ("GET", "HEAD") and answer.status < 300 and problems.is_html(answer.headers, b"")


def _redirected(request: Request, base: str, target: str) -> str:
    """The URL that `base` redirects to.

    :raises Unavailable: it must not be followed.
    """
    here = Origin.of(base)
    if request.method not in ("GET", "HEAD"):
        raise Unavailable(f"{here.netloc} redirects a {request.method}, which is not followed", host=here.netloc)
    try:
        url = urljoin(base, target)
        there = Origin.of(url)
    except (Corrupt, ValueError) as error:
        raise Unavailable(f"{here.netloc} redirects to something else than a web address", host=here.netloc) from error
    if here.scheme == "https" and there.scheme != "https":
        raise Unavailable(f"{here.netloc} redirects from TLS to plain HTTP ({safe(there.netloc)})", host=here.netloc)
    # A private registry may keep its blobs at a private address; nobody else has business on this machine.
    if is_metadata(there.host) and there.host != here.host and not is_local(here.host):
        raise Unavailable(f"{here.netloc} redirects to an address of this machine", host=here.netloc)
    return url


def _without_login(request: Request, target: str) -> Mapping[str, str]:
    """The headers for the next hop: an `Authorization` of the caller's own never leaves its origin."""
    if Origin.of(urljoin(request.url, target)) == Origin.of(request.url):
        return request.headers
    return {name: value for name, value in request.headers.items() if name.lower() not in ("authorization", "cookie")}
