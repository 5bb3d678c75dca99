"""The hierarchy of errors: codes, exit codes, and what `--json` shows of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from modelops_bundle import errors
from modelops_bundle.errors import BundleError

EXIT_CODES = {
    "UsageError": 2,
    "ConfigError": 2,
    "PartialFailure": 3,
    "NotABundle": 4,
    "AlreadyABundle": 4,
    "NoMatch": 4,
    "IgnoredPath": 4,
    "Conflict": 4,
    "WouldOverwrite": 4,
    "Locked": 4,
    "NeedsConfirmation": 4,
    "IsPointer": 4,
    "TagMoved": 5,
    "WorkspaceChanged": 5,
    "SourceChanged": 5,
    "VerifyFailed": 5,
    "NotFound": 6,
    "Unauthorized": 7,
    "Unavailable": 8,
    "RateLimited": 8,
    "Corrupt": 9,
    "Untrusted": 9,
    "UnsafePath": 9,
    "Unsupported": 10,
    "DiskFull": 11,
    "DiskError": 11,
    "Interrupted": 130,
    "Terminated": 143,
}
"""DESIGN §7."""


def leaves(root: type[BundleError] = BundleError) -> Iterator[type[BundleError]]:
    for child in root.__subclasses__():
        yield child
        yield from leaves(child)


def test_every_error_has_the_published_exit_code() -> None:
    assert {child.__name__: child.exit_code for child in leaves() if child.__module__ == errors.__name__} == EXIT_CODES


def test_codes_are_unique_and_fit_for_scripts() -> None:
    codes = [child.code for child in leaves() if child.__module__ == errors.__name__]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("-", "").isalpha() and code == code.lower() for code in codes)


def test_the_root_means_a_bug() -> None:
    assert (BundleError.code, BundleError.exit_code) == ("error", 1)


def test_message_hint_and_facts_are_kept() -> None:
    error = errors.TagMoved("it moved", hint="pull", tag="v1")
    assert str(error) == error.message == "it moved"
    assert (error.hint, error.facts) == ("pull", {"tag": "v1"})


def test_hint_is_optional() -> None:
    assert errors.Corrupt("bad").hint is None


def test_the_json_of_an_error_is_plain_json() -> None:
    value = errors.Conflict("two sides", paths=["a", "b"]).to_json()
    assert json.loads(json.dumps(value)) == {
        "code": "conflict",
        "exit_code": 4,
        "message": "two sides",
        "hint": None,
        "facts": {"paths": ["a", "b"]},
    }


@pytest.mark.parametrize(
    ("special", "general"),
    [(errors.RateLimited, errors.Unavailable), (errors.DiskFull, errors.DiskError)],
)
def test_special_cases_are_caught_as_their_kind(special: type[BundleError], general: type[BundleError]) -> None:
    with pytest.raises(general):
        raise special("x")
