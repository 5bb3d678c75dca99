"""`make peers-table`: what the tools that are installed here do with the hostile artifacts and archives of our tests.

For the home use of developers; what is published says our column only. Each case gets a sandbox of its own. "outside" is
anything new or changed beside the directory a tool was told to write to, "kept" anything it left inside after an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from modelops_bundle.testing.registry import Registry
from tests.flow.test_hostile import PATHS
from tests.flow.test_importing import CASES, members_of
from tests.support.bundle import Bundle
from tests.support.clones import BASE
from tests.support.oci import Repository, titled

LIMIT = 25

Run = Callable[[Path], list[str]]


def contents(root: Path) -> dict[str, bytes | str]:
    """Everything below `root`."""
    found: dict[str, bytes | str] = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            found[str(path.relative_to(root))] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


def outcome(words: list[str], sandbox: Path) -> str:
    """How a tool fares: it may write to `sandbox`/in and nowhere else."""
    inside = sandbox / "in"
    inside.mkdir(parents=True)
    (sandbox / "precious.txt").write_text("precious\n")
    try:
        code = subprocess.run(words, cwd=inside, capture_output=True, timeout=LIMIT, check=False).returncode
    except subprocess.TimeoutExpired:
        code = None
    after = contents(sandbox)
    outside = {name for name, data in after.items() if not name.startswith("in/") and name != "precious.txt"}
    if outside or after.get("precious.txt") != b"precious\n":
        return "OUTSIDE"
    left = [name for name in after if name.startswith("in/") and ".modelops-bundle" not in name]
    if code is None:
        return "hangs"
    if code == 0:
        return "accepted" if left else "accepted, nothing written"
    return f"refused ({code})" + (", kept files" if left else "")


def artifacts(scratch: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Layers with hostile titles, pulled."""
    with Registry() as registry:
        for name, path in PATHS.items():
            if not path:
                continue
            place = f"{registry.host}/m/{name}"
            Repository(place).publish("v1", titled([("readme.md", b"good\n"), (path, b"evil\n")]))
            tools: dict[str, list[str]] = {
                "bundle": [sys.executable, "-m", "modelops_bundle", "clone", f"{place}:v1", "out"],
                "oras": ["oras", "pull", "--plain-http", f"{place}:v1"],
                "oras-py": [
                    sys.executable,
                    "-c",
                    "import sys, oras.client; oras.client.OrasClient(insecure=True).pull(target=sys.argv[1], outdir='.')",
                    f"{place}:v1",
                ],
            }
            yield f"title {path!r}"[:60], _each(tools, scratch / "artifacts" / name)


def archives(scratch: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Hostile archives, copied into a layout."""
    made = Bundle.create(scratch / "made", None, BASE)
    made.push("--tag", "v1")
    made.run("export", ":v1", "-o", str(scratch / "good.tar"))
    good = members_of(scratch / "good.tar")
    for name, (make, _) in CASES.items():
        bad = scratch / "bad.tar"
        bad.write_bytes(make(good))  # type: ignore[operator]
        tools = {
            "bundle": [sys.executable, "-m", "modelops_bundle", "import", f"{bad}:v1", "./out"],
            "oras": ["oras", "cp", "--from-oci-layout", f"{bad}:v1", "--to-oci-layout", "out:v1"],
            "skopeo": ["skopeo", "copy", f"oci-archive:{bad}:v1", "oci:out:v1"],
        }
        yield f"archive: {name}", _each(tools, scratch / "archives" / name.replace("/", "_"))


def _each(tools: dict[str, list[str]], sandbox: Path) -> dict[str, str]:
    found = {}
    for tool, words in tools.items():
        missing = shutil.which(words[0]) is None or (tool == "oras-py" and not _has_oras_py())
        found[tool] = "absent" if missing else outcome(words, sandbox / tool)
    return found


def _has_oras_py() -> bool:
    import importlib.util

    return importlib.util.find_spec("oras") is not None


def main() -> int:
    os.environ["PYTHONPATH"] = os.getcwd()
    columns = ("bundle", "oras", "oras-py", "skopeo")
    print(f"| case | {' | '.join(columns)} |")
    print("|---|---|---|---|---|")
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        for kind in (artifacts, archives):
            for case, results in kind(Path(scratch)):
                print(f"| {case} | {' | '.join(results.get(column, '-') for column in columns)} |", flush=True)
                bad += not results["bundle"].startswith("refused") or "kept" in results["bundle"]
    print(f"\nbundle: {bad} not refused whole")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
