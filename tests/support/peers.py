"""Foreign tools that tests run beside ours: oras, crane, cosign, skopeo, docker-registry, aria2c, git."""

from __future__ import annotations

import shutil

import pytest


def peer(name: str) -> str:
    """The path of the tool `name`; skips the test where it is not installed (a failure under BUNDLE_REQUIRE_PEERS=1)."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on PATH")
    return path
