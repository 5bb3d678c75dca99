"""Exporting and importing far more than fits into memory: the peak stays flat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.bundle import ROOT, Bundle, call
from tests.support.campaign import rounds

WHOLE = 10 << 30
MOST = 100 << 20
_RUN = """
import sys
from modelops_bundle.ui.cli.main import main
code = main(sys.argv[1:])
# Not getrusage: its peak is that of the parent, where the child shared its memory until exec.
peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
print("peak", int(peak) * 1024, file=sys.stderr)
sys.exit(code)
"""


def peak(*words: str) -> int:
    done = subprocess.run([sys.executable, "-c", _RUN, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.rsplit("peak ", 1)[1])


def test_memory_stays_flat(tmp_path: Path, figure: Callable[[str], None]) -> None:
    size = rounds(WHOLE)
    big = Bundle.create(tmp_path / "big")
    with big.path("weights.bin").open("wb") as out:
        out.truncate(size)
        out.write(b"not all zeros")
    big.run("add", ".")
    peaks = {}
    for name in ("x.tar", "x.tar.gz"):
        archive = tmp_path / name
        peaks[f"export {name}"] = peak("-q", "-C", str(big.root), "export", "-o", str(archive))
        peaks[f"import {name}"] = peak("-q", "import", str(archive), str(tmp_path / f"into-{name}"))
        assert (tmp_path / f"into-{name}" / "weights.bin").stat().st_size == size
        call("verify", str(archive))
        archive.unlink()
        (tmp_path / f"into-{name}" / "weights.bin").unlink()
    figure(f"{size >> 20} MiB: " + ", ".join(f"{what} {most >> 20} MiB" for what, most in peaks.items()))
    assert max(peaks.values()) < MOST
