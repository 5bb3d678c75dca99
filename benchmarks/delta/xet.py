"""Hugging Face's Xet, whole and unmodified, against a content store in a directory (`local://`).

`python -m benchmarks.delta.xet push STORE RECORD FILE…` and `… pull STORE RECORD`: a session each, as a user's commands would
be. `push` writes to the file RECORD what `pull` reads there: JSON of names, hashes and sizes. The cache of shards is in the
store and outlives sessions, so that the second version is compared with the whole first one, as on the real service or better.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes in a store: `xorbs` hold chunks, `shards` say where each file's chunks are. Both are uploaded."""

    xorbs: int
    shards: int

    @property
    def together(self) -> int:
        return self.xorbs + self.shards

    def since(self, before: Stored) -> Stored:
        return Stored(self.xorbs - before.xorbs, self.shards - before.shards)


def stored(store: Path) -> Stored:
    """What `store` holds now, without its own database and the session's caches."""
    place = store / "xet" / "xorbs"
    xorbs = (path for path in place.glob("xorbs/*") if not path.name.endswith(".tagset"))
    shards = place.glob("shards/*.mdb")
    return Stored(*(sum(path.stat().st_size for path in paths) for paths in (xorbs, shards)))


def push(store: str, record: Path, names: list[str]) -> None:
    """Upload files."""
    import hf_xet  # type: ignore[import-untyped]

    with hf_xet.XetSession().new_upload_commit(endpoint=f"local://{store}") as commit:
        uploads = {name: commit.start_upload_file(name) for name in names}
    infos = {name: upload.result().xet_info for name, upload in uploads.items()}
    record.write_text(json.dumps({name: [info.hash, info.file_size] for name, info in infos.items()}))


def pull(store: str, record: Path) -> None:
    """Download them again, into the working directory."""
    import hf_xet

    with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{store}") as group:
        for name, (digest, size) in json.loads(record.read_text()).items():
            group.start_download_file(hf_xet.XetFileInfo(digest, size), name)


if __name__ == "__main__":
    if sys.argv[1] == "push":
        push(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    else:
        pull(sys.argv[2], Path(sys.argv[3]))
