"""What is committed belongs to the user, on any machine: no paths of one machine, no index addresses, nothing large."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.tree import ROOT, plant

TOP_LEVEL = {
    ".ci",
    ".github",
    ".gitignore",
    ".modelopsignore.example",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "docs",
    "mkdocs.yml",
    "modelops_bundle",
    "pyproject.toml",
    "requirements.lock",
    "tests",
}
LARGEST = 1024 * 1024

_MACHINE_PATHS = re.compile(r"/work/(?:main|shared|\.library)\b|/root/\.|/(?:home|Users)/[a-z][\w.-]*/")
_PEOPLE_IN_EXAMPLES = re.compile(r"/(?:home|Users)/(?:user|you|alice|bob|ci)/")
# In pieces, so that this file does not name them itself.
_INDEXES = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("golang", "org"),
            ("crates", "io"),
            ("maven", "org"),
            ("deb", "debian", "org"),
            ("conda", "anaconda", "org"),
        )
    )
)


def tracked() -> list[str]:
    """The files of the commit in the making."""
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"not a git checkout: {result.stderr.strip()}")
    return [name for name in result.stdout.split("\0") if name and (ROOT / name).is_file()]


def strangers(names: Iterable[str]) -> set[str]:
    """Top-level names that are not among the user's."""
    return {name.partition("/")[0] for name in names} - TOP_LEVEL


def too_large(root: Path, names: Iterable[str]) -> list[str]:
    """Files over 1 MiB."""
    return [name for name in names if (root / name).stat().st_size > LARGEST]


def addresses(root: Path, names: Iterable[str]) -> list[str]:
    """Paths of one machine and hosts of package indexes in text files."""
    found = []
    for name in names:
        text = (root / name).read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), 1):
            here = [m[0] for m in _MACHINE_PATHS.finditer(line) if not _PEOPLE_IN_EXAMPLES.match(m[0])]
            found += [f"{name}:{number} {what}" for what in [*here, *_INDEXES.findall(line)]]
    return found


def loose_pins(lock: str) -> list[str]:
    """Lines of a lock file that name an address, or a package without version or hash."""
    bad = [line for line in lock.splitlines() if "://" in line or line.startswith("-")]
    for entry in re.split(r"\n(?=\w)", re.sub(r"(?m)^\s*#.*\n?", "", lock).strip()):
        if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", entry) or "--hash=sha256:" not in entry:
            bad += entry.splitlines()[:1] or ["empty"]
    return bad


def test_the_top_level_is_the_users() -> None:
    assert strangers(tracked()) == set()


def test_nothing_large_is_tracked() -> None:
    assert too_large(ROOT, tracked()) == []


def test_nothing_points_at_one_machine_or_index() -> None:
    assert addresses(ROOT, tracked()) == []


def test_the_lock_file_pins_and_hashes_everything() -> None:
    assert loose_pins((ROOT / "requirements.lock").read_text(encoding="utf-8")) == []


def test_the_rules_see_strangers_and_large_files(tmp_path: Path) -> None:
    plant(tmp_path, {"notes.txt": "", "docs/big.bin": "x" * (LARGEST + 1), "docs/fits.bin": "x" * LARGEST})
    names = ["notes.txt", "docs/big.bin", "docs/fits.bin"]
    assert strangers(names) == {"notes.txt"}
    assert too_large(tmp_path, names) == ["docs/big.bin"]


def test_the_rule_sees_addresses(tmp_path: Path) -> None:
    paths = "|work|main|x\n|home|somebody|x\n|root|.x\n".replace("|", "/")
    index = "https://pypi|org/simple\n".replace("|", ".")
    plant(tmp_path, {"a": "fine\n" + index, "b": paths, "c": "/home/alice/models\n"})
    assert [line.partition(" ")[0] for line in addresses(tmp_path, ["a", "b", "c"])] == ["a:2", "b:1", "b:2", "b:3"]


def test_the_rule_sees_loose_pins() -> None:
    tight = "# made by uv\na==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n    # via b\nb[c]==2 \\\n    --hash=sha256:11\n"
    assert loose_pins(tight) == []
    assert loose_pins(tight + "c==3\n") == ["c==3"]
    assert loose_pins(tight + "d>=3 \\\n    --hash=sha256:22\n") == ["d>=3 \\"]
    assert loose_pins("--index-url https://a.b\n" + tight)[0] == "--index-url https://a.b"
