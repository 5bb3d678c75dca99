"""The setting `namespace`: names without a host mean something only where the user said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle, call
from tests.support.clones import BASE


@pytest.fixture
def namespace(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BUNDLE_NAMESPACE", f"{fake.host}/team")
    return f"{fake.host}/team"


@pytest.fixture
def a(namespace: str, tmp_path: Path) -> Bundle:
    made = Bundle(tmp_path / "a")
    made.root.mkdir()
    made.run("init", "model")
    made.write(BASE)
    made.run("add", ".")
    made.push("--tag", "v1")
    return made


def test_init_and_remotes_write_the_whole_name(a: Bundle, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a.run("remote", "add", "prod", "deep/er/model:stable")
    a.run("remote", "set", "origin", "sub/other")
    monkeypatch.delenv("BUNDLE_NAMESPACE")
    remotes = {each["name"]: (each["url"], each["tag"]) for each in a.json("remote", "list")["remotes"]}
    assert remotes == {"origin": (f"{namespace}/sub/other", "latest"), "prod": (f"{namespace}/deep/er/model", "stable")}


def test_every_command_understands_a_name(a: Bundle, namespace: str, tmp_path: Path) -> None:
    out = ("-C", str(tmp_path))
    digest = call(*out, "--json", "inspect", "model:v1").json["digest"]
    assert call(*out, "--json", "tags", "model").json["repository"] == f"{namespace}/model"
    assert set(call(*out, "--json", "ls", f"model@{digest}").json["files"]) == set(BASE)
    assert call(*out, "cat", "model:v1:config.json").data == b"{}\n"
    call(*out, "tag", "model:v1", "stable")
    call(*out, "attach", "model:v1", str(a.path("README.md")), "--type", "a/b")
    assert len(call(*out, "--json", "referrers", "model:stable").json["referrers"]) == 1
    call(*out, "clone", "model:v1", "copy")
    assert Bundle(tmp_path / "copy").tree() == a.tree()


def test_inside_a_bundle_remotes_and_known_tags_win(a: Bundle, namespace: str, fake: Fake) -> None:
    Bundle.create(a.root.parent / "b", f"{namespace}/origin", {"x.txt": "another"}).push("--tag", "v1")
    assert set(a.listed("origin:v1")) == set(BASE)
    assert set(a.listed("v1")) == set(BASE)
    assert set(a.listed(f"{namespace}/origin:v1")) == {"x.txt"}


@pytest.mark.parametrize(
    "words",
    [
        ("push", "v9"),
        ("push", "prod:v9"),
        ("delete", "v9", "--yes"),
        ("untag", "other:v1"),
        ("tag", "other:v1", "x"),
        ("attach", "other", "--type", "a/b", "--annotation", "k=v"),
        ("tags", "other"),
        ("remote", "add", "prod", "other"),
    ],
)
def test_inside_a_bundle_a_slip_reaches_no_other_repository(
    a: Bundle, namespace: str, fake: Fake, words: tuple[str, ...]
) -> None:
    Bundle.create(a.root.parent / "b", f"{namespace}/other", {"x.txt": "another"}).push("--tag", "v1")
    before = {name: dict(there.tags) for name, there in fake.repositories.items()}
    assert a.run("--json", *words, expect=2).error["code"] == "usage"
    assert {name: dict(there.tags) for name, there in fake.repositories.items()} == before


def test_inside_a_bundle_a_name_with_a_slash_is_in_the_namespace(a: Bundle, namespace: str) -> None:
    a.run("push", "sub/model:v1")
    assert set(a.listed(f"{namespace}/sub/model:v1")) == set(BASE)


def test_the_users_own_file_and_the_bundles_and_the_command_line(
    fake: Fake, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Bundle.create(tmp_path / "a", f"{fake.host}/team/model", BASE).push()
    file = home / ".config" / "modelops-bundle" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'namespace = "{fake.host}/team"\n')
    out = ("-C", str(tmp_path))
    assert call(*out, "--json", "tags", "model").json["tags"]
    assert call(*out, "--config", f"namespace={fake.host}/other", "--json", "tags", "model").json["tags"] == []
    b = Bundle.create(tmp_path / "b", None)
    b.run("config", "set", "namespace", f"{fake.host}/other")
    assert b.json("tags", "sub/model")["repository"] == f"{fake.host}/other/sub/model"
    monkeypatch.setenv("BUNDLE_NAMESPACE", fake.host)
    assert b.json("tags", "team/model")["tags"]


@pytest.mark.parametrize("name", ["model", "team/model", "model:v1"])
def test_without_it_a_name_means_nothing(alone: Bundle, tmp_path: Path, name: str) -> None:
    for where in ("-C", str(tmp_path)), ("-C", str(alone.root)):
        assert call(*where, "--json", "inspect", name, expect=2).error["code"] == "usage"


@pytest.mark.parametrize("value", ["team", "/srv/models", "./models", "layout:x", "../x"])
def test_a_namespace_that_is_no_place_on_a_registry(tmp_path: Path, value: str) -> None:
    error = call("-C", str(tmp_path), "--config", f"namespace={value}", "--json", "tags", "model", expect=2).error
    assert error["code"] == "config"
    # It hinders nobody who does not need it.
    call("-C", str(tmp_path), "--config", f"namespace={value}", "--json", "tags", f"{tmp_path}/none", expect=6)


@pytest.mark.parametrize("name", [":v1", "@" + "0" * 12, "Model", "a b", "a//b"])
def test_what_is_no_name_stays_an_error(namespace: str, tmp_path: Path, name: str) -> None:
    call("-C", str(tmp_path), "tags", name, expect=2)


def test_paths_stay_paths(namespace: str, tmp_path: Path) -> None:
    call("-C", str(tmp_path), "tags", "./model", expect=6)
