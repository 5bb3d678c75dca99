from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.authfiles import DOCKER_HUB_KEY, AuthFile, server_of, with_login, without
from modelops_bundle.net.credentials import Credentials

BOB = base64.b64encode(b"bob:se:cret").decode()
ALICE = base64.b64encode(b"alice:pw").decode()


def parsed(value: Any) -> AuthFile:
    return AuthFile.parse(value if isinstance(value, str) else json.dumps(value), "the file")


def keyed(key: str) -> AuthFile:
    return parsed({"auths": {key: {"auth": BOB}}})


SPELLINGS = [
    "host:5000",
    "https://host:5000",
    "https://host:5000/",
    "https://host:5000/v2/",
    "http://host:5000/v1/",
    "HOST:5000",
]
OTHERS = [
    "host",
    "host:5001",
    "host:50001",
    "sub.host:5000",
    "ost:5000",
    "host:5000/team",
    "https://evil/host:5000",
    "https://host:5000/team",
    "host:5000@evil",
    "host:5000.evil",
    "",
]


@pytest.mark.parametrize("key", SPELLINGS)
def test_spellings_of_one_host(key: str) -> None:
    assert keyed(key).login("host:5000") == Credentials("bob", "se:cret")
    assert parsed({"credHelpers": {key: "x"}}).helper("host:5000") is not None


@pytest.mark.parametrize("key", OTHERS)
def test_other_hosts_get_nothing(key: str) -> None:
    assert keyed(key).login("host:5000") is None
    for repository in ("other/model", "team/model") if "://" in key else ("other/model",):
        assert keyed(key).login("host:5000", repository) is None
    assert parsed({"credHelpers": {key: "x"}}).helper("host:5000") is None


@pytest.mark.parametrize("key", [DOCKER_HUB_KEY, "docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_by_any_name(key: str) -> None:
    assert keyed(key).login("registry-1.docker.io") == Credentials("bob", "se:cret")
    assert keyed(key).login("docker.io.evil.com") is None
    assert server_of("registry-1.docker.io") == DOCKER_HUB_KEY


def test_the_plain_spelling_wins() -> None:
    found = parsed({"auths": {"https://host/v2/": {"auth": BOB}, "host": {"auth": ALICE}}})
    assert found.login("host") == Credentials("alice", "pw")


@pytest.mark.parametrize(
    ("repository", "who"),
    [
        ("org/repo/deep", "deep"),
        ("org/repo", "deep"),
        ("org/repository", "org"),
        ("org/other", "org"),
        ("org", "org"),
        ("organisation/x", "all"),
        ("", "all"),
    ],
)
def test_the_narrowest_namespace_wins(repository: str, who: str) -> None:
    def entry(name: str) -> dict[str, str]:
        return {"auth": base64.b64encode(f"{name}:pw".encode()).decode()}

    auths = {"host": entry("all"), "host/org/repo": entry("deep"), "host/org": entry("org"), "other/org": entry("no")}
    found = parsed({"auths": auths}).login("host", repository)
    assert found is not None
    assert found.username == who
    assert sorted(parsed({"auths": auths}).namespaces("host")) == ["host/org", "host/org/repo"]


def test_namespaces_of_docker_hub_go_by_any_of_its_names() -> None:
    assert keyed("docker.io/library").login("registry-1.docker.io", "library/alpine") is not None
    assert keyed("docker.io/library").login("registry-1.docker.io", "team/alpine") is None


def test_user_and_password_in_fields_and_tokens() -> None:
    found = parsed(
        {
            "auths": {
                "a": {"username": "u", "password": "p"},
                "b": {"auth": BOB, "identitytoken": "tok"},
                "c": {},
                "d": {"registrytoken": "reg"},
                "e": {"username": "u"},
            }
        }
    )
    assert found.login("a") == Credentials("u", "p")
    assert found.login("b") == Credentials("bob", "se:cret", "tok")
    assert found.login("c") is None
    assert found.login("d") == Credentials("", "", None, "reg")
    assert found.login("e") is None
    assert found.login("a").source == "the file"


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\xff", "[" * 100_000])
def test_a_broken_file_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="the file") as caught:
        parsed(text)
    assert "bundle login" in (caught.value.hint or "")


def test_a_broken_file_is_not_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed('{"auths": {"host": {"auth": "canary"}')
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("auth", ["%%%", base64.b64encode(b"no colon").decode(), base64.b64encode(b"\xff:x").decode()])
def test_a_broken_entry_is_an_error_for_its_host_only(auth: str) -> None:
    found = parsed({"auths": {"host": {"auth": auth}, "other": {"auth": BOB}}})
    assert found.login("other") is not None
    with pytest.raises(ConfigError) as caught:
        found.login("host")
    assert auth not in str(caught.value)
    assert "bundle login" in (caught.value.hint or "")


@pytest.mark.parametrize("value", ["", " \n", {}, {"auths": []}, {"auths": {"host": "text"}}, {"credHelpers": "x"}])
def test_odd_shapes_mean_nobody(value: Any) -> None:
    assert parsed(value).login("host") is None
    assert parsed(value).helper("host") is None


def test_a_helper_of_ones_own_comes_before_the_store_for_all() -> None:
    found = parsed({"credHelpers": {"host": "ecr-login", "plain": ""}, "credsStore": "desktop"})
    own, store = found.helper("host"), found.helper("other")
    assert own is not None
    assert store is not None
    assert (own.name, own.own, own.where) == ("ecr-login", True, "credHelpers in the file")
    assert (store.name, store.own, store.where) == ("desktop", False, "credsStore in the file")
    assert found.helper("plain") is None
    assert parsed({"credsStore": ""}).helper("host") is None


# --- editing


def test_the_first_login_makes_the_file() -> None:
    text = with_login("", "the file", "host", Credentials("bob", "se:cret"))
    assert json.loads(text) == {"auths": {"host": {"auth": BOB}}}
    assert parsed(text).login("host") == Credentials("bob", "se:cret")
    hub = with_login("", "the file", "registry-1.docker.io", Credentials("", "", "tok"))
    assert json.loads(hub) == {"auths": {DOCKER_HUB_KEY: {"identitytoken": "tok"}}}


@pytest.mark.parametrize("key", SPELLINGS)
def test_a_login_is_replaced_under_the_spelling_it_has(key: str) -> None:
    before = json.dumps({"auths": {key: {"auth": ALICE, "email": "x"}, "host:5001": {"auth": ALICE}}})
    after = json.loads(with_login(before, "the file", "host:5000", Credentials("bob", "se:cret")))
    assert after == {"auths": {key: {"auth": BOB}, "host:5001": {"auth": ALICE}}}
    removed = without(before, "the file", "host:5000")
    assert removed is not None
    assert json.loads(removed) == {"auths": {"host:5001": {"auth": ALICE}}}


def test_every_spelling_is_replaced_and_removed() -> None:
    before = json.dumps({"auths": {"host": {"auth": ALICE}, "https://host/v2/": {"auth": ALICE}, "host/org": {}}})
    after = json.loads(with_login(before, "the file", "host", None))
    assert after["auths"] == {"host": {}, "https://host/v2/": {}, "host/org": {}}
    assert json.loads(without(before, "the file", "host") or "")["auths"] == {"host/org": {}}


@pytest.mark.parametrize("key", OTHERS)
def test_nothing_to_remove_is_told(key: str) -> None:
    assert without(json.dumps({"auths": {key: {"auth": BOB}}}), "the file", "host:5000") is None


def test_numbers_of_others_stay_as_they_were_written() -> None:
    before = '{"a": 1e400, "b": 1.10, "c": 123456789012345678901234567890, "d": [-0, 2E+3], "auths": {}}'
    after = with_login(before, "the file", "host", None)
    for number in ("1e400", "1.10", "123456789012345678901234567890", "-0", "2E+3"):
        assert number in after


def test_as_many_numbers_as_others_like() -> None:
    many = list(range(300_000))
    after = with_login(json.dumps({"many": many}), "the file", "host", None)
    assert json.loads(after)["many"] == many


def test_text_of_others_stays_what_it_was() -> None:
    before = '{"a": "\\ud800", "b": "ü\\u0000\\u003c", "HttpHeaders": {"X": "é"}}'
    after = json.loads(with_login(before, "the file", "host", None))
    assert {key: after[key] for key in ("a", "b", "HttpHeaders")} == json.loads(before)
    assert "é" in with_login('{"X": "é"}', "the file", "host", None)


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": []}', '{"a":' * 900 + "1" + "}" * 900])
def test_a_file_that_cannot_be_read_is_not_written_anew(text: str) -> None:
    with pytest.raises(ConfigError):
        with_login(text, "the file", "host", None)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "auths"), _JSON, max_size=4))
def test_all_else_is_kept(content: dict[str, Any]) -> None:
    credentials = Credentials("bob", "se:cret")
    text = with_login(json.dumps(content), "the file", "host", credentials)
    assert json.loads(text) == {**content, "auths": {"host": {"auth": BOB}}}
    assert json.loads(without(text, "the file", "host") or "") == {**content, "auths": {}}
