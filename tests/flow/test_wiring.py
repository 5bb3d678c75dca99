"""A client is made of what the caller says, and of what the remote's settings say where the caller is silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.events import Run
from modelops_bundle.model.reference import parse
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.wiring import make_client
from modelops_bundle.testing.registry import Registry
from modelops_bundle.workspace.config import Remote
from tests.support.bundle import Bundle

HOST = "registry.example.com"


def remote(*, plain_http: bool = False, ca_file: str | None = None) -> Remote:
    return Remote("origin", parse(f"{HOST}/m"), "latest", plain_http=plain_http, ca_file=ca_file)


def test_https_is_the_rule() -> None:
    assert make_client(Options(), remote(), HOST, Run()).options.plain_http_hosts == ()


@pytest.mark.parametrize(
    ("options", "known"), [(Options(plain_http=True), remote()), (Options(), remote(plain_http=True))]
)
def test_plain_http_is_for_that_host_only(options: Options, known: Remote) -> None:
    assert make_client(options, known, HOST, Run()).options.plain_http_hosts == (HOST,)


def test_a_given_certificate_file_wins_over_the_remotes() -> None:
    given = Options(ca_file=Path("/given.pem"))
    assert make_client(given, remote(ca_file="/remote.pem"), HOST, Run()).options.ca_file == "/given.pem"
    assert make_client(Options(), remote(ca_file="/remote.pem"), HOST, Run()).options.ca_file == "/remote.pem"
    assert make_client(Options(), None, HOST, Run()).options.ca_file is None


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
