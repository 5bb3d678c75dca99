"""What names of remotes may be, and which changes are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle import Bundle


@pytest.mark.parametrize("name", ["", "a.b", "localhost", "oci", "layout", "with space", "a/b", "a:b"])
def test_a_name_that_would_read_as_something_else(alone: Bundle, name: str) -> None:
    before = alone.bookkeeping()
    assert alone.refused(2, "remote", "add", name, "localhost:5000/x")["code"] == "usage"
    assert alone.bookkeeping() == before


def test_a_taken_name_and_an_unknown_one(alone: Bundle) -> None:
    assert "remote set" in alone.refused(2, "remote", "add", "origin", "localhost:5000/x")["hint"]
    assert "remote add" in alone.refused(6, "remote", "set", "absent", "localhost:5000/x")["hint"]
    alone.refused(6, "remote", "rm", "absent")


@pytest.mark.parametrize("place", [f"localhost:5000/x@sha256:{'0' * 64}", "localhost:5000/x@0123456789", "nonsense"])
def test_a_remote_is_a_place(alone: Bundle, place: str) -> None:
    before = alone.bookkeeping()
    alone.refused(2, "remote", "add", "other", place)
    assert alone.bookkeeping() == before


def test_comments_in_the_settings_survive(alone: Bundle) -> None:
    path = alone.root / ".modelops-bundle/config.toml"
    path.write_text(path.read_text() + "\n# my own words\n[roles]\nweight = ['*.blob'] # these too\n")
    alone.run("remote", "add", "other", "localhost:5000/x:v1")
    alone.run("remote", "set", "other", "localhost:5000/y")
    alone.run("remote", "rm", "other")
    text = path.read_text()
    assert "# my own words" in text
    assert "# these too" in text
    assert "localhost" not in text


def test_the_default_remote_comes_first_and_can_be_changed(alone: Bundle) -> None:
    alone.run("remote", "add", "another", "localhost:5000/x")
    assert [each["name"] for each in alone.json("remote", "list")["remotes"]] == ["origin", "another"]
    alone.run("config", "set", "default_remote", "another")
    assert [each["name"] for each in alone.json("remote", "list")["remotes"]] == ["another", "origin"]


def test_a_default_remote_that_does_not_exist_is_said(alone: Bundle) -> None:
    alone.run("config", "set", "default_remote", "absent")
    error = alone.refused(2, "push")
    assert "absent" in error["message"]


def test_a_missing_reference_names_the_nearest_remote(alone: Bundle) -> None:
    assert "origin:v1" in alone.refused(2, "ls", "orgin:v1")["hint"]


# --- how its host is reached

FAR = "registry.example.com:5000/m"


def settings(made: Bundle, name: str = "far") -> dict[str, object]:
    found = {each["name"]: each["settings"] for each in made.json("remote", "list")["remotes"]}
    assert isinstance(found[name], dict)
    return found[name]


def test_flags_about_its_host_are_remembered_and_said(alone: Bundle, tmp_path: Path) -> None:
    (alone.root / "sub").mkdir()
    told = alone.run(
        "remote", "add", "far", FAR, "--ca-file", "../ca.pem", "--client-cert", str(tmp_path / "me.pem"), cwd="sub"
    )
    assert f"Remembered for far: ca_file = ca.pem, client_cert = {tmp_path / 'me.pem'}" in told.out
    assert settings(alone) == {"ca_file": "ca.pem", "client_cert": str(tmp_path / "me.pem")}
    # Said again with another certificate: the rest stays.
    made = alone.json("remote", "set", "far", FAR, "--client-cert", "new.pem", "--client-key", "new.key")
    assert made["settings"] == {"ca_file": "ca.pem", "client_cert": "new.pem", "client_key": "new.key"}
    alone.run("remote", "set", "far", FAR, "--client-cert", "both.pem")
    assert settings(alone) == {"ca_file": "ca.pem", "client_cert": "both.pem"}


def test_tls_and_none_are_one_choice(alone: Bundle) -> None:
    alone.run("remote", "add", "far", FAR, "--plain-http")
    assert settings(alone) == {"plain_http": True}
    alone.run("remote", "set", "far", FAR, "--insecure")
    assert settings(alone) == {"insecure": True}
    alone.run("remote", "set", "far", FAR, "--plain-http")
    assert settings(alone) == {"plain_http": True}
    for excluded in (["--insecure"], ["--client-cert", "me.pem"]):
        assert alone.refused(2, "remote", "set", "far", FAR, "--plain-http", *excluded)["code"] == "usage"


def test_another_host_inherits_nothing(alone: Bundle) -> None:
    alone.run("remote", "add", "far", FAR, "--insecure")
    alone.run("remote", "set", "far", f"{FAR}-two")
    assert settings(alone) == {"insecure": True}
    alone.run("remote", "set", "far", "other.example.com/m", "--ca-file", "/ca.pem")
    assert settings(alone) == {"ca_file": "/ca.pem"}
    alone.run("remote", "set", "far", FAR)
    assert settings(alone) == {}


def test_variables_are_for_one_command(alone: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLE_INSECURE", "1")
    monkeypatch.setenv("BUNDLE_CA_FILE", "/ca.pem")
    alone.run("remote", "add", "far", FAR)
    assert settings(alone) == {}


def test_a_directory_has_no_host(alone: Bundle, tmp_path: Path) -> None:
    told = alone.run("remote", "add", "near", f"layout:{tmp_path / 'near'}", "--insecure")
    assert "Remembered" not in told.out
    assert settings(alone, "near") == {}
    assert "settings" not in Bundle(tmp_path / "b").json("-C", str(tmp_path), "init", "./x", "--insecure")


def test_a_client_key_alone_is_said(alone: Bundle) -> None:
    alone.run("remote", "add", "far", FAR, "--client-key", "me.key")
    error = alone.refused(2, "tags", FAR)
    assert "and no certificate" in error["message"]


def test_a_file_that_is_gone_is_named(alone: Bundle) -> None:
    alone.run("remote", "add", "far", FAR, "--client-cert", "me.pem")
    error = alone.refused(2, "tags", FAR)
    assert str(alone.root / "me.pem") in error["message"]


def test_hosts_by_config(alone: Bundle) -> None:
    key = 'hosts."registry.example.com:5000".client_cert'
    alone.run("config", "set", key, "me.pem")
    assert alone.json("config", "get", key)["value"] == "me.pem"
    assert "hosts.registry.example.com:5000.client_cert = me.pem" in alone.run("config", "list").out
    assert str(alone.root / "me.pem") in alone.refused(2, "tags", FAR)["message"]
    alone.run("config", "set", key, "--unset")
    assert "hosts" not in alone.run("config", "list").out
    assert alone.refused(2, "config", "set", "hosts.registry.example.com:5000.nonsense", "x")["code"] == "config"
