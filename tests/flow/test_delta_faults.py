"""Everything that can go wrong on the way of chunks from a real registry: the file is exact, or an error is clean, nothing
changed, and the same command again completes (issue 6; facts: delta §4, reliability §3.5).
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.support import chunked
from tests.support import fault_proxy as faults
from tests.support.bundle import Bundle
from tests.support.chunked import cut
from tests.support.fault_proxy import ALWAYS, Action, FaultProxy, Where
from tests.support.http_wire import Head
from tests.support.registry_process import Registry
from tests.support.worlds import litter

pytestmark = pytest.mark.registry

KIB = 1024
NAME, CONFIG = "model.bin", {"config.json": b"{}\n"}
OLD = cut(Random(1).randbytes(400 * KIB), 4 * KIB)


def changed(*numbers: int) -> list[bytes]:
    """The file with other bytes in those chunks."""
    return [Random(n).randbytes(len(chunk)) if n in numbers else chunk for n, chunk in enumerate(OLD)]


def near(chunk: bytes, seed: int) -> bytes:
    """A chunk whose difference to `chunk` is half as long."""
    return bytes(one ^ (other & 7) for one, other in zip(chunk, Random(seed).randbytes(len(chunk)), strict=True))


V1 = chunked.plain({**CONFIG, NAME: OLD})
SECOND = chunked.delta({**CONFIG, NAME: changed(5, 6, 7, 90)}, V1, codec="none", borrow=True)
STEP = [near(chunk, n) if 20 <= n < 40 else chunk for n, chunk in enumerate(OLD)]
CONTENTS = {"plain": changed(5, 6, 90), "part of a pack": changed(90), "difference": STEP}
VERSIONS = {
    "plain": chunked.plain({**CONFIG, NAME: CONTENTS["plain"]}),
    "part of a pack": chunked.delta({**CONFIG, NAME: CONTENTS["part of a pack"]}, SECOND, codec="none", borrow=True),
    "difference": chunked.delta(
        {**CONFIG, NAME: STEP},
        V1,
        codec="xor+bp2+zstd",
        xor={new: old for new, old in zip(STEP, OLD, strict=True) if new != old},
    ),
}
NEXT = [near(chunk, 100 + n) if 20 <= n < 40 else chunk for n, chunk in enumerate(OLD)]
OTHER = chunked.delta(
    {**CONFIG, NAME: NEXT},
    V1,
    codec="xor+bp2+zstd",
    xor={new: old for new, old in zip(NEXT, OLD, strict=True) if new != old},
)
"""Differences to the same base."""
PARTS = ("plain", "part of a pack")
"""Of which ranges are asked for."""

STRIKE = """
import os, signal, threading
from modelops_bundle import events
left, lock = [{after}], threading.Lock()
def strike(name):
    with lock:
        left[0] -= name == "chunk written"
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
events.observe_checkpoints(strike)
"""
"""Ends the process at a chunk."""


class Relabel(Action):
    """The right bytes, said to be others."""

    def answer(self, head: Head) -> Head:
        return head.having(content_range="bytes 0-1023/409600") if "content-range" in head.fields else head


class Unlabelled(Action):
    """A part that does not say which."""

    def answer(self, head: Head) -> Head:
        return head.having(content_range=None)


@dataclass(frozen=True)
class Fault:
    """A misfortune of the requests for chunks, and how the pull may end."""

    make: Callable[[], Action]
    at: int | None = None
    times: int = 1
    codes: tuple[int, ...] = (0,)
    options: tuple[str, ...] = ()


UNAVAILABLE, WRONG = (8,), (9,)
RANGELESS = (0, 9)
"""A plain file is a blob, that comes as a whole then; a pack of which a part is wanted is believed no other way."""
FAULTS = {
    "reset": Fault(faults.Reset, 2000),
    "reset always": Fault(faults.Reset, 2000, ALWAYS, UNAVAILABLE),
    "reset before the answer": Fault(faults.Reset, times=2),
    "cut": Fault(faults.Close, 2000),
    "cut at the last byte": Fault(faults.Close, 4095),
    "cut always": Fault(faults.Close, 2000, ALWAYS, UNAVAILABLE),
    "stalled": Fault(faults.Stall, 2000, options=("--timeout", "1")),
    "a wrong byte": Fault(faults.Flip, 2000),
    "a wrong byte always": Fault(faults.Flip, 2000, ALWAYS, WRONG),
    "shorter than said": Fault(lambda: faults.Misstate(1000)),
    "shorter than said, always": Fault(lambda: faults.Misstate(1000), times=ALWAYS, codes=WRONG),
    "longer than said, always": Fault(lambda: faults.Misstate(-1000), times=ALWAYS, codes=WRONG),
    "503": Fault(lambda: faults.Status(503), times=2),
    "503 always": Fault(lambda: faults.Status(503), times=ALWAYS, codes=UNAVAILABLE),
    "429 for a second": Fault(lambda: faults.Status(429, {"Retry-After": "1"})),
    "503 for a day": Fault(lambda: faults.Status(503, {"Retry-After": "86400"}), times=ALWAYS, codes=UNAVAILABLE),
    "404": Fault(lambda: faults.Status(404), times=ALWAYS, codes=(6,)),
    "a web page": Fault(faults.html),
    "web pages always": Fault(faults.html, times=ALWAYS, codes=UNAVAILABLE),
}
SLOW = ("stalled", "429 for a second")
"""A second each."""
RANGED = {
    "ranges ignored once": Fault(faults.Whole),
    "ranges ignored": Fault(faults.Whole, times=ALWAYS),
    "416 once": Fault(lambda: faults.Status(416)),
    "416": Fault(lambda: faults.Status(416), times=ALWAYS, codes=WRONG),
    "another range once": Fault(faults.Shift),
    "another range": Fault(faults.Shift, times=ALWAYS, codes=RANGELESS),
    "another Content-Range": Fault(Relabel, times=ALWAYS, codes=RANGELESS),
    "no Content-Range": Fault(Unlabelled, times=ALWAYS, codes=RANGELESS),
    "a web page for a part": Fault(lambda: faults.html(206), times=ALWAYS, codes=WRONG),
}
CASES = [
    *((version, name, fault) for name, fault in FAULTS.items() for version in VERSIONS if name not in SLOW),
    *(("part of a pack", name, FAULTS[name]) for name in SLOW),
    *((version, name, fault) for name, fault in RANGED.items() for version in PARTS),
]


class Stage:
    """A repository with all versions behind a proxy, and a clone of the first to copy."""

    def __init__(self, registry: Registry, proxy: FaultProxy, base: Path) -> None:
        self.proxy = proxy
        self.remote = f"{proxy.host}/faults/{uuid.uuid4().hex}"
        self._base = base
        self._ready: Bundle | None = None

    @property
    def behind(self) -> Bundle:
        """A clone of the first version."""
        if self._ready is None:
            for name, version in {"v1": V1, "v2": SECOND, "other": OTHER, **VERSIONS}.items():
                chunked.publish(self.place(name), version)
            self._ready = Bundle.clone(self.place("v1"), self._base / "behind")
        return self._ready

    def place(self, name: str) -> str:
        """The reference of a version."""
        return f"{self.remote}:{name.replace(' ', '-')}"


@pytest.fixture(scope="module")
def shared(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with FaultProxy(registry.host) as proxy:
        yield Stage(registry, proxy, tmp_path_factory.mktemp("faults"))


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    shared.behind  # noqa: B018  (built here: the home directory of tests is already in place)
    shared.proxy.clear()
    yield shared
    shared.proxy.clear()


def source(version: str) -> Where:
    """The requests for chunks that are to be brought."""
    made = VERSIONS[version]
    packs = [pack.blob.digest for pack in made.recipe(NAME).packs]
    held = {pack.blob.digest for pack in V1.recipe(NAME).packs}
    [new] = [digest for digest in packs if digest not in held]
    return Where("GET", "blob", path=new.hex)


@pytest.mark.parametrize(
    ("version", "fault"), [pytest.param(version, fault, id=f"{version}-{name}") for version, name, fault in CASES]
)
def test_a_fault(stage: Stage, tmp_path: Path, version: str, fault: Fault) -> None:
    clone = Bundle(tmp_path / "work")
    shutil.copytree(stage.behind.root, clone.root)
    before, words = clone.tree(), ("pull", stage.place(version))
    rule = stage.proxy.fault(source(version), fault.make(), at=fault.at, times=fault.times)
    result = clone.run(*fault.options, *words, expect=None)
    assert rule.used, "the fault never struck"
    assert result.code in fault.codes, result
    if result.code:
        assert "hint: " in result.err and "Traceback" not in result.err, result
        assert clone.tree() == before, "nothing was to be changed yet"
        stage.proxy.clear()
        clone.run(*words)
    assert clone.path(NAME).read_bytes() == b"".join(CONTENTS[version])
    assert clone.changes() == {} and litter(clone.root) == []


def test_ranges_are_what_is_asked_for(stage: Stage, tmp_path: Path) -> None:
    """What makes the faults above strike where they are meant to: each way of bringing chunks is taken."""
    for version in VERSIONS:
        clone = Bundle(tmp_path / version)
        shutil.copytree(stage.behind.root, clone.root)
        where = source(version)
        ranged = stage.proxy.fault(Where("GET", "blob", where.path, ranged=True), Action(), times=ALWAYS)
        asked = stage.proxy.fault(where, Action(), times=ALWAYS)
        clone.run("pull", stage.place(version))
        stage.proxy.clear()
        assert asked.used and bool(ranged.used) == (version in PARTS), version


# --- from one difference to another: the base itself is not here


@pytest.fixture
def stepped(stage: Stage, tmp_path: Path) -> Bundle:
    """A clone that has the differences, and no base."""
    clone = Bundle(tmp_path / "work")
    shutil.copytree(stage.behind.root, clone.root)
    clone.run("pull", stage.place("difference"))
    return clone


@pytest.mark.parametrize("after", [0, 3, 90])
def test_a_kill_between_differences(stage: Stage, stepped: Bundle, after: int) -> None:
    words = ("pull", stage.place("other"))
    stepped.spawn(*words, expect=-9, before=STRIKE.format(after=after))
    assert stepped.path(NAME).read_bytes() == b"".join(STEP)
    stepped.run(*words)
    assert stepped.path(NAME).read_bytes() == b"".join(NEXT)
    assert stepped.changes() == {} and litter(stepped.root) == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(Fault(faults.Flip, 2000), 0, id="a wrong byte"),
        pytest.param(Fault(faults.Flip, 2000, ALWAYS), 9, id="a wrong byte always"),
        pytest.param(Fault(faults.Reset, 2000), 0, id="reset"),
        pytest.param(Fault(lambda: faults.Status(404), times=ALWAYS), 6, id="404"),
    ],
)
def test_a_fault_of_the_base(stage: Stage, stepped: Bundle, fault: Fault, code: int) -> None:
    [base] = [pack.blob.digest for pack in V1.recipe(NAME).packs]
    rule = stage.proxy.fault(Where("GET", "blob", path=base.hex), fault.make(), at=fault.at, times=fault.times)
    stepped.run("pull", stage.place("other"), expect=code)
    assert rule.used, "the fault never struck"
    stage.proxy.clear()
    assert stepped.path(NAME).read_bytes() == b"".join(STEP if code else NEXT)
    stepped.run("pull", stage.place("other"))
    assert stepped.path(NAME).read_bytes() == b"".join(NEXT)
