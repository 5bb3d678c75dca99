"""What a place for `registry list` may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelops_bundle.errors import Unsupported, UsageError
from modelops_bundle.events import Run
from modelops_bundle.operations import catalog
from modelops_bundle.operations.session import Session
from modelops_bundle.testing.registry import Registry as Fake


def test_the_scheme_may_be_written_and_a_slash_at_the_end(fake: Fake, tmp_path: Path) -> None:
    fake.protocol.repository("team/a")
    with Session(None, Run(), cwd=tmp_path) as session:
        for place in (f"oci://{fake.host}", f"{fake.host}/", f"{fake.host.upper()}/team"):
            assert catalog.repositories(session, place) == (fake.host, ["team/a"])


def test_a_layout_has_no_repositories(tmp_path: Path) -> None:
    with Session(None, Run(), cwd=tmp_path) as session, pytest.raises((UsageError, Unsupported)):
        catalog.repositories(session, f"layout:{tmp_path}")
