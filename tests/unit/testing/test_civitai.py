"""The fake CivitAI checks in the order of the real one, and has its traps (facts: fetch §2.1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from modelops_bundle.testing.civitai import Civitai
from tests.support.canary import secret
from tests.unit.testing.test_site import get

FILES = {"model.safetensors": b"m" * 3000, "vae.safetensors": b"v" * 100}


@pytest.fixture
def civitai() -> Iterator[Civitai]:
    with Civitai() as civitai:
        yield civitai


def load(url: str, **headers: str) -> Any:
    return json.loads(get(url, **headers)[2])


def test_models_and_versions(civitai: Civitai) -> None:
    civitai.add(1, 10, FILES)
    civitai.add(1, 11, FILES)
    model = load(f"{civitai.url}/api/v1/models/1")
    assert [one["id"] for one in model["modelVersions"]] == [11, 10]
    file = model["modelVersions"][0]["files"][0]
    assert load(f"{civitai.url}/api/v1/model-versions/by-hash/{file['hashes']['AutoV2'].lower()}")["modelId"] == 1
    assert file["sizeKB"] == 2.93
    assert load(f"{civitai.url}/api/v1/model-versions/10")["model"]["name"] == "Model 1"
    assert load(f"{civitai.url}/api/v1/models/0") == {"error": "No model with id 0"}
    assert load(f"{civitai.url}/api/v1/model-versions/9") == {"error": "Model not found"}
    civitai.models[1].mode = "Archived"
    assert "files" not in load(f"{civitai.url}/api/v1/models/1")["modelVersions"][0]


def test_downloads_are_redirected_to_the_second_origin(civitai: Civitai) -> None:
    version = civitai.add(1, 10, FILES)
    status, headers, _ = get(f"{civitai.url}/api/download/models/10?fileId={version.files[1].id}")
    assert (status, headers["cache-control"]) == (307, "no-store, max-age=0")
    assert get(headers["location"])[2] == FILES["vae.safetensors"]


def test_its_own_download_url_may_not_work(civitai: Civitai) -> None:
    version = civitai.add(1, 10, FILES)
    version.files[1].metadata["fp"] = "fp32"
    url = load(f"{civitai.url}/api/v1/models/1")["modelVersions"][0]["files"][1]["downloadUrl"]
    assert get(url)[0] == 404
    assert get(f"{civitai.url}/api/download/models/10?fileId={version.files[1].id}&fp=fp32")[0] == 307


def test_the_order_of_checks(civitai: Civitai) -> None:
    token = secret("token")
    civitai.users[token] = "bob"
    url = f"{civitai.url}/api/download/models/10?fileId=x"
    civitai.blocked, civitai.busy = True, 1
    answers: list[tuple[int, str]] = []

    def note() -> None:
        status, headers, body = get(url)
        assert "retry-after" not in headers
        answers.append((status, json.loads(body)["error"][:12]))

    note()
    civitai.blocked = False
    note()
    note()
    url = f"{civitai.url}/api/download/models/10"
    note()
    version = civitai.add(
        1, 10, FILES, early_access="2026-12-01T00:00:00Z", restricted=True, login=True, downloads=False
    )
    civitai.models[1].mode = "Archived"
    note()
    civitai.models[1].mode = None
    note()
    version.early_access = None
    note()
    version.restricted = False
    note()
    version.login = False
    note()
    assert answers == [
        (403, "Forbidden"),
        (429, "We've notice"),
        (400, '[{"message":'),
        (404, "File not fou"),
        (410, "Model archiv"),
        (403, "Early Access"),
        (403, "Forbidden"),
        (401, "Unauthorized"),
        (401, "Unauthorized"),
    ]
    version.downloads = version.login = True
    assert get(url)[0] == 401
    assert get(url, Authorization=f"Bearer {token}")[0] == 307
    assert load(f"{civitai.url}/api/v1/me", Authorization=f"Bearer {token}") == {"username": "bob"}


def test_browsers_get_a_login_page_for_every_error(civitai: Civitai) -> None:
    url = f"{civitai.url}/api/download/models/10"
    status, headers, _ = get(url, **{"User-Agent": "Mozilla/5.0"})
    assert status == 307
    assert get(civitai.url + headers["location"])[2].startswith(b"<!DOCTYPE html>")
    assert get(url, **{"User-Agent": "modelops-bundle/1"})[0] == 404
