"""The grammar of references (DESIGN §10)."""

from __future__ import annotations

import pytest

from modelops_bundle.errors import ConfigError, UsageError
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import Reference, check_tag, is_remote_name, is_repository, is_service_tag, parse

HEX = "0123456789abcdef" * 4
D = Digest("sha256", HEX)
ORIGIN = Reference("oci", "reg.io/team/model", "latest")
BACKUP = Reference("layout", "/backup", "old")
REMOTES = {"": ORIGIN, "origin": ORIGIN, "backup": BACKUP}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reg.io/m", Reference("oci", "reg.io/m")),
        ("reg.io/a/b-c/d.e:v1", Reference("oci", "reg.io/a/b-c/d.e", "v1")),
        ("REG.io/m", Reference("oci", "reg.io/m")),
        ("localhost/m:t", Reference("oci", "localhost/m", "t")),
        ("localhost:5000/m", Reference("oci", "localhost:5000/m")),
        ("host:80/m:t", Reference("oci", "host:80/m", "t")),
        ("[::1]:5000/m", Reference("oci", "[::1]:5000/m")),
        (f"reg.io/m@sha256:{HEX}", Reference("oci", "reg.io/m", None, D)),
        (f"reg.io/m:t@sha256:{HEX}", Reference("oci", "reg.io/m", "t", D)),
        ("reg.io/m@0123456", Reference("oci", "reg.io/m", prefix="0123456")),
        ("oci://host/m:t", Reference("oci", "host/m", "t")),
        ("oci:reg.io/m", Reference("oci", "reg.io/m")),
        ("./x", Reference("layout", "./x")),
        ("../x:t", Reference("layout", "../x", "t")),
        ("/x/y/:t", Reference("layout", "/x/y", "t")),
        ("//x", Reference("layout", "/x")),
        ("/", Reference("layout", "/")),
        (".", Reference("layout", ".")),
        ("..", Reference("layout", "..")),
        ("./x.tar", Reference("tar", "./x.tar")),
        ("./x.tar.gz:t", Reference("tar", "./x.tar.gz", "t")),
        (f"./x.tar@sha256:{HEX}", Reference("tar", "./x.tar", None, D)),
        ("C:\\models", Reference("layout", "C:\\models")),
        ("C:/models:t", Reference("layout", "C:/models", "t")),
        ("C:\\models:t", Reference("layout", "C:\\models", "t")),
        ("layout:x", Reference("layout", "x")),
        ("layout:x:t", Reference("layout", "x", "t")),
        ("layout:///x", Reference("layout", "/x")),
        ("layout:./a:b/c", Reference("layout", "./a:b/c")),
        ("mem:a:latest", Reference("mem", "a", "latest")),
        ("mem://name", Reference("mem", "name")),
        ("tar:x:t@0123456", Reference("tar", "x", "t", prefix="0123456")),
    ],
)
def test_what_stands_alone(text: str, expected: Reference) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":v2", ORIGIN.at("v2")),
        (f"@sha256:{HEX}", Reference("oci", ORIGIN.place, "latest", D)),
        ("@0123456789", Reference("oci", ORIGIN.place, "latest", prefix="0123456789")),
        (f":v2@sha256:{HEX}", Reference("oci", ORIGIN.place, "v2", D)),
        ("origin", ORIGIN),
        ("backup", BACKUP),
        ("backup:v3", BACKUP.at("v3")),
        ("known", ORIGIN.at("known")),
    ],
)
def test_what_needs_a_bundle(text: str, expected: Reference) -> None:
    assert parse(text, REMOTES, ["known"]) == expected
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " reg.io/m",
        "reg.io/m ",
        "reg.io/m\n",
        "reg.io/\x1bm",
        "reg.io/m:",
        "reg.io/m@",
        "reg.io/m@sha256:xyz",
        "reg.io/m@012345",
        "reg.io/m@SHA256:" + HEX,
        f"reg.io/m@sha256:{HEX}0",
        "reg.io/",
        "reg.io/M",
        "reg.io/a//b",
        "reg.io/../b",
        "reg.io/a:-t",
        "reg.io/a:" + "t" * 129,
        "-bad.io/m",
        "user@reg.io/m",
        "http://reg.io/m",
        "https://reg.io/m",
        "s3://bucket/x",
        "oci:",
        "layout:",
        "layout::t",
        "layout:@0123456",
        "mem:x:bad tag",
        "ubuntu",
        "library/ubuntu",
        "ubuntu:22.04",
        ":",
        "@",
        "a:b:c",
        "[::1/m",
        "localhost:65536/m",
    ],
)
def test_everything_else_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)
    with pytest.raises(UsageError):
        parse(text, REMOTES, ["known"])


def hint(text: str, *, bundle: bool = True) -> str:
    with pytest.raises(UsageError) as caught:
        parse(text, REMOTES if bundle else None, ["known", "v1.0"] if bundle else ())
    return caught.value.hint or ""


def test_the_nearest_spelling_is_offered() -> None:
    assert hint("orign:v1") == "did you mean origin:v1?"
    assert hint("knwon") == "did you mean :known?"
    assert hint("something") == "write :something for a tag of the default remote, or HOST/REPOSITORY:TAG"
    assert "HOST/team/model" in hint("team/model")
    assert "./team/model" in hint("team/model", bundle=False)
    assert "HOST/REPOSITORY" in hint("model", bundle=False)
    assert "reg.io/model" in hint("reg.io/Model")
    assert "without http://" in hint("http://reg.io/m")


def test_docker_hub_is_never_reached_by_accident() -> None:
    for text in ("ubuntu", "team/model", "team/model:v1"):
        with pytest.raises(UsageError):
            parse(text, REMOTES)


@pytest.mark.parametrize("place", ["host/m", "mem:5000/m", "tar:1/m", "layout:5000/x", "oci:80/m"])
def test_hosts_that_look_like_something_else_survive_printing(place: str) -> None:
    found = parse(f"oci://{place}:t")
    assert found == Reference("oci", place, "t")
    assert parse(str(found)) == found


def test_a_reference_knows_its_parts() -> None:
    found = parse(f"localhost:5000/a/b:t@sha256:{HEX}")
    assert (found.host, found.repository, found.name) == ("localhost:5000", "a/b", f"sha256:{HEX}")
    assert parse("reg.io/m:t").name == "t"
    assert parse("reg.io/m").name is None
    assert str(found.at("u")) == "localhost:5000/a/b:u"


@pytest.mark.parametrize("tag", ["a", "_x", "V1.0", "a" * 128, "0", "a_b-c.d"])
def test_tags_of_the_specification(tag: str) -> None:
    assert check_tag(tag) == tag


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a" * 129, "a b", "a/b", "é", "a\n", "a+b", "a:b"])
def test_other_tags_are_refused(tag: str) -> None:
    with pytest.raises(UsageError, match="not a tag"):
        check_tag(tag)


@pytest.mark.parametrize(
    ("tag", "service"),
    [
        ("_i.0123.absent.x", True),
        ("v1-lost-0123456789ab", True),
        ("v1-lost-0123456789ab-x", False),
        ("v1-lost-xyz", False),
        ("sha256-" + "a" * 64, True),
        ("sha256-" + "a" * 64 + ".sig", False),
        ("_internal", False),
        ("latest", False),
    ],
)
def test_service_tags(tag: str, service: bool) -> None:
    assert is_service_tag(tag) is service


@pytest.mark.parametrize("name", ["origin", "backup2", "my-remote", "a_b"])
def test_names_of_remotes(name: str) -> None:
    assert is_remote_name(name)


@pytest.mark.parametrize("name", ["", "a.b", "oci", "mem", "localhost", "a/b", "a:b", "-a", "é"])
def test_what_no_remote_may_be_called(name: str) -> None:
    assert not is_remote_name(name)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("model", "h.example/team/model"),
        ("sub/model:v1", "h.example/team/sub/model:v1"),
        ("model@sha256:" + "a" * 64, "h.example/team/model@sha256:" + "a" * 64),
        ("h2.example/x:v1", "h2.example/x:v1"),
        ("./model", "layout:./model"),
    ],
)
def test_names_in_a_namespace(text: str, wanted: str) -> None:
    for namespace in ("h.example/team", "h.example/team/", "oci://h.example/team"):
        assert str(parse(text, namespace=namespace)) == wanted


def test_in_a_namespace_remotes_and_known_tags_win() -> None:
    origin = parse("other.example/m:latest")
    remotes = {"": origin, "origin": origin}
    assert str(parse("origin:v1", remotes, (), "h.example")) == "other.example/m:v1"
    assert str(parse("v1", remotes, {"v1"}, "h.example")) == "other.example/m:v1"
    assert str(parse("sub/v2", remotes, {"v1"}, "h.example")) == "h.example/sub/v2"


@pytest.mark.parametrize("text", ["v2", "prod", "prod:v1", "v2@" + "a" * 12])
def test_inside_a_bundle_a_slip_is_no_name_in_a_namespace(text: str) -> None:
    origin = parse("other.example/m:latest")
    for remotes in ({"": origin, "origin": origin}, {}):
        with pytest.raises(UsageError):
            parse(text, remotes, {"v1"}, "h.example/team")


def test_a_slip_has_the_same_hint_in_a_namespace() -> None:
    origin = parse("other.example/m:latest")
    with pytest.raises(UsageError) as slip:
        parse("v2", {"": origin, "origin": origin}, {"v1"}, "h.example/team")
    assert slip.value.hint == "write :v2 for a tag of the default remote, or HOST/REPOSITORY:TAG"


@pytest.mark.parametrize("text", [":v1", "@" + "a" * 12, "Model", "a//b", "a b"])
def test_what_is_no_name_is_none_in_a_namespace_either(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text, namespace="h.example/team")


@pytest.mark.parametrize("namespace", ["team", "/srv", "./x", "../x", "layout:x", "a b.c/x"])
def test_a_namespace_begins_with_a_host(namespace: str) -> None:
    with pytest.raises(ConfigError):
        parse("model", namespace=namespace)
    assert str(parse("h.example/m", namespace=namespace)) == "h.example/m"


def test_a_repository_is_named_as_the_specification_says() -> None:
    assert is_repository("team/a_b.c--d")
    assert not any(is_repository(name) for name in ("", "A", "a/", "/a", "../a", "a" * 256, "a\x1b"))
