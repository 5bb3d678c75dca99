"""What is measured. Each function gives rows; one whose peer is absent says so instead of a ratio."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Cost, Row, interleaved, run

MIB = 1 << 20
PYTHON = sys.executable
BUNDLE = str(Path(PYTHON).with_name("bundle"))
MEMORY_LIMIT = 100 * MIB


def start_up(_work: Path) -> list[Row]:
    """`bundle --version` against importing click."""
    ours, peer = interleaved(
        21,
        lambda: run([BUNDLE, "--version"], Path.cwd()),
        lambda: run([PYTHON, "-c", "import click"], Path.cwd()),
    )
    return [_row("start-up: --version", ours, peer, 'python -c "import click"', 2.0)]


@contextmanager
def registry(work: Path) -> Iterator[str | None]:
    """A docker-registry on a free port, None where there is no binary."""
    binary = shutil.which("docker-registry")
    if binary is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = work / "registry.yml"
    config.write_text(
        f'version: 0.1\nstorage: {{filesystem: {{rootdirectory: "{work / "registry"}"}}}}\n'
        f'http: {{addr: "127.0.0.1:{port}"}}\nlog: {{level: error}}\n'
    )
    process = subprocess.Popen([binary, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/v2/")
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _random_file(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


def _row(work: str, ours: Cost, peer: Cost, peer_name: str, target: float | None) -> Row:
    return Row(
        work,
        f"{ours.wall:.3f} s, CPU {ours.cpu:.2f} s, {ours.rss / MIB:.0f} MiB",
        f"{peer_name}: {peer.wall:.3f} s, CPU {peer.cpu:.2f} s, {peer.rss / MIB:.0f} MiB",
        ours.wall / peer.wall,
        target,
    )


def _memory(work: str, cost: Cost) -> Row:
    return Row(work, f"{cost.rss / MIB:.0f} MiB", "limit: 100 MiB", cost.rss / MEMORY_LIMIT, 1.0)


def memory(work: Path) -> list[Row]:
    """A file of 2 GiB, there and back: peak memory, and wall time beside oras."""
    rows: list[Row] = []
    with registry(work) as host:
        if host is None:
            return [Row("2 GiB push and pull", "not run", "no docker-registry on PATH", None, None)]
        tree = work / "two"
        _random_file(tree / "model.safetensors", 2048 * MIB)
        run([BUNDLE, "-q", "init", f"{host}/bench/two"], tree)
        run([BUNDLE, "-q", "add", "model.safetensors"], tree)
        push = run([BUNDLE, "-q", "push", "--tag", "v1"], tree)
        pull = run([BUNDLE, "-q", "clone", f"{host}/bench/two:v1", str(work / "two-clone")], work)
        rows += [_memory("memory: push 2 GiB", push), _memory("memory: pull 2 GiB", pull)]
        if shutil.which("oras"):
            peer = run(["oras", "push", "--plain-http", f"{host}/bench/two-oras:v1", "model.safetensors"], tree)
            rows.append(_row("push 1×2 GiB, digest unknown", push, peer, "oras push", 1.0))
            peer = run(["oras", "pull", "--plain-http", f"{host}/bench/two:v1", "-o", str(work / "two-oras")], work)
            rows.append(_row("pull 1×2 GiB", pull, peer, "oras pull", None))
        same = run([BUNDLE, "-q", "push", "--tag", "v1"], tree)
        if shutil.which("oras"):
            peer = run(["oras", "push", "--plain-http", f"{host}/bench/two-oras:v1", "model.safetensors"], tree)
            rows.append(_row("no-op push of 2 GiB", same, peer, "oras push", 0.10))
    for name in ("two", "two-clone", "two-oras", "registry"):
        shutil.rmtree(work / name, ignore_errors=True)
    return rows


def status(work: Path, files: int = 100_000) -> list[Row]:
    """`bundle status --offline` of unchanged files beside `git status`."""
    tree = work / "many"
    for number in range(files):
        path = tree / f"d{number // 100}" / f"f{number % 100}.txt"
        if number % 100 == 0:
            path.parent.mkdir(parents=True)
        path.write_text(f"{number}\n")
    run([BUNDLE, "-q", "init"], tree)
    run([BUNDLE, "-q", "add", "."], tree)
    run(["git", "init", "-q", "."], tree)
    (tree / ".git" / "info" / "exclude").write_text(".modelops-bundle\n")
    run(["git", "add", "."], tree)
    # Twice: stamps younger than the clock's tick count for nothing, in git's index as in ours.
    for _ in range(2):
        run([BUNDLE, "-q", "status", "--no-untracked"], tree)
        run(["git", "status", "--porcelain"], tree)
    ours, peer = interleaved(
        5,
        lambda: run([BUNDLE, "-q", "status"], tree),
        lambda: run(["git", "status", "--porcelain"], tree),
    )
    shutil.rmtree(tree)
    return [_row(f"status of {files:,} unchanged files", ours, peer, "git status", 2.0)]


ALL = (start_up, memory, status)
