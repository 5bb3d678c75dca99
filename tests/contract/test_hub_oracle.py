"""The real `huggingface_hub`, unmodified, against our fake of its hub: what keeps the fake honest (facts: fetch §2.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from modelops_bundle.testing.hub import Hub
from tests.support.canary import secret

DATA = bytes(range(256)) * 64
FILES = {
    "README.md": b"# A model\n" * 20,
    "config.json": b'{"model_type": "x"}',
    "model.safetensors": DATA,
    "sub/dir/extra.bin": DATA[:5000],
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def api(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    return huggingface_hub.HfApi(endpoint=hub.url, token=False)


def download(hub: Hub, tmp_path: Path, name: str, path: str, **more: object) -> bytes:
    found = huggingface_hub.hf_hub_download(
        name, path, endpoint=hub.url, cache_dir=tmp_path / "cache", **{"token": False, **more}
    )
    return Path(found).read_bytes()


def test_trees_come_in_pages(hub: Hub, api: object) -> None:
    hub.page = 2
    commit = hub.add("ns/name").commit(FILES)
    entries = list(api.list_repo_tree("ns/name", recursive=True))  # type: ignore[attr-defined]
    assert {one.path for one in entries if hasattr(one, "size")} == set(FILES)
    assert {one.path for one in entries if not hasattr(one, "size")} == {"sub", "sub/dir"}
    assert len(hub.site.asked("GET", "/tree/")) == 3
    info = api.model_info("ns/name")  # type: ignore[attr-defined]
    assert (info.sha, info.gated, {one.rfilename for one in info.siblings}) == (commit, False, set(FILES))


def test_paths_info_tells_lfs_from_git(hub: Hub, api: object) -> None:
    hub.add("ns/name").commit(FILES)
    found = {one.path: one for one in api.get_paths_info("ns/name", ["config.json", "model.safetensors", "no"])}  # type: ignore[attr-defined]
    assert set(found) == {"config.json", "model.safetensors"}
    assert found["config.json"].lfs is None
    assert (found["model.safetensors"].lfs.size, found["model.safetensors"].size) == (len(DATA), len(DATA))


@pytest.mark.parametrize("path", FILES)
def test_downloads(hub: Hub, tmp_path: Path, path: str) -> None:
    hub.add("ns/name").commit(FILES)
    assert download(hub, tmp_path, "ns/name", path) == FILES[path]


def test_a_login_stays_at_the_hub(hub: Hub, tmp_path: Path) -> None:
    token = secret("token")
    hub.users[token] = "bob"
    hub.add("ns/name", private=True, granted={"bob"}).commit(FILES)
    for path in ("model.safetensors", "config.json"):
        assert download(hub, tmp_path, "ns/name", path, token=token) == FILES[path]
    # The second hop to a regular file is the hub's own, and needs the login.
    assert all("authorization" in one.headers for one in hub.site.asked("GET", "resolve-cache"))
    assert hub.storage.site.requests
    assert hub.storage.leaks == []


def test_snapshots(hub: Hub, tmp_path: Path) -> None:
    hub.add("ns/data", "datasets").commit(FILES)
    hub.repositories["datasets", "ns/data"].commit({"a": b"b"}, "refs/pr/1")
    for revision, expected in (("main", FILES), ("refs/pr/1", {"a": b"b"})):
        root = Path(
            huggingface_hub.snapshot_download(
                "ns/data", repo_type="dataset", revision=revision, endpoint=hub.url, cache_dir=tmp_path, token=False
            )
        )
        assert {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()} == expected


def refusals(hub: Hub) -> list[tuple[str, str, str, str | None, type[Exception], int]]:
    """Repository, revision, path, whose token, what the real client makes of it, and the status."""
    hub.users.update(known := {secret("token"): "bob"})
    hub.add("ns/open").commit(FILES)
    hub.add("ns/gated", gated="manual").commit(FILES)
    hub.add("ns/private", private=True).commit(FILES)
    hub.add("ns/disabled", disabled=True).commit(FILES)
    bob = next(iter(known))
    return [
        ("ns/gated", "main", "config.json", None, errors.GatedRepoError, 401),
        ("ns/gated", "main", "config.json", bob, errors.GatedRepoError, 403),
        ("ns/none", "main", "config.json", None, errors.RepositoryNotFoundError, 401),
        ("ns/none", "main", "config.json", bob, errors.RepositoryNotFoundError, 404),
        ("ns/private", "main", "config.json", None, errors.RepositoryNotFoundError, 401),
        ("ns/private", "main", "config.json", bob, errors.RepositoryNotFoundError, 404),
        ("ns/disabled", "main", "config.json", bob, errors.DisabledRepoError, 403),
        ("ns/open", "nope", "config.json", None, errors.RevisionNotFoundError, 404),
        ("ns/open", "main", "nope.json", None, errors.RemoteEntryNotFoundError, 404),
        ("ns/open", "main", "config.json", secret("token"), errors.HfHubHTTPError, 401),
    ]


@pytest.mark.parametrize("number", range(10))
def test_refusals(hub: Hub, tmp_path: Path, number: int) -> None:
    name, revision, path, token, expected, status = refusals(hub)[number]
    with pytest.raises((errors.HfHubHTTPError, errors.LocalEntryNotFoundError)) as raised:
        download(hub, tmp_path, name, path, revision=revision, token=token or False)
    error = raised.value
    if isinstance(error, errors.LocalEntryNotFoundError):
        # How it puts "not in the cache either" around what the hub said.
        error = error.__cause__
    assert isinstance(error, expected)
    assert error.response.status_code == status
    if number == 9:
        assert not isinstance(error, errors.RepositoryNotFoundError)
        assert "Invalid credentials" in str(error)


def test_a_full_quota_is_waited_for(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("ns/name").commit(FILES)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        hub.left["resolvers"] = 100

    hub.left["resolvers"] = 2
    monkeypatch.setattr(time, "sleep", sleep)
    huggingface_hub.snapshot_download("ns/name", endpoint=hub.url, cache_dir=tmp_path, token=False, max_workers=1)
    assert waits == [hub.reset + 1.0]
