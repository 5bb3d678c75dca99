"""What is known of registries by name."""

from __future__ import annotations

import pytest

from modelops_bundle.stores.registries import DISTRIBUTION, GIB, MIB, ORDINARY, PROFILES, check_limits, profile_of


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("ghcr.io", "GitHub's registry"),
        ("GHCR.io:443", "GitHub's registry"),
        ("gcr.io", "Google's registry"),
        ("eu.gcr.io", "Google's registry"),
        ("europe-west1-docker.pkg.dev", "Google's registry"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "Amazon's registry"),
        ("public.ecr.aws", "Amazon's public registry"),
        ("quay.io", "Quay"),
        ("team.azurecr.io", "Azure's registry"),
        ("registry.example:5000", "an OCI registry"),
        ("notghcr.io", "an OCI registry"),
        ("ghcr.io.evil.example", "an OCI registry"),
        ("localhost:5000", "an OCI registry"),
    ],
)
def test_hosts_are_known_by_name(host: str, name: str) -> None:
    assert profile_of(host).name == name


def test_a_session_shows_what_an_unknown_host_runs() -> None:
    assert profile_of("registry.example", "https://registry.example/v2/m/blobs/uploads/x?_state=y") is DISTRIBUTION
    assert profile_of("registry.example", "https://registry.example/v2/m/blobs/uploads/x") is ORDINARY
    assert profile_of("ghcr.io", "https://ghcr.io/v2/m/blobs/uploads/x?_state=y").part is None


def test_unknown_hosts_get_one_put_and_have_no_limits() -> None:
    assert ORDINARY.part is None
    assert check_limits("registry.example", [("huge", 1 << 50)] * 10_000) == []


def test_parts_are_no_smaller_than_what_costs_nothing() -> None:
    parts = [profile.part for profile in (*PROFILES, DISTRIBUTION) if profile.part is not None]
    assert parts
    assert min(parts) >= 16 * MIB
    assert all(profile.source for profile in PROFILES)


def test_too_large_a_file_is_named_with_its_limit() -> None:
    blobs = [("ok.bin", 10_000_000_000), ("big.bin", 10_000_000_001), ("small", 1)]
    [refusal] = check_limits("ghcr.io", blobs)
    assert (refusal.file, refusal.found, refusal.limit) == ("big.bin", 10_000_000_001, 10_000_000_000)
    assert "big.bin" in refusal.message
    assert "GitHub" in refusal.message
    assert refusal.hint


def test_too_many_files_are_one_refusal() -> None:
    host = "1.dkr.ecr.us-east-1.amazonaws.com"
    assert check_limits(host, [("f", 1)] * 499) == []
    [refusal] = check_limits(host, [("f", 1)] * 500)
    assert (refusal.file, refusal.found, refusal.limit) == (None, 500, 500)


def test_every_file_over_a_limit_is_refused() -> None:
    found = check_limits("team.azurecr.io", [("a", 201 * GIB), ("b", 200 * GIB), ("c", 300 * GIB)])
    assert [refusal.file for refusal in found] == ["a", "c"]
