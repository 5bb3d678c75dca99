"""Media types and annotation keys, and who defines them."""

from __future__ import annotations

# OCI image-spec, media-types.md
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

# What a client must accept; distribution 2.8.3 answers 404 to a request without it.
MANIFEST_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)

# CNCF ModelPack model-spec
MODEL_ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
MODEL_LAYER_PREFIX = "application/vnd.cncf.model."

# OCI image-spec, annotations.md; ORAS; ModelPack
TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
UNPACK = "io.deis.oras.content.unpack"
FILEPATH = "org.cncf.model.filepath"
REF_NAME = "org.opencontainers.image.ref.name"

# Ours
PREFIX = "dev.modelops.bundle."
VERSION = PREFIX + "version"
STORAGE = PREFIX + "storage"
INDEX = PREFIX + "index"
CONTENT = PREFIX + "content"

MAX_MANIFEST = 4 * 1024 * 1024
"""Most bytes of a manifest: the limit of distribution, zot and oras alike (facts: OCI §2.6)."""

_ROLE_TYPES = {
    "weight": "weight",
    "config": "weight.config",
    "doc": "doc",
    "code": "code",
    "dataset": "dataset",
}


def layer_type(role: str) -> str:
    """The ModelPack media type of a raw layer holding a file of `role`; custom roles travel as code."""
    return f"{MODEL_LAYER_PREFIX}{_ROLE_TYPES.get(role, 'code')}.v1.raw"


def role_of_layer(media_type: str) -> str | None:
    """The role a ModelPack layer media type stands for, None for other types."""
    if not media_type.startswith(MODEL_LAYER_PREFIX):
        return None
    kind = media_type.removeprefix(MODEL_LAYER_PREFIX).partition(".v1.")[0]
    return next((role for role, name in _ROLE_TYPES.items() if name == kind), None)
