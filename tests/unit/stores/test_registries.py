"""What is known of registries by name."""

from __future__ import annotations

import pytest

from modelops_bundle.stores.registries import (
    DISTRIBUTION,
    GIB,
    MIB,
    ORDINARY,
    PROFILES,
    Refusal,
    check_limits,
    named,
    profile_of,
)


def refused(host: str, blobs: list[tuple[str, int]]) -> list[Refusal]:
    return check_limits(profile_of(host), blobs)


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
        ("docker.io", "Docker Hub"),
        ("registry-1.docker.io", "Docker Hub"),
        ("registry.gitlab.com", "GitLab's registry"),
        ("team.jfrog.io", "Artifactory"),
        ("registry.cloudflare.com", "Cloudflare's registry"),
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
    assert refused("registry.example", [("huge", 1 << 50)] * 10_000) == []


def test_parts_are_no_smaller_than_what_costs_nothing() -> None:
    parts = [profile.part for profile in (*PROFILES, DISTRIBUTION) if profile.part is not None]
    assert parts
    assert min(parts) >= 16 * MIB
    assert all(profile.source for profile in PROFILES)


def test_too_large_a_file_is_named_with_its_limit() -> None:
    blobs = [("ok.bin", 10_000_000_000), ("big.bin", 10_000_000_001), ("small", 1)]
    [refusal] = refused("ghcr.io", blobs)
    assert (refusal.file, refusal.found, refusal.limit) == ("big.bin", 10_000_000_001, 10_000_000_000)
    assert "big.bin" in refusal.message
    assert "GitHub" in refusal.message
    assert refusal.hint


def test_too_many_files_are_one_refusal() -> None:
    host = "1.dkr.ecr.us-east-1.amazonaws.com"
    assert refused(host, [("f", 1)] * 499) == []
    [refusal] = refused(host, [("f", 1)] * 500)
    assert (refusal.file, refusal.found, refusal.limit) == (None, 500, 500)


def test_every_file_over_a_limit_is_refused() -> None:
    found = refused("team.azurecr.io", [("a", 201 * GIB), ("b", 200 * GIB), ("c", 300 * GIB)])
    assert [refusal.file for refusal in found] == ["a", "c"]


BEARER = 'Bearer realm="https://registry.example{}",service="{}",scope="repository:a:pull"'


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"www-authenticate": BEARER.format("/service/token", "harbor-registry")}, "Harbor"),
        ({"www-authenticate": BEARER.format("/jwt/auth", "container_registry")}, "GitLab's registry"),
        ({"x-jfrog-version": "Artifactory/7.98.9 79809900"}, "Artifactory"),
        ({"cf-ray": "8a", "server": "cloudflare"}, "a registry behind Cloudflare"),
        ({"www-authenticate": BEARER.format("/token", "registry.example")}, "an OCI registry"),
        ({}, "an OCI registry"),
    ],
)
def test_unknown_hosts_are_known_by_their_answers(headers: dict[str, str], name: str) -> None:
    assert profile_of("registry.example", headers=headers).name == name
    assert profile_of("ghcr.io", headers=headers).name == "GitHub's registry"


def test_a_noted_name_is_found_again() -> None:
    assert all(named(profile.name) is profile for profile in (*PROFILES, DISTRIBUTION))
    assert named(None) is None
    assert named("a registry of another version of this tool") is None


def test_names_are_told_apart() -> None:
    names = [profile.name for profile in (*PROFILES, DISTRIBUTION, ORDINARY)]
    assert len(names) == len(set(names))


def test_parts_fit_into_a_request() -> None:
    assert all(p.part < p.body for p in PROFILES if p.part is not None and p.body is not None)
