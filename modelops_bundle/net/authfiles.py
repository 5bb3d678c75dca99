"""Files of logins: Docker's `config.json` and podman's `auth.json`, read and edited as values, without touching a disk.

Both are one JSON object with `auths`, `credHelpers` and `credsStore` (docker login reference; containers-auth.json(5)).
A host matches exactly on `HOST[:PORT]` (facts: reliability §3.4, C2), a key with a path behind the host only the
repositories below that path.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.credentials import Credentials
from modelops_bundle.net.helpers import Helper
from modelops_bundle.net.options import is_docker_hub

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""Docker Hub's name in these files and in credential helpers, for reasons of its history."""

HINT = "look at that file, or move it away and log in again: bundle login HOST"
"""What to do about a file that nobody can use."""
_RENEW = "bundle login HOST writes the entry anew, bundle logout HOST removes it"

# What `docker login` and friends append to the host. Anything else is a namespace, not this host.
_KEY_PATHS = ("", "/", "/v1", "/v1/", "/v2", "/v2/")


def server_of(host: str) -> str:
    """The key of the registry at `host` as `docker login` and `oras login` write it today."""
    return DOCKER_HUB_KEY if is_docker_hub(host) else host


def same_host(one: str, other: str) -> bool:
    """Whether two `HOST[:PORT]` are one registry: equal, or both names of Docker Hub."""
    return one == other or (is_docker_hub(one) and is_docker_hub(other))


def names_host(key: str, host: str) -> bool:
    """Whether `key` of a file or a helper means exactly `host`, in any spelling of the last ten years."""
    named, path = _split(key)
    return path in _KEY_PATHS and same_host(named, host)


def _split(key: str) -> tuple[str, str]:
    host, slash, path = key.removeprefix("https://").removeprefix("http://").partition("/")
    return host.lower(), slash + path


@dataclass(frozen=True, slots=True)
class AuthFile:
    """The content of one file. :param name: the file's, for people. It holds secrets."""

    name: str
    content: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, text: str, name: str) -> AuthFile:
        """Read the JSON `text`; nothing at all is an empty file.

        :raises ConfigError: not a JSON object.
        """
        return cls(name, _parsed(text, name))

    # --- reading

    def helper(self, host: str) -> Helper | None:
        """The helper that keeps the login for `host`: its own of `credHelpers`, else that of `credsStore`."""
        for key, name in _table(self.content, "credHelpers").items():
            if names_host(key, host):
                # Empty: this host's login is in this file, whatever credsStore says (as docker reads it).
                return Helper(str(name), f"credHelpers in {self.name}", own=True) if name else None
        store = self.content.get("credsStore")
        return Helper(str(store), f"credsStore in {self.name}", own=False) if store else None

    def keys(self, host: str) -> list[str]:
        """The spellings of `host` under `auths`, the one that counts first."""
        found = [key for key in _table(self.content, "auths") if names_host(key, host)]
        # Two spellings of one host: the plain one wins, as it is what `login` of today writes.
        return sorted(found, key=lambda key: (key != host, key))

    def namespaces(self, host: str) -> list[str]:
        """The keys of namespaces on `host` (`host/team`)."""
        return [key for key in _table(self.content, "auths") if _namespace(key, host)]

    def login(self, host: str, repository: str = "") -> Credentials | None:
        """The login in the file itself: of the narrowest namespace around `repository`, else of `host`.

        :raises ConfigError: there is one, and it cannot be read.
        """
        auths = _table(self.content, "auths")
        for key in (*self._around(host, repository), *self.keys(host)):
            found = self._read(key, auths[key]) if isinstance(auths[key], dict) else None
            if found is not None:
                return found
        return None

    def _around(self, host: str, repository: str) -> Iterator[str]:
        found = {key: _namespace(key, host) for key in self.namespaces(host)}
        inside = [key for key, space in found.items() if f"{repository}/".startswith(f"{space}/")]
        yield from sorted(inside, key=lambda key: len(found[key]), reverse=True)

    def _read(self, key: str, entry: Mapping[str, Any]) -> Credentials | None:
        username, password = entry.get("username"), entry.get("password")
        if entry.get("auth"):
            username, password = self._decode(key, entry["auth"])
        identity, registry = (
            str(entry[name]) if entry.get(name) else None for name in ("identitytoken", "registrytoken")
        )
        if not (identity or registry or (username and password)):
            return None
        return Credentials(str(username or ""), str(password or ""), identity, registry, source=self.name)

    def _decode(self, key: str, auth: object) -> tuple[str, str]:
        try:
            text = base64.b64decode(str(auth), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            # Not as its cause: a UnicodeDecodeError holds the bytes.
            raise ConfigError(f"the entry for {key} in {self.name} is not base64", hint=_RENEW) from None
        username, colon, password = text.partition(":")
        if not colon:
            raise ConfigError(f"the entry for {key} in {self.name} holds no user name and password", hint=_RENEW)
        return username, password.rstrip("\0")


# --- editing


def with_login(text: str, name: str, host: str, credentials: Credentials | None) -> str:
    """The file `text` with a login for `host` under the spelling it has there already; the rest stays.

    :param credentials: None leaves an empty entry, which says that a helper keeps them (as docker writes it).
    :raises ConfigError: `text` is not a JSON object, or its `auths` is none.
    """
    content = _edited(text, name)
    auths = content.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise ConfigError(f"auths in {name} is not a JSON object", hint=HINT)
    for key in [key for key in auths if names_host(key, host)] or [server_of(host)]:
        auths[key] = _entry(credentials) if credentials is not None else {}
    return _written(content, name)


def without(text: str, name: str, host: str) -> str | None:
    """The file `text` without its logins for `host`, None when it has none; namespaces stay.

    :raises ConfigError: `text` is not a JSON object.
    """
    content = _edited(text, name)
    keys = [key for key in _table(content, "auths") if names_host(key, host)]
    for key in keys:
        del content["auths"][key]
    return _written(content, name) if keys else None


def _entry(credentials: Credentials) -> dict[str, str]:
    entry = {}
    if credentials.username or credentials.password:
        entry["auth"] = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode("ascii")
    if credentials.identity_token is not None:
        entry["identitytoken"] = credentials.identity_token
    return entry


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _namespace(key: str, host: str) -> str:
    """The repositories' common beginning that `key` is about; empty for a key of another host or a whole one."""
    named, path = _split(key)
    plain = "://" not in key and path not in _KEY_PATHS
    return path.strip("/") if plain and same_host(named, host) else ""


def _parsed(text: str, name: str, **options: Any) -> dict[str, Any]:
    try:
        value = json.loads(text if text.strip() else "{}", **options)
    except RecursionError:
        raise ConfigError(f"{name} is not JSON: nested too deeply", hint=HINT) from None
    except ValueError as error:
        # Not as its cause: a JSONDecodeError holds the document.
        raise ConfigError(f"{name} is not JSON: {error}", hint=HINT) from None
    if not isinstance(value, dict):
        raise ConfigError(f"{name} is not a JSON object", hint=HINT)
    return value


def _edited(text: str, name: str) -> dict[str, Any]:
    # A float would be written anew, 1e400 as Infinity: numbers of others go through as they are.
    return _parsed(text, name, parse_float=_Verbatim, parse_int=_Verbatim)


class _Verbatim(float):
    """A number as it was written."""

    text: str

    def __new__(cls, text: str) -> _Verbatim:
        made = super().__new__(cls, 0.0)
        made.text = text
        return made


def _written(content: Mapping[str, Any], name: str) -> str:
    try:
        return _dumped(content)
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply", hint=HINT) from None


def _dumped(content: Mapping[str, Any]) -> str:
    mark = os.urandom(8).hex()
    numbers: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, _Verbatim):
            numbers.append(value.text)
            return f"{mark}-{len(numbers) - 1}"
        if isinstance(value, dict):
            return {key: marked(item) for key, item in value.items()}
        return [marked(item) for item in value] if isinstance(value, list) else value

    # Docker and oras indent with tabs. A lone surrogate has no UTF-8, only an escape.
    document = marked(content)
    text = json.dumps(document, indent="\t", ensure_ascii=False)
    if any("\ud800" <= character <= "\udfff" for character in text):
        text = json.dumps(document, indent="\t")
    # In one pass: a file of others may have as many numbers as it likes.
    return re.sub(rf'"{mark}-(\d+)"', lambda found: numbers[int(found[1])], text)
