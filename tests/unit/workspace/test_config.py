"""`config.toml`: read strictly, edited without touching what the user wrote."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import BundleError, ConfigError, UsageError
from modelops_bundle.model.reference import Reference
from modelops_bundle.net.options import HostOptions
from modelops_bundle.workspace.config import KEYS, Config, edit, key_rule, parse_value, remember_host

TEXT = """\
# mine
default_tag = "nightly"   # why not

[remotes.origin]
url = "reg.io/team/model"
race = "strict"

# the other one
[remotes.backup]
url = "layout:/backup:old"
tag = "t"
plain_http = true
ca_file = "ca.pem"

[roles]
eval = ["results/**"]

[annotations]
"org.example.team" = "x"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(TEXT)
    return tmp_path / "config.toml"


def config(text: str, path: Path) -> Config:
    path.write_text(text)
    return Config.load(path)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_absent_is_empty_with_defaults(tmp_path: Path) -> None:
    found = Config.load(tmp_path / "none")
    assert (found.default_remote, found.default_tag, found.remotes(), found.roles()) == ("origin", "latest", {}, {})
    assert (found.annotations(), found.follow_links(), found.flat()) == ({}, frozenset(), {})


def test_remotes_are_read(path: Path) -> None:
    found = Config.load(path).remotes()
    origin, backup = found["origin"], found["backup"]
    assert (origin.reference, origin.tag, origin.race) == (Reference("oci", "reg.io/team/model"), "nightly", "strict")
    assert str(origin.default) == "reg.io/team/model:nightly"
    assert (backup.tag, backup.race, backup.options) == ("t", "default", HostOptions(plain_http=True, ca_file="ca.pem"))
    assert str(backup.default) == "layout:/backup:old"


def test_dotted_keys_reach_everything(path: Path) -> None:
    found = Config.load(path)
    assert found.get("remotes.origin.url") == "reg.io/team/model"
    assert found.get("annotations.org.example.team") == "x"
    assert found.get("roles.eval") == ["results/**"]
    assert found.get("no.such.key") is None
    assert found.get("default_tag.below") is None
    assert found.flat() == {
        "default_tag": "nightly",
        "remotes.origin.url": "reg.io/team/model",
        "remotes.origin.race": "strict",
        "remotes.backup.url": "layout:/backup:old",
        "remotes.backup.tag": "t",
        "remotes.backup.plain_http": True,
        "remotes.backup.ca_file": "ca.pem",
        "roles.eval": ["results/**"],
        "annotations.org.example.team": "x",
    }


@pytest.mark.parametrize("text", ["x = ", "[a]\n[a]", "a = 1\na = 2", "\x00"])
def test_what_is_not_toml_is_a_config_error(path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config(text, path)


def test_what_is_not_utf8_is_a_config_error(path: Path) -> None:
    path.write_bytes(b'a = "\xff"')
    with pytest.raises(ConfigError):
        Config.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "remotes = 3",
        "[remotes]\norigin = 3",
        "[remotes.origin]",
        "[remotes.origin]\nurl = 3",
        '[remotes."a.b"]\nurl = "reg.io/m"',
        '[remotes.oci]\nurl = "reg.io/m"',
        '[remotes.x]\nurl = "reg.io/m"\nrace = "loose"',
    ],
)
def test_a_remote_that_cannot_be_used_is_a_config_error(path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        config(text, path).remotes()


def test_a_remote_with_a_bad_url_says_so(path: Path) -> None:
    with pytest.raises(UsageError, match="http://"):
        config('[remotes.x]\nurl = "http://reg.io/m"', path).remotes()


@pytest.mark.parametrize("text", ["roles = 3", "[roles]\na = 3", '[roles]\na = "x"', "[roles]\na = [1]"])
def test_roles_that_are_no_lists_of_globs_are_a_config_error(path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="lists of globs"):
        config(text, path).roles()


# --- layers of settings ----------------------------------------------------------------------------------------------


def test_the_invocation_stands_over_the_file_and_the_file_over_the_user(path: Path) -> None:
    own = config('default_tag = "file"\n[limits]\njobs = 3\n', path)
    found = own.layered(
        {"default_tag": "user", "offline": True, "limits": {"jobs": 1, "rate": "1M"}}, {"limits.jobs": "9"}
    )
    assert (found.default_tag, found.get("offline"), found.get("limits.jobs"), found.get("limits.rate")) == (
        "file",
        True,
        9,
        "1M",
    )
    assert own.get("limits.jobs") == 3


@pytest.mark.parametrize("above", [{"nope": "1"}, {"limits.jobs": "0"}, {"limits.jobs": "x"}, {"offline": "maybe"}])
def test_a_setting_of_the_invocation_that_cannot_be_is_a_config_error(above: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        Config({}).layered({}, above)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("default_tag", "x", "x"),
        ("limits.jobs", "8", 8),
        ("limits.rate", "10M", "10M"),
        ("offline", "yes", True),
        ("offline", "OFF", False),
        ("progress", "json", "json"),
        ("remotes.origin.race", "strict", "strict"),
        ("remotes.any-name.url", "reg.io/m", "reg.io/m"),
        ("roles.eval", "a/**, *.b ,,", ["a/**", "*.b"]),
        ("annotations.org.example.x", "v", "v"),
        ("follow_links", "a,b", ["a", "b"]),
    ],
)
def test_values_from_the_command_line(key: str, text: str, value: Any) -> None:
    assert parse_value(key, text) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("limits.jobs", "0"),
        ("limits.jobs", "-1"),
        ("limits.jobs", "many"),
        ("limits.rate", "fast"),
        ("limits.rate", "10M; rm"),
        ("offline", "maybe"),
        ("progress", "loud"),
        ("remotes.origin.race", "loose"),
    ],
)
def test_values_that_cannot_be(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} cannot be"):
        parse_value(key, text)


@pytest.mark.parametrize("key", ["", "nope", "remotes.origin", "remotes.origin.nope", "roles", "remotes.a.b.url"])
def test_keys_there_are_not(key: str) -> None:
    with pytest.raises(ConfigError, match="no configuration key"):
        key_rule(key)


def test_the_nearest_key_is_offered() -> None:
    with pytest.raises(ConfigError) as caught:
        key_rule("default_tga")
    assert caught.value.hint == "did you mean default_tag?"


def test_every_documented_key_has_a_rule() -> None:
    for key in KEYS:
        key_rule(key.replace("*", "name"))


# --- editing ---------------------------------------------------------------------------------------------------------


def test_an_edit_keeps_every_comment_and_line(path: Path) -> None:
    edit(path, {"remotes.origin.race": "default"})
    assert path.read_text() == TEXT.replace('race = "strict"', 'race = "default"')


def test_an_edit_and_its_opposite_change_nothing(path: Path) -> None:
    edit(path, {"limits.jobs": 3})
    assert Config.load(path).get("limits.jobs") == 3
    edit(path, {"limits.jobs": None})
    assert Config.load(path).flat() == {k: v for k, v in Config.load(path).flat().items() if k != "limits.jobs"}
    for line in TEXT.splitlines():
        assert line in path.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"default_tag": "v"},
        {"remotes.new.url": "reg.io/x", "remotes.new.tag": "t"},
        {"annotations.a.b.c": "v"},
        {"roles.new": ["a", "b"]},
        {"follow_links": ["a"]},
        {"ignore.defaults": False},
    ],
)
@pytest.mark.parametrize("text", [TEXT, "", "# only a comment\n"])
def test_what_was_set_is_read(path: Path, text: str, changes: dict[str, Any]) -> None:
    path.write_text(text)
    edit(path, changes)
    found = Config.load(path)
    assert {key: found.get(key) for key in changes} == changes


def test_removing_what_is_not_there_is_fine(path: Path) -> None:
    edit(path, {"nope": None, "remotes.nope.url": None})
    assert Config.load(path).flat() == Config.load(path).flat()
    assert path.read_text() == TEXT


def test_a_new_file_is_made(tmp_path: Path) -> None:
    edit(tmp_path / "sub/config.toml", {"default_tag": "v"})
    assert Config.load(tmp_path / "sub/config.toml").default_tag == "v"


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("x = ", {"default_tag": "v"}),
        ("remotes = 3", {"remotes.origin.url": "x"}),
        ("[remotes]\norigin = 3", {"remotes.origin.url": "x"}),
        ('limits = "x"', {"limits.jobs": 3}),
        ("limits = [1]", {"limits.jobs": None}),
    ],
)
def test_a_file_that_cannot_be_edited_is_left_alone(path: Path, text: str, changes: dict[str, Any]) -> None:
    path.write_text(text)
    with pytest.raises(BundleError):
        edit(path, changes)
    assert path.read_text() == text


# --- hosts -----------------------------------------------------------------------------------------------------------

HOST = "registry.example.com:5000"


def test_hosts_are_read_and_layered(path: Path) -> None:
    mine = config(f'[hosts."{HOST}"]\ninsecure = true\nca_file = ""\n[hosts."B.example"]\nplain_http = false\n', path)
    users = {"hosts": {HOST: {"ca_file": "/ca.pem", "client_cert": "/me.pem"}, "c.example": {"plain_http": True}}}
    assert mine.layered(users, {f"hosts.{HOST}.client_key": "/me.key"}).hosts() == {
        HOST: HostOptions(insecure=True, client_cert="/me.pem", client_key="/me.key"),
        "b.example": HostOptions(plain_http=False),
        "c.example": HostOptions(plain_http=True),
    }


@pytest.mark.parametrize("host", [HOST, "localhost", "[::1]:5000", "10.0.0.1", "registry.example.com"])
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_key_may_quote_its_host(path: Path, host: str, quote: str) -> None:
    key = f"hosts.{quote}{host}{quote}.ca_file"
    edit(path, {key: parse_value(key, "/ca.pem")})
    found = Config.load(path)
    assert found.get(key) == "/ca.pem"
    assert found.flat()[f"hosts.{host}.ca_file"] == "/ca.pem"
    assert found.hosts() == {host: HostOptions(ca_file="/ca.pem")}
    edit(path, {key: None})
    assert Config.load(path).hosts() == {}


@pytest.mark.parametrize("key", ["hosts", "hosts.x", "hosts..insecure", "hosts.a b.insecure", "hosts.a/b.insecure"])
def test_keys_of_hosts_that_there_are_not(key: str) -> None:
    with pytest.raises(ConfigError):
        key_rule(key)


@pytest.mark.parametrize(
    "text",
    [
        "hosts = 3",
        "[hosts]\nx = 3",
        '[hosts."a b"]\ninsecure = true',
        '[hosts."a.example"]\ninsecure = "yes"',
        '[hosts."a.example"]\nca_file = true',
        '[remotes.origin]\nurl = "a.example/m"\ninsecure = "yes"',
    ],
)
def test_hosts_that_cannot_be_used(path: Path, text: str) -> None:
    found = config(text, path)
    with pytest.raises(ConfigError):
        found.hosts()
        found.remotes()


def test_what_is_remembered_of_a_host_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "sub/config.toml"
    remember_host(path, HOST, HostOptions(plain_http=True))
    path.write_text(f"# mine\n{path.read_text()}# to the end\n")
    remember_host(path, HOST, HostOptions(ca_file="/ca.pem", client_cert="/me.pem", client_key="/me.key"))
    remember_host(path, "b.example", HostOptions(insecure=True))
    remember_host(path, "c.example", HostOptions())
    assert Config.load(path).hosts() == {
        HOST: HostOptions(ca_file="/ca.pem", client_cert="/me.pem", client_key="/me.key"),
        "b.example": HostOptions(insecure=True),
    }
    # Another certificate has another key.
    remember_host(path, HOST, HostOptions(client_cert="/both.pem"))
    assert Config.load(path).hosts()[HOST] == HostOptions(ca_file="/ca.pem", client_cert="/both.pem")
    assert "# mine" in path.read_text()
    assert "# to the end" in path.read_text()


def test_hosts_remembered_at_once_are_all_there(tmp_path: Path) -> None:
    names = [f"h{number}.example" for number in range(8)]
    threads = [
        threading.Thread(target=remember_host, args=(tmp_path / "config.toml", name, HostOptions(insecure=True)))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Config.load(tmp_path / "config.toml").hosts()) == names


def test_a_wrong_host_is_not_remembered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        remember_host(tmp_path / "config.toml", "https://a.example", HostOptions(insecure=True))
    assert list(tmp_path.iterdir()) == []


def test_keys_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[remotes.origin]\nurl = "reg.io/m"\nrequire_signature = "a.pub"\n'
        '[trust]\n"reg.io/team" = ["b.pub", "c,d.pub"]\n"reg.io/open" = ""\n"localhost:5000" = "e.pub"\n'
    )
    config = Config.load(path)
    config.check()
    assert config.required_keys("origin") == ["a.pub"]
    assert config.required_keys("other") == []
    assert config.trust() == {"reg.io/team": ["b.pub", "c,d.pub"], "reg.io/open": [], "localhost:5000": ["e.pub"]}


def test_keys_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    edit(path, {"trust.reg.io:5000/team": parse_value("trust.reg.io:5000/team", "a.pub, b.pub")})
    assert Config.load(path).trust() == {"reg.io:5000/team": ["a.pub", "b.pub"]}
    above = Config.load(path).layered({}, {'trust."reg.io:5000/team"': "", "remotes.o.require_signature": "x.pub"})
    assert above.trust() == {"reg.io:5000/team": []}
    assert above.required_keys("o") == ["x.pub"]


@pytest.mark.parametrize("place", ["https://reg.io", "reg.io/m:v1", "reg.io/M", "reg.io/", "no place", "@"])
def test_places_that_no_reference_is_in(tmp_path: Path, place: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[trust]\n"{place}" = "a.pub"\n')
    with pytest.raises(ConfigError):
        Config.load(path).trust()
    with pytest.raises(ConfigError):
        key_rule(f"trust.{place}")


@pytest.mark.parametrize(
    "text", ["trust = 1", "[trust]\n'reg.io' = 1", "[trust]\n'reg.io' = [1]", "[trust.'reg.io']\na = 1"]
)
def test_trust_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        Config.load(path).trust()
