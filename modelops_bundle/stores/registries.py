"""What is known of registries, as data: what they take, in which pieces, up to which size, and what they lack.

Known by the names of hosts, or by how they ask for a login. Everything else is taken for an ordinary registry: one PUT of
any size, and every ability worth a try. Sources stand beside each figure; None says that we know of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

MIB = 1024 * 1024
GIB = 1024 * MIB

PART = 64 * MIB
"""Bytes of one part of an upload in parts; from 16 MiB on, a request more costs nothing (facts: OCI §3, "chunk cost")."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One registry, or many of one kind.

    :param source: where this is known from.
    :param hosts: patterns of host names, `fnmatch`'s.
    :param signs: headers of its answers, in lower case, with a pattern that is found in each of its answers that has one.
    :param part: bytes of each part of a large upload, None for one PUT: parts can be gone on with after a cut.
    :param parts_from: bytes from which a blob goes in parts: each of them may cost the registry an fsync.
    :param streams: takes a whole blob of unknown digest in one PATCH.
    :param body: most bytes of one request, where something in front of it counts them.
    :param layer: most bytes of one blob. :param layers: most blobs of one manifest.
    :param seconds: most that one upload may take.
    :param referrers: has the referrers API of distribution-spec 1.1. :param catalog: lists its repositories.
    :param untags: deletes a tag alone. :param page: where people see their repositories instead.
    :param redirects: where downloads are sent on to, as a firewall must know it.
    """

    name: str
    source: str
    hosts: tuple[str, ...] = ()
    signs: tuple[tuple[str, str], ...] = ()
    part: int | None = None
    parts_from: int = 2 * GIB
    streams: bool = True
    body: int | None = None
    layer: int | None = None
    layers: int | None = None
    seconds: int | None = None
    referrers: bool | None = None
    catalog: bool | None = None
    untags: bool | None = None
    page: str | None = None
    redirects: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a registry would refuse.

    :param file: the name for people, None when it is the number of files.
    :param found: bytes, or layers. :param limit: the most it takes of them.
    """

    file: str | None
    found: int
    limit: int
    message: str
    hint: str


ORDINARY = Profile("an OCI registry", "distribution-spec 1.1")

DISTRIBUTION = Profile(
    "a distribution registry",
    "facts: OCI §3: a session survives at a boundary, no referrers in 2.8 and 3.0, tags by digest only in 2.8; decision 0010",
    part=PART,
    referrers=False,
    catalog=True,
)
"""Any host whose upload sessions carry distribution's `_state`: it, Harbor, and what else is built on it."""

PROFILES = (
    Profile(
        "Docker Hub",
        "regclient#539: no catalog; facts: OCI §3: HEAD of manifests is free",
        ("docker.io", "index.docker.io", "registry-1.docker.io"),
        catalog=False,
        page="https://hub.docker.com/repositories",
    ),
    Profile(
        "GitHub's registry",
        "aqua#4018: 10 GB per layer and 10 minutes; rust-oci-client#35: 416 over 4 MiB per PATCH; "
        "ghcr-cleanup-action#114: no referrers; oras-go#621: no catalog",
        ("ghcr.io", "containers.*.ghe.com"),
        streams=False,
        layer=10_000_000_000,
        seconds=600,
        referrers=False,
        catalog=False,
        page="https://github.com/orgs/ORG/packages",
        redirects="pkg-containers.githubusercontent.com",
    ),
    Profile(
        "Google's registry",
        "kitops#777: no uploads in parts; oras#184: no empty config",
        ("gcr.io", "*.gcr.io", "*.pkg.dev"),
        streams=False,
    ),
    Profile(
        "Amazon's public registry",
        "Amazon ECR Public service quotas: 10,000 MiB per layer; kit's table: parts break",
        ("public.ecr.aws",),
        streams=False,
        layer=10_000 * MIB,
        layers=500,
    ),
    Profile(
        "Amazon's registry",
        "Amazon ECR service quotas: 52,000 MiB per layer; spin#1787, tart#890: 500 layers; kit's table: parts break",
        ("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", "*.dkr-ecr.*.on.aws"),
        streams=False,
        layer=52_000 * MIB,
        layers=500,
        redirects="*.s3.REGION.amazonaws.com",
    ),
    Profile(
        "Quay",
        "oras-py#137: no PUT over 20 GB; parts are taken; Red Hat Quay API reference: referrers",
        ("quay.io",),
        part=PART,
        parts_from=4 * PART,
        referrers=True,
    ),
    Profile(
        "Azure's registry",
        "facts: OCI §6, from documents: 200 GiB per layer; containers-roadmap#2783: referrers",
        ("*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"),
        layer=200 * GIB,
        referrers=True,
        redirects="*.blob.core.windows.net, or REGISTRY.REGION.data.azurecr.io",
    ),
    Profile(
        "GitLab's registry",
        "gitlab-org/container-registry#1205: no referrers; gitlab-ce#17890: logins of a few minutes, renewed here",
        ("registry.gitlab.com",),
        (("www-authenticate", r'realm="[^"]*/jwt/auth"'),),
        referrers=False,
    ),
    Profile(
        "Harbor",
        "harbor#19573: over 32 GiB from 2.9.2 on; facts: OCI §3: parts",
        signs=(("www-authenticate", r'service="?harbor-registry'),),
        part=PART,
        catalog=True,
    ),
    Profile(
        "Artifactory",
        "JFrog's manual: referrers from 7.90.1 on; facts: OCI §3: limits of the proxy before it",
        ("*.jfrog.io",),
        (("x-jfrog-version", r"^Artifactory/"), ("x-artifactory-id", r".")),
        catalog=True,
    ),
    Profile(
        "Cloudflare's registry",
        "serverless-registry#115: 500 MB per request; serverless-registry#69: 5 GiB per layer",
        ("registry.cloudflare.com",),
        part=PART,
        parts_from=PART,
        body=500_000_000,
        layer=5 * GIB,
    ),
    Profile(
        "a registry behind Cloudflare",
        "cloudflare-docs#1361: a request has at most 100 MB",
        signs=(("cf-ray", r"."),),
        part=PART,
        parts_from=PART,
        body=100_000_000,
    ),
)
"""The first that fits is meant."""


def profile_of(host: str, session: str = "", headers: Mapping[str, str] | None = None) -> Profile:
    """What is known of `host`.

    :param host: `HOST[:PORT]`, as references spell it.
    :param session: the URL of an upload session there, which shows what an unknown host runs.
    :param headers: of an answer of it, names in lower case: likewise.
    """
    name = host.lower().partition(":")[0]
    for profile in PROFILES:
        if any(fnmatchcase(name, pattern) for pattern in profile.hosts):
            return profile
    for profile in PROFILES if headers else ():
        if any(re.search(pattern, (headers or {}).get(header, "")) for header, pattern in profile.signs):
            return profile
    return DISTRIBUTION if "_state=" in session else ORDINARY


def named(name: str | None) -> Profile | None:
    """The profile called `name`, as it was noted of a host."""
    return next((profile for profile in (*PROFILES, DISTRIBUTION) if profile.name == name), None)


def check_limits(profile: Profile, blobs: Iterable[tuple[str, int]]) -> list[Refusal]:
    """What a registry is known to refuse of a manifest's `blobs` (name for people and size in bytes each)."""
    held = list(blobs)
    found = [
        Refusal(
            name,
            size,
            profile.layer,
            f"{name} has {size} bytes; {profile.name} takes at most {profile.layer} in one file",
            "split it, or push to another registry",
        )
        for name, size in held
        if profile.layer is not None and size > profile.layer
    ]
    # One layer is the index.
    if profile.layers is not None and len(held) + 1 > profile.layers:
        message = f"{len(held)} files and their index; {profile.name} takes at most {profile.layers} in one manifest"
        found.append(Refusal(None, len(held), profile.layers, message, 'pack small files (pack = "auto")'))
    return found
