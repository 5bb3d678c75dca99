"""The test suite keeps its own promises: tests see no real user, and nothing needy drops out of CI in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.campaign import rounds
from tests.support.tree import ROOT, plant

_NEEDY = """
import pytest

@pytest.mark.{marker}
def test_needy():
    pytest.skip("nothing here")

def test_choosy():
    pytest.skip("not on this system")

@pytest.mark.{marker}
@pytest.mark.xfail(strict=True)
def test_known_bug():
    assert False
"""


def run(where: Path, marker: str, required: str) -> subprocess.CompletedProcess[str]:
    """Run a suite of one needy and one choosy test."""
    plant(where, {"test_sample.py": _NEEDY.format(marker=marker)})
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.required", "-p", "no:cacheprovider", "."],
        cwd=where,
        env={**os.environ, "BUNDLE_REQUIRE_PEERS": required, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("marker", ["docker", "peers", "registry"])
def test_a_needy_test_that_skips_fails_where_peers_are_required(tmp_path: Path, marker: str) -> None:
    result = run(tmp_path, marker, "1")
    assert result.returncode == 1, result.stdout
    assert f"test_needy needs {marker} and BUNDLE_REQUIRE_PEERS is set: Skipped: nothing here" in result.stdout
    assert "1 failed, 1 skipped, 1 xfailed" in result.stdout


def test_a_needy_test_skips_elsewhere(tmp_path: Path) -> None:
    result = run(tmp_path, "registry", "")
    assert result.returncode == 0, result.stdout
    assert "2 skipped, 1 xfailed" in result.stdout


def test_no_test_sees_the_real_user(home: Path) -> None:
    assert os.environ["HOME"] == str(home)
    assert Path.home() == home
    assert list(home.iterdir()) == []
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "DOCKER_CONFIG"):
        assert Path(os.environ[name]).is_relative_to(home), name


@pytest.mark.parametrize(("setting", "expected"), [("", 50), ("0", 50), ("1", 1000)])
def test_campaigns_run_small_unless_asked(monkeypatch: pytest.MonkeyPatch, setting: str, expected: int) -> None:
    monkeypatch.setenv("BUNDLE_CAMPAIGN", setting)
    assert rounds(1000) == expected
    assert rounds(3) >= 1
