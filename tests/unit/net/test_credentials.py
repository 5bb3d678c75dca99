from __future__ import annotations

import pytest

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.credentials import Anonymous, Chain, Credentials, Given


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a\nb", "a\0b"])
def test_control_characters_are_refused(bad: str) -> None:
    for fields in ((bad, "p"), ("u", bad), ("u", "p", bad), ("u", "p", None, bad)):
        with pytest.raises(ConfigError, match=r"control characters \(the file\)") as caught:
            Credentials(*fields, source="the file")
        assert bad not in str(caught.value)


def test_what_cannot_be_sent_is_refused() -> None:
    for fields in (("\udcff", "p"), ("u", "\udcff"), ("u", "p", "\ud800"), ("u", "p", None, "\ud800")):
        with pytest.raises(ConfigError, match="not UTF-8"):
            Credentials(*fields)
    for token in ("a b", "ü"):
        with pytest.raises(ConfigError, match="RFC 6750"):
            Credentials("", "", None, token)
    assert Credentials("ü", "ü ß", "ü").basic.startswith("Basic ")


def test_a_colon_in_a_user_name_cannot_be_sent_with_a_password() -> None:
    with pytest.raises(ConfigError, match="RFC 7617") as caught:
        Credentials("a:b", "c")
    assert "bundle login" in (caught.value.hint or "")
    assert Credentials("a:b", "", "token").has_token


def test_secrets_do_not_show_in_repr() -> None:
    assert "canary" not in repr(Credentials("u", "canary", "canary", "canary"))


def test_where_they_come_from_does_not_make_them_others() -> None:
    assert Credentials("u", "p", source="here") == Credentials("u", "p", source="there")


def test_given_and_chained() -> None:
    mine, theirs = Credentials("a", "b"), Credentials("c", "d")
    chain = Chain([Anonymous(), Given("host:1", mine), Given("host:1", theirs), Given("host:2", theirs)])
    assert chain.get("host:1") == mine
    assert chain.get("host:2", "team/model") == theirs
    assert chain.get("host") is None
    assert Given("docker.io", mine).get("registry-1.docker.io") == mine
    assert mine.basic == "Basic YTpi"


def test_sources_behind_one_that_knows_are_not_asked() -> None:
    class Broken:
        def get(self, host: str, repository: str = "") -> Credentials | None:
            raise ConfigError("broken")

    mine = Credentials("a", "b")
    chain = Chain([Given("host", mine), Broken()])
    assert chain.get("host") == mine
    with pytest.raises(ConfigError):
        chain.get("other")
