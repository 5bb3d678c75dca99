"""What a registry really holds, asked with nothing of ours: manifests and blobs by plain requests, hashed."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_BLOCK = 1024 * 1024


def _open(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(urllib.request.Request(url, headers={"Accept": _MANIFEST}), timeout=60)


def _manifest(url: str, repository: str, name: str) -> bytes | None:
    try:
        with _open(f"{url}/v2/{repository}/manifests/{name}") as answer:
            data: bytes = answer.read()
            return data
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise


def manifest_digest(url: str, repository: str, name: str) -> str | None:
    """The digest of the manifest that a tag stands for, None when it is absent.

    :param url: of the registry, without a slash at its end.
    """
    data = _manifest(url, repository, name)
    return None if data is None else f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest_of(url: str, repository: str, name: str) -> dict[str, Any] | None:
    """The manifest of a tag or digest, None when it is absent."""
    data = _manifest(url, repository, name)
    return None if data is None else dict(json.loads(data))


def damage(url: str, repository: str, name: str) -> list[str]:
    """What is wrong with the content of a tag: blobs that cannot be read, or are not what the manifest says."""
    data = _manifest(url, repository, name)
    if data is None:
        return [f"no manifest {name}"]
    manifest = json.loads(data)
    return [
        f"{what['digest']}: {wrong}"
        for what in (manifest["config"], *manifest["layers"])
        if (wrong := _wrong(url, repository, what))
    ]


def _wrong(url: str, repository: str, what: dict[str, Any]) -> str:
    hasher, size = hashlib.sha256(), 0
    try:
        with _open(f"{url}/v2/{repository}/blobs/{what['digest']}") as answer:
            while block := answer.read(_BLOCK):
                hasher.update(block)
                size += len(block)
    except OSError as error:
        return f"cannot be read: {error}"
    if (f"sha256:{hasher.hexdigest()}", size) != (what["digest"], what["size"]):
        return f"{size} bytes of sha256:{hasher.hexdigest()}"
    return ""


def make_room(root: Path | None, prefix: str, blobs: Iterable[str] = ()) -> None:
    """Remove what nobody will ask for any more from a registry's storage: a campaign would fill the disk.

    :param root: its storage directory, None when it is out of reach.
    :param prefix: of the repositories whose unfinished uploads go.
    :param blobs: digests, in hex, of blobs that go from all repositories.
    """
    if root is None:
        return
    base = root / "docker/registry/v2"
    for uploads in (base / "repositories").glob(f"{prefix}/_uploads"):
        shutil.rmtree(uploads, ignore_errors=True)
    for digest in blobs:
        shutil.rmtree(base / "blobs/sha256" / digest[:2] / digest, ignore_errors=True)
