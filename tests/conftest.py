"""Fixtures every suite may use: an isolated user, a real registry, foreign tools."""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.peers import peer as find_peer
from tests.support.registry_process import Registry, Unobtainable, crane_registry, start_registry

pytest_plugins = ["tests.support.required", "tests.support.figures", "tests.support.canary"]

# Two busy cores make any deadline a coin toss. CI replays the same examples every time; developers explore.
settings.register_profile(
    "bundle",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("bundle")

_FOR_THE_TESTS = ("BUNDLE_TEST_REGISTRY", "BUNDLE_TEST_SERVERS", "BUNDLE_REQUIRE_PEERS", "BUNDLE_CAMPAIGN")
_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES")
_AMBIENT = (
    "SOURCE_DATE_EPOCH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REGISTRY_AUTH_FILE",
    "DOCKER_AUTH_CONFIG",
    "HF_HOME",
    "HF_HUB_CACHE",
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark everything in tests/campaign: `make campaign` runs it at full size."""
    if item.path.is_relative_to(Path(__file__).parent / "campaign"):
        item.add_marker("campaign")


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New home directories, one for each test: counting is cheaper than tmp_path_factory's search for a free name."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, _homes: Iterator[Path]) -> Path:
    """The home directory of a user who exists for this test only; nothing of the real one can be seen or changed."""
    here = next(_homes)
    here.mkdir()
    for name in list(os.environ):
        if name.startswith("BUNDLE_") and name not in _FOR_THE_TESTS:
            monkeypatch.delenv(name)
    for name in (*_TERMINAL, *_AMBIENT, *_PROXIES, *(name.upper() for name in _PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    for kind in ("config", "cache", "state", "data", "runtime"):
        suffix = "DIR" if kind == "runtime" else "HOME"
        monkeypatch.setenv(f"XDG_{kind.upper()}_{suffix}", str(here / f".{kind}"))
    monkeypatch.setenv("DOCKER_CONFIG", str(here / ".docker"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return here


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real registry for this session (each xdist worker has its own): Docker, else the binary; see BUNDLE_TEST_REGISTRY."""
    try:
        server = start_registry(tmp_path_factory.mktemp("registry"), os.environ.get("BUNDLE_TEST_REGISTRY", ""))
    except Unobtainable as error:
        pytest.skip(f"no registry: {error}")
    yield server
    server.stop()


@pytest.fixture
def repo(registry: Registry) -> str:
    """A repository nobody has used before: `localhost:PORT/team/<unique>`."""
    return f"{registry.host}/team/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def crane_host() -> Iterator[str]:
    """`HOST:PORT` of crane's own registry, the second implementation."""
    with contextlib.ExitStack() as stack:
        try:
            host = stack.enter_context(crane_registry())
        except Unobtainable as error:
            pytest.skip(f"no second registry: {error}")
        yield host


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """`peer("oras")` is the path of the tool; the test skips (in CI: fails) where it is missing."""
    return find_peer
