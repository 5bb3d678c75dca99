"""The decision to change the tree, made durable: what a killed command's successor carries out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import read_file, remove_file, write_file
from modelops_bundle.errors import Corrupt
from modelops_bundle.model import canonical
from modelops_bundle.model.digest import Digest
from modelops_bundle.model.snapshot import Entry
from modelops_bundle.plan.pull import Step

Packed = Mapping[Digest, tuple[Digest, int]]
"""Small files in staged packs: by digest of the file, that of the pack and the offset in the pack's tar."""

_VERSION = 2
_LIMIT = 1 << 30
_MOST_OFFSET = 1 << 53


@dataclass(frozen=True, slots=True)
class Intent:
    """Steps that were decided on, and what the caller wants to record once they are done: `commit` as JSON, `blobs` as
    they are.
    """

    steps: tuple[Step, ...]
    commit: Mapping[str, Any]
    packed: Packed = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)


def write_intent(path: Path, intent: Intent) -> None:
    """Make the decision durable."""
    packs: dict[str, list[list[str | int]]] = {}
    for digest, (pack, offset) in intent.packed.items():
        packs.setdefault(str(pack), []).append([digest.hex, offset])
    head = canonical.dumps(
        {
            "version": _VERSION,
            # Most steps of most pulls make files: rows of them take a tenth of the memory that objects would.
            "files": [_row(step.path, step.after) for step in intent.steps if step.after and _is_new_file(step)],
            "steps": [step.to_json() for step in intent.steps if not _is_new_file(step)],
            "commit": dict(intent.commit),
            "packed": packs,
            "blobs": [[name, len(blob)] for name, blob in intent.blobs.items()],
        }
    )
    write_file(path, b"".join((head, b"\n", *intent.blobs.values())))


def _is_new_file(step: Step) -> bool:
    return step.before is None and step.after is not None and step.after.kind == "file"


def _row(path: str, entry: Entry) -> list[Any]:
    return [path, entry.digest.hex, entry.size, entry.executable, entry.role]


def read_intent(path: Path) -> Intent | None:
    """The decision that a killed command left, None when there is none.

    :raises Corrupt: it cannot be read (it was written atomically, so this is damage).
    :raises UnsafePath: it names a path that leads out of a tree.
    """
    data = read_file(path)
    if data is None:
        return None
    head, _, rest = data.partition(b"\n")
    value = canonical.loads(head, "the journal", limit=_LIMIT)
    try:
        lists = all(isinstance(value[key], list) for key in ("files", "steps", "blobs"))
        if value["version"] != _VERSION or not isinstance(value["commit"], dict) or not lists:
            raise Corrupt("the journal cannot be read")
        steps = [Step.from_json(step) for step in value["steps"]] + [_file(row) for row in value["files"]]
        blobs = dict(_cut(rest, value["blobs"]))
        return Intent(tuple(sorted(steps, key=lambda step: step.path)), value["commit"], _packed(value), blobs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Corrupt("the journal cannot be read") from error


def _file(row: Any) -> Step:
    path, digest, size, executable, role = row
    after = {"kind": "file", "digest": f"sha256:{digest}", "size": size, "executable": executable, "role": role}
    return Step.from_json({"path": path, "before": None, "after": after})


def _packed(value: Mapping[str, Any]) -> Packed:
    found: dict[Digest, tuple[Digest, int]] = {}
    for pack, members in value["packed"].items():
        for digest, offset in members:
            if type(offset) is not int or not 0 <= offset < _MOST_OFFSET:
                raise Corrupt("the journal cannot be read")
            found[Digest.parse(f"sha256:{digest}")] = Digest.parse(pack), offset
    return found


def _cut(data: bytes, sizes: Any) -> Iterable[tuple[str, bytes]]:
    at = 0
    for name, size in sizes:
        if type(size) is not int or size < 0 or at + size > len(data):
            raise Corrupt("the journal cannot be read")
        yield name, data[at : at + size]
        at += size


def forget_intent(path: Path) -> None:
    """The decision was carried out and recorded."""
    remove_file(path)
