"""References: what is printed is read back; garbage never crashes with anything but a usage error."""

from __future__ import annotations

import string

from hypothesis import assume, given
from hypothesis import strategies as st

from modelops_bundle.errors import UsageError
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.reference import SCHEMES, Reference, check_tag, parse

ORIGIN = parse("reg.io/team/model:latest")
REMOTES = {"": ORIGIN, "origin": ORIGIN, "back-up": parse("./backup:old")}

hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,10}", fullmatch=True)
names = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,8}[a-zA-Z0-9])?", fullmatch=True)
ports = st.just("") | st.integers(0, 65535).map(lambda port: f":{port}")
hosts = st.builds(str.__add__, names, ports) | st.sampled_from(
    ["localhost", "localhost:5000", "mem", "tar:80", "oci", "layout:1", "[::1]:5000"]
)
repositories = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+){0,2}(/[a-z0-9]+){0,2}", fullmatch=True)
places = st.text(string.ascii_letters + "./:\\-_ ~é", min_size=1, max_size=12)
suffixes = st.sampled_from(["", ":v1", ":", "@", ":v1@", "@0123456"]) | hexadecimal.map(lambda h: f"@sha256:{h}")
_WORDS = [
    *":/@.\\ ",
    "//",
    "://",
    "sha256:",
    "localhost",
    "a.b",
    *SCHEMES,
    "origin",
    "latest",
    "v1.0",
    "..",
    "C:",
    "a",
    "é",
]
garbage = st.text(max_size=20) | st.lists(st.sampled_from(_WORDS) | st.characters(), max_size=8).map("".join)


def stable(text: str) -> None:
    """Whatever `text` means, printing that meaning and reading it again changes nothing."""
    for found in (_parsed(text, bundle=False), _parsed(text, bundle=True)):
        if found is not None:
            assert parse(str(found)) == found, (text, str(found))
            assert parse(str(found), REMOTES, ["latest"]) == found


def _parsed(text: str, *, bundle: bool) -> Reference | None:
    try:
        return parse(text, REMOTES, ["latest", "v1.0"]) if bundle else parse(text)
    except UsageError as error:
        assert error.message
        return None


@given(garbage)
def test_garbage_is_a_usage_error_or_stable(text: str) -> None:
    stable(text)


@given(
    st.sampled_from([f"{s}:" for s in SCHEMES] + [f"{s}://" for s in SCHEMES] + ["", "/", "./", "../"]),
    places,
    suffixes,
)
def test_places_are_stable(prefix: str, place: str, suffix: str) -> None:
    stable(f"{prefix}{place}{suffix}")


@given(hosts, repositories, st.none() | tags, st.none() | hexadecimal)
def test_every_registry_reference_can_be_written(
    host: str, repository: str, tag: str | None, digest: str | None
) -> None:
    text = f"oci://{host}/{repository}" + (f":{tag}" if tag else "") + (f"@sha256:{digest}" if digest else "")
    found = parse(text)
    assert found == Reference("oci", f"{host.lower()}/{repository}", tag, Digest("sha256", digest) if digest else None)
    assert (found.host, found.repository) == (host.lower(), repository)
    stable(text)


@given(st.text(max_size=8))
def test_a_tag_is_accepted_whole_or_refused(tag: str) -> None:
    try:
        assert check_tag(tag) == tag
    except UsageError:
        return
    assert tag.isascii()
    assert parse(f"reg.io/m:{tag}").tag == tag
    assert parse(f":{tag}", REMOTES) == ORIGIN.at(tag)


@given(st.text(max_size=10))
def test_a_bare_word_never_reaches_a_registry_it_does_not_name(word: str) -> None:
    assume("." not in word and ":" not in word and "/" not in word and "@" not in word and word not in REMOTES)
    assert _parsed(word, bundle=False) is None
    assert word in ("latest",) or _parsed(word, bundle=True) is None
