"""A CivitAI in this process: its checks in its order, and its traps (facts: fetch §2.1).

with Civitai() as civitai:
    version = civitai.add(123, 456, {"model.safetensors": data})
    ... civitai.url, civitai.site.requests, civitai.storage.leaks
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import blake3

from modelops_bundle.testing.protocol import Call, Response
from modelops_bundle.testing.site import Served, Storage, bearer, document

_DOWNLOAD = re.compile(r"/api/download/models/(\d+)")
_MODEL = re.compile(r"/api/v1/models/(\d+)")
_VERSION = re.compile(r"/api/v1/model-versions/(\d+)")
_BY_HASH = re.compile(r"/api/v1/model-versions/by-hash/([0-9A-Za-z]+)")
_BROWSERS = re.compile(r"mozilla|chrome|safari|firefox|opera|edge", re.IGNORECASE)
_NO_STORE = "no-store, max-age=0"
_FILTERS = ("format", "size", "fp")


@dataclass
class CivitaiFile:
    """One file of a version. `metadata` has `format`, `size` and `fp`."""

    id: int
    name: str
    data: bytes = field(repr=False)
    type: str = "Model"
    primary: bool = False
    metadata: dict[str, str] = field(default_factory=lambda: {"format": "SafeTensor", "size": "full", "fp": "fp16"})
    scan: str = "Success"

    @property
    def hashes(self) -> dict[str, str]:
        """As the API has them, in upper case."""
        sha = hashlib.sha256(self.data).hexdigest()
        found = {
            "AutoV1": hashlib.sha256(self.data[0x100000:0x110000]).hexdigest()[:8],
            "AutoV2": sha[:10],
            "SHA256": sha,
            "CRC32": f"{zlib.crc32(self.data):08x}",
            "BLAKE3": blake3.blake3(self.data).hexdigest(),
        }
        return {name: value.upper() for name, value in found.items()}


@dataclass
class CivitaiVersion:
    """One version of a model, and what stands between it and a download.

    :param early_access: until when it is for those who paid, ISO 8601. :param granted: users who may all the same.
    :param login: whether it wants any login. :param downloads: whether its creator lets people download at all.
    """

    id: int
    model: int
    name: str
    files: list[CivitaiFile]
    early_access: str | None = None
    restricted: bool = False
    granted: set[str] = field(default_factory=set)
    login: bool = False
    downloads: bool = True


@dataclass
class CivitaiModel:
    """A model; `mode` is None, `"Archived"` or `"TakenDown"`. Versions stand newest first."""

    id: int
    name: str
    type: str = "Checkpoint"
    mode: str | None = None
    versions: list[CivitaiVersion] = field(default_factory=list)


class Civitai(Served):
    """The server, and the storage it sends its clients to. `users` are names by key, `busy` the 429s still to come."""

    def __init__(self) -> None:
        super().__init__(Storage(life=86400))
        self.models: dict[int, CivitaiModel] = {}
        self.users: dict[str, str] = {}
        self.busy = 0
        self.blocked = False
        self._files = 0

    def add(self, model: int, version: int, files: Mapping[str, bytes], **facts: Any) -> CivitaiVersion:
        """A new version, the newest; its first file is the primary one. `facts` are fields of `CivitaiVersion`."""
        owner = self.models.setdefault(model, CivitaiModel(model, f"Model {model}"))
        kept = []
        for number, (name, data) in enumerate(files.items()):
            self._files += 1
            kept.append(CivitaiFile(self._files, name, data, primary=number == 0))
        made = CivitaiVersion(version, model, f"v{version}", kept, **facts)
        owner.versions.insert(0, made)
        return made

    # --- answers

    def answer(self, call: Call) -> Response:
        if found := _DOWNLOAD.fullmatch(call.path):
            return self._seen_by_browsers(call, self._download(call, int(found[1])))
        if found := _MODEL.fullmatch(call.path):
            model = self.models.get(int(found[1]))
            missing = document({"error": f"No model with id {found[1]}"}, 404)
            return missing if model is None else document(self._model(model))
        if found := _BY_HASH.fullmatch(call.path):
            wanted = found[1].upper()
            return self._version(next((v for v in self._all() if _has(v, wanted)), None))
        if found := _VERSION.fullmatch(call.path):
            return self._version(self._find(int(found[1])))
        if call.path == "/api/v1/me":
            user = self.users.get(bearer(call) or "")
            return document({"username": user}) if user else document({"error": "Unauthorized"}, 401)
        if call.path == "/login":
            return Response(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!DOCTYPE html><html>Log in</html>")
        return document({"error": "Not found"}, 404)

    def _all(self) -> list[CivitaiVersion]:
        return [version for model in self.models.values() for version in model.versions]

    def _find(self, number: int) -> CivitaiVersion | None:
        return next((version for version in self._all() if version.id == number), None)

    def _seen_by_browsers(self, call: Call, answer: Response) -> Response:
        if answer.status < 400 or not _BROWSERS.search(call.headers.get("user-agent", "")):
            return answer
        # What fills model directories with login pages.
        return Response(307, {"Location": f"/login?returnUrl={call.path}", "Cache-Control": _NO_STORE})

    def _download(self, call: Call, number: int) -> Response:
        """The order of the checks is the server's."""
        user = self.users.get(bearer(call) or call.parameter("token") or "")
        if self.blocked:
            return document({"error": "Forbidden"}, 403)
        if self.busy > 0:
            self.busy -= 1
            return document({"error": "We've noticed an unusual amount of downloading from your account"}, 429)
        file_id = call.parameter("fileId")
        if file_id is not None and not file_id.isdigit():
            return document({"error": json.dumps([{"message": "fileId: expected number"}])}, 400)
        version = self._find(number)
        file = None if version is None else _chosen(version, call)
        if version is None or file is None:
            return document({"error": "File not found"}, 404, Cache_Control="private, no-store")
        refused = self._refused(version, user)
        if refused is not None:
            return refused
        if file_id is None and any((w := call.parameter(k)) and file.metadata.get(k) != w for k in _FILTERS):
            return document({"error": "File not found"}, 404, Cache_Control="private, no-store")
        target = self.storage.sign(self.storage.put(file.data), file.name)
        return Response(307, {"Location": target, "Cache-Control": _NO_STORE}, target.encode())

    def _refused(self, version: CivitaiVersion, user: str | None) -> Response | None:
        if self.models[version.model].mode == "Archived":
            return document({"error": "Model archived, not available for download"}, 410)
        if version.early_access is not None and user not in version.granted:
            said = "The creator of this asset has set this to early access"
            return document({"error": "Early Access", "deadline": version.early_access, "message": said}, 403)
        if version.restricted and user not in version.granted:
            return document({"error": "Forbidden", "message": "You do not have access to this asset"}, 403)
        if version.login and user is None:
            said = "The creator of this asset requires you to be logged in to download it"
            return document({"error": "Unauthorized", "message": said}, 401)
        if not version.downloads:
            said = "The creator of this asset has disabled downloads on this file"
            return document({"error": "Unauthorized", "message": said}, 401)
        return None

    def _version(self, version: CivitaiVersion | None) -> Response:
        if version is None:
            return document({"error": "Model not found"}, 404)
        model = self.models[version.model]
        owner = {"name": model.name, "type": model.type, "nsfw": False, "poi": False}
        return document({**self._entry(version), "modelId": model.id, "model": {**owner, **_mode(model)}})

    def _model(self, model: CivitaiModel) -> dict[str, Any]:
        versions = [self._entry(version) for version in model.versions]
        return {"id": model.id, "name": model.name, "type": model.type, **_mode(model), "modelVersions": versions}

    def _entry(self, version: CivitaiVersion) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": version.id,
            "name": version.name,
            "baseModel": "SDXL 1.0",
            "air": f"urn:air:sdxl:checkpoint:civitai:{version.model}@{version.id}",
            "status": "Published",
            "availability": "EarlyAccess" if version.early_access else "Public",
            "usageControl": "Download" if version.downloads else "Generation",
            "earlyAccessEndsAt": version.early_access,
            "trainedWords": ["a word"],
        }
        if self.models[version.model].mode is None:
            entry["files"] = [self._file(version, file) for file in version.files]
            entry["downloadUrl"] = f"{self.url}/api/download/models/{version.id}"
        return entry

    def _file(self, version: CivitaiVersion, file: CivitaiFile) -> dict[str, Any]:
        filters = "&".join(f"{name}={value}" for name, value in [("type", file.type), *file.metadata.items()])
        return {
            "id": file.id,
            "name": file.name,
            "type": file.type,
            # In units that no file size can be had back from.
            "sizeKB": round(len(file.data) / 1024, 2),
            "metadata": file.metadata,
            "pickleScanResult": file.scan,
            "virusScanResult": file.scan,
            "hashes": file.hashes,
            "downloadUrl": f"{self.url}/api/download/models/{version.id}" + ("" if file.primary else f"?{filters}"),
            "primary": file.primary,
        }


def _mode(model: CivitaiModel) -> dict[str, str]:
    return {} if model.mode is None else {"mode": model.mode}


def _has(version: CivitaiVersion, wanted: str) -> bool:
    return any(wanted in file.hashes.values() for file in version.files)


def _chosen(version: CivitaiVersion, call: Call) -> CivitaiFile | None:
    number = call.parameter("fileId")
    if number is not None:
        return next((file for file in version.files if str(file.id) == number), None)
    wanted = call.parameter("type")
    candidates = [file for file in version.files if wanted is None or file.type == wanted]
    # What is asked for beyond the type is looked at later, and then it is too late to choose another.
    return next((file for file in candidates if file.primary), candidates[0] if candidates else None)
