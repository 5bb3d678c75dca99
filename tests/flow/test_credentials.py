"""Whose login a command sends: the order of the sources, and what happens where one of them fails."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.events import Run
from modelops_bundle.operations import wiring
from modelops_bundle.operations.options import Options
from modelops_bundle.testing.actions import Action
from modelops_bundle.testing.protocol import Call, Response, refusal
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.canary import secret
from tests.support.clones import BASE
from tests.support.helpers import HelperProgram
from tests.support.logins import auth, write


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HelperProgram:
    return HelperProgram.on_path(tmp_path / "bin", monkeypatch)


@pytest.fixture
def made(fake: Fake, tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "a", f"{fake.host}/team/m", BASE)


class Place:
    """One source of a login, as its user sets it up."""

    def __init__(self, name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._name = name
        self._files = {
            "docker": home / ".docker" / "config.json",
            "runtime": home / ".runtime" / "containers" / "auth.json",
            "user": home / ".config" / "containers" / "auth.json",
        }
        self._environment = monkeypatch.setenv

    def hold(self, host: str, user: str, password: str) -> None:
        if self._name == "variables":
            self._environment("BUNDLE_USERNAME", user)
            self._environment("BUNDLE_PASSWORD", password)
        elif self._name == "text":
            self._environment("DOCKER_AUTH_CONFIG", json.dumps({"auths": {host: auth(user, password)}}))
        else:
            write(self._files[self._name], {"auths": {host: auth(user, password)}})


ORDER = ["variables", "text", "docker", "runtime", "user"]


@pytest.mark.parametrize(("first", "second"), [*itertools.pairwise(ORDER), ("variables", "user")])
def test_the_order_of_the_sources(
    fake: Fake, made: Bundle, home: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    password = secret()
    fake.require_auth("right", password)
    Place(second, home, monkeypatch).hold(fake.host, "right", password)
    made.push()
    Place(first, home, monkeypatch).hold(fake.host, "wrong", secret("wrong"))
    assert "'wrong'" in made.refused(7, "tags")["message"]
    Place(first, home, monkeypatch).hold(fake.host, "right", password)
    Place(second, home, monkeypatch).hold(fake.host, "wrong", secret("wrong"))
    made.run("tags")


def test_registry_auth_file_is_the_only_file(
    fake: Fake, made: Bundle, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = secret()
    fake.require_auth("right", password)
    for name in ("docker", "runtime", "user"):
        Place(name, home, monkeypatch).hold(fake.host, "right", password)
    made.push()
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "config.json"))
    made.refused(7, "tags")
    write(tmp_path / "config.json", {"auths": {fake.host: auth("right", password)}})
    made.run("tags")


def test_a_token_from_the_environment_is_an_identity_token(
    fake: Fake, made: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = secret("token")
    fake.require_auth("bob", secret(), identity_token=token)
    monkeypatch.setenv("BUNDLE_TOKEN", token)
    made.push()
    with Fake() as stranger:
        stranger.require_auth("bob", secret(), identity_token=token)
        made.refused(7, "tags", f"{stranger.host}/team/m")
    monkeypatch.setenv("BUNDLE_TOKEN", secret("wrong"))
    made.refused(7, "tags")


def test_an_empty_variable_counts_as_not_set(fake: Fake, made: Bundle, home: Path, monkeypatch) -> None:
    password = secret()
    fake.require_auth("bob", password)
    Place("docker", home, monkeypatch).hold(fake.host, "bob", password)
    for name in ("BUNDLE_USERNAME", "BUNDLE_PASSWORD", "BUNDLE_TOKEN", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"):
        monkeypatch.setenv(name, "")
    made.push()


@pytest.mark.parametrize("basic", [True, False])
def test_namespaces_of_podmans_file(fake: Fake, tmp_path: Path, home: Path, basic: bool) -> None:
    password = secret()
    fake.require_auth("team", password, basic=basic)
    auths = {
        fake.host: auth("anybody", secret("wrong")),
        f"{fake.host}/team": auth("team", password),
        f"{fake.host}/team/closed": auth("other", secret("wrong")),
    }
    write(home / ".config" / "containers" / "auth.json", {"auths": auths})
    Bundle.create(tmp_path / "a", f"{fake.host}/team/m", BASE).push()
    for name, who in (("team/closed", "other"), ("teams/m", "anybody")):
        made = Bundle.create(tmp_path / name.replace("/", "-"), f"{fake.host}/{name}", BASE)
        assert f"{who!r}" in made.refused(7, "push")["message"]


def test_docker_desktops_file(fake: Fake, made: Bundle, home: Path, helper: HelperProgram) -> None:
    password = secret()
    fake.require_auth("bob", password)
    auths: dict[str, Any] = {fake.host: {}, "https://index.docker.io/v1/": {}}
    write(home / ".docker" / "config.json", {"auths": auths, "credsStore": "test", "currentContext": "desktop-linux"})
    helper.know(fake.host, "bob", password)
    made.push()
    # One command, several clients: the keychain is opened once.
    assert helper.calls == [("get", fake.host)]


def test_what_a_helper_lacks_the_next_file_may_have(
    fake: Fake, made: Bundle, home: Path, helper: HelperProgram
) -> None:
    password = secret()
    fake.require_auth("bob", password)
    write(home / ".docker" / "config.json", {"credsStore": "test"})
    write(home / ".config" / "containers" / "auth.json", {"auths": {fake.host: auth("bob", password)}})
    made.push()
    assert helper.calls == [("get", fake.host)]


def test_later_sources_are_not_looked_at_when_an_earlier_one_knows(
    fake: Fake, made: Bundle, home: Path, helper: HelperProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = secret()
    fake.require_auth("bob", password)
    write(home / ".docker" / "config.json", {"credsStore": "../../x", "auths": {fake.host: {}}})
    Place("text", home, monkeypatch).hold(fake.host, "bob", password)
    made.push()
    monkeypatch.delenv("DOCKER_AUTH_CONFIG")
    assert "not the name of a credential helper" in made.refused(2, "push", "--tag", "v2")["message"]


def test_a_registry_that_asks_for_no_login_wakes_no_helper(made: Bundle, home: Path, helper: HelperProgram) -> None:
    write(home / ".docker" / "config.json", {"credsStore": "test"})
    made.push()
    assert helper.calls == []


def test_a_public_pull_does_not_die_of_a_broken_store(fake: Fake, made: Bundle, home: Path, tmp_path: Path) -> None:
    made.push()
    fake.require_auth("bob", secret(), anonymous_pull=True)
    write(home / ".docker" / "config.json", {"credsStore": "desktop"})
    made.write({"config.json": None})
    shown = made.run("--progress", "json", "pull", "--overwrite", "--yes")
    assert "docker-credential-desktop" in shown.notices["credential-helper"]
    assert f"{fake.host} is asked without it" in shown.notices["credential-helper"]
    made.write({"config.json": "mine\n"})
    # What needs a login fails as without one, after the notice.
    made.refused(7, "push")
    # Where the file says that the store has this login, the helper's failure is the error: exit 2, and not "absent".
    write(home / ".docker" / "config.json", {"credsStore": "desktop", "auths": {fake.host: {}}})
    assert "docker-credential-desktop" in made.refused(2, "pull")["message"]


def test_a_file_that_others_can_read_is_told_of_once(fake: Fake, made: Bundle, home: Path) -> None:
    password = secret()
    fake.require_auth("bob", password)
    file = home / ".docker" / "config.json"
    write(file, {"auths": {fake.host: auth("bob", password)}})
    assert "readable-logins" not in made.run("--progress", "json", "push").notices
    file.chmod(0o644)
    shown = made.run("--progress", "json", "push", "--tag", "v2")
    assert [event["code"] for event in shown.events if event["event"] == "notice"].count("readable-logins") == 1
    assert f"chmod 600 {file}" in shown.notices["readable-logins"]


class Quoting(Action):
    """Refuses whoever is logged in, with a word too many."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def after(self, call: Call, response: Response) -> Response:
        return refusal(403, "DENIED", f"who is {' and '.join(self._words)}?") if response.status != 401 else response


@pytest.mark.parametrize("command", [("tags",), ("registry", "check"), ("delete", "--yes")])
@pytest.mark.parametrize("basic", [True, False])
def test_a_server_that_quotes_the_login_is_not_quoted(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], basic: bool
) -> None:
    password = secret()
    fake.require_auth("ann", password, basic=basic)
    monkeypatch.setenv("BUNDLE_USERNAME", "ann")
    monkeypatch.setenv("BUNDLE_PASSWORD", password)
    words = (password, base64.b64encode(f"ann:{password}".encode()).decode())
    fake.fault(lambda _, path: "/m/" in path, Quoting(*words), times=None)
    # `call` looks for the password in all that is printed.
    said = call("--json", *command, f"{fake.host}/m:v1" if command[0] != "tags" else f"{fake.host}/m", expect=7).out
    assert words[1] not in said
    assert "who is *** and ***?" in said or command[0] == "delete"


def test_a_registry_token_is_sent_as_it_is(fake: Fake, made: Bundle, home: Path) -> None:
    token = secret("token")
    made.push()
    fake.require_auth("bob", secret())
    fake._tokens[token] = (float("inf"), frozenset(["team/m:pull"]))
    write(home / ".docker" / "config.json", {"auths": {fake.host: {"registrytoken": token}}})
    made.run("tags")
    assert not fake.asked("GET", "/token")
    made.refused(7, "push", "--tag", "v2")


def test_each_source_says_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    write(file, {"auths": {"host": {"auth": base64.b64encode(b"u:p").decode()}}})
    every = Options(username="u", password="p", token="t", auth_config=file.read_text(), docker_config=file)
    found = [source.get("host") for source in wiring.sources(every, "host", Run())]
    assert [one.source for one in found if one] == ["BUNDLE_USERNAME", "BUNDLE_TOKEN", "DOCKER_AUTH_CONFIG", str(file)]
    untrusted = wiring.sources(every, "host", Run(), trusted=False)
    assert [one.source for source in untrusted if (one := source.get("host"))] == ["DOCKER_AUTH_CONFIG", str(file)]
