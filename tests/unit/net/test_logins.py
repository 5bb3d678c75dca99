from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import ConfigError
from modelops_bundle.net.credentials import Credentials
from modelops_bundle.net.helpers import Helpers
from modelops_bundle.net.logins import MOST, Logins
from tests.support.canary import secret
from tests.support.helpers import HelperProgram

BOB = base64.b64encode(b"bob:se:cret").decode()


class Told(list[tuple[str, str]]):
    def __call__(self, code: str, message: str) -> None:
        self.append((code, message))


def logins(tmp_path: Path, value: Any, told: Told | None = None, *, mode: int = 0o600) -> Logins:
    file = tmp_path / "config.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    file.chmod(mode)
    helpers = Helpers({"PATH": str(tmp_path / "bin")})
    return Logins(file, helpers, told if told is not None else Told())


def test_no_file_means_nobody(tmp_path: Path) -> None:
    for absent in (tmp_path / "none" / "config.json", tmp_path / "file" / "config.json"):
        (tmp_path / "file").touch()
        assert Logins(absent, None, Told()).get("host") is None


def test_a_file_that_cannot_be_read_is_an_error_that_quotes_nothing(tmp_path: Path) -> None:
    for text in ("{", "\xff"):
        (tmp_path / "config.json").write_text(text, encoding="latin-1")
        with pytest.raises(ConfigError, match=r"config\.json"):
            Logins(tmp_path / "config.json", None, Told()).get("host")


def test_what_is_no_file_or_too_large_is_an_error_that_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dir").mkdir()
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(MOST + 1)
    for name, why in (("pipe", "regular"), ("dir", "regular"), ("huge", "more than")):
        with pytest.raises(ConfigError, match=why) as caught:
            Logins(tmp_path / name, None, Told()).get("host")
        assert "bundle login" in (caught.value.hint or "")
    assert Logins(Path(os.devnull), None, Told()).get("host") is None


def test_a_login_in_the_file_says_where_it_comes_from(tmp_path: Path) -> None:
    found = logins(tmp_path, {"auths": {"host": {"auth": BOB}}}).get("host")
    assert found == Credentials("bob", "se:cret")
    assert found.source == str(tmp_path / "config.json")


def test_a_text_in_the_place_of_a_file(tmp_path: Path) -> None:
    found = Logins(("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"host": {"auth": BOB}}})), None, Told()).get("host")
    assert found is not None
    assert found.source == "DOCKER_AUTH_CONFIG"
    with pytest.raises(ConfigError, match="DOCKER_AUTH_CONFIG is not JSON"):
        Logins(("DOCKER_AUTH_CONFIG", "{"), None, Told()).get("host")


@pytest.mark.parametrize("value", [{"credsStore": "test"}, {"credHelpers": {"host": "test"}}])
def test_a_login_from_a_helper(tmp_path: Path, value: Any) -> None:
    password, program = secret(), HelperProgram(tmp_path / "bin")
    program.know("host", "bob", password)
    found = logins(tmp_path, {**value, "auths": {"host": {}}}).get("host")
    assert found == Credentials("bob", password)
    (setting,) = value
    assert found.source == f"the credential helper test ({setting} in {tmp_path / 'config.json'})"


def test_the_user_name_token_means_an_identity_token(tmp_path: Path) -> None:
    token, program = secret("token"), HelperProgram(tmp_path / "bin")
    program.know("host", "<token>", token)
    assert logins(tmp_path, {"credsStore": "test"}).get("host") == Credentials("", "", token)


def test_a_helper_comes_before_the_file_and_what_it_lacks_may_be_there(tmp_path: Path) -> None:
    password, program = secret(), HelperProgram(tmp_path / "bin")
    program.know("one", "helped", password)
    auths = {"one": {"auth": BOB}, "two": {"auth": BOB}}
    found = logins(tmp_path, {"credsStore": "test", "auths": auths})
    assert found.get("one") == Credentials("helped", password)
    assert found.get("two") == Credentials("bob", "se:cret")
    assert found.get("three") is None


def test_a_helper_knows_a_host_by_the_spelling_of_the_file_too(tmp_path: Path) -> None:
    password, program = secret(), HelperProgram(tmp_path / "bin")
    program.know("https://host/v2/", "bob", password)
    program.know("https://index.docker.io/v1/", "hub", password)
    found = logins(tmp_path, {"credsStore": "test", "auths": {"https://host/v2/": {}, "https://other/v2/": {}}})
    assert found.get("host") == Credentials("bob", password)
    assert found.get("registry-1.docker.io") == Credentials("hub", password)
    assert found.get("third") is None
    assert ("get", "https://other/v2/") not in program.calls


BROKEN = {"missing": None, "failing": "raise SystemExit('no keychain')", "garbage": "print('x')"}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ({"credHelpers": {"host": "test"}}, "error"),
        ({"credHelpers": {"host": "test"}, "auths": {"host": {"auth": BOB}}}, "error"),
        ({"credsStore": "test", "auths": {"host": {}}}, "error"),
        ({"credsStore": "test", "auths": {"host": {"auth": BOB}}}, "bob"),
        ({"credsStore": "test"}, "nobody"),
        ({"credsStore": "test", "auths": {"host:1": {}}}, "nobody"),
        ({"credHelpers": {"host.other": "test"}}, "silence"),
    ],
)
def test_a_helper_that_fails_is_an_error_where_the_file_says_it_has_the_login(
    tmp_path: Path, how: str, value: Any, outcome: str
) -> None:
    told = Told()
    source = BROKEN[how]
    if source is not None:
        HelperProgram(tmp_path / "bin", source=source)
    found = logins(tmp_path, value, told)
    if outcome == "error":
        with pytest.raises(ConfigError, match="the credential helper test"):
            found.get("host")
        assert told == []
        return
    assert (found.get("host") is not None) == (outcome == "bob")
    assert [code for code, _ in told] == ([] if outcome == "silence" else ["credential-helper"])
    assert all("host is asked without it" in message for _, message in told)


def test_where_no_program_may_be_run_none_is(tmp_path: Path) -> None:
    program = HelperProgram(tmp_path / "bin")
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"credsStore": "test", "auths": {"host": {}}}))
    assert Logins(file, None, Told()).get("host") is None
    assert program.calls == []


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_can_read_is_told_of(tmp_path: Path, mode: int) -> None:
    told = Told()
    found = logins(tmp_path, {"auths": {"host": {"auth": BOB}, "empty": {}}}, told, mode=mode)
    assert found.get("empty") is None
    assert told == []
    assert found.get("host") is not None
    assert [code for code, _ in told] == (["readable-logins"] if mode & 0o044 else [])
    assert all(f"chmod 600 {tmp_path}" in message for _, message in told)
