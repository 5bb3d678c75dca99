"""The operations behind `bundle cache`, for callers without a folder for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.errors import NotFound, UsageError
from modelops_bundle.events import Run
from modelops_bundle.operations import caching
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session


def test_a_caller_without_a_cache(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no cache"):
        caching.info(Session(None, Run(), cwd=tmp_path))


def test_pruning_nothing_in_particular(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        caching.prune(Session(None, Run(), Options(cache=tmp_path / "cache"), cwd=tmp_path))


def test_looking_at_an_absent_cache_makes_nothing(tmp_path: Path) -> None:
    session = Session(None, Run(), Options(cache=tmp_path / "cache"), cwd=tmp_path)
    assert caching.info(session).size == 0
    assert caching.prune(session, most=0, dry_run=True).freed == 0
    assert not (tmp_path / "cache").exists()
