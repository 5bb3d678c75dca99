"""What the caller knows and the settings do not never shows its secrets."""

from __future__ import annotations

from pathlib import Path

from modelops_bundle.operations.options import Options


def test_secrets_are_not_in_the_text_of_options() -> None:
    options = Options(
        username="user",
        password="s3cret-pass",
        token="s3cret-pass",
        auth_config='{"auths": {"host": {"identitytoken": "s3cret-pass"}}}',
        helper_environment=(("AWS_SECRET_ACCESS_KEY", "s3cret-pass"),),
        http_proxy="http://user:s3cret-pass@proxy:3128",
        https_proxy="http://user:s3cret-pass@proxy:3128",
    )
    assert "s3cret-pass" not in repr(options)
    assert "user" not in repr(options)


def test_the_defaults_reach_https_registries_without_login() -> None:
    options = Options()
    assert not options.plain_http
    assert not options.offline
    assert (options.auth_files, options.auth_config, options.helper_environment, options.token) == ((), None, (), None)
    assert (options.ca_file, options.docker_config, options.username, options.https_proxy) == (None, None, None, None)


def test_options_are_values() -> None:
    assert Options(ca_file=Path("/ca.pem")) == Options(ca_file=Path("/ca.pem"))
