"""The registry everything is measured against, and slow links to it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Failed

BINARIES = ("docker-registry", "registry")
_ROOT = Path(__file__).resolve().parent.parent
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def binary() -> str | None:
    """The distribution registry on PATH, under Debian's name or its own."""
    return next((found for name in BINARIES if (found := shutil.which(name))), None)


class Registry:
    """A distribution registry with its content in `folder` and a line of access log for each request."""

    def __init__(self, folder: Path) -> None:
        program = binary()
        if program is None:
            raise Failed("no docker-registry on PATH")
        self._storage = folder / "storage"
        self._log = folder / "access.log"
        self.port = _free_port()
        config = folder / "config.yml"
        config.write_text(
            json.dumps(
                {
                    "version": 0.1,
                    "log": {"accesslog": {"disabled": False}, "level": "error"},
                    "storage": {"filesystem": {"rootdirectory": str(self._storage)}},
                    "http": {"addr": f"localhost:{self.port}"},
                }
            )
        )
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "OTEL_"))}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={**environment, "OTEL_TRACES_EXPORTER": "none"},
            )
        self.pid = self._process.pid
        self._wait()

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def tag_often(self, repository: str, tag: str, count: int) -> None:
        """Give the version `tag` of `repository` `count` more tags, straight in the registry's storage."""
        tags = self._storage / "docker/registry/v2/repositories" / repository / "_manifests/tags"
        link = (tags / tag / "current/link").read_bytes()
        for number in range(count):
            folder = tags / f"t{number:05}" / "current"
            folder.mkdir(parents=True)
            (folder / "link").write_bytes(link)

    def wipe(self) -> None:
        """Forget everything, so that no push finds a blob of the one before."""
        shutil.rmtree(self._storage, ignore_errors=True)

    def requests(self) -> int:
        """Requests answered so far. A line is written after the answer: the log is read when it has come to rest."""
        before = -1
        while before != (size := self._log.stat().st_size):
            before = size
            time.sleep(0.02)
        return self._log.read_bytes().count(b"\n")

    def manifest(self, repository: str, tag: str) -> dict[str, Any]:
        """A manifest, parsed.

        :raises Failed: it is not there.
        """
        address = f"http://{self.host}/v2/{repository}/manifests/{tag}"
        try:
            with _OPENER.open(urllib.request.Request(address, headers={"Accept": _ACCEPT})) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError as error:
            raise Failed(f"{repository}:{tag} is not in the registry: {error}") from None

    def expect(self, repository: str, tag: str, size: int) -> None:
        """An artifact of about `size` bytes.

        :raises Failed: it is absent, or its layers hold much less.
        """
        stored = sum(layer["size"] for layer in self.manifest(repository, tag)["layers"])
        if stored < 0.9 * size:
            raise Failed(f"{repository}:{tag} holds {stored} bytes of {size}")

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                _OPENER.open(f"http://{self.host}/v2/").close()
                return
            except OSError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.stop()
                    raise Failed(f"the registry does not answer: {error}") from None
                time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Link:
    """A slow way to a server."""

    port: int
    pid: int
    _process: subprocess.Popen[str]

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def carried(self) -> tuple[int, int]:
        """Bytes that went to the server and came back so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        up, down = self._process.stdout.readline().split()
        return int(up), int(down)

    def prove(self, path: str, size: int, *, delay: float = 0.0, rate: float | None = None) -> None:
        """The link is as slow as it should be, and no slower: within a tenth and 5 ms, at the best of three tries.

        :param path: of an address on the server whose answer has `size` bytes.
        :raises Failed: it is not.
        """
        connection = http.client.HTTPConnection("localhost", self.port)
        with closing(connection):
            _elapsed(connection, "/v2/")
            trip = min(_elapsed(connection, "/v2/") for _ in range(3))
            took = min(_elapsed(connection, path) for _ in range(3)) - trip
        if not 2 * delay <= trip <= 2 * delay * 1.1 + 0.005:
            raise Failed(f"the link's round trip is {trip * 1000:.1f} ms instead of {2000 * delay:.0f}")
        if rate and not 0.9 * rate <= size / took <= 1.1 * rate:
            raise Failed(f"the link carries {size / took / 1e6:.1f} MB/s instead of {rate / 1e6:.0f}")


@contextmanager
def link(port: int, *, delay: float = 0.0, rate: float | None = None) -> Iterator[Link]:
    """A link to `localhost:port`: seconds each way, bytes per second of each connection."""
    command = [sys.executable, "-m", "benchmarks.proxy", str(port), "--delay", str(delay)]
    command += ["--rate", str(rate)] if rate else []
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Link(int(process.stdout.readline()), process.pid, process)
        finally:
            process.stdin.close()
            process.wait()


def _elapsed(connection: http.client.HTTPConnection, path: str) -> float:
    began = time.perf_counter()
    connection.request("GET", path)
    connection.getresponse().read()
    return time.perf_counter() - began


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
