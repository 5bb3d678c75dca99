"""Making many changes durable at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from modelops_bundle.disk.sync import sync_file_system
from modelops_bundle.errors import DiskError


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="syncfs(2) is Linux's")
def test_linux_syncs_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        assert sync_file_system(handle) is True
    finally:
        os.close(handle)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="syncfs(2) is Linux's")
def test_what_the_system_refuses_is_told() -> None:
    with pytest.raises(DiskError) as caught:
        sync_file_system(-1)
    assert caught.value.facts["errno"] == 9


def test_elsewhere_there_is_no_such_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert sync_file_system(-1) is False
