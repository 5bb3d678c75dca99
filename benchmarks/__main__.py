"""`python -m benchmarks [NAME…]`: measure, print the table, and after a whole run write `benchmarks/results.md`."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.measure import Failed
from benchmarks.report import Line, as_json, document, lines, table, tally
from benchmarks.workloads import ALL
from benchmarks.world import ROOT, World

RESULTS = Path(__file__).with_name("results.md")
_IN_MEMORY = Path("/dev/shm")
_ROOM = 6 << 30


def main() -> int:
    """Measure what was asked for; the exit code does not judge, the reader does."""
    asked = _arguments()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then, too
    rows: list[Line] = []
    storage_root = asked.storage or _storage()
    with (
        tempfile.TemporaryDirectory(prefix="bundle-bench-", dir=asked.trees, ignore_cleanup_errors=True) as trees,
        tempfile.TemporaryDirectory(prefix="bundle-bench-", dir=storage_root, ignore_cleanup_errors=True) as storage,
    ):
        world = World(Path(trees), Path(storage), quick=asked.quick)
        if str(ROOT) not in world.output([sys.executable, "-c", "import modelops_bundle as m; print(m.__file__)"]):
            print("benchmarks: another modelops_bundle than the one beside would be measured", file=sys.stderr)
            return 2
        head = describe(world, Path(trees), Path(storage))
        try:
            for name in asked.names or ALL:
                rows += _measure(world, name)
        finally:
            world.stop()
    minutes = (time.monotonic() - began) / 60
    head["Run"] = f"{', '.join(asked.names) or 'everything'}{' (quick)' if asked.quick else ''}, {minutes:.1f} minutes"
    _write(asked, head, rows)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"workloads, all by default: {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="one round of an eighth of the bytes and files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--trees", type=Path, metavar="DIR", help="where trees are made: the temporary folder")
    parser.add_argument("--storage", type=Path, metavar="DIR", help="where the registry stores: memory if it has room")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(ALL):
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    return asked


def _storage() -> Path | None:
    """Memory, so that the disk under the registry is not what is measured; the temporary folder where that is small."""
    roomy = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ROOM
    return _IN_MEMORY if roomy else None


def _measure(world: World, name: str) -> list[Line]:
    """The lines of one workload. One that cannot be set up is a line too, and the run goes on."""
    print(name, file=sys.stderr, flush=True)
    rows: list[Line] = []
    try:
        for group in ALL[name](world):
            rows += lines(group, world.measure(group))
    except (Failed, OSError) as error:
        rows.append(Line(name, "", None, None, (), 0, 0, f"failed: {error}"))
    finally:
        world.clear()
    return [_hidden(world, row) for row in rows]


def _hidden(world: World, row: Line) -> Line:
    return replace(row, failure=world.hide(row.failure))


def _write(asked: argparse.Namespace, head: dict[str, str], rows: Sequence[Line]) -> None:
    print(f"{table(rows)}\n{tally(rows)}")
    output = asked.output or (None if asked.names or asked.quick else RESULTS)
    if output:
        output.write_text(document(head, rows), encoding="utf-8")
    if asked.json:
        figures = {"head": head, "lines": [as_json(row) for row in rows]}
        asked.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
