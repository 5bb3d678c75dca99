from __future__ import annotations

import pytest

from modelops_bundle.errors import BundleError, ConfigError, Corrupt
from modelops_bundle.net.options import HostOptions, NetOptions, Origin, is_local, is_loopback, is_metadata


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost.evil.com", False),
        ("127.0.0.1.evil.com", False),
        ("LOCALHOST", False),
        ("localhost.", False),
        ("127.1", False),
        ("10.0.0.1", False),
        ("0x7f000001", False),
        ("", False),
    ],
)
def test_loopback_is_parsed_never_guessed(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_local_literals() -> None:
    assert [is_local(host) for host in ("10.0.0.1", "192.168.1.1", "169.254.169.254", "fd00::1", "localhost")] == [
        True
    ] * 5
    assert not is_local("8.8.8.8")
    assert not is_local("internal.example.com")
    assert is_metadata("169.254.169.254")
    assert not is_metadata("10.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "2852039166",
        "0xa9fea9fe",
        "0XA9.0xfe.43518",
        "0251.0376.0251.0376",
        "169.254.169.254.",
        "::ffff:169.254.169.254",
        "127.1",
        "0177.0.0.1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "0",
        "::",
        "localhost.",
        "LOCALHOST",
    ],
)
def test_odd_spellings_of_this_machine_and_its_metadata_are_known(host: str) -> None:
    assert is_metadata(host)
    assert is_local(host)


@pytest.mark.parametrize("host", ["134744072", "8.8.2056", "::ffff:8.8.8.8", "fa.xa", "1.2.3.4.5", "x", "", "127.1 x"])
def test_other_hosts_of_digits_are_others(host: str) -> None:
    assert not is_metadata(host)
    assert not is_local(host)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("ghcr.io", "https://ghcr.io"),
        ("localhost.evil.com:5000", "https://localhost.evil.com:5000"),
        ("plain.lan:5000", "http://plain.lan:5000"),
        ("plain.lan", "https://plain.lan"),
        ("docker.io", "https://registry-1.docker.io"),
        ("index.docker.io", "https://registry-1.docker.io"),
    ],
)
def test_the_origin_of_a_registry(host: str, expected: str) -> None:
    assert str(NetOptions(hosts={"plain.lan:5000": HostOptions(plain_http=True)}).registry(host)) == expected


def test_an_insecure_loopback_host_speaks_tls() -> None:
    assert (
        str(NetOptions(hosts={"localhost:5000": HostOptions(insecure=True)}).registry("localhost:5000"))
        == "https://localhost:5000"
    )


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/",
        "https://user@host/",
        "https://user:pw@host/",
        "https:///path",
        "//host/path",
        "https://host:99999/",
        "https://host:abc/",
        "https://[::1/",
        "https://host/\r\nX: y",
        "https://ho st/",
        "https://host\\@evil/",
        "",
    ],
)
def test_what_is_no_web_address(url: str) -> None:
    with pytest.raises(Corrupt):
        Origin.of(url)


def test_origins_compare_by_effective_port() -> None:
    assert Origin.of("https://host/") == Origin.of("https://HOST:443/x?y")
    assert Origin.of("http://host/") != Origin.of("https://host/")
    assert Origin.of("https://host:444/") != Origin.of("https://host/")
    assert Origin.of("http://[::1]:80/").netloc == "[::1]"


@pytest.mark.parametrize(
    ("rule", "bypassed"),
    [
        ("ghcr.io", True),
        (".io", True),
        ("*.io", True),
        ("io", True),
        ("*", True),
        ("cr.io", False),
        ("10.0.0.0/8", False),
        ("", False),
        ("bad/net", False),
        (".ghcr.io", True),
        ("GHCR.io", True),
        ("ghcr.io.", True),
        ("ghcr.io:443", True),
        ("ghcr.io:80", False),
        ("io:443", True),
        ("hcr.io", False),
    ],
)
def test_hosts_outside_the_proxy(rule: str, bypassed: bool) -> None:
    options = NetOptions(http_proxy="http://proxy:3128", https_proxy="http://proxy:3128", no_proxy=(rule,))
    assert (options.proxy_for(Origin.of("https://ghcr.io/")) is None) is bypassed


@pytest.mark.parametrize(
    ("rule", "bypassed"),
    [
        ("2001:db8::1", True),
        ("[2001:db8::1]", True),
        ("[2001:db8::1]:5000", True),
        ("[2001:db8::1]:5001", False),
        ("2001:0db8:0::1", True),
        ("2001:db8::/32", True),
        ("2001:db9::/32", False),
        ("2001:db8::2", False),
        ("10.0.0.0/8", False),
        ("[bad", False),
        ("1", False),
    ],
)
def test_addresses_of_ipv6_outside_the_proxy(rule: str, bypassed: bool) -> None:
    options = NetOptions(http_proxy="http://proxy:3128", https_proxy="http://proxy:3128", no_proxy=(rule,))
    assert (options.proxy_for(Origin.of("https://[2001:db8::1]:5000/")) is None) is bypassed


def test_the_scheme_of_the_target_chooses_the_proxy() -> None:
    options = NetOptions(http_proxy="http://one", https_proxy="http://two")
    assert options.proxy_for(Origin.of("http://a.example/")) == "http://one"
    assert options.proxy_for(Origin.of("https://a.example/")) == "http://two"
    assert options.proxy_for(Origin.of("https://[::1]/")) is None
    assert "two" not in repr(options)


# --- what is special about a host


def test_hosts_match_exactly() -> None:
    own = HostOptions(insecure=True)
    options = NetOptions(hosts={"a.example": own, "b.example:443": own, "[2001:db8::1]:5000": own, "docker.io": own})
    for url in ("https://a.example/", "https://a.example:443/", "https://b.example/", "https://[2001:db8::1]:5000/"):
        assert options.at(Origin.of(url)) is own
    for url in (
        "https://a.example:444/",
        "https://sub.a.example/",
        "https://a.example.evil.com/",
        "https://[2001:db8::1]/",
    ):
        assert options.at(Origin.of(url)) == HostOptions()
    assert options.at(Origin.of("https://registry-1.docker.io/")) is own


@pytest.mark.parametrize(
    ("own", "plain"),
    [
        (HostOptions(), True),
        (HostOptions(insecure=False), True),
        (HostOptions(plain_http=False), False),
        (HostOptions(insecure=True), False),
        (HostOptions(ca_file="ca.pem"), False),
        (HostOptions(client_cert="me.pem"), False),
        (HostOptions(plain_http=True, insecure=True), True),
    ],
)
def test_loopback_has_tls_when_something_is_said_that_needs_it(own: HostOptions, plain: bool) -> None:
    assert NetOptions(hosts={"localhost:5000": own}).is_plain("localhost:5000") is plain


def test_who_says_nothing_lets_the_next_decide() -> None:
    above = HostOptions(insecure=False, ca_file="a.pem")
    below = HostOptions(True, True, "b.pem", "me.pem", "me.key")
    assert above.over(below) == HostOptions(True, False, "a.pem", "me.pem", "me.key")
    assert below.over(above) == below
    assert HostOptions().over(below) == below
    assert below.over(HostOptions()) == below


def test_a_certificate_and_its_key_are_one_choice() -> None:
    below = HostOptions(client_cert="old.pem", client_key="old.key")
    assert HostOptions(client_cert="new.pem").over(below) == HostOptions(client_cert="new.pem")
    assert HostOptions(client_key="new.key").over(below) == HostOptions(client_cert="old.pem", client_key="new.key")


def test_networks_outside_the_proxy() -> None:
    options = NetOptions(http_proxy="http://proxy:3128", https_proxy="http://proxy:3128", no_proxy=("10.0.0.0/8",))
    assert options.proxy_for(Origin.of("http://10.1.2.3/")) is None
    assert options.proxy_for(Origin.of("http://11.1.2.3/")) == "http://proxy:3128"
    assert options.proxy_for(Origin.of("http://localhost:5000/")) is None
    assert NetOptions().proxy_for(Origin.of("http://11.1.2.3/")) is None


def test_a_user_agent_cannot_add_headers() -> None:
    with pytest.raises(ConfigError):
        NetOptions(user_agent="x\r\nHost: evil")
    assert issubclass(ConfigError, BundleError)
