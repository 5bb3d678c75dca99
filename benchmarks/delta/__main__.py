"""`python -m benchmarks.delta [NAME…]`: make versions of files, move the changed ones with every tool, print what moved."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks import trees
from benchmarks.delta import chunking, edits, table, window
from benchmarks.delta.chunking import Rate
from benchmarks.delta.counter import Counted, counted
from benchmarks.delta.edits import FULL, QUICK, Scale
from benchmarks.delta.journeys import Journeys, Version, version
from benchmarks.delta.scenarios import ALL, Scenario, Write
from benchmarks.delta.table import Row
from benchmarks.delta.weights import SEED
from benchmarks.machine import describe
from benchmarks.measure import Cost, Failed
from benchmarks.world import ROOT, World

CHUNKING = "chunking"
RESULTS = Path(__file__).resolve().parent.parent / "delta-results.md"


def main() -> int:
    """Measure what was asked for; the exit code does not judge, the reader does."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then, too
    scratch = Path(tempfile.mkdtemp(prefix="bundle-bench-delta-", dir=asked.scratch))
    try:
        return _run(asked, scratch)
    finally:
        if asked.keep:
            print(f"kept: {scratch}", file=sys.stderr)
        else:
            shutil.rmtree(scratch, ignore_errors=True)


def _run(asked: argparse.Namespace, scratch: Path) -> int:
    began = time.monotonic()
    places = [scratch / name for name in ("trees", "storage", "versions")]
    for place in places:
        place.mkdir()
    world = World(*places[:2])
    if str(ROOT) not in world.output([sys.executable, "-c", "import modelops_bundle as m; print(m.__file__)"]):
        print("benchmarks: another modelops_bundle than the one beside would be measured", file=sys.stderr)
        return 2
    head = describe(world, *places[:2])
    head["Peers"] += f", hf-xet {metadata.version('hf-xet')}"
    head["Generator"] = f"numpy {metadata.version('numpy')}, seed {SEED}"
    scale = QUICK if asked.quick else FULL
    chosen = [ALL[name] for name in asked.names or ALL if name in ALL]
    rows: list[Row] = []
    further: list[str] = []
    try:
        with counted(world.registry.port) as way:
            versions = Versions(places[2], scale, chosen, keep=asked.keep)
            for scenario in chosen:
                print(scenario.name, file=sys.stderr, flush=True)
                rows.append(_row(world, way, versions, scenario, asked))
                print(table.line(rows[-1]), flush=True)
        if CHUNKING in (asked.names or [CHUNKING]):
            further.append(table.rates(_rates(world, scale)))
        if asked.window:
            print("window", file=sys.stderr, flush=True)
            further.append(table.peaks(list(window.measure(world, quick=asked.quick))))
    finally:
        world.stop()
    minutes = (time.monotonic() - began) / 60
    head["Run"] = f"{', '.join(asked.names) or 'everything'}{' (quick)' if asked.quick else ''}, {minutes:.1f} minutes"
    _write(asked, head, rows, further)
    return 0


def _rates(world: World, scale: Scale) -> list[Rate]:
    """The rates of files that are cut in different ways."""
    print(CHUNKING, file=sys.stderr, flush=True)
    folder = world.place("hashed")
    folder.mkdir()
    for write in (edits.write_model, edits.write_checkpoint, edits.write_csv):
        write(folder, scale)
    found = list(chunking.rates(world, [folder / name for name in trees.names(folder)]))
    world.clear()
    return found


class Versions:
    """The files of scenarios: first versions are made once and deleted when no other scenario begins with them."""

    def __init__(self, folder: Path, scale: Scale, chosen: Sequence[Scenario], *, keep: bool = False) -> None:
        self._folder, self._scale, self._keep = folder, scale, keep
        self._wanted = [scenario.base for scenario in chosen]
        self._made: dict[Write, Version] = {}

    def before(self, scenario: Scenario) -> Version | None:
        """The first version."""
        if scenario.base is None:
            return None
        if scenario.base not in self._made:
            self._made[scenario.base] = self._write(f"before-{scenario.name}", scenario.base)
        return self._made[scenario.base]

    def after(self, scenario: Scenario) -> Version:
        """The changed version."""
        return self._write(f"after-{scenario.name}", scenario.change)

    def done(self, scenario: Scenario, after: Version) -> None:
        """Delete what nobody needs any more."""
        self._wanted.remove(scenario.base)
        if self._keep:
            return
        shutil.rmtree(after.folder)
        if scenario.base in self._made and scenario.base not in self._wanted:
            shutil.rmtree(self._made.pop(scenario.base).folder)

    def _write(self, name: str, write: Write) -> Version:
        folder = self._folder / name
        folder.mkdir()
        write(folder, self._scale)
        return version(folder)


def _row(world: World, way: Counted, versions: Versions, scenario: Scenario, asked: argparse.Namespace) -> Row:
    before, after = versions.before(scenario), versions.after(scenario)
    row = Row(scenario, after.size, asked.quick)
    journeys = Journeys(world, way, before, after)
    pull = ["pull"] if before else []
    for tool, journey, names in (
        ("oras", journeys.oras, ["push", "pull"]),
        ("xet", journeys.xet, ["xet chunks", "xet"]),
        ("delta", journeys.delta, ["push", *pull, "clone"]),
        ("xor", journeys.xor, ["push", *pull, "clone"]),
        ("plain", journeys.plain, ["push", *pull, "clone"]),
    ):
        if tool not in asked.tools or (tool == "xor" and not scenario.xor):
            continue
        _collect(world, row, [name if "xet" in name else f"{tool} {name}" for name in names], journey())
        world.clear()
    versions.done(scenario, after)
    return row


def _collect(world: World, row: Row, names: Sequence[str], costs: Iterator[Cost]) -> None:
    """Take the figures as they come; the first that fails is the end of this way, and is told in its place."""
    for name in names:
        try:
            row.figures[name] = next(costs)
        except (Failed, OSError) as error:
            row.figures[name] = world.hide(f"failed: {error}")
            print(f"  {name}: {row.figures[name]}", file=sys.stderr, flush=True)
            return
    next(costs, None)  # it clears up after itself


def _arguments() -> argparse.Namespace:
    tools = ["oras", "xet", "delta", "xor", "plain"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delta", description=__doc__)
    names = [*ALL, CHUNKING]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"scenarios, all by default: {', '.join(names)}")
    parser.add_argument(
        "--quick", action="store_true", help="an eighth of the bytes, or as many as chunk maps begin at"
    )
    parser.add_argument("--tools", nargs="+", choices=tools, default=tools, help="some ways only")
    parser.add_argument("--window", action="store_true", help="the memory of a push of 50 GiB, too: some minutes")
    parser.add_argument("--keep", action="store_true", help="leave the versions of files there, and say where")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where everything is made: the temporary folder")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(names):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return asked


def _write(asked: argparse.Namespace, head: dict[str, str], rows: Sequence[Row], further: Sequence[str]) -> None:
    told = [table.figures(rows), table.aims(rows), table.tally(rows)] if rows else []
    print("\n".join(["", *told, *further]))
    whole = not asked.names and not asked.quick and len(asked.tools) == 5
    if output := asked.output or (RESULTS if whole else None):
        output.write_text(table.document(head, rows, further), encoding="utf-8")
    if asked.json:
        figures = {"head": head, "rows": [table.as_json(row) for row in rows]}
        asked.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
