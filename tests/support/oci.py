"""The registry's side of a story: reading and writing a repository by plain HTTP, and manifests made by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
MODEL_ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
RAW = "application/vnd.cncf.model.doc.v1.raw"
TITLE = "org.opencontainers.image.title"
FILEPATH = "org.cncf.model.filepath"
PREFIX = "dev.modelops.bundle."

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def digest_of(data: bytes) -> str:
    """sha256, as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def dumps(value: object) -> bytes:
    """Canonical JSON as our format has it; escaped where text is none (lone surrogates)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class Repository:
    """A repository on a registry, by HTTP and nothing else. `repo` is `HOST/NAME`."""

    def __init__(self, repo: str) -> None:
        host, _, self.name = repo.partition("/")
        self._base = f"http://{host}/v2/{self.name}"

    def _ask(self, method: str, url: str, data: bytes | None = None, **headers: str) -> tuple[Mapping[str, str], bytes]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data, names, method=method)
        with _OPENER.open(request, timeout=30) as answer:
            return dict(answer.headers.items()), answer.read()

    def manifest(self, name: str) -> tuple[str, bytes] | None:
        """The digest the registry claims and the bytes of a manifest; None when it is absent."""
        try:
            headers, body = self._ask("GET", f"{self._base}/manifests/{name}", Accept=f"{MANIFEST}, {INDEX}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        return headers["Docker-Content-Digest"], body

    def digest(self, name: str) -> str | None:
        """What a tag stands for."""
        found = self.manifest(name)
        return None if found is None else found[0]

    def tags(self) -> list[str]:
        """Every tag, service tags as well."""
        try:
            return sorted(json.loads(self._ask("GET", f"{self._base}/tags/list")[1])["tags"] or [])
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise

    def blob(self, digest: str) -> bytes:
        """The bytes of a blob, whatever they are."""
        return self._ask("GET", f"{self._base}/blobs/{digest}")[1]

    def put_blob(self, data: bytes) -> str:
        """Store a blob; its digest."""
        headers, _ = self._ask("POST", f"{self._base}/blobs/uploads/", b"")
        location = headers["Location"]
        if location.startswith("/"):
            location = f"{self._base.partition('/v2/')[0]}{location}"
        mark = "&" if "?" in location else "?"
        url = f"{location}{mark}digest={digest_of(data)}"
        self._ask("PUT", url, data, Content_Type="application/octet-stream")
        return digest_of(data)

    def put_manifest(self, tag: str, data: bytes, media_type: str = MANIFEST) -> str:
        """Let a tag stand for these bytes; their digest."""
        self._ask("PUT", f"{self._base}/manifests/{tag}", data, Content_Type=media_type)
        return digest_of(data)

    def retag(self, source: str, tag: str) -> str:
        """Let `tag` stand for what `source` stands for, as anybody who ignores leases may."""
        found = self.manifest(source)
        assert found is not None, source
        return self.put_manifest(tag, found[1])

    def publish(self, tag: str, forged: Forged) -> str:
        """Store a forged artifact."""
        for blob in forged.blobs:
            self.put_blob(blob)
        return self.put_manifest(tag, forged.manifest, forged.media_type)


@dataclass
class Forged:
    """A manifest made by hand, with the blobs it needs."""

    manifest: bytes
    blobs: Sequence[bytes] = field(default_factory=list)
    media_type: str = MANIFEST


def row(path: str, data: bytes = b"evil\n", **changes: Any) -> dict[str, Any]:
    """A file's row of our index; `at` is filled in by `forge`."""
    value = {
        "kind": "file",
        "path": path,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "mode": "0644",
        "role": "doc",
        "data": data,
    }
    return {**value, **changes}


def _content(rows: Sequence[Mapping[str, Any]]) -> str:
    entries = []
    for each in sorted(rows, key=lambda r: r["path"].encode("utf-8", "surrogatepass")):
        target = str(each.get("target", "")).encode() if each["kind"] == "link" else b""
        entries.append(
            {
                "path": each["path"],
                "kind": each["kind"],
                "digest": f"sha256:{each['sha256']}" if each["kind"] == "file" else digest_of(target),
                "size": each["size"] if each["kind"] == "file" else len(target),
                "executable": each.get("mode") == "0755",
            }
        )
    return digest_of(dumps(entries))


def forge(rows: Sequence[Mapping[str, Any]], *, titles: Mapping[str, str] | None = None) -> Forged:
    """An artifact of our own format that lists `rows`, whatever they say.

    :param titles: what the layers call a path instead.
    """
    datas = list(dict.fromkeys(each["data"] for each in rows if "data" in each))
    places = {data: number for number, data in enumerate(datas)}
    listed = []
    for each in rows:
        plain = {key: value for key, value in each.items() if key != "data"}
        if "data" in each:
            plain.setdefault("at", [places[each["data"]]])
        listed.append(plain)
    index = dumps({"schemaVersion": 0, "blobs": [digest_of(data) for data in datas], "files": listed})
    config = dumps({"config": {}, "descriptor": {}, "modelfs": {"type": "layers", "diffIds": []}})
    named = [((titles or {}).get(each["path"], each["path"]), each["data"]) for each in rows if "data" in each]
    layers = [_layer(".bundle/index.json", index, inline=True), *(_layer(name, data) for name, data in named)]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": MODEL_ARTIFACT,
        "config": {"mediaType": MODEL_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": layers,
        "annotations": {
            f"{PREFIX}version": "0",
            f"{PREFIX}storage": "plain",
            f"{PREFIX}index": digest_of(index),
            f"{PREFIX}content": _content(rows),
        },
    }
    return Forged(dumps(manifest), [config, index, *datas])


def _layer(path: str, data: bytes, *, inline: bool = False) -> dict[str, Any]:
    value: dict[str, Any] = {
        "mediaType": RAW,
        "digest": digest_of(data),
        "size": len(data),
        "annotations": {TITLE: path, FILEPATH: path},
    }
    if inline:
        value["data"] = base64.b64encode(data).decode()
    return value


def titled(files: Sequence[tuple[str, bytes]], **annotations: str) -> Forged:
    """A plain artifact as `oras push` makes it: one titled layer per file."""
    layers = []
    for name, data in files:
        layer = {"mediaType": "application/octet-stream", "digest": digest_of(data), "size": len(data)}
        layers.append({**layer, "annotations": {TITLE: name, **annotations}})
    empty = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.unknown.artifact.v1",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(empty), "size": 2},
        "layers": layers,
    }
    return Forged(dumps(manifest), [empty, *(data for _, data in files)])


def image_index(manifest: bytes) -> Forged:
    """A list of manifests, as multi-platform images are."""
    entry = {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
    value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    return Forged(dumps(value), [], INDEX)
