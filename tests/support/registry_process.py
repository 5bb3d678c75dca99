"""Real registries: the distribution registry in a Docker container or as the binary `docker-registry`, and crane's.

The first two serve the distribution registry over plain HTTP on a port of localhost, with deletion enabled, and keep that port over
a restart. Readiness is always a poll of `/v2/`.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

IMAGE = "registry:2"
BINARY = "docker-registry"
CRANE = "crane"

_READY_SECONDS = 60.0
_POLL_SECONDS = 0.02


class Unobtainable(Exception):
    """No registry of this kind can be had here; the message says why."""


class Registry(Protocol):
    """What the fixture `registry` yields."""

    kind: str
    host: str
    """`localhost:PORT`, the first part of a reference."""
    url: str
    log_path: Path | None
    """The server's log, when it writes one to disk."""
    root: Path | None
    """The server's storage directory, when this process can look into it."""

    def restart(self) -> None:
        """Stop and start again, same port, same content; return when it answers."""

    def stop(self) -> None:
        """End it for good."""


def free_port() -> int:
    """A TCP port of localhost that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(url: str, alive: Callable[[], bool]) -> None:
    """Poll `url/v2/` until it answers 200.

    :raises RuntimeError: the server ended, or a minute passed.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with opener.open(f"{url}/v2/", timeout=5) as answer:
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as error:
            if error.code == 401:  # it wants a login, and is there
                return
        except (urllib.error.URLError, OSError):
            if not alive():
                raise RuntimeError(f"the registry at {url} ended before it answered") from None
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"the registry at {url} did not answer within {_READY_SECONDS:.0f} s")


def wait_until_open(port: int, alive: Callable[[], bool], address: str = "127.0.0.1") -> None:
    """Poll a TCP port until somebody listens.

    :raises RuntimeError: the server ended, or a minute passed.
    """
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address, port), 5).close()
            return
        except OSError:
            if not alive():
                raise RuntimeError(f"the server at port {port} ended before it listened") from None
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"nobody listens at port {port} after {_READY_SECONDS:.0f} s")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two settings of a registry as one; those `above` win, at any depth."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


class ProcessRegistry:
    """`docker-registry serve` as a child process, content and log in a directory of ours.

    :param settings: what its configuration has besides ours: `auth`, `http.tls`, ...
    :param name: the host name or address that references use; it listens on nothing else.
    :param port: of that name; a free one when None.
    """

    kind = "binary"

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any] | None = None,
        name: str = "localhost",
        port: int | None = None,
    ) -> None:
        binary = shutil.which(BINARY)
        if binary is None:
            raise Unobtainable(f"{BINARY} is not on PATH")
        self._binary = binary
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        storage = directory / "storage"
        storage.mkdir(parents=True)
        self._log = directory / "registry.log"
        self.root: Path | None = storage
        self.log_path: Path | None = self._log
        port = port or free_port()
        self._tls = "tls" in (settings or {}).get("http", {})
        self._address = (name.strip("[]"), port)
        self.host = f"{name}:{port}"
        self.url = f"{'https' if self._tls else 'http'}://{self.host}"
        # JSON is YAML, and needs no YAML library.
        self._config = directory / "config.yml"
        self._config.write_text(
            json.dumps(
                merged(
                    {
                        "version": 0.1,
                        "log": {"accesslog": {"disabled": False}, "level": "info"},
                        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
                        "http": {"addr": self.host},
                    },
                    settings or {},
                )
            )
        )
        self._start()

    def _start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "OTEL_"))}
        environment["OTEL_TRACES_EXPORTER"] = "none"
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [self._binary, "serve", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=environment,
            )
        self._process = process
        _remember(str(process.pid))
        try:
            self._wait(lambda: process.poll() is None)
        except RuntimeError as error:
            self.stop()
            tail = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{error}; its log ends with:\n{tail}") from None

    def _wait(self, alive: Callable[[], bool]) -> None:
        if self._tls:
            # Whom it trusts, and who trusts it, is what such a test is about.
            wait_until_open(self._address[1], alive, self._address[0])
        else:
            wait_until_ready(self.url, alive)

    def restart(self) -> None:
        """Stop and start again, same port, same content; return when it answers."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """End it; killed when it does not go within ten seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _forget(str(process.pid))


@contextmanager
def crane_registry() -> Iterator[str]:
    """The host of a `crane registry serve`, another implementation than distribution's: all in memory.

    :raises Unobtainable: crane is not on PATH.
    """
    binary = shutil.which(CRANE)
    if binary is None:
        raise Unobtainable(f"{CRANE} is not on PATH")
    host = f"localhost:{free_port()}"
    process = subprocess.Popen(
        [binary, "registry", "serve", "--address", host],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _remember(str(process.pid))
    try:
        wait_until_ready(f"http://{host}", lambda: process.poll() is None)
        yield host
    finally:
        process.kill()
        process.wait()
        _forget(str(process.pid))


class DockerRegistry:
    """The image `registry:2` in a container, through testcontainers."""

    kind = "docker"
    root: Path | None = None
    log_path: Path | None = None

    def __init__(self) -> None:
        # Nothing of ours is left to the reaper: containers are removed by `stop` and carry a label.
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
        reason = engine_problem()
        if reason is not None:
            raise Unobtainable(reason)
        from docker.errors import APIError
        from testcontainers.core.container import DockerContainer

        port = free_port()
        self.host = f"localhost:{port}"
        self.url = f"http://{self.host}"
        self._container: Any = (
            DockerContainer(IMAGE)
            .with_env("REGISTRY_STORAGE_DELETE_ENABLED", "true")
            .with_env("OTEL_TRACES_EXPORTER", "none")
            .with_name(f"bundle-tests-{uuid.uuid4().hex[:12]}")
        )
        self._container.ports["5000/tcp"] = ("127.0.0.1", port)  # with_bind_ports would listen on every address
        try:
            self._container.start()
            _remember(self._container.get_container_id())
            wait_until_ready(self.url, self._alive)
        except APIError as error:
            self.stop()
            raise Unobtainable(f"the engine cannot run {IMAGE}: {error}") from None
        except RuntimeError:
            self.stop()
            raise

    def _alive(self) -> bool:
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return bool(wrapped.status == "running")

    def restart(self) -> None:
        """Stop and start again, same port, same content; return when it answers."""
        self._container.get_wrapped_container().restart(timeout=10)
        wait_until_ready(self.url, self._alive)

    def stop(self) -> None:
        """Remove the container with its content."""
        if self._container.get_wrapped_container() is not None:
            _forget(self._container.get_container_id())
        self._container.stop()


def engine_problem() -> str | None:
    """Why no container of ours can run here; None when one can."""
    try:
        import docker
        from docker.errors import DockerException
    except ImportError as error:
        return f"testcontainers is not installed: {error}"
    problem = None
    with warnings.catch_warnings():
        # docker-py leaks its socket when nobody listens: collected here, so that no later test is blamed for it.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            docker.from_env(timeout=10).close()  # asks the engine for its version
        except DockerException as error:
            problem = f"no Docker engine answers: {error}"
        gc.collect()
    return problem


def start_registry(directory: Path, wanted: str = "") -> Registry:
    """Start the registry `wanted` asks for: "docker", "binary", or the first of the two that can be had.

    :raises Unobtainable: it cannot be had here; says why, for every way that was tried.
    """
    ways: dict[str, Callable[[], Registry]] = {
        "docker": DockerRegistry,
        "binary": lambda: ProcessRegistry(directory),
    }
    if wanted:
        if wanted not in ways:
            raise ValueError(f"BUNDLE_TEST_REGISTRY must be one of {', '.join(ways)}, not {wanted!r}")
        ways = {wanted: ways[wanted]}
    reasons = []
    for way in ways.values():
        try:
            return way()
        except Unobtainable as error:
            reasons.append(str(error))
    raise Unobtainable("; ".join(reasons))


def _remember(server: str) -> None:
    """Note a process or container where `.ci/run` sweeps after a test run that was killed (it sets the directory)."""
    directory = os.environ.get("BUNDLE_TEST_SERVERS")
    if directory:
        (Path(directory) / server).touch()


def _forget(server: str) -> None:
    directory = os.environ.get("BUNDLE_TEST_SERVERS")
    if directory:
        (Path(directory) / server).unlink(missing_ok=True)
