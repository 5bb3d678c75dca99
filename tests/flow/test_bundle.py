"""From the command line to a session: logins and settings of the environment reach the registry."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import FOLDER, Bundle, call
from tests.support.clones import BASE


@pytest.fixture
def closed(fake: Fake, tmp_path: Path) -> Bundle:
    """A bundle whose registry wants a login."""
    fake.require_auth("user", "s3cret-pass")
    return Bundle.create(tmp_path / "a", f"{fake.host}/m", BASE)


def test_without_a_login_it_is_exit_7(closed: Bundle) -> None:
    assert closed.refused(7, "push")["code"] == "unauthorized"


def test_a_login_from_the_environment(closed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLE_USERNAME", "user")
    monkeypatch.setenv("BUNDLE_PASSWORD", "s3cret-pass")
    closed.push()
    assert closed.changes() == {}
    monkeypatch.setenv("BUNDLE_PASSWORD", "wrong-pass")
    result = closed.run("-v", "push", "--tag", "v2", expect=7)
    assert "wrong-pass" not in result.text


def test_the_environments_login_is_not_given_to_other_registries(
    closed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUNDLE_USERNAME", "user")
    monkeypatch.setenv("BUNDLE_PASSWORD", "s3cret-pass")
    with Fake() as stranger:
        stranger.require_auth("user", "s3cret-pass", basic=True)
        closed.refused(7, "ls", f"{stranger.host}/m:latest")
        assert stranger.requests
        assert not [one for one in stranger.requests if "authorization" in one.headers]


def test_a_login_from_dockers_config(closed: Bundle, fake: Fake, home: Path) -> None:
    folder = home / ".docker"
    folder.mkdir()
    auth = base64.b64encode(b"user:s3cret-pass").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {fake.host: {"auth": auth}}}))
    closed.push()


def test_no_secret_is_written_or_shown(closed: Bundle, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("BUNDLE_USERNAME", "user")
    monkeypatch.setenv("BUNDLE_PASSWORD", "s3cret-pass")
    shown = closed.run("-v", "--progress", "json", "push")
    encoded = base64.b64encode(b"user:s3cret-pass").decode()
    written = b"".join(path.read_bytes() for top in (closed.root, home) for path in top.rglob("*") if path.is_file())
    for secret in ("s3cret-pass", encoded, "Bearer"):
        assert secret not in shown.text
        assert secret.encode() not in written


def test_requests_of_a_login_are_few(closed: Bundle, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLE_USERNAME", "user")
    monkeypatch.setenv("BUNDLE_PASSWORD", "s3cret-pass")
    closed.push()
    tokens = fake.asked("GET", "/token") + fake.asked("POST", "/token")
    assert len(tokens) <= 4  # pull and push, for the plan and for its application


def test_the_directory_option_works_from_anywhere(closed: Bundle, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert set(call("-C", str(tmp_path / "sub"), "-C", str(closed.root), "--json", "ls").json["files"]) == set(BASE)
    call("-C", str(tmp_path / "absent"), "ls", expect=2)


def test_a_project_may_set_global_options(alone: Bundle) -> None:
    alone.run("config", "set", "quiet", "true")
    assert alone.run("status").text == ""
    settings = alone.root / FOLDER / "config.toml"
    settings.write_text(settings.read_text() + '[limits]\nrate = "nonsense"\n')
    assert alone.refused(2, "status")["code"] == "config"
