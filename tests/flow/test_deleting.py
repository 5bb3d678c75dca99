"""Deleting while others are at work: what was shown is what is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelops_bundle.errors import NotFound, TagMoved
from modelops_bundle.events import Run
from modelops_bundle.model import media
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.operations import deleting
from modelops_bundle.operations.session import Session
from modelops_bundle.stores.layout import LayoutStore
from modelops_bundle.testing.registry import Registry as Fake
from modelops_bundle.testing.store_contract import make_manifest, put
from modelops_bundle.workspace.project import Project
from tests.support.bundle import Bundle
from tests.support.clones import Pair, pair_on


@pytest.fixture
def session(pair: Pair) -> Iterator[Session]:
    pair.a.push("--tag", "v1")
    with Session(Project(pair.a.root), Run(), cwd=pair.a.root) as session:
        yield session


def tags(bundle: Bundle) -> list[str]:
    return [tag["tag"] for tag in bundle.json("tags")["tags"]]


def test_a_tag_that_was_not_shown_stops_it(session: Session, pair: Pair) -> None:
    plan = deleting.plan_delete(session, ":v1")
    assert plan.tags == ("latest", "v1")
    pair.b.run("tag", ":v1", "new")
    with pytest.raises(TagMoved, match="new"):
        deleting.apply_delete(session, plan)
    assert tags(pair.a) == ["latest", "new", "v1"]


def test_a_tag_that_moved_stops_it(session: Session, pair: Pair) -> None:
    plan = deleting.plan_delete(session, ":latest")
    pair.b.commit({"config.json": "2\n"})
    with pytest.raises(TagMoved, match="moved meanwhile"):
        deleting.apply_delete(session, plan)
    assert tags(pair.a) == ["latest", "v1"]


def test_a_tag_that_is_gone_stops_it_while_another_keeps_the_version(fake: Fake, tmp_path: Path) -> None:
    pair = pair_on(f"{fake.host}/m", tmp_path)
    pair.a.push("--tag", "v1")
    with Session(Project(pair.a.root), Run(), cwd=pair.a.root) as session:
        plan = deleting.plan_delete(session, ":v1")
        pair.b.run("untag", ":v1")
        with pytest.raises(TagMoved, match="is gone meanwhile"):
            deleting.apply_delete(session, plan)
    assert tags(pair.a) == ["latest"]


def test_what_somebody_else_deleted_is_not_there(session: Session, pair: Pair) -> None:
    plan = deleting.plan_delete(session, ":v1")
    pair.b.run("delete", ":v1", "--yes")
    with pytest.raises(NotFound):
        deleting.apply_delete(session, plan)


def test_killed_after_the_deletion_it_is_not_found_the_next_time(pair: Pair) -> None:
    pair.a.commit({"config.json": "2\n"}, "--tag", "v2")
    pair.a.killed_at("deleted", "delete", ":v2", "--yes")
    pair.a.refused(6, "delete", ":v2", "--yes")
    assert tags(pair.a) == ["latest"]


def test_a_push_that_counted_on_a_deleted_blob_sends_it_again(tmp_path: Path) -> None:
    """Between the look for a blob and the manifest that needs it, another process deletes the only other manifest."""
    a = Bundle.create(tmp_path / "a", f"layout:{tmp_path / 'layout'}", {"x.txt": "shared", "y.txt": "1"})
    a.push("--tag", "v1")
    a.write({"y.txt": "2"})
    other = """
import os, sys
from modelops_bundle import events
from tests.support.bundle import call
def strike(name):
    if name == "blobs sent":
        stop()
        call("delete", LAYOUT + ":v1", "--yes")
stop = events.observe_checkpoints(strike)
""".replace("LAYOUT", repr(f"layout:{tmp_path / 'layout'}"))
    a.spawn("push", "--tag", "v2", before=other)
    a.run("verify", ":v2")
    clone = Bundle.clone(f"layout:{tmp_path / 'layout'}:v2", tmp_path / "c")
    assert clone.read("x.txt") == "shared"
    assert tags(a) == ["v2"]


def test_a_layout_takes_no_manifest_whose_blobs_are_gone(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "layout", create=True)
    what, data = make_manifest(store, b"layer")
    layer = put(store, b"layer")
    (store.root / "blobs" / "sha256" / layer.digest.hex).unlink()
    with pytest.raises(NotFound) as caught:
        store.put(what, [data])
    assert caught.value.facts["blobs"] == [str(layer.digest)]
    assert store.resolve(str(Descriptor.of(media.OCI_MANIFEST, data).digest)) in (None, what)
    put(store, b"layer")
    store.put(what, [data])
    assert store.resolve(str(what.digest)) == what
