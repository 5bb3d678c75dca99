"""A client is made of what the caller says, and of what the remote's settings say where the caller is silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelops_bundle.errors import ConfigError
from modelops_bundle.events import Run
from modelops_bundle.model.reference import parse
from modelops_bundle.net.options import HostOptions, NetOptions
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.wiring import make_client, net_options
from modelops_bundle.testing.actions import Status
from modelops_bundle.testing.registry import Registry
from modelops_bundle.workspace.config import Config, Remote
from tests.support.bundle import Bundle

HOST = "registry.example.com"
OTHER = "storage.example.com"
CA = HostOptions(ca_file="ca.pem")


def remote(**said: Any) -> Remote:
    return Remote("origin", parse(f"{HOST}/m"), "latest", options=HostOptions(**said))


def net(options: Options, known: Remote | None = None, **hosts: HostOptions) -> NetOptions:
    return net_options(options, known, HOST, {HOST: hosts.get("own", HostOptions()), OTHER: CA}, Path("/bundle"))


def test_https_is_the_rule() -> None:
    assert not make_client(Options(), remote(), HOST, Run()).options.is_plain(HOST)


@pytest.mark.parametrize(
    ("options", "known"),
    [
        (Options(plain_http=True), remote()),
        (Options(), remote(plain_http=True)),
        (Options(ambient=HostOptions(plain_http=True)), remote(plain_http=False)),
        (Options(defaults=HostOptions(plain_http=True)), None),
    ],
)
def test_plain_http_is_for_that_host_only(options: Options, known: Remote) -> None:
    found = make_client(options, known, HOST, Run()).options
    assert found.is_plain(HOST)
    assert not found.is_plain(f"{HOST}:443")
    assert not found.is_plain(f"other.{HOST}")


def test_flag_beats_variable_beats_remote_beats_host() -> None:
    layers: list[dict[str, Any]] = [
        {"options": Options(ca_file=Path("/flag"), ambient=HostOptions(ca_file="/variable"))},
        {"options": Options(ambient=HostOptions(ca_file="/variable"))},
        {"options": Options(), "known": remote(ca_file="remote")},
        {"options": Options(), "own": HostOptions(ca_file="/host")},
        {"options": Options(defaults=HostOptions(ca_file="/everybody"))},
    ]
    found = []
    for number in range(len(layers)):
        options = net(**{key: value for layer in reversed(layers[number:]) for key, value in layer.items()})
        found.append(options.host(HOST).ca_file or options.ca_file)
    assert found == ["/flag", "/variable", "/bundle/remote", "/host", "/everybody"]


def test_what_others_say_of_themselves_is_kept() -> None:
    assert net(Options(insecure=True)).host(OTHER) == HostOptions(ca_file="/bundle/ca.pem")
    assert net(Options(insecure=True)).host("third.example") == HostOptions()


def test_a_certificate_brings_its_own_key() -> None:
    known = remote(client_cert="old.pem", client_key="old.key")
    found = net(Options(client_cert=Path("/new.pem")), known).host(HOST)
    assert (found.client_cert, found.client_key) == ("/new.pem", None)
    assert net(Options(), known).host(HOST).client_key == "/bundle/old.key"
    with pytest.raises(ConfigError, match=r"a client key for .* and no certificate"):
        net(Options(client_key=Path("/new.key")))


def test_a_flag_for_tls_decides_against_a_remembered_plain_http() -> None:
    for said in ({"insecure": True}, {"ca_file": Path("/ca")}, {"client_cert": Path("/me")}):
        assert not net(Options(**said), remote(plain_http=True)).is_plain(HOST)
        assert not net(Options(**said, defaults=HostOptions(plain_http=True))).is_plain(HOST)
    assert net(Options(ambient=HostOptions(ca_file="/ca")), remote(plain_http=True)).is_plain(HOST)
    assert not net(Options(ambient=HostOptions(insecure=True)), remote(plain_http=True)).is_plain(HOST)
    assert not net(Options(defaults=HostOptions(plain_http=True)), remote(insecure=True)).is_plain(HOST)


def test_loopback_has_tls_where_somebody_says_so_and_not_for_a_variable() -> None:
    def plain(options: Options, known: Remote | None = None) -> bool:
        return net_options(options, known, "localhost:5000", {}, Path()).is_plain("localhost:5000")

    assert plain(Options())
    assert plain(Options(ambient=HostOptions(ca_file="/ca")))
    assert plain(Options(defaults=HostOptions(ca_file="/ca")))
    assert not plain(Options(ca_file=Path("/ca")))
    assert not plain(Options(insecure=True))
    assert not plain(Options(), remote(plain_http=False))
    assert not plain(Options(), remote(client_cert="me.pem"))


def test_how_long_a_registry_may_ask_us_to_wait_is_a_setting() -> None:
    patient = Config({"limits": {"retry_wait": 600}})
    assert make_client(Options(), None, HOST, Run(), config=patient).policy.patience == 600.0
    assert make_client(Options(), None, HOST, Run()).policy.patience == 120.0


def test_how_often_a_request_is_tried_is_the_callers() -> None:
    patient = Config({"limits": {"retry_wait": 600}})
    hasty = make_client(Options(), None, HOST, Run(), config=patient, attempts=2).policy
    assert (hasty.attempts, hasty.patience) == (2, 600.0)
    assert make_client(Options(), None, HOST, Run(), config=patient).policy.attempts == 6


def test_a_pause_that_is_too_long_ends_the_command(tmp_path: Path) -> None:
    with Registry() as registry:
        made = Bundle.create(tmp_path / "m", f"{registry.host}/m", {"a.txt": "a"})
        registry.fault(lambda *_: True, Status(429, {"Retry-After": "3"}), times=None)
        error = made.refused(8, "--config", "limits.retry_wait=2", "push")
        assert error["code"] == "rate-limited"
        assert error["facts"]["retry_after"] == 3.0
        assert len(registry.requests) == 1


def test_the_client_says_who_it_is() -> None:
    assert make_client(Options(), None, HOST, Run()).options.user_agent.startswith("modelops-bundle/")


def test_a_certificate_file_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    made = Bundle.create(tmp_path / "m", f"{HOST}/m", {"a.txt": "a"})
    error = made.refused(2, "--ca-file", str(tmp_path / "absent.pem"), "push")
    assert "absent.pem" in error["message"]


def test_the_environments_login_is_for_the_bundles_remotes_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUNDLE_USERNAME", "ci")
    monkeypatch.setenv("BUNDLE_PASSWORD", "secret")
    with Registry() as ours, Registry() as other:
        for registry in (ours, other):
            registry.require_auth("ci", "secret")
        made = Bundle.create(tmp_path / "m", f"{ours.host}/team/m", {"a.txt": "a"})
        made.run("push")
        assert made.refused(7, "tags", f"{other.host}/team/m")["code"] == "unauthorized"
