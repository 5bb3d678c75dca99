"""Tokens go to exactly their host, over TLS, and nowhere else."""

from __future__ import annotations

import pytest

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.options import Origin
from modelops_bundle.sources.logins import Logins
from tests.support.canary import secret


def test_a_token_is_for_its_host_alone() -> None:
    token = secret("token")
    logins = Logins({"hub.example": lambda: f"{token}\n"})
    assert logins.at(Origin.of("https://hub.example/x")) == {"Authorization": f"Bearer {token}"}
    assert logins.secrets(Origin.of("https://hub.example/x")) == {token}
    for other in (
        "https://sub.hub.example",
        "https://hub.example:8443",
        "https://hub.example.evil",
        "http://hub.example",
    ):
        assert logins.at(Origin.of(other)) == {}
        assert logins.secrets(Origin.of(other)) == frozenset()


def test_this_machine_may_be_asked_in_plain_http() -> None:
    logins = Logins({"localhost:8080": lambda: "t"}, {"localhost:8080": "m_session_id"})
    assert logins.at(Origin.of("http://localhost:8080/x")) == {"Authorization": "Bearer t", "Cookie": "m_session_id=t"}


@pytest.mark.parametrize("token", [None, "", "\n"])
def test_no_token_is_no_login(token: str | None) -> None:
    assert Logins({"hub.example": lambda: token}).at(Origin.of("https://hub.example/")) == {}


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "ü"])
def test_what_no_header_carries_is_refused(token: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Logins({"hub.example": lambda: token}).at(Origin.of("https://hub.example/"))
    assert token not in raised.value.message


def test_tokens_are_asked_for_each_time() -> None:
    found = iter(["one", "two"])
    logins = Logins({"hub.example": lambda: next(found)})
    seen = [logins.at(Origin.of("https://hub.example/"))["Authorization"] for _ in range(2)]
    assert seen == ["Bearer one", "Bearer two"]
