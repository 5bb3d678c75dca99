from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from modelops_bundle.ui.cli import home as folders
from tests.support.bundle import Bundle, call
from tests.support.canary import secret


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who is only a number: no variable and no line of /etc/passwd says where the home is."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", unknown)


def test_who_has_a_home_has_folders(home: Path) -> None:
    assert folders.home() == home
    assert folders.config() == home / ".config" / "modelops-bundle"
    assert folders.cache() == home / ".cache" / "modelops-bundle"
    assert folders.expanded("~/x") == home / "x"


@pytest.mark.usefixtures("nobody")
def test_who_has_none_has_no_folders() -> None:
    assert (folders.home(), folders.config(), folders.cache()) == (None, None, None)


@pytest.mark.parametrize("path", ["~/x", "~nobody-of-this-name/x"])
@pytest.mark.usefixtures("nobody")
def test_a_home_that_nobody_knows_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match="no such home"):
        folders.expanded(path)


def test_a_tilde_that_was_left_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: Path("~/.config/modelops-bundle"))
    assert folders.config() is None


@pytest.mark.usefixtures("nobody")
def test_every_command_works_without_a_home(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "a", None, {"a.txt": "a\n"})
    made.push()
    assert made.json("status")["clean"]
    made.run("doctor")
    call("-C", str(tmp_path), "clone", "./a", "b")


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("words", [("login", "h.example", "-u", "bob", "--password-stdin"), ("logout", "h.example")])
def test_without_a_home_there_is_no_file_of_logins(tmp_path: Path, words: tuple[str, ...]) -> None:
    error = call("-C", str(tmp_path), "--json", *words, expect=2, stdin=secret().encode()).error
    assert "no file" in error["message"]
    assert "DOCKER_CONFIG" in error["hint"]


@pytest.mark.usefixtures("nobody")
def test_a_path_below_a_home_that_is_not_there_is_an_error_of_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("-C", str(tmp_path), "--ca-file", "~/ca.pem", "tags", "h.example/m", expect=2)
    folder = tmp_path / "config" / "modelops-bundle"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[hosts."h.example"]\nca_file = "~/ca.pem"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    error = call("-C", str(tmp_path), "--json", "tags", "h.example/m", expect=2).error
    assert error["code"] == "config"
    assert "ca_file" in error["message"]
