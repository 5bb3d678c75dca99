"""Registry authentication without input or output: challenges in, headers and token requests out.

RFC 9110 §11 (challenges), RFC 7617 (Basic), RFC 6750 (Bearer), and the token protocol of the CNCF distribution
project ("Docker Registry v2 authentication"). The client does the requests.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from modelops_bundle.errors import Corrupt, Unauthorized, Unavailable
from modelops_bundle.net.credentials import Credentials, CredentialSource
from modelops_bundle.net.options import NetOptions, Origin, is_local
from modelops_bundle.net.redact import has_controls, safe

DEFAULT_LIFE = 60.0
"""Seconds a token lives when its server does not say (distribution project, "Token Authentication Specification")."""
MAX_TOKEN = 256 * 1024
"""Most bytes of a token server's answer."""
CLIENT_ID = "modelops-bundle"

_SEPARATORS = re.compile(r"[\s,]*")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(rf"({_WORD})(?=[ \t,]|$)")
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge; scheme and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The request that gets a token for `scope` at the registry `origin`."""

    origin: Origin
    scope: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    expires: float


def pull_scope(repository: str) -> str:
    """The scope of reading `repository`."""
    return f"repository:{repository}:pull"


def push_scope(repository: str) -> str:
    """The scope of reading and writing `repository`."""
    return f"repository:{repository}:pull,push"


def _repository(scope: str) -> str:
    """The repository of the first part of `scope`; empty when it is about none."""
    kind, _, rest = scope.partition(" ")[0].partition(":")
    return rest.rpartition(":")[0] if kind == "repository" else ""


def parse_challenges(text: str) -> list[Challenge]:
    """The challenges of one or several joined `WWW-Authenticate` headers, RFC 9110 §11.6.1.

    Values may lack their quotes; what follows something unreadable is ignored.
    """
    found: list[tuple[str, dict[str, str]]] = []
    position = _after_separators(text, 0)
    while position < len(text):
        parameter = _PARAMETER.match(text, position)
        if parameter is not None and found:
            quoted = parameter[2]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else parameter[3]
            found[-1][1].setdefault(parameter[1].lower(), value)
            position = parameter.end()
        elif (scheme := _SCHEME.match(text, position)) is not None:
            found.append((scheme[1].lower(), {}))
            position = scheme.end()
        else:
            break
        position = _after_separators(text, position)
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def _after_separators(text: str, position: int) -> int:
    found = _SEPARATORS.match(text, position)
    return found.end() if found else position


class Authenticator:
    """What is known of each registry's wishes, and the tokens it gave. Safe to share between threads.

    :param clock: monotonic seconds.
    """

    def __init__(
        self, credentials: CredentialSource, options: NetOptions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = credentials
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._fixed: dict[tuple[Origin, str], str] = {}
        self._bearer: dict[Origin, Challenge] = {}
        self._tokens: dict[tuple[Origin, str, str], _Token] = {}
        self._wider: dict[tuple[Origin, str], str] = {}
        # What the last refusal was answered with, and which logins did work for which scope: a new one that never
        # worked is not worth a third try.
        self._newest: dict[tuple[Origin, str], str] = {}
        self._proven: set[tuple[str, str]] = set()
        self.secrets: frozenset[str] = frozenset()

    def header(self, origin: Origin, scope: str) -> str | None:
        """The `Authorization` to send to `origin` and nobody else, None when none is known to be wanted."""
        with self._lock:
            fixed = self._fixed.get((origin, _repository(scope)))
            if fixed is not None:
                return fixed
            service, now = self._service(origin), self._clock()
            exact = self._tokens.get((origin, service, scope))
            if exact is not None and exact.expires > now:
                return exact.header
            # A token to pull and push also pulls.
            for (of, to, wider), token in self._tokens.items():
                if (of, to) == (origin, service) and token.expires > now and _covers(wider, scope):
                    return token.header
        return None

    def wanted(self, origin: Origin, scope: str) -> TokenRequest | None:
        """The request to make before asking `origin`, when it is known to want a token that is not here."""
        with self._lock:
            challenge = self._bearer.get(origin)
        return None if challenge is None else self._token_request(origin, scope, challenge)

    def challenged(self, origin: Origin, scope: str, text: str, sent: str | None) -> TokenRequest | None:
        """Take in a 401 of `origin`.

        :param text: its `WWW-Authenticate`, several of them joined by commas.
        :param sent: the `Authorization` that it refused.
        :returns: the token to get first, or None: try again with `header`.
        :raises Unauthorized: nothing more can be offered.
        """
        challenges = parse_challenges(text)
        credentials = self._credentials(origin, scope)
        if credentials is not None and credentials.registry_token is not None:
            self._use_token(origin, scope, challenges, credentials, sent)
            return None
        bearer = _bearer(challenges)
        if bearer is not None:
            self._remember(origin, bearer)
            if self.is_spent(origin, scope, sent) and not self._widen(origin, scope, bearer):
                raise self.refusal(origin, scope, narrow=True)
            return self._token_request(origin, scope, bearer)
        if not any(one.scheme == "basic" for one in challenges):
            names = ", ".join(safe(one.scheme, 40) for one in challenges) or "nothing this tool knows"
            raise Unauthorized(f"{origin.netloc} wants a login by {names}", host=origin.netloc)
        if credentials is None or credentials.has_token or sent == credentials.basic:
            raise refused(origin, credentials)
        with self._lock:
            self._fixed[origin, _repository(scope)] = credentials.basic
        return None

    def _use_token(
        self, origin: Origin, scope: str, challenges: list[Challenge], credentials: Credentials, sent: str | None
    ) -> None:
        header = f"Bearer {credentials.registry_token}"
        if sent == header or not any(one.scheme == "bearer" for one in challenges):
            raise refused(origin, credentials)
        with self._lock:
            self._fixed[origin, _repository(scope)] = header

    def accepted(self, sent: str, scope: str) -> None:
        """Note that the login `sent` was good for `scope`: when it is refused later, it has become stale."""
        self._proven.add((sent, scope))

    def is_spent(self, origin: Origin, scope: str, sent: str | None) -> bool:
        """Whether `sent`, which `origin` refused, answered an earlier refusal and never worked: another will not help."""
        return sent is not None and self._newest.get((origin, scope)) == sent and (sent, scope) not in self._proven

    def may_be_stale(self, origin: Origin, scope: str, sent: str | None, text: str) -> bool:
        """Whether a 403 of `origin` may be about the token `sent` and not about who we are.

        Some registries say 403 for a token that expired, RFC 6750 §3.1 for one that is too narrow.

        :param text: its `WWW-Authenticate`.
        """
        if sent is None or not sent.startswith("Bearer ") or self._fixed.get((origin, _repository(scope))) == sent:
            return False
        narrow = _bearer(parse_challenges(text))
        if narrow is not None and narrow.parameters.get("error") == "insufficient_scope":
            return True
        return not self.is_spent(origin, scope, sent)

    def granted(self, request: TokenRequest, answer: Mapping[str, Any]) -> str:
        """Keep the token of a token server's JSON answer, and return the `Authorization` it makes: good for one request
        however short it lives.

        :raises Unavailable: there is none in it.
        """
        value = answer.get("token") or answer.get("access_token")
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise Unavailable(f"the token server of {request.origin.netloc} gave no usable token")
        life = _life(answer.get("expires_in"))
        # The margin covers the way there and clocks that run apart.
        token = _Token(f"Bearer {value}", self._clock() + life - min(15.0, life / 5))
        with self._lock:
            self.secrets |= {value}
            self._tokens[request.origin, self._service(request.origin), request.scope] = token
            self._newest[request.origin, request.scope] = token.header
        return token.header

    def without_oauth(self, request: TokenRequest) -> TokenRequest | None:
        """The way to a token at a server that knows no POST, None when there is none for this login.

        "Not all token servers implement oauth2" (distribution project, "OAuth2 Token Authentication"). As containerd
        does, an identity token then is the password of the user it stands beside, and goes to the same server.
        """
        credentials, challenge = self._credentials(request.origin, request.scope), self._bearer.get(request.origin)
        if request.method != "POST" or challenge is None or credentials is None or not credentials.username:
            return None
        password = credentials.password or credentials.identity_token or ""
        plain = Credentials(credentials.username, password)
        return self._get_request(request.origin, request.scope, challenge, plain)

    def _service(self, origin: Origin) -> str:
        challenge = self._bearer.get(origin)
        return challenge.parameters.get("service", "") if challenge else ""

    def _credentials(self, origin: Origin, scope: str) -> Credentials | None:
        found = self._source.get(origin.netloc, _repository(scope))
        if found is not None:
            with self._lock:
                self.secrets |= found.secrets
        return found

    def _remember(self, origin: Origin, challenge: Challenge) -> None:
        realm = self._realm(origin, challenge)
        with self._lock:
            known = self._bearer.get(origin)
            # Who took the password itself is its own token server.
            first = Origin.of(known.parameters["realm"]) if known is not None else origin
            plain = [key for key in self._fixed if key[0] == origin]
            if (known is not None or plain) and realm != first:
                raise Unauthorized(f"{origin.netloc} suddenly names another token server, {realm.netloc}")
            self._bearer[origin] = challenge
            for key in plain:
                del self._fixed[key]

    def _widen(self, origin: Origin, scope: str, challenge: Challenge) -> bool:
        """Ask for what the registry misses (RFC 6750 §3.1, `insufficient_scope`) from now on; once for each scope."""
        missed = challenge.parameters.get("scope", "")
        if challenge.parameters.get("error") != "insufficient_scope" or (origin, scope) in self._wider:
            return False
        more = [one for one in missed.split() if not _covers(scope, one)]
        if more:
            with self._lock:
                self._wider[origin, scope] = " ".join([*scope.split(), *more])
        return bool(more)

    def _realm(self, origin: Origin, challenge: Challenge) -> Origin:
        """The origin of the token server, when it may see a password (facts: reliability §4, R5).

        :raises Unauthorized: it may not.
        """
        if any(has_controls(value) for value in challenge.parameters.values()):
            raise Unauthorized(f"{origin.netloc} sent a challenge with control characters")
        try:
            realm = Origin.of(challenge.parameters["realm"])
        except Corrupt as error:
            raise Unauthorized(f"{origin.netloc} names a token server that is no URL") from error
        plain_allowed = origin.scheme == "http" and (realm.host == origin.host or self._options.is_plain(realm.netloc))
        if realm.scheme != "https" and not plain_allowed:
            raise Unauthorized(
                f"{origin.netloc} wants the login sent to {realm} without TLS", host=origin.netloc, realm=str(realm)
            )
        if is_local(realm.host) and realm.host != origin.host and not is_local(origin.host):
            raise Unauthorized(f"{origin.netloc} wants the login sent to the private address {realm.netloc}")
        return realm

    def _token_request(self, origin: Origin, scope: str, challenge: Challenge) -> TokenRequest:
        credentials = self._credentials(origin, scope)
        if credentials is None or credentials.identity_token is None:
            return self._get_request(origin, scope, challenge, credentials)
        fields, scopes = self._asked(origin, scope, challenge)
        fields += [("scope", " ".join(scopes))] if scopes else []
        fields += [("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]
        fields += [("refresh_token", credentials.identity_token)]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(fields).encode("ascii")
        return TokenRequest(origin, scope, "POST", challenge.parameters["realm"], headers, body)

    def _get_request(
        self, origin: Origin, scope: str, challenge: Challenge, credentials: Credentials | None
    ) -> TokenRequest:
        realm = challenge.parameters["realm"]
        fields, scopes = self._asked(origin, scope, challenge)
        query = urlencode(fields + [("scope", one) for one in scopes])
        url = realm + (("&" if urlsplit(realm).query else "?") + query if query else "")
        headers = {} if credentials is None else {"Authorization": credentials.basic}
        return TokenRequest(origin, scope, "GET", url, headers)

    def _asked(self, origin: Origin, scope: str, challenge: Challenge) -> tuple[list[tuple[str, str]], list[str]]:
        service = challenge.parameters.get("service")
        wanted = self._wider.get((origin, scope)) or scope or challenge.parameters.get("scope", "")
        return [("service", service)] if service else [], wanted.split()

    def refusal(self, origin: Origin, scope: str, *, narrow: bool = False) -> Unauthorized:
        """The error of an `origin` whose last word is no.

        :param narrow: what it does not allow is `scope`; the login as such may be good.
        """
        return refused(origin, self._credentials(origin, scope), scope if narrow else "")


def refused(origin: Origin, credentials: Credentials | None, scope: str = "") -> Unauthorized:
    """The error of an `origin` that does not accept `credentials`, or not for `scope`."""
    host = origin.netloc
    if credentials is None:
        return Unauthorized(
            f"{host} wants a login", hint=f"bundle login {host}, or set BUNDLE_USERNAME and BUNDLE_PASSWORD", host=host
        )
    who = f"user {safe(credentials.username, 80)!r}" if credentials.username else "this login"
    return Unauthorized(
        f"{host} refused {who}" + (f": it grants no token for {safe(scope)}" if scope else ""),
        hint=f"check the rights of this login, or use another one: bundle login {host}",
        host=host,
    )


def _bearer(challenges: list[Challenge]) -> Challenge | None:
    return next((one for one in challenges if one.scheme == "bearer" and "realm" in one.parameters), None)


def _covers(held: str, wanted: str) -> bool:
    """Whether a token for the scopes `held` is one for the scopes `wanted`, none of which is `""`."""
    rights: dict[str, set[str]] = {}
    for one in held.split():
        resource, _, actions = one.rpartition(":")
        rights.setdefault(resource, set()).update(actions.split(","))
    asked = [one.rpartition(":") for one in wanted.split()]
    return bool(asked) and all(
        resource in rights and rights[resource] >= set(actions.split(",")) for resource, _, actions in asked
    )


def _life(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return DEFAULT_LIFE
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return DEFAULT_LIFE
    return seconds if 0 < seconds < float("inf") else DEFAULT_LIFE
