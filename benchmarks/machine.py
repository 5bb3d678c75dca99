"""What the figures were measured on and with. Nothing here names the host, its user, or a path."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from pathlib import Path

from benchmarks.servers import binary
from benchmarks.world import ROOT, World

_PEERS = {
    "oras": ["oras", "version"],
    "crane": ["crane", "version"],
    "skopeo": ["skopeo", "--version"],
    "oras-py": [sys.executable, "-c", "from importlib.metadata import version; print(version('oras'))"],
    "curl": ["curl", "--version"],
    "aria2c": ["aria2c", "--version"],
    "git": ["git", "--version"],
}


def describe(world: World, trees: Path, storage: Path) -> dict[str, str]:
    """The report's head: what it is and its value."""
    return {
        "Date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Commit": _commit(world),
        "Machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}, shared by client, peer and registry",
        "Kernel": f"{platform.system()} {platform.release()}",
        "File systems": f"trees on {_filesystem(trees)}, registry on {_filesystem(storage)}",
        "Python": platform.python_version(),
        "Registry": _version(world, [binary() or "docker-registry", "--version"]),
        "Peers": ", ".join(f"{name} {_version(world, command)}" for name, command in _PEERS.items()),
    }


def _version(world: World, command: list[str]) -> str:
    said = world.output(command)
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    if found and "Error" not in said:
        return found[0]
    # Distributions build some tools without telling them their version.
    return "of unknown version" if said and "Error" not in said else "absent"


def _commit(world: World) -> str:
    git = ["git", "-C", str(ROOT)]
    commit = world.output([*git, "rev-parse", "--short=12", "HEAD"]).strip()
    if not re.fullmatch(r"[0-9a-f]{12}", commit):
        return "unknown"
    changed = world.output([*git, "status", "--porcelain", "--", "modelops_bundle"]).strip()
    return commit + (" with local changes" if changed else "")


def _processor() -> str:
    try:
        found = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB"
    except (OSError, ValueError):
        return "memory unknown"


def _filesystem(path: Path) -> str:
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "an unknown file system"
    holding = [(point, kind) for point, kind in mounts if path.resolve().is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0]))[1]
