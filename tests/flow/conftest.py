"""What journeys need: two kinds of remote, a registry that misbehaves on order, and clones that are in step."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.net import client
from modelops_bundle.net.retry import Policy
from modelops_bundle.testing.registry import Registry as Fake
from tests.support.bundle import Bundle
from tests.support.clones import Pair, pair_on


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries do not wait."""
    monkeypatch.setattr(client, "Policy", functools.partial(Policy, base=0.001, ceiling=0.002))


@pytest.fixture(params=[pytest.param("registry", marks=pytest.mark.registry), "layout"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place nobody has pushed to: on a real registry, and in an OCI layout directory."""
    if request.param == "registry":
        return str(request.getfixturevalue("repo"))
    return f"layout:{tmp_path / 'remote-layout'}"


@pytest.fixture
def fake() -> Iterator[Fake]:
    """The in-process registry."""
    with Fake() as registry:
        yield registry


@pytest.fixture
def pair(remote: str, tmp_path: Path) -> Pair:
    """Two clones in step, on both kinds of remote."""
    return pair_on(remote, tmp_path)


@pytest.fixture
def alone(tmp_path: Path) -> Bundle:
    """A bundle without any server: its remote is the layout inside it. One file is tracked and pushed."""
    made = Bundle.create(tmp_path / "alone", None, {"a.txt": "a\n"})
    made.push()
    return made
