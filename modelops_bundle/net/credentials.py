"""Who we are at a registry, and the sources that know: given words, files of logins, credential helpers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.options import is_docker_hub
from modelops_bundle.net.redact import has_controls


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password, or a token in their place.

    :param identity_token: buys registry tokens by OAuth2 (`identitytoken` of Docker's file).
    :param registry_token: sent to the registry as it is (`registrytoken` of Docker's file, RFC 6750).
    :param source: where they come from, for people.
    """

    username: str
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)
    registry_token: str | None = field(default=None, repr=False)
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong is not None:
            where = f" ({self.source})" if self.source else ""
            raise ConfigError(wrong + where, hint="check what was set or typed; bundle login HOST stores another one")

    def _wrong(self) -> str | None:
        texts = (self.username, self.password, self.identity_token or "", self.registry_token or "")
        if any(has_controls(text) for text in texts):
            return "a user name, password or token contains control characters"
        # A terminal or an environment that is not UTF-8 brings what cannot be sent.
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            return "a user name, password or token is not UTF-8"
        if self.registry_token is not None and not (self.registry_token.isascii() and " " not in self.registry_token):
            return "a registry token contains what no header carries (RFC 6750 §2.1)"
        if ":" in self.username and not self.has_token:
            return "a user name contains ':', which HTTP Basic cannot carry (RFC 7617 §2)"
        return None

    @property
    def has_token(self) -> bool:
        """Whether a token is in the place of the password."""
        return self.identity_token is not None or self.registry_token is not None

    @property
    def secrets(self) -> frozenset[str]:
        """Whatever nobody else may see, each as it may be quoted."""
        pair = self.basic.partition(" ")[2] if self.password else ""
        sent = (self.password, self.identity_token, self.registry_token, pair)
        return frozenset(text for text in sent if text)

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header, RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


class CredentialSource(Protocol):
    """Knows credentials by host, and some by repository."""

    def get(self, host: str, repository: str = "") -> Credentials | None:
        """Those for the registry at exactly `host` (`HOST[:PORT]`); None means anonymous.

        :param repository: what they are for, where a source tells repositories apart; empty: the registry itself.
        :raises ConfigError: something is configured for `host` and cannot be used.
        """
        ...


class Anonymous:
    """Knows nobody."""

    def get(self, host: str, repository: str = "") -> Credentials | None:  # noqa: ARG002  (the port's signature)
        """None."""
        return None


class Given:
    """Credentials for one host, from the command line or the environment; every other host gets none."""

    def __init__(self, host: str, credentials: Credentials) -> None:
        self._host = host
        self._credentials = credentials

    def get(self, host: str, repository: str = "") -> Credentials | None:  # noqa: ARG002  (as above)
        same = host == self._host or (is_docker_hub(host) and is_docker_hub(self._host))
        return self._credentials if same else None


class Chain:
    """The first of several sources that knows a host. Those behind it are not asked."""

    def __init__(self, sources: Sequence[CredentialSource]) -> None:
        self._sources = tuple(sources)

    def get(self, host: str, repository: str = "") -> Credentials | None:
        found = (source.get(host, repository) for source in self._sources)
        return next((credentials for credentials in found if credentials is not None), None)
