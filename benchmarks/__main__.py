"""Run every workload, print the table, write it to `benchmarks/results.md`."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.workloads import ALL

HEAD = "| work | ours | peer | ratio | target | verdict |\n|---|---|---|---|---|---|\n"


def main() -> int:
    """Print and write the report; the exit code does not judge, the reader does."""
    rows: list[Row] = []
    wanted = set(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="bundle-bench-") as folder:
        for workload in ALL:
            if not wanted or workload.__name__ in wanted:
                print(f"running {workload.__name__} …", file=sys.stderr)
                rows += workload(Path(folder))
    table = HEAD + "".join(_line(row) for row in rows)
    print(table)
    if not wanted:
        _write(table)
    return 0


def _line(row: Row) -> str:
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    target = f"≤ {row.target:.2f}" if row.target is not None else ""
    return f"| {row.work} | {row.ours} | {row.peer} | {ratio} | {target} | {row.verdict} |\n"


def _write(table: str) -> None:
    machine = f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"
    text = (
        "# Benchmark results\n\nWritten by `make bench`: medians of interleaved runs; ratios of wall time, ours to the peer's.\n"
        f"Machine: {machine}; Python {platform.python_version()}. Client, peer and registry share the cores.\n\n{table}"
    )
    (Path(__file__).parent / "results.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
