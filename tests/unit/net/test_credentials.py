from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.credentials import Anonymous, Chain, Credentials, DockerConfig, Given

BOB = base64.b64encode(b"bob:se:cret").decode()


def config(path: Path, value: Any, told: list[str] | None = None) -> DockerConfig:
    file = path / "config.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return DockerConfig(file, lambda code, message: (told if told is not None else []).append(f"{code} {message}"))


@pytest.mark.parametrize(
    "key",
    [
        "host:5000",
        "https://host:5000",
        "https://host:5000/",
        "https://host:5000/v2/",
        "http://host:5000/v1/",
        "HOST:5000",
    ],
)
def test_spellings_of_one_host(tmp_path: Path, key: str) -> None:
    assert config(tmp_path, {"auths": {key: {"auth": BOB}}}).get("host:5000") == Credentials("bob", "se:cret")


@pytest.mark.parametrize(
    "key",
    ["host", "host:5001", "host:50001", "sub.host:5000", "ost:5000", "host:5000/team", "https://evil/host:5000", ""],
)
def test_other_hosts_get_nothing(tmp_path: Path, key: str) -> None:
    assert config(tmp_path, {"auths": {key: {"auth": BOB}}}).get("host:5000") is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_by_any_name(tmp_path: Path, key: str) -> None:
    source = config(tmp_path, {"auths": {key: {"auth": BOB}}})
    assert source.get("registry-1.docker.io") == Credentials("bob", "se:cret")
    assert source.get("docker.io.evil.com") is None


def test_the_plain_spelling_wins(tmp_path: Path) -> None:
    alice = base64.b64encode(b"alice:pw").decode()
    source = config(tmp_path, {"auths": {"https://host/v2/": {"auth": BOB}, "host": {"auth": alice}}})
    assert source.get("host") == Credentials("alice", "pw")


def test_user_and_password_in_fields_and_identity_tokens(tmp_path: Path) -> None:
    source = config(
        tmp_path,
        {"auths": {"a": {"username": "u", "password": "p"}, "b": {"auth": BOB, "identitytoken": "tok"}, "c": {}}},
    )
    assert source.get("a") == Credentials("u", "p")
    assert source.get("b") == Credentials("bob", "se:cret", "tok")
    assert source.get("c") is None


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\xff"])
def test_a_broken_file_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        config(tmp_path, text).get("host")


@pytest.mark.parametrize("auth", ["%%%", base64.b64encode(b"no colon").decode(), base64.b64encode(b"\xff:x").decode()])
def test_a_broken_entry_is_an_error_for_its_host_only(tmp_path: Path, auth: str) -> None:
    source = config(tmp_path, {"auths": {"host": {"auth": auth}, "other": {"auth": BOB}}})
    assert source.get("other") is not None
    with pytest.raises(ConfigError) as caught:
        source.get("host")
    assert auth not in str(caught.value)


def test_no_file_and_odd_shapes_mean_nobody(tmp_path: Path) -> None:
    assert DockerConfig(tmp_path / "none" / "config.json", lambda *_: None).get("host") is None
    assert config(tmp_path, "").get("host") is None
    assert config(tmp_path, {"auths": []}).get("host") is None
    assert config(tmp_path, {"auths": {"host": "text"}}).get("host") is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"credHelpers": {"host": "ecr-login"}}, 1),
        ({"credHelpers": {"host.other": "ecr-login"}}, 0),
        ({"credsStore": "desktop", "auths": {"host": {}}}, 1),
        ({"credsStore": "desktop"}, 0),
        ({"credsStore": "desktop", "auths": {"host": {"auth": BOB}}}, 0),
    ],
)
def test_helpers_are_named_once_and_not_run(tmp_path: Path, value: Any, told: int) -> None:
    notices: list[str] = []
    source = config(tmp_path, value, notices)
    source.get("host")
    source.get("host")
    assert len(notices) == told
    assert all("credential-helper" in notice and "host" in notice for notice in notices)


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a\nb", "a\0b"])
def test_control_characters_are_refused(bad: str) -> None:
    for fields in ((bad, "p"), ("u", bad), ("u", "p", bad)):
        with pytest.raises(ConfigError):
            Credentials(*fields)
    with pytest.raises(ConfigError):
        Credentials("a:b", "c")


def test_secrets_do_not_show_in_repr() -> None:
    assert "canary" not in repr(Credentials("u", "canary", "canary"))


def test_given_and_chained() -> None:
    mine, theirs = Credentials("a", "b"), Credentials("c", "d")
    chain = Chain([Anonymous(), Given("host:1", mine), Given("host:1", theirs), Given("host:2", theirs)])
    assert chain.get("host:1") == mine
    assert chain.get("host:2") == theirs
    assert chain.get("host") is None
    assert Given("docker.io", mine).get("registry-1.docker.io") == mine
    assert mine.basic == "Basic YTpi"
