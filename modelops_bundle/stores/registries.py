"""What is known of registries by their host names, as data: what they take, in which pieces, up to which size.

Everything else is taken for an ordinary registry: one PUT of any size. Sources stand beside each figure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

MIB = 1024 * 1024
GIB = 1024 * MIB

PART = 64 * MIB
"""Bytes of one part of an upload in parts; from 16 MiB on, a request more costs nothing (facts: OCI §3, "chunk cost")."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One registry, or many of one kind.

    :param hosts: patterns of host names, `fnmatch`'s.
    :param part: bytes of each part of a large upload, None for one PUT: parts can be gone on with after a cut.
    :param parts_from: bytes from which a blob goes in parts: each of them may cost the registry an fsync.
    :param streams: takes a whole blob of unknown digest in one PATCH.
    :param layer: most bytes of one blob. :param layers: most blobs of one manifest.
    :param source: where this is known from.
    """

    name: str
    hosts: tuple[str, ...]
    source: str
    part: int | None = None
    parts_from: int = 2 * GIB
    streams: bool = True
    layer: int | None = None
    layers: int | None = None


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


ORDINARY = Profile("an OCI registry", (), "distribution-spec 1.1")

DISTRIBUTION = Profile(
    "a distribution registry", (), "facts: OCI §3: a session survives at a boundary; decision 0010", part=PART
)
"""Any host whose upload sessions carry distribution's `_state`: it, Harbor, and what else is built on it."""

PROFILES = (
    Profile(
        "GitHub's registry",
        ("ghcr.io",),
        "aqua#4018: 10 GB per layer; rust-oci-client#35: 416 over 4 MiB per PATCH",
        streams=False,
        layer=10_000_000_000,
    ),
    Profile(
        "Google's registry",
        ("gcr.io", "*.gcr.io", "*.pkg.dev"),
        "kitops#777: no uploads in parts",
        streams=False,
    ),
    Profile(
        "Amazon's public registry",
        ("public.ecr.aws",),
        "Amazon ECR Public service quotas: 10,000 MiB per layer; kit's table: parts break",
        streams=False,
        layer=10_000 * MIB,
        layers=500,
    ),
    Profile(
        "Amazon's registry",
        ("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn", "*.dkr-ecr.*.on.aws"),
        "Amazon ECR service quotas: 52,000 MiB per layer; spin#1787, tart#890: 500 layers; kit's table: parts break",
        streams=False,
        layer=52_000 * MIB,
        layers=500,
    ),
    Profile("Quay", ("quay.io",), "oras-py#137: no PUT over 20 GB; parts are taken", part=PART, parts_from=4 * PART),
    Profile("Azure's registry", ("*.azurecr.io",), "facts: OCI §6, from documents: 200 GiB per layer", layer=200 * GIB),
)


def profile_of(host: str, session: str = "") -> Profile:
    """What is known of `host`.

    :param host: `HOST[:PORT]`, as references spell it.
    :param session: the URL of an upload session there, which shows what an unknown host runs.
    """
    name = host.lower().partition(":")[0]
    for profile in PROFILES:
        if any(fnmatchcase(name, pattern) for pattern in profile.hosts):
            return profile
    return DISTRIBUTION if "_state=" in session else ORDINARY


def check_limits(host: str, blobs: Iterable[tuple[str, int]]) -> list[Refusal]:
    """What the registry `host` is known to refuse of a manifest's `blobs` (name for people and size in bytes each)."""
    profile = profile_of(host)
    held = list(blobs)
    found = [
        Refusal(
            name,
            size,
            profile.layer,
            f"{name} has {size} bytes; {profile.name} takes at most {profile.layer} in one file",
            "keep it in an object store (storage external), split it, or push to another registry",
        )
        for name, size in held
        if profile.layer is not None and size > profile.layer
    ]
    # One layer is the index.
    if profile.layers is not None and len(held) + 1 > profile.layers:
        message = f"{len(held)} files and their index; {profile.name} takes at most {profile.layers} in one manifest"
        found.append(Refusal(None, len(held), profile.layers, message, 'pack small files (pack = "auto")'))
    return found
