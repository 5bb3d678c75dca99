"""Who we are at a registry: given words, or the `auths` of a Docker `config.json`.

Matching is exact on `HOST[:PORT]` (facts: reliability §3.4, C2): a key for another port, a prefix or a parent domain
never matches.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.options import is_docker_hub
from modelops_bundle.net.redact import has_controls

# What `docker login` and friends append to the host. Anything else is a namespace, not this host.
_KEY_PATHS = ("", "/", "/v1", "/v1/", "/v2", "/v2/")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password, or an identity token for the OAuth2 way (`identitytoken` of Docker's file)."""

    username: str
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if any(has_controls(text) for text in (self.username, self.password, self.identity_token or "")):
            raise ConfigError("a user name, password or token contains control characters")
        if ":" in self.username:
            raise ConfigError("a user name contains ':', which HTTP Basic cannot carry (RFC 7617 §2)")

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header, RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


class CredentialSource(Protocol):
    """Knows credentials by host."""

    def get(self, host: str) -> Credentials | None:
        """Those for the registry at exactly `host` (`HOST[:PORT]`); None means anonymous.

        :raises ConfigError: something is configured for `host` and cannot be used.
        """
        ...


class Anonymous:
    """Knows nobody."""

    def get(self, host: str) -> Credentials | None:  # noqa: ARG002  (the port's signature)
        """None."""
        return None


class Given:
    """Credentials for one host, from the command line or the environment; every other host gets none."""

    def __init__(self, host: str, credentials: Credentials) -> None:
        self._host = host
        self._credentials = credentials

    def get(self, host: str) -> Credentials | None:
        return self._credentials if _same_host(host, self._host) else None


class Chain:
    """The first of several sources that knows a host."""

    def __init__(self, sources: Sequence[CredentialSource]) -> None:
        self._sources = tuple(sources)

    def get(self, host: str) -> Credentials | None:
        found = (source.get(host) for source in self._sources)
        return next((credentials for credentials in found if credentials is not None), None)


class DockerConfig:
    """The `auths` of a Docker `config.json`, read at first use.

    :param path: the file; absent means that nobody is logged in.
    :param notice: takes (code, message) when a credential helper is configured that this version does not run.
    """

    def __init__(self, path: Path, notice: Callable[[str, str], None]) -> None:
        self._path = path
        self._notice = notice
        self._lock = threading.Lock()
        self._config: Mapping[str, Any] | None = None
        self._told: set[str] = set()

    def get(self, host: str) -> Credentials | None:
        with self._lock:
            if self._config is None:
                self._config = _load(self._path)
            entry = _entry(self._config.get("auths"), host)
            found = _read_entry(entry, self._path, host)
            helper = _helper(self._config, host, listed=entry is not None)
            if found is None and helper is not None and host not in self._told:
                self._told.add(host)
                self._notice(
                    "credential-helper",
                    f"{self._path} leaves {host} to the credential helper {helper!r}, which this version does not run; "
                    "going on without credentials",
                )
        return found


def _same_host(one: str, other: str) -> bool:
    return one == other or (is_docker_hub(one) and is_docker_hub(other))


def _load(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is not a JSON object")
    return value


def _key_host(key: str) -> str | None:
    rest = key.removeprefix("https://").removeprefix("http://")
    host, slash, path = rest.partition("/")
    return host.lower() if slash + path in _KEY_PATHS else None


def _entry(auths: object, host: str) -> Mapping[str, Any] | None:
    if not isinstance(auths, dict):
        return None
    keys = [key for key in auths if (named := _key_host(key)) is not None and _same_host(named, host)]
    # Two spellings of one host: the plain one wins, as it is what `login` of today writes.
    keys.sort(key=lambda key: (key != host, key))
    values = [auths[key] for key in keys if isinstance(auths[key], dict)]
    return next((value for value in values if value), values[0] if values else None)


def _helper(config: Mapping[str, Any], host: str, *, listed: bool) -> str | None:
    helpers = config.get("credHelpers")
    if isinstance(helpers, dict):
        for key, name in helpers.items():
            if _same_host(key, host):
                return str(name)
    # Docker Desktop sets credsStore for everybody; an (empty) entry says that it holds something for this host.
    store = config.get("credsStore")
    return str(store) if store and listed else None


def _read_entry(entry: Mapping[str, Any] | None, path: Path, host: str) -> Credentials | None:
    if not entry:
        return None
    username, password = entry.get("username"), entry.get("password")
    if entry.get("auth"):
        username, password = _decode(entry["auth"], path, host)
    token = entry.get("identitytoken") or None
    if token is None and not (username and password):
        return None
    return Credentials(str(username or ""), str(password or ""), str(token) if token is not None else None)


def _decode(auth: object, path: Path, host: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(str(auth), validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"the entry for {host} in {path} is not base64") from error
    username, colon, password = text.partition(":")
    if not colon:
        raise ConfigError(f"the entry for {host} in {path} holds no user name and password")
    return username, password.rstrip("\0")
