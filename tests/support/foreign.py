"""Artifacts as other tools make them, built from their specifications (facts: OCI §2.1), and archives that nobody honest makes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import zstandard

from tests.support.oci import FILEPATH, INDEX, MANIFEST, TITLE, Forged, digest_of, dumps

UNPACK = "io.deis.oras.content.unpack"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
MODEL = "application/vnd.cncf.model."

Layer = tuple[str, bytes, Mapping[str, str]]
"""Media type, content, annotations."""


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One member of an archive; `fields` are those of its header."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(data), 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def file(name: str, data: bytes = b"content\n", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file."""
    return member(name, data=data, **fields)


def directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    """A directory."""
    return member(name, tarfile.DIRTYPE)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link."""
    return member(name, tarfile.SYMTYPE, linkname=target)


def tar(*members: tuple[tarfile.TarInfo, bytes], style: Literal[0, 1, 2] = tarfile.PAX_FORMAT) -> bytes:
    """An archive, its headers as they are given."""
    out = io.BytesIO()
    for info, data in members:
        out.write(info.tobuf(style, "utf-8", "surrogateescape"))
        out.write(data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)


def tgz(*members: tuple[tarfile.TarInfo, bytes], **more: Any) -> bytes:
    """The same, in a gzip."""
    return gzip.compress(tar(*members, **more), mtime=0)


def zst(data: bytes) -> bytes:
    """A zstd frame."""
    return zstandard.ZstdCompressor().compress(data)


def manifest(
    layers: Sequence[Layer],
    config: tuple[str, bytes] = (EMPTY_CONFIG, b"{}"),
    *,
    media_type: str = MANIFEST,
    **fields: Any,
) -> Forged:
    """A manifest with these layers."""
    value = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(config[0], config[1]),
        "layers": [_descriptor(kind, data, annotations) for kind, data, annotations in layers],
        **fields,
    }
    return Forged(dumps(value), [config[1], *(data for _, data, _ in layers)], media_type)


def _descriptor(kind: str, data: bytes, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    value: dict[str, Any] = {"mediaType": kind, "digest": digest_of(data), "size": len(data)}
    return {**value, "annotations": dict(annotations)} if annotations else value


def oras(*archives: tuple[str, bytes], files: Mapping[str, bytes] | None = None) -> Forged:
    """As `oras push DIR… FILE…`: a title for each, and which of them are to be unpacked."""
    layers: list[Layer] = [(f"{LAYER}+gzip", data, {TITLE: title, UNPACK: "true"}) for title, data in archives]
    layers += [(LAYER, data, {TITLE: name}) for name, data in (files or {}).items()]
    return manifest(layers, artifactType="application/vnd.unknown.artifact.v1")


def modelpack(*layers: tuple[str, str, bytes], key: str = FILEPATH, **annotations: str) -> Forged:
    """As modctl: form (`weight.v1.tar`), path, content."""
    made = [(f"{MODEL}{form}", data, {key: path, **annotations}) for form, path, data in layers]
    diffs = [digest_of(data) for _, _, data in layers]
    config = dumps({"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diffIds": diffs}})
    return manifest(made, (f"{MODEL}config.v1+json", config), artifactType=f"{MODEL}manifest.v1+json")


def modelkit(kitfile: Mapping[str, Any], *layers: tuple[str, bytes], form: str = "tar+gzip") -> Forged:
    """As `kit pack`: kind of layer and archive; the paths are in `kitfile`."""
    made: list[Layer] = [(f"application/vnd.kitops.modelkit.{kind}.v1.{form}", data, {}) for kind, data in layers]
    return manifest(made, ("application/vnd.kitops.modelkit.config.v1+json", json.dumps(kitfile).encode()))


def ollama(*layers: tuple[str, bytes]) -> Forged:
    """As `ollama push`: kind of layer and content."""
    made: list[Layer] = [(f"application/vnd.ollama.image.{kind}", data, {}) for kind, data in layers]
    return manifest(made, (DOCKER_CONFIG, b'{"model_format":"gguf"}'), media_type=DOCKER_MANIFEST)


def docker_model(*layers: tuple[str, bytes, str | None], version: str = "v0.1") -> Forged:
    """As `docker model package`: kind of layer, content, and a path where it has one."""
    made: list[Layer] = [
        (f"application/vnd.docker.ai.{kind}", data, {FILEPATH: path} if path else {}) for kind, data, path in layers
    ]
    return manifest(made, (f"application/vnd.docker.ai.model.config.{version}+json", b"{}"))


def original(files: Mapping[str, bytes], **changes: Any) -> Forged:
    """The original's second layout: an index in the config (facts: originals §1.4)."""
    rows = {
        path: {"path": path, "digest": digest_of(data), "size": len(data), "storage": "oci", **changes}
        for path, data in files.items()
    }
    config = json.dumps({"version": "1.0", "created": "2025-01-01", "files": rows, "metadata": {}}, indent=2).encode()
    layers: list[Layer] = [(LAYER, data, {TITLE: path}) for path, data in files.items()]
    return manifest(layers, ("application/vnd.modelops.bundle.index.v1+json", config))


def chart(data: bytes) -> Forged:
    """As `helm push`: one archive."""
    layers: list[Layer] = [("application/vnd.cncf.helm.chart.content.v1.tar+gzip", data, {})]
    return manifest(layers, ("application/vnd.cncf.helm.config.v1+json", b'{"name":"c"}'))


def container(data: bytes) -> Forged:
    """A container image of one layer."""
    config = dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
    return manifest([(f"{LAYER}+gzip", data, {})], (IMAGE_CONFIG, config))


def index(*children: tuple[Forged, str | None], **fields: Any) -> Forged:
    """An image index of manifests with their platforms; the manifests are to be published before."""
    listed = []
    for child, platform in children:
        value = _descriptor(child.media_type, child.manifest)
        if platform:
            system, architecture = platform.split("/")
            value["platform"] = {"os": system, "architecture": architecture}
        listed.append(value)
    return Forged(dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed, **fields}), [], INDEX)


def header(
    name: bytes, size: bytes = b"00000000000", kind: bytes = b"0", link: bytes = b"", magic: bytes = b"ustar\x0000"
) -> bytes:
    """A header whose fields are written as they are given, with the right checksum."""
    before = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size.ljust(12, b"\0") + b"00000000000\0"
    after = kind + link.ljust(100, b"\0") + magic
    after += bytes(512 - len(before) - 8 - len(after))
    total = sum(before) + sum(after) + 8 * 32
    return before + b"%06o\0 " % total + after


def pax(*records: tuple[str, str], kind: bytes = b"x") -> bytes:
    """A pax header with these records."""
    body = b""
    for key, value in records:
        rest = f" {key}={value}\n".encode()
        length = len(rest)
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        body += str(length).encode() + rest
    return header(b"pax", b"%011o" % len(body), kind) + body + bytes(-len(body) % 512)


def sha(data: bytes) -> str:
    """The hex digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()


def joined(parts: Iterable[bytes]) -> bytes:
    """Archive parts with an end."""
    return b"".join(parts) + bytes(1024)
