"""Attaching at once where the registry keeps no list of referrers: whose entries are lost (decision 0014).

Facts: reliability §3.10: two `oras attach` at a time lose one in 31 of 40 rounds, and both say that all went well. 200
rounds with BUNDLE_CAMPAIGN=1, a twentieth otherwise.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelops_bundle.model import media, referrers
from modelops_bundle.model.descriptor import Descriptor
from modelops_bundle.model.ports import ABSENT, ANYTHING
from modelops_bundle.net.client import Client
from modelops_bundle.stores.registry import RegistryStore
from modelops_bundle.testing.store_contract import make_manifest, make_referrer
from tests.support.campaign import rounds

TYPE = "application/vnd.example.note"
MOST = 4

Attach = Callable[[RegistryStore, Descriptor, Descriptor, bytes], None]


@pytest.fixture(
    params=[pytest.param("registry", marks=pytest.mark.registry), pytest.param("crane", marks=pytest.mark.peers)]
)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Host and repository, on both kinds of registry; neither of them has a referrers API."""
    if request.param == "crane":
        return str(request.getfixturevalue("crane_host")), "team/referrers"
    host, _, name = str(request.getfixturevalue("repo")).partition("/")
    return host, name


@pytest.fixture
def stores(place: tuple[str, str]) -> Iterator[list[RegistryStore]]:
    """A store for each writer, with a client of its own."""
    clients = [Client() for _ in range(MOST)]
    yield [RegistryStore(client, *place) for client in clients]
    for client in clients:
        client.close()


def ours(store: RegistryStore, subject: Descriptor, what: Descriptor, data: bytes) -> None:
    store.refer(subject.digest, what, data)


def blind(store: RegistryStore, subject: Descriptor, what: Descriptor, data: bytes) -> None:
    """As other clients do: read, add, write."""
    store.put(what, [data])
    tag = referrers.fallback_tag(subject.digest)
    found = store.resolve(tag, data=True)
    value, entries = referrers.read_list((found.data if found else None) or b"{}", "the list")
    made = referrers.write_list(value, [*entries, referrers.describe(what, data).to_json()])
    store.tag(tag, Descriptor.of(media.OCI_INDEX, made), made, ANYTHING)


def new_subject(store: RegistryStore, name: str) -> Descriptor:
    what, data = make_manifest(store, name.encode())
    store.tag(name, what, data, ABSENT)
    return what


def meet(actions: Sequence[Callable[[], None]]) -> None:
    """Do all at once; raises what any of them raised."""
    barrier = threading.Barrier(len(actions))

    def one(action: Callable[[], None]) -> None:
        barrier.wait()
        action()

    with ThreadPoolExecutor(len(actions)) as pool:
        for future in [pool.submit(one, action) for action in actions]:
            future.result()


def attaching(
    stores: Sequence[RegistryStore], name: str, writers: int, attach: Attach
) -> tuple[Descriptor, dict[str, Callable[[], None]]]:
    """A new subject, and what each writer is to do, by the digest of what it attaches."""
    subject = new_subject(stores[0], name)
    made = [make_referrer(stores[0], subject, TYPE, f"{name} {number}") for number in range(writers)]
    return subject, {
        str(what.digest): lambda store=store, what=what, data=data: attach(store, subject, what, data)  # type: ignore[misc]
        for store, (what, data) in zip(stores, made, strict=False)
    }


def lost(store: RegistryStore, subject: Descriptor, wanted: set[str]) -> set[str]:
    return wanted - {str(one.digest) for one in store.referrers(subject.digest)}


def race(stores: Sequence[RegistryStore], attach: Attach, full: int, word: str) -> tuple[int, int]:
    """How many rounds lost something, of how many."""
    many, bad = rounds(full), 0
    for number in range(many):
        subject, actions = attaching(stores, f"{word}-{number}", 2 + number % (MOST - 1), attach)
        meet(list(actions.values()))
        bad += bool(lost(stores[0], subject, set(actions)))
    return bad, many


def test_ours_lose_none_of_each_other(
    stores: list[RegistryStore], place: tuple[str, str], figure: Callable[[str], None]
) -> None:
    bad, many = race(stores, ours, 200, "ours")
    figure(f"referrers, {place[0]}: ours lost something in {bad} of {many} rounds of 2 to {MOST}")
    assert bad == 0


def test_blind_writers_lose_many(
    stores: list[RegistryStore], place: tuple[str, str], figure: Callable[[str], None]
) -> None:
    """The control: what the test above would see if nothing were done."""
    bad, many = race(stores, blind, 200, "blind")
    figure(f"referrers, {place[0]}: blind writers lost something in {bad} of {many} rounds of 2 to {MOST}")
    assert bad > 0


def test_blind_writers_beside_ours_cost_ours_nothing(
    stores: list[RegistryStore], place: tuple[str, str], figure: Callable[[str], None]
) -> None:
    many, theirs = rounds(100), 0
    for number in range(many):
        subject, actions = attaching(stores[:2], f"mixed-{number}", 2, ours)
        other = {
            str(what.digest): lambda store=store, what=what, data=data: blind(store, subject, what, data)  # type: ignore[misc]  # noqa: B023
            for store in stores[2:]
            for what, data in [make_referrer(store, subject, TYPE, f"theirs {number} {id(store)}")]
        }
        meet([*actions.values(), *other.values()])
        assert not lost(stores[0], subject, set(actions))
        theirs += len(lost(stores[0], subject, set(other)))
    figure(f"referrers, {place[0]}: of {2 * many} beside ours, blind writers lost {theirs}; ours none")


def test_real_oras_beside_ours_costs_ours_nothing(
    stores: list[RegistryStore],
    place: tuple[str, str],
    tmp_path: Path,
    peer: Callable[[str], str],
    figure: Callable[[str], None],
) -> None:
    oras = peer("oras")
    (tmp_path / "note.txt").write_text("note\n")
    many, theirs = rounds(40), 0
    for number in range(many):
        name = f"oras-{number}"
        subject, actions = attaching(stores, name, 2, ours)
        there = f"{place[0]}/{place[1]}:{name}"

        def attach(there: str = there) -> None:
            words = [
                oras,
                "attach",
                "--plain-http",
                "--artifact-type",
                "application/vnd.example.oras",
                there,
                "note.txt",
            ]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr

        meet([*actions.values(), attach])
        assert not lost(stores[0], subject, set(actions))
        kinds = [one.artifact_type for one in stores[0].referrers(subject.digest)]
        theirs += "application/vnd.example.oras" not in kinds
    figure(f"referrers, {place[0]}: in {many} rounds beside ours, oras lost {theirs}; ours none")
