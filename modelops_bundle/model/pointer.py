"""Pointers: what stands at the path of a file whose bytes are in chunk packs, for tools that know nothing of those.

Without one such a tool would leave the file of an earlier version in place and say that all is well (facts: format §5).
"""

from __future__ import annotations

import re

from modelops_bundle.model.digest import Digest

START = b"\xff\x00 modelops-bundle delta pointer v1\n"
"""No text, and as the length of a safetensors header absurd: whoever takes the file for content finds out at once."""
MOST = 16 * 1024
"""Most bytes of a pointer."""
_FORM = re.compile(rb"path ([^\n]+)\nsize (\d{1,19})\nsha256 ([0-9a-f]{64})\n")


def pointer(path: str, size: int, digest: Digest) -> bytes:
    """What stands for the file at `path`."""
    said = f"path {path}\nsize {size}\nsha256 {digest.hex}\nThis is not the file. Run: bundle materialize .\n"
    return START + said.encode()


def is_pointer(data: bytes) -> bool:
    """Whether a file that begins with `data` is one."""
    return data.startswith(START)


def read(data: bytes) -> tuple[str, int, Digest] | None:
    """The path, size in bytes and digest of the file that a pointer stands for; None for anything else."""
    found = _FORM.match(data, len(START)) if is_pointer(data) else None
    if found is None:
        return None
    try:
        return found[1].decode(), int(found[2]), Digest("sha256", found[3].decode())
    except UnicodeDecodeError:
        return None
