"""What other tools put into a manifest: for each layer the path of its file, or that it is an archive, and of what (facts: OCI §2).

Nothing is read here but the manifest and, for the tools that keep their paths there, its config.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelops_bundle.errors import Corrupt, UnsafePath, Unsupported
from modelops_bundle.model import canonical, media, paths
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.manifest import Manifest

MAX_CONFIG = 4 << 20
"""Bytes of a config that holds paths: it is as large as a manifest at most."""
KITFILE = "Kitfile"
KITOPS_CONFIG = "application/vnd.kitops.modelkit.config.v1+json"
ORIGINAL_CONFIG = "application/vnd.modelops.bundle.index.v1+json"

_KITOPS_LAYER = re.compile(
    r"application/vnd\.kitops\.modelkit\.(model|modelpart|dataset|code|docs)\.v1\.tar(\+[\w-]+)?"
)
_DOCKER = "application/vnd.docker.ai."
_DOCKER_CONFIG = f"{_DOCKER}model.config."
_OLLAMA = "application/vnd.ollama.image."
_MODEL_LAYER = re.compile(r"application/vnd\.(?:cncf|cnai)\.model\.[\w.]+\.v1\.([\w+-]+)")
# Not plain tar: that is what oras calls any file of which it knows nothing.
_ARCHIVE = re.compile(r".*[.+/](?:tar[+.](?:gzip|zstd)|tgz)")
_SIGNED = re.compile(r".*\.prov(?:enance\.v1\.prov)?")
_CONTAINER_CONFIGS = (media.IMAGE_CONFIG, "application/vnd.docker.container.image.v1+json")
_METADATA = ("org.cncf.model.file.metadata+json", "org.cnai.model.file.metadata+json")
_CNAI_FILEPATH = "org.cnai.model.filepath"

_OLLAMA_NAMES = {
    "model": "model.gguf",
    "projector": "projector.gguf",
    "adapter": "adapter.gguf",
    "template": "template",
    "prompt": "prompt",
    "system": "system",
    "license": "license",
    "params": "params.json",
    "messages": "messages.json",
}
_DOCKER_NAMES = {
    "gguf.v3": "model.gguf",
    "gguf.v3.lora": "adapter.gguf",
    "gguf.v3.mmproj": "model.mmproj",
    "mmproj": "model.mmproj",
    "safetensors": "model.safetensors",
    "dduf": "model.dduf",
    "license": "LICENSE",
    "chat.template.jinja": "template.jinja",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A layer: the file at `path`, or an archive whose members go below `path` and stay within `within` (empty: the root)."""

    layer: Descriptor
    path: str
    archive: bool = False
    within: str = ""
    executable: bool = False
    role: str | None = None


def needs_config(manifest: Manifest) -> bool:
    """Whether the paths stand in the config."""
    return manifest.config.media_type in (KITOPS_CONFIG, ORIGINAL_CONFIG)


def kind_of(manifest: Manifest) -> str:
    """What its maker calls it."""
    return manifest.artifact_type or manifest.config.media_type


def pieces(manifest: Manifest, config: bytes | None = None) -> tuple[Piece, ...]:
    """What the layers of `manifest` are.

    :param config: the bytes of the config, where `needs_config`.
    :raises Unsupported: nothing that can be read, naming what it is. :raises Corrupt: config and layers disagree.
    :raises UnsafePath: a path that must not be created, as far as the manifest tells.
    """
    config_type = manifest.config.media_type
    found: Iterable[Piece]
    if config_type == KITOPS_CONFIG:
        found = _kitops(manifest, canonical.loads(config or b"", "the ModelKit's config", limit=MAX_CONFIG))
    elif config_type == ORIGINAL_CONFIG:
        found = _original(manifest, canonical.loads(config or b"", "the bundle's config", limit=MAX_CONFIG))
    elif any(layer.media_type.startswith(_OLLAMA) for layer in manifest.layers):
        found = _typed(manifest.layers, _OLLAMA, _OLLAMA_NAMES)
    elif manifest.layers and config_type.startswith(_DOCKER_CONFIG):
        found = _typed(manifest.layers, _DOCKER, _DOCKER_NAMES)
    else:
        found = _named(manifest) or _unnamed(manifest)
    return tuple(found)


# --- artifacts whose layers have names: ORAS, ModelPack, the first version of the original


def _path_of(layer: Descriptor) -> str | None:
    said = [layer.annotations[key] for key in (media.TITLE, media.FILEPATH, _CNAI_FILEPATH) if key in layer.annotations]
    return next((path for path in said if path), said[0] if said else None)


def _named(manifest: Manifest) -> list[Piece]:
    # oras writes a titled config into the tree as well.
    found = [_piece(layer) for layer in (*manifest.layers, manifest.config)]
    return [piece for piece in found if piece is not None]


def _piece(layer: Descriptor) -> Piece | None:
    path, model = _path_of(layer), _MODEL_LAYER.fullmatch(layer.media_type)
    form = model[1] if model else "raw"
    if form not in ("raw", "tar", "tar+gzip", "tar+zstd"):
        raise Unsupported(f"a layer has the form {form!r}, which nobody defined", media_type=layer.media_type[:200])
    if layer.annotations.get(media.UNPACK) == "true" and layer.annotations.get(media.TITLE):
        return archive(layer, within=layer.annotations[media.TITLE])
    if form != "raw":
        # modctl stores whole paths in the archive (modctl pkg/codec/tar.go).
        return archive(layer, within=path or "", role=media.role_of_layer(layer.media_type))
    if path is None:
        if model:
            raise Unsupported("a ModelPack layer has no file path", media_type=layer.media_type[:200])
        # As oras does: what has no name is not for the tree.
        return None
    return Piece(
        layer, _without_dots(path), executable=_is_executable(layer), role=media.role_of_layer(layer.media_type)
    )


def archive(layer: Descriptor, *, below: str = "", within: str = "", role: str | None = None) -> Piece:
    """An archive whose members go below `below`, where they must be at or below `within`."""
    return Piece(layer, _directory(below), archive=True, within=_directory(within), role=role)


def _directory(path: str) -> str:
    """The directory that `path` spells; the empty text for the root."""
    if path.startswith("/"):
        return paths.validate(path)
    plain = "/".join(part for part in path.split("/") if part not in ("", "."))
    return paths.validate(plain) if plain else ""


def _without_dots(path: str) -> str:
    return path.removeprefix("./")


def _is_executable(layer: Descriptor) -> bool:
    """What modctl keeps of the mode."""
    text = next((layer.annotations[key] for key in _METADATA if key in layer.annotations), None)
    if text is None:
        return False
    mode = canonical.loads(text.encode(), "the metadata of a file", limit=MAX_CONFIG).get("mode")
    return type(mode) is int and bool(mode & 0o100)


# --- artifacts whose layers have types: Ollama, docker model


def _typed(layers: Iterable[Descriptor], prefix: str, names: Mapping[str, str]) -> list[Piece]:
    """Layers named by what they are: `model.gguf`, or `model-00001-of-00002.gguf` where there are several."""
    listed = list(layers)
    totals = Counter(layer.media_type for layer in listed)
    seen: Counter[str] = Counter()
    found = []
    for layer in listed:
        seen[layer.media_type] += 1
        found.append(_of_type(layer, prefix, names, seen[layer.media_type], totals[layer.media_type]))
    return found


def _of_type(layer: Descriptor, prefix: str, names: Mapping[str, str], number: int, total: int) -> Piece:
    kind = layer.media_type.removeprefix(prefix)
    path = _path_of(layer)
    if prefix == _DOCKER and kind in ("vllm.config.tar", "dir.tar"):
        return archive(layer, within=path or "")
    if path is None:
        name = names.get(kind)
        if name is None or not layer.media_type.startswith(prefix):
            raise Unsupported(
                f"a layer of type {layer.media_type[:100]!r} has no name of its own",
                hint="only its own tool knows what to do with it",
                media_type=layer.media_type[:200],
            )
        path = _numbered(name, number, total)
    return Piece(layer, _without_dots(path), executable=_is_executable(layer), role=_ROLES.get(kind))


_ROLES = {"model": "weight", "projector": "weight", "adapter": "weight", "license": "doc", "params": "config"}


def _numbered(name: str, number: int, total: int) -> str:
    if total == 1:
        return name
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{number:05}-of-{total:05}{dot}{suffix}"


# --- artifacts whose config has the paths


def _kitops(manifest: Manifest, config: Mapping[str, Any]) -> Iterator[Piece]:
    """A ModelKit; its config becomes the Kitfile, which `kit unpack` writes too (JSON is YAML)."""
    entries = _kit_entries(config)
    yield Piece(manifest.config, KITFILE, role="config")
    for layer in manifest.layers:
        known = _KITOPS_LAYER.fullmatch(layer.media_type)
        if known is None:
            raise Unsupported(f"a ModelKit layer of type {layer.media_type[:100]!r}", media_type=layer.media_type[:200])
        said = next(entries[known[1]], None)
        if said is None:
            raise Corrupt("the ModelKit has more layers than its config names")
        yield _kit_piece(layer, said, _KIT_ROLES[known[1]])
    if (parent := next(entries["model"], None)) is not None:
        raise Unsupported(
            f"the model of this ModelKit is another ModelKit, {paths.display(str(parent.get('path')))}",
            hint="clone that one as well",
        )


_KIT_ROLES = {"model": "weight", "modelpart": "weight", "dataset": "dataset", "code": "code", "docs": "doc"}


def _kit_entries(config: Mapping[str, Any]) -> dict[str, Iterator[Mapping[str, Any]]]:
    """What the Kitfile names, by kind of layer, in the order of the layers."""
    model = config.get("model") or {}
    if not isinstance(model, dict):
        raise Corrupt("the model of the ModelKit's config cannot be read")
    listed = {
        "model": [model] if model.get("path") else [],
        "modelpart": model.get("parts"),
        "dataset": config.get("datasets"),
        "code": config.get("code"),
        "docs": config.get("docs"),
    }
    found = {}
    for kind, items in listed.items():
        if not isinstance(items or [], list) or not all(isinstance(item, dict) for item in items or []):
            raise Corrupt(f"the {kind} entries of the ModelKit's config cannot be read")
        found[kind] = iter(items or [])
    return found


def _kit_piece(layer: Descriptor, said: Mapping[str, Any], role: str) -> Piece:
    path, digest = said.get("path"), said.get("digest")
    if not isinstance(path, str):
        raise Corrupt("an entry of the ModelKit's config has no path")
    if digest is not None:
        # Archives of such kits hold whole paths (kitops pkg/lib/unpack/core.go).
        if digest != str(layer.digest):
            raise Corrupt("the ModelKit's config names another layer than its manifest")
        return archive(layer, within=path, role=role)
    plain = _directory(path)
    return archive(layer, below=plain.rpartition("/")[0], within=plain, role=role)


def _original(manifest: Manifest, config: Mapping[str, Any]) -> Iterator[Piece]:
    """The second layout of the original: an index in the config, which names blobs by digest."""
    files = config.get("files")
    if not isinstance(files, dict):
        raise Corrupt("the bundle's config lists no files")
    layers = {str(layer.digest): layer for layer in manifest.layers}
    for key, said in files.items():
        if not isinstance(said, dict) or said.get("path", key) != key:
            raise UnsafePath(f"the bundle's config calls one file {paths.display(key)} and something else")
        if said.get("storage", "oci") != "oci":
            raise Unsupported(f"{paths.display(key)} lies in an object store, outside of the registry")
        layer = layers.get(str(said.get("digest")))
        if layer is None or said.get("size", layer.size) != layer.size:
            raise Corrupt(f"the bundle's config and its manifest disagree about {paths.display(key)}")
        yield Piece(layer, key)


# --- artifacts without any names: archives of everything


def _unnamed(manifest: Manifest) -> list[Piece]:
    """Helm charts, Flux sources and whatever else is one archive or several; container images are something else."""
    kind = kind_of(manifest)
    if manifest.config.media_type in _CONTAINER_CONFIGS:
        raise Unsupported(
            "this is a container image, a stack of changes to a file system, and no artifact with named files",
            hint="crane export writes its tree; bundle init and push make a bundle of that",
            media_type=manifest.config.media_type,
        )
    listed = [layer for layer in manifest.layers if not _SIGNED.fullmatch(layer.media_type)]
    if not listed or not all(_ARCHIVE.fullmatch(layer.media_type) for layer in listed):
        raise Unsupported(
            f"this is no bundle and no artifact with named files (type {kind[:100]!r})",
            hint="bundle inspect --manifest REF shows what it is",
            media_type=kind[:200],
        )
    return [archive(layer) for layer in listed]
