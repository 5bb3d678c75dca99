"""Which role a file plays: weight, config, doc, code or dataset (DESIGN §4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

ROLES = ("weight", "config", "doc", "code", "dataset")

_WEIGHT = frozenset(
    "safetensors gguf ggml bin pt pth ckpt onnx h5 hdf5 keras pb tflite mlmodel npz npy msgpack engine plan pkl "
    "pickle joblib params pdparams model tensors marlin nemo ot mar".split()
)
_CONFIG = frozenset("json yaml yml toml ini cfg conf xml jinja jinja2 j2 tokenizer spm vocab merges properties".split())
_DOC = frozenset("md rst pdf html htm license png jpg jpeg gif svg webp ipynb docx".split())
_DATASET = frozenset("parquet arrow csv tsv jsonl ndjson tfrecord feather avro lmdb wav flac mp3 mp4".split())
_DOC_NAMES = re.compile(r"(readme|licen[cs]e|notice|changelog|authors|citation|copying|contributing|use_policy)(\..*)?")
_CONFIG_NAMES = frozenset(
    ["vocab.txt", "merges.txt", "modelfile", "special_tokens.txt", "labels.txt", "added_tokens.txt"]
)
_MEMBER = re.compile("(.)-(.)|(.)", re.DOTALL)
_DATASET_DIRECTORIES = frozenset(["data", "dataset", "datasets"])


def role_of(path: str, rules: Mapping[str, Sequence[str]] | None = None) -> str:
    """The role of `path`.

    :param rules: role (built-in or custom) to globs; the first role with a matching glob wins over the built-in
        rules. `*` stays inside a path component, `**` crosses them.
    """
    for role, globs in (rules or {}).items():
        if any(glob_pattern(glob).fullmatch(path) for glob in globs):
            return role
    name = path.rpartition("/")[2].lower()
    suffix = name.rpartition(".")[2] if "." in name else ""
    if _DOC_NAMES.fullmatch(name):
        return "doc"
    if name in _CONFIG_NAMES:
        return "config"
    return _by_suffix(suffix, path)


def _by_suffix(suffix: str, path: str) -> str:
    if suffix in _WEIGHT:
        return "weight"
    if suffix in _DATASET or path.split("/", maxsplit=1)[0].lower() in _DATASET_DIRECTORIES:
        return "dataset"
    if suffix in _CONFIG:
        return "config"
    if suffix in _DOC or suffix == "txt":
        return "doc"
    return "code"


@lru_cache(maxsize=512)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """Compile a path glob: `*` and `?` inside a component, `**` across them, `[...]` sets; no slash: any depth."""
    if "/" not in glob:
        glob = f"**/{glob}"
    return re.compile(translate_glob(glob.lstrip("/")), re.DOTALL)


def translate_glob(glob: str) -> str:
    """The regular expression of a path glob, anchored to the whole path."""
    out: list[str] = []
    position = 0
    while position < len(glob):
        piece, position = _translate_one(glob, position)
        out.append(piece)
    return "".join(out)


def _translate_one(glob: str, at: int) -> tuple[str, int]:
    if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
        return "(?:[^/]+/)*", at + 3
    if glob.startswith("**", at):
        return ".*", at + 2
    character = glob[at]
    if character == "*":
        return "[^/]*", at + 1
    if character == "?":
        return "[^/]", at + 1
    if character == "[":
        return _translate_set(glob, at)
    return re.escape(character), at + 1


def _translate_set(glob: str, at: int) -> tuple[str, int]:
    negated = glob[at + 1 : at + 2] in ("!", "^")
    first = at + 1 + negated
    # A bracket that closes right away is a member of the set (glob(7)).
    end = glob.find("]", first + 1)
    if end < 0:
        return re.escape("["), at + 1
    members = "".join(_member(*found.groups()) for found in _MEMBER.finditer(glob, first, end))
    if not members:
        return "[^/]" if negated else "(?!)", end + 1
    return f"(?!/)[{'^' if negated else ''}{members}]", end + 1


def _member(low: str | None, high: str | None, single: str | None) -> str:
    if low is None or high is None:
        return re.escape(single or "")
    # A range that runs backwards holds nothing.
    return f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
