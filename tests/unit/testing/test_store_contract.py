"""The contract catches stores that break it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.support.tree import ROOT

_BROKEN = """
from collections.abc import Iterator
from contextlib import contextmanager
import pytest
from modelops_bundle.model.digest import Digest
from modelops_bundle.stores.memory import MemoryStore
from modelops_bundle.testing.store_contract import StoreContract

class Broken(MemoryStore):
{body}

class TestBroken(StoreContract):
    @pytest.fixture
    def store(self):
        return Broken()
"""

_BREAKS = {
    "believes what it is told": (
        """
        def put(self, what, chunks):
            with self._lock:
                self._blobs[what.digest] = b"".join(chunks)
        """,
        "test_wrong_bytes_are_refused_and_not_stored",
    ),
    "forgets the start": (
        """
        def open(self, what, start=0, stop=None):
            return super().open(what, 0, stop)
        """,
        "test_ranges_are_exact",
    ),
    "moves tags that are not as expected": (
        """
        def tag(self, name, what, data, expect):
            from modelops_bundle.model.ports import ANYTHING
            super().tag(name, what, data, ANYTHING)
        """,
        "test_one_winner_of_a_race",
    ),
    "hides a tag": (
        """
        def tags(self):
            return super().tags()[1:]
        """,
        "test_tags_are_sorted_and_complete",
    ),
    "takes absence for failure": (
        """
        def resolve(self, name, *, data=False):
            found = super().resolve(name, data=data)
            if found is None:
                raise RuntimeError("absent")
            return found
        """,
        "test_nothing_is_named_in_an_empty_store",
    ),
    "lists no referrers": (
        """
        def referrers(self, subject, artifact_type=None):
            return []
        """,
        "test_what_refers_to_a_manifest_is_listed",
    ),
    "filters nothing": (
        """
        def referrers(self, subject, artifact_type=None):
            return super().referrers(subject)
        """,
        "test_what_refers_to_a_manifest_is_listed",
    ),
    "keeps tags of what was deleted": (
        """
        def delete(self, what):
            tags = dict(self._tags)
            super().delete(what)
            self._tags = tags
            self._manifests[what.digest], self._blobs[what.digest] = what.media_type, b"{}"
        """,
        "test_what_was_deleted_is_gone_with_its_tags",
    ),
    "untags by manifest": (
        """
        def untag(self, name, what, *, keep=False):
            for tag in [tag for tag, digest in self._tags.items() if digest == what.digest]:
                del self._tags[tag]
            return True
        """,
        "test_removing_a_tag_leaves_other_tags_of_its_manifest",
    ),
}


@pytest.mark.parametrize("name", _BREAKS)
def test_a_broken_store_is_caught(name: str, tmp_path: Path) -> None:
    import subprocess
    import sys

    body, test = _BREAKS[name]
    (tmp_path / "test_broken.py").write_text(_BROKEN.format(body=textwrap.indent(textwrap.dedent(body), "    ")))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-k", test, "."],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"FAILED test_broken.py::TestBroken::{test}" in done.stdout
