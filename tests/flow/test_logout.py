"""logout: forgets what login stores, and says who else knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle import call
from tests.support.canary import secret
from tests.support.helpers import HelperProgram
from tests.support.logins import auth, write

HOST = "registry.example.com"


@pytest.fixture
def config(home: Path) -> Path:
    return home / ".docker" / "config.json"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HelperProgram:
    return HelperProgram.on_path(tmp_path / "bin", monkeypatch)


def log_out(host: str = HOST, *, expect: int = 0) -> dict[str, Any]:
    return call("--json", "logout", host, expect=expect).json


def test_who_is_not_logged_in_is_told_and_nothing_is_made(config: Path) -> None:
    assert call("logout", HOST).out == f"Not logged in to {HOST}\n"
    assert not config.parent.exists()
    write(config, {"auths": {"other.example.com": {}}})
    before = config.stat().st_ino
    assert log_out() == {"host": HOST, "removed": [], "left": []}
    assert config.stat().st_ino == before


def test_every_spelling_goes_and_the_rest_stays(config: Path) -> None:
    password = secret()
    keys = [HOST, f"https://{HOST}", f"https://{HOST}/v2/"]
    others = [f"{HOST}:5000", f"sub.{HOST}", f"{HOST}/team"]
    write(config, {"auths": {key: auth("bob", password) for key in (*keys, *others)}, "psFormat": "x"})
    assert log_out() == {"host": HOST, "removed": [str(config)], "left": [f"{config} ({HOST}/team)"]}
    assert json.loads(config.read_text()) == {"auths": {key: auth("bob", password) for key in others}, "psFormat": "x"}


def test_an_entry_that_nobody_can_read_goes_as_well(config: Path) -> None:
    write(config, {"auths": {HOST: {"auth": "%%%"}}})
    assert log_out()["removed"] == [str(config)]
    assert json.loads(config.read_text())["auths"] == {}


def test_docker_hub_by_the_name_people_write(config: Path) -> None:
    write(config, {"auths": {"https://index.docker.io/v1/": auth("bob", secret())}})
    assert log_out("docker.io")["removed"] == [str(config)]
    assert json.loads(config.read_text())["auths"] == {}


def test_a_helper_forgets_every_spelling(config: Path, helper: HelperProgram) -> None:
    for server in (HOST, f"https://{HOST}/v2/", f"{HOST}:5000"):
        helper.know(server, "bob", secret())
    write(config, {"credsStore": "test", "auths": {HOST: {}}})
    assert log_out()["removed"] == [f"the credential helper test (credsStore in {config})"]
    assert helper.known.keys() == {f"{HOST}:5000"}
    assert json.loads(config.read_text())["auths"] == {}


def test_both_helper_and_file(config: Path, helper: HelperProgram) -> None:
    helper.know(HOST, "bob", secret())
    write(config, {"credHelpers": {HOST: "test"}, "auths": {HOST: auth("bob", secret())}})
    where = [f"the credential helper test (credHelpers in {config})", str(config)]
    assert log_out()["removed"] == where


@pytest.mark.parametrize("source", [None, "raise SystemExit('locked')"])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"credHelpers": {HOST: "test"}}, 2),
        ({"credsStore": "test", "auths": {HOST: {}}}, 2),
        ({"credsStore": "test", "auths": {HOST: {"auth": "Ym9iOnB3"}}}, 0),
        ({"credsStore": "test"}, 0),
    ],
)
def test_a_helper_that_fails(
    config: Path, helper: HelperProgram, source: str | None, value: dict[str, Any], code: int
) -> None:
    if source is None:
        helper.program.unlink()
    else:
        HelperProgram(helper.folder, source=source)
    write(config, value)
    shown = call("--progress", "json", "logout", HOST, expect=code)
    # The file has nothing of it any more, whatever the helper did.
    assert HOST not in json.loads(config.read_text()).get("auths", {})
    assert ("the credential helper test" in shown.notices.get("credential-helper", "")) == (code == 0)


def test_a_helper_that_cannot_list_is_asked_for_the_known_spellings(config: Path, tmp_path: Path, monkeypatch) -> None:
    source = (
        "import sys, json\n"
        "if sys.argv[1] == 'get': print(json.dumps({'Username': 'AWS', 'Secret': 'x'}))\n"
        "if sys.argv[1] in ('list', 'erase'): sys.exit('not implemented')\n"
    )
    monkeypatch.setenv("PATH", str(HelperProgram(tmp_path / "bin", source=source).folder))
    write(config, {"credHelpers": {HOST: "test"}})
    assert "failed to erase" in log_out(expect=2)["error"]["message"]


def test_others_that_still_know_are_named(
    config: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, user = home / ".runtime" / "containers" / "auth.json", home / ".config" / "containers" / "auth.json"
    for file in (config, runtime):
        write(file, {"auths": {HOST: auth("bob", secret())}})
    write(user, {"auths": {f"{HOST}/team": auth("bob", secret())}})
    monkeypatch.setenv("BUNDLE_TOKEN", secret("token"))
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {HOST: auth("ci", secret())}}))
    document = log_out()
    assert document["removed"] == [str(config)]
    assert document["left"] == ["BUNDLE_TOKEN", "DOCKER_AUTH_CONFIG", str(runtime), f"{user} ({HOST}/team)"]
    shown = call("logout", HOST).out.splitlines()
    assert shown[0] == f"Not logged in to {HOST}"
    assert f"{runtime} still has a login for {HOST}" in shown
    runtime.write_text("{")
    assert log_out()["left"] == ["BUNDLE_TOKEN", "DOCKER_AUTH_CONFIG", f"{user} ({HOST}/team)"]


def test_it_needs_no_network(config: Path) -> None:
    write(config, {"auths": {HOST: auth("bob", secret())}})
    assert call("--offline", "--json", "logout", HOST).json["removed"] == [str(config)]
