"""A token server as registries use them: the distribution project's "Token Authentication Specification" and "OAuth2
Token Authentication", with signatures that `docker-registry` really checks.

The registry allows 60 seconds of leeway, so a token that is to die soon is one whose `exp` is nearly that long ago.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

SERVICE, ISSUER = "tests", "tests-issuer"
LEEWAY = 60
"""Seconds that distribution lets a token live on after its `exp`."""
DYING = 6
"""Seconds that a dying token is good for: enough for what comes before the moment a test is about."""

Rights = Mapping[str, str]
"""Patterns of repository names to actions, `pull,push`."""


@dataclass(frozen=True)
class Asked:
    """One request for a token."""

    method: str
    target: str
    user: str | None
    fields: Mapping[str, list[str]] = field(repr=False)
    status: int

    @property
    def scopes(self) -> list[str]:
        """What the token was to allow."""
        return " ".join(self.fields.get("scope", [])).split()


class Signer:
    """A key, and the certificate that the registry knows it by.

    :param algorithm: RS256 or ES256. :param by: how tokens name the key, `x5c` or `kid` (as libtrust spells it).
    """

    def __init__(self, algorithm: str = "ES256", by: str = "x5c") -> None:
        key: Any = (
            ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        from cryptography.hazmat.primitives.hashes import SHA256

        certificate = builder.sign(key, SHA256())
        self.pem = certificate.public_bytes(Encoding.PEM)
        self._key, self._algorithm = key, algorithm
        if by == "x5c":
            self._headers: dict[str, Any] = {"x5c": [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]}
        else:
            public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            text = base64.b32encode(hashlib.sha256(public).digest()[:30]).decode()
            self._headers = {"kid": ":".join(text[at : at + 4] for at in range(0, 48, 4))}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The token."""
        return jwt.encode(dict(claims), self._key, self._algorithm, headers=self._headers)


class TokenServer:
    """Listens on a port of localhost; a context manager.

    `asked` is the log, `granted` every token given, newest last. What a test changes: `said` (`expires_in`; None leaves
    it out), `dying` (how many of the next tokens live for `DYING` seconds), `names` (the fields that carry the token),
    `posts` (the status of POST, 200 for OAuth2), `faults` (statuses of the next answers, 0 for none), `withheld` (actions
    that no token gets), `query` (of the realm).
    """

    def __init__(self, signer: Signer | None = None) -> None:
        self.signer = signer or Signer()
        self.users: dict[str, tuple[str, Rights]] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.anonymous: Rights = {}
        self.asked: list[Asked] = []
        self.granted: list[str] = []
        self.said: object = 3600
        self.dying = 0
        self.names = ("token",)
        self.posts = 200
        self.faults: list[int] = []
        self.withheld: frozenset[str] = frozenset()
        self.query = ""
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def realm(self) -> str:
        """For the registry's settings."""
        return f"http://localhost:{self._server.server_address[1]}/token{self.query}"

    def settings(self, directory: Path) -> dict[str, Any]:
        """What makes a `ProcessRegistry` send its clients here."""
        bundle = directory / "token-roots.pem"
        bundle.write_bytes(self.signer.pem)
        token = {"realm": self.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(bundle)}
        return {"auth": {"token": token}}

    def expired(self, token: str) -> str:
        """The same token as it is after its time: signed, and long past its `exp`."""
        claims = jwt.decode(token, options={"verify_signature": False})
        return self.signer.sign({**claims, "exp": int(time.time()) - 10 * LEEWAY})

    # --- answers

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and document of one request."""
        fields = parse_qs((body.decode("latin-1") if method == "POST" else urlsplit(target).query) or "")
        with self._lock:
            user, rights, status = self._who(method, fields, authorization)
            fault = self.faults.pop(0) if self.faults else 0
            status = fault or status
            self.asked.append(Asked(method, target, user, fields, status))
            if status != 200 or rights is None:
                return status, {"details": "no"}
            document = self._document(user or "", rights, " ".join(fields.get("scope", [])).split())
            if user and (fields.get("offline_token") == ["true"] or fields.get("access_type") == ["offline"]):
                document["refresh_token"] = next(iter(self.refresh_tokens), "")
            return 200, document

    def _who(
        self, method: str, fields: Mapping[str, list[str]], authorization: str
    ) -> tuple[str | None, Rights | None, int]:
        if method == "POST" and self.posts != 200:
            return None, None, self.posts
        name, secret = "", ""
        if method == "POST" and fields.get("grant_type") == ["refresh_token"]:
            name = self.refresh_tokens.get(fields.get("refresh_token", [""])[0], "")
            return (name, self.users[name][1], 200) if name else (None, None, 401)
        if method == "POST":
            name, secret = fields.get("username", [""])[0], fields.get("password", [""])[0]
        elif authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
        else:
            return None, self.anonymous, 200
        known = self.users.get(name)
        good = known is not None and (known[0] == secret or self.refresh_tokens.get(secret) == name)
        return (name, known[1], 200) if known is not None and good else (None, None, 401)

    def _document(self, user: str, rights: Rights, scopes: list[str]) -> dict[str, Any]:
        now = int(time.time())
        ends = now + 3600
        if self.dying:
            self.dying -= 1
            ends = now - LEEWAY + DYING
        access = [entry for scope in scopes for entry in self._access(scope, rights)]
        claims = {"iss": ISSUER, "sub": user, "aud": SERVICE, "exp": ends, "nbf": now - 300, "iat": now - 300}
        token = self.signer.sign({**claims, "jti": uuid.uuid4().hex, "access": access})
        self.granted.append(token)
        document: dict[str, Any] = dict.fromkeys(self.names, token)
        return document if self.said is None else {**document, "expires_in": self.said}

    def _access(self, scope: str, rights: Rights) -> Iterator[dict[str, Any]]:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        allowed = {
            action for pattern, given in rights.items() if fnmatchcase(name, pattern) for action in given.split(",")
        }
        got = [action for action in actions.split(",") if action in allowed - self.withheld]
        if got:
            yield {"type": kind, "name": name, "actions": got}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, tokens: TokenServer) -> None:
        self.tokens = tokens
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing on stderr."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = self.headers.get("Authorization", "")
        status, document = self.server.tokens.answer(self.command, self.path, said, body)
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _serve  # noqa: N815


@contextmanager
def registry_with_tokens(directory: Path, signer: Signer | None = None) -> Iterator[tuple[Any, TokenServer]]:
    """A `docker-registry` that wants tokens, and who gives them.

    :raises Unobtainable: docker-registry is not on PATH.
    """
    from tests.support.registry_process import ProcessRegistry

    directory.mkdir(parents=True, exist_ok=True)
    with TokenServer(signer) as tokens:
        registry = ProcessRegistry(directory / "registry", tokens.settings(directory))
        try:
            yield registry, tokens
        finally:
            registry.stop()
