"""Who we are at a source: tokens by host, asked for when they are needed and put nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelops_bundle.net.credentials import Credentials
from modelops_bundle.net.options import Origin, is_loopback

Token = Callable[[], str | None]
"""Brings a token, None when there is none. It is called for every request: what it gives may change."""

_NOTHING: Mapping[str, str] = {}


class Logins:
    """Headers that prove who we are, by the exact host; every other host gets none.

    :param tokens: by `HOST[:PORT]`, as origins spell it.
    :param cookies: the cookie that carries the token too, for hosts that want one.
    """

    def __init__(self, tokens: Mapping[str, Token], cookies: Mapping[str, str] | None = None) -> None:
        self._tokens = dict(tokens)
        self._cookies = dict(cookies or {})

    def at(self, origin: Origin) -> Mapping[str, str]:
        """The headers for requests to `origin`: none in plain HTTP, but to this machine.

        :raises ConfigError: the token cannot be one.
        """
        token = self._token(origin)
        if token is None:
            return _NOTHING
        headers = {"Authorization": f"Bearer {token}"}
        cookie = self._cookies.get(origin.netloc)
        if cookie is not None:
            headers["Cookie"] = f"{cookie}={token}"
        return headers

    def secrets(self, origin: Origin) -> frozenset[str]:
        """What an answer of `origin` may quote, and nobody may see."""
        token = self._token(origin)
        return frozenset() if token is None else frozenset([token])

    def _token(self, origin: Origin) -> str | None:
        source = self._tokens.get(origin.netloc)
        if source is None or (origin.scheme != "https" and not is_loopback(origin.host)):
            return None
        # Token files end in a newline.
        token = (source() or "").strip()
        return (
            Credentials("", "", registry_token=token, source=f"for {origin.netloc}").registry_token if token else None
        )
