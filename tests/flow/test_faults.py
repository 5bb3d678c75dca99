"""Everything that can go wrong on the way to a real registry, at real sizes: push, pull and clone survive it, or end
cleanly and go on when they are run again (facts: reliability §3.5, §3.6, §4 R3, R6, R7, D2).

One file is large enough to travel in pieces, and enough are small for packs. What is there afterwards is read from the
disk and, by requests that are not ours, from the registry.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import pytest

from modelops_bundle.disk.tree import StatKey
from modelops_bundle.workspace.index import settled
from tests.support import fault_proxy as faults
from tests.support.bundle import FOLDER, ROOT, Bundle, Node, Result, tree
from tests.support.fault_proxy import ALWAYS, Action, FaultProxy, Where
from tests.support.registry_process import Registry
from tests.support.remote_check import damage, make_room, manifest_digest
from tests.support.worlds import litter, torn

BIG = "weights/model.bin"
SIZE = 72 * 1024 * 1024
HALF = SIZE // 2
RESUMED = SIZE * 3 // 4
"""Fewer bytes than this travel again when at least half had arrived."""


def megabytes(name: str, size: int) -> bytes:
    """`size` bytes of which no megabyte is like another, the same for the same name."""
    block = hashlib.shake_128(name.encode()).digest(1 << 20)
    whole = b"".join(f"{name} {number:08d}".encode() + block[len(name) + 9 :] for number in range(-(-size >> 20)))
    return whole[:size]


def small(version: int) -> dict[str, bytes]:
    """More small files than go without packs; half of them change."""
    files = {f"data/{n:03d}.txt": f"{n} {version if n % 2 else 0}\n".encode() * (10 + n) for n in range(150)}
    return {**files, "config.json": b'{"version": %d}\n' % version}


class Stage:
    """What all tests share: a repository with two versions behind the proxy, and working directories to copy."""

    def __init__(self, registry: Registry, proxy: FaultProxy, base: Path) -> None:
        self.registry = registry
        self.proxy = proxy
        self._base = base
        self.name = f"faults/{uuid.uuid4().hex}"
        self.remote = f"{proxy.host}/{self.name}"
        self.new_bytes = megabytes("new", SIZE)
        self.big = hashlib.sha256(self.new_bytes).hexdigest()
        self.digest = ""

    @functools.cached_property
    def behind(self) -> Bundle:
        """A clone of the first version, the tag having moved on to the second."""
        first = Bundle.create(self._base / "publisher", self.remote, {BIG: megabytes("old", 1 << 20), **small(1)})
        (first.root / "run.sh").write_bytes(b"#!/bin/sh\n")
        first.run("add", ".")
        first.push()
        behind = Bundle.clone(self.remote, self._base / "behind")
        self._to_second(first.root)
        first.run("add", ".")
        self.digest = first.push()
        self.old, self.new = behind.tree(), first.tree()
        return behind

    def _to_second(self, root: Path) -> None:
        Bundle(root).write({BIG: self.new_bytes, **small(2)})
        (root / "run.sh").write_bytes(b"#!/bin/sh\n")
        (root / "run.sh").chmod(0o755)
        (root / "link").symlink_to("data/001.txt")

    @functools.cached_property
    def unsent(self) -> Bundle:
        """The second version, tracked and never pushed to anywhere."""
        self.behind  # noqa: B018  (the expected digest)
        made = Bundle.create(self._base / "unsent", f"{self.proxy.host}/nowhere")
        self._to_second(made.root)
        made.run("add", ".")
        return made


@pytest.fixture(scope="module")
def shared(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    base = tmp_path_factory.mktemp("faults")
    with FaultProxy(registry.host) as proxy:
        yield Stage(registry, proxy, base)
    shutil.rmtree(base)
    make_room(registry.root, "faults/*")


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    # Built here, not in the fixture above: the home directory of tests is already in place.
    shared.behind  # noqa: B018
    shared.proxy.clear()
    yield shared
    shared.proxy.clear()


# --- verbs


class Verb:
    """One command, the state it starts from, and what must hold before and after."""

    def __init__(self, stage: Stage, where: Path) -> None:
        self.stage = stage
        self.proxy = stage.proxy
        self.bundle = Bundle(where / "work")

    words: tuple[str, ...]
    towards: faults.Towards
    """Where its large file's bytes go."""

    def run(self, *options: str, expect: int | None = 0) -> Result:
        return self.bundle.run(*options, *self.words, expect=expect)

    def start(self, *options: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """It in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "modelops_bundle", "-C", str(self.bundle.root), *options, *self.words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def check_undamaged(self) -> None:
        """After an error."""

    def check_done(self) -> None:
        raise NotImplementedError


class Pull(Verb):
    towards: faults.Towards = "down"

    def __init__(self, stage: Stage, where: Path) -> None:
        super().__init__(stage, where)
        shutil.copytree(stage.behind.root, self.bundle.root, symlinks=True)
        self.words = ("pull",)

    @property
    def there(self) -> dict[str, Node]:
        return self.stage.old

    def check_undamaged(self) -> None:
        now = {path: node for path, node in tree(self.bundle.root).items() if ".~bundle-" not in path}
        assert torn(now, self.there, self.stage.new) == []
        assert now == self.there, "nothing was to be changed yet"

    def check_done(self) -> None:
        assert tree(self.bundle.root) == self.stage.new
        assert litter(self.bundle.root) == []
        assert self.bundle.changes("--offline") == {}


class Clone(Pull):
    def __init__(self, stage: Stage, where: Path) -> None:
        Verb.__init__(self, stage, where)
        self.bundle.root.mkdir()
        self.words = ("clone", f"{stage.remote}:latest", ".")

    @property
    def there(self) -> dict[str, Node]:
        return {}


class Push(Verb):
    towards: faults.Towards = "up"

    def __init__(self, stage: Stage, where: Path) -> None:
        super().__init__(stage, where)
        self.repository = f"faults/{uuid.uuid4().hex}"
        origin = stage.unsent.root
        shutil.copytree(
            origin,
            self.bundle.root,
            symlinks=True,
            ignore=lambda path, _: [Path(BIG).name] if "weights" in path else [],
        )
        os.link(origin / BIG, self.bundle.path(BIG))
        # The link is a change of the file: until it is a clock tick old, no digest of it is kept.
        key = StatKey.of(self.bundle.path(BIG).stat())
        while not settled(key, time.time_ns()):
            time.sleep(0.01)
        self.words = ("push", f"{self.proxy.host}/{self.repository}:latest")

    def check_undamaged(self) -> None:
        standing = manifest_digest(self.stage.registry.url, self.repository, "latest")
        assert standing in (None, self.stage.digest)
        if standing is not None:
            self.check_sent()

    def check_done(self) -> None:
        self.check_sent()

    def check_sent(self) -> None:
        assert manifest_digest(self.stage.registry.url, self.repository, "latest") == self.stage.digest
        assert damage(self.stage.registry.url, self.repository, "latest") == []


VERBS: dict[str, type[Verb]] = {"pull": Pull, "clone": Clone, "push": Push}


# --- faults


@dataclass(frozen=True)
class Fault:
    """A misfortune, and how the command may end; after an error the same command succeeds.

    :param on: the requests; `big` is those that carry the large file's bytes.
    """

    make: Callable[[Stage], Action]
    on: Callable[[Stage, str], Where]
    at: int | None = None
    times: int = 1
    codes: tuple[int, ...] = (0,)
    options: tuple[str, ...] = ()
    cut_first: bool = False
    """Cut the large file's bytes once before, so that ranges are asked for by every client."""


def big(stage: Stage, verb: str) -> Where:
    if verb == "push":
        return Where(kind="upload", least=4 * 1024 * 1024)
    return Where("GET", "blob", path=stage.big)


def big_range(stage: Stage, verb: str) -> Where:
    return Where("GET", "blob", path=stage.big, ranged=True)


def on(method: str, kind: str, nth: int = 1) -> Callable[[Stage, str], Where]:
    return lambda stage, verb: Where(method, kind, nth=nth)


def an(action: Callable[[], Action]) -> Callable[[Stage], Action]:
    return lambda stage: action()


def status(code: int, **headers: str) -> Callable[[Stage], Action]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda stage: faults.Status(code, fields)


def retry_at_a_date(stage: Stage) -> Action:
    return faults.Status(429, {"Retry-After": formatdate(time.time() + 1, usegmt=True)})


UNAVAILABLE = (8,)
WRONG = (8, 9)
RANGELESS = (0, 8, 9)
"""Where a client may do without ranges."""
STALL = ("--timeout", "1")

BOTH: dict[str, Fault] = {
    "reset halfway": Fault(an(faults.Reset), big, HALF),
    "reset at the last byte": Fault(an(faults.Reset), big, SIZE - 1),
    "cut halfway": Fault(an(faults.Close), big, HALF),
    "stalled halfway": Fault(an(faults.Stall), big, HALF, options=STALL),
    "500": Fault(status(500), big),
    "502 twice": Fault(status(502), big, times=2),
    "503": Fault(status(503), big),
    "429 for a second": Fault(status(429, Retry_After="1"), big),
    "429 until a date": Fault(retry_at_a_date, big),
    "429 for a day": Fault(status(429, Retry_After="86400"), big, times=ALWAYS, codes=UNAVAILABLE),
    "a wrong byte": Fault(an(faults.Flip), big, HALF),
    "wrong bytes always": Fault(an(faults.Flip), big, HALF, ALWAYS, WRONG),
    "503 always": Fault(status(503), big, times=ALWAYS, codes=UNAVAILABLE),
    "reset always from halfway": Fault(an(faults.Reset), big, HALF, ALWAYS, UNAVAILABLE),
    "registry restarts halfway": Fault(lambda stage: stage.proxy.restarting(stage.registry.restart), big, HALF),
    "refused from halfway": Fault(lambda stage: faults.Call(stage.proxy.refuse), big, HALF, codes=UNAVAILABLE),
    "a late answer": Fault(lambda stage: faults.Late(0.4), big, options=STALL),
    "a web page": Fault(an(faults.html), big),
    "web pages always": Fault(an(faults.html), big, times=ALWAYS, codes=UNAVAILABLE),
}
READING: dict[str, Fault] = {
    "longer than said": Fault(lambda stage: faults.Misstate(-1000), big),
    "shorter than said": Fault(lambda stage: faults.Misstate(1000), big),
    "shorter than said, always": Fault(lambda stage: faults.Misstate(1000), big, times=ALWAYS, codes=WRONG),
    "ranges ignored": Fault(an(faults.Whole), big_range, times=ALWAYS, cut_first=True),
    "another range": Fault(an(faults.Shift), big_range, cut_first=True),
    "another range always": Fault(an(faults.Shift), big_range, times=ALWAYS, codes=RANGELESS, cut_first=True),
    "416": Fault(status(416), big_range, cut_first=True),
    "416 always": Fault(status(416), big_range, times=ALWAYS, codes=RANGELESS, cut_first=True),
    "reset before the manifest": Fault(an(faults.Reset), on("GET", "manifest"), times=2),
    "500 for the manifest": Fault(status(500), on("GET", "manifest")),
    "the manifest always a web page": Fault(an(faults.html), on("", "manifest"), times=ALWAYS, codes=UNAVAILABLE),
}
WRITING: dict[str, Fault] = {
    "reset before the first": Fault(an(faults.Reset), on("", ""), times=2),
    "no session at first": Fault(status(503), on("POST", "upload"), times=2),
    "a session that is a web page": Fault(an(faults.html), on("POST", "upload"), codes=(0, 8)),
    "the answer to the large file is lost": Fault(an(faults.Lost), big),
    "the answer to the manifest is lost": Fault(an(faults.Lost), on("PUT", "manifest")),
    "the answer to the second manifest is lost": Fault(an(faults.Lost), on("PUT", "manifest", 2)),
    "a web page for the manifest": Fault(an(faults.html), on("PUT", "manifest"), codes=(0, 8)),
    "web pages for the manifest always": Fault(an(faults.html), on("PUT", "manifest"), times=ALWAYS, codes=UNAVAILABLE),
    "500 for the manifest": Fault(status(500), on("PUT", "manifest")),
    "500 for the manifest always": Fault(status(500), on("PUT", "manifest"), times=ALWAYS, codes=UNAVAILABLE),
    "restart before the manifest": Fault(
        lambda stage: stage.proxy.restarting(stage.registry.restart), on("PUT", "manifest")
    ),
}
CASES = [
    *((verb, name, fault) for name, fault in BOTH.items() for verb in VERBS),
    *((verb, name, fault) for name, fault in READING.items() for verb in ("pull", "clone")),
    *(("push", name, fault) for name, fault in WRITING.items()),
]


@pytest.mark.parametrize(
    ("verb", "fault"), [pytest.param(verb, fault, id=f"{verb}-{name}") for verb, name, fault in CASES]
)
def test_a_fault(stage: Stage, tmp_path: Path, verb: str, fault: Fault) -> None:
    command = VERBS[verb](stage, tmp_path)
    towards = command.towards
    if fault.cut_first:
        stage.proxy.fault(big(stage, verb), faults.Reset(), at=HALF, towards=towards)
    rule = stage.proxy.fault(fault.on(stage, verb), fault.make(stage), at=fault.at, towards=towards, times=fault.times)
    result = command.run("--progress", "json", *fault.options, expect=None)
    assert rule.used, "the fault never struck"
    assert result.code in fault.codes, result
    assert fault.codes != (0,) or rule.used == fault.times or fault.times == ALWAYS
    if result.code:
        assert "hint: " in result.err and "Traceback" not in result.err, result
        command.check_undamaged()
        stage.proxy.clear()
        command.run()
    command.check_done()


def test_what_a_server_asks_for_is_waited(stage: Stage, tmp_path: Path) -> None:
    stage.proxy.fault(big(stage, "pull"), faults.Status(429, {"Retry-After": "1"}))
    events = Pull(stage, tmp_path).run("--progress", "json").events
    assert [event["wait"] >= 1.0 for event in events if event["event"] == "retrying"] == [True]


@pytest.mark.parametrize("verb", ["pull", "clone"])
@pytest.mark.parametrize("end", ["refused", "reset", "garbage"])
def test_what_arrived_does_not_travel_again(stage: Stage, tmp_path: Path, verb: str, end: str) -> None:
    """Broken off for good after two thirds of the large file."""
    command = VERBS[verb](stage, tmp_path)
    where, cut = big(stage, verb), SIZE * 2 // 3
    if end == "refused":
        stage.proxy.fault(where, faults.Call(stage.proxy.refuse), at=cut)
    elif end == "reset":
        stage.proxy.fault(where, faults.Reset(), at=cut, times=ALWAYS)
    else:
        stage.proxy.fault(
            where, faults.Call(lambda: stage.proxy.fault(where, faults.Status(500), times=ALWAYS)), at=cut
        )
        stage.proxy.fault(where, faults.Reset(), at=cut)
    command.run(expect=8)
    before = stage.proxy.clear()
    assert before.down() >= HALF
    command.run()
    command.check_done()
    assert stage.proxy.clear().down() < RESUMED


def test_a_push_sends_only_what_is_missing(stage: Stage, tmp_path: Path) -> None:
    """What the registry took before is not sent again, here everything but the manifest."""
    command = Push(stage, tmp_path)
    stage.proxy.fault(Where("PUT", "manifest"), faults.Status(500), times=ALWAYS)
    command.run(expect=8)
    assert stage.proxy.clear().up() >= SIZE
    command.run()
    command.check_done()
    assert stage.proxy.clear().up() < 1_000_000


# --- stopped from outside


def stop(process: subprocess.Popen[bytes], number: int) -> tuple[int, str]:
    """Send the signal; the exit code, and what was said."""
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["pull", "clone", "push"])
def test_stopped_by_a_signal(stage: Stage, tmp_path: Path, verb: str, number: int, code: int) -> None:
    """While nothing arrives: it ends at once, says how to go on, and does so."""
    command = VERBS[verb](stage, tmp_path)
    # ALWAYS: from there on no connection of the large file gets anything more.
    rule = stage.proxy.fault(big(stage, verb), faults.Stall(), at=SIZE * 2 // 3, towards=command.towards, times=ALWAYS)
    process = command.start()
    assert rule.struck.wait(60), process.communicate()
    ended, err = stop(process, number)
    assert ended == code
    assert "run the same command again" in err and "Traceback" not in err
    before = stage.proxy.clear()
    assert before.down() + before.up() < SIZE, "it waited for the rest"
    command.check_undamaged()
    command.run()
    command.check_done()
    if verb != "push":
        assert stage.proxy.clear().down() < RESUMED


@pytest.mark.parametrize("verb", ["pull", "push"])
def test_stopped_while_the_rate_is_limited(stage: Stage, tmp_path: Path, verb: str) -> None:
    command = VERBS[verb](stage, tmp_path)
    rule = stage.proxy.fault(big(stage, verb), faults.Action(), at=1_000_000, towards=command.towards)
    process = command.start("--limit-rate", "2M")
    assert rule.struck.wait(60), process.communicate()
    ended, err = stop(process, signal.SIGINT)
    assert ended == 130
    assert "run the same command again" in err and "Traceback" not in err
    before = stage.proxy.clear()
    assert before.down() + before.up() < HALF, "it waited for the rest"
    command.check_undamaged()
    command.run()
    command.check_done()


@pytest.fixture
def halfway(stage: Stage) -> Iterator[threading.Event]:
    """Pulls wait halfway until it is set."""
    goes_on = threading.Event()
    stage.proxy.fault(big(stage, "pull"), faults.Call(goes_on.wait), at=HALF)
    yield goes_on
    goes_on.set()


def test_nobody_reads_the_result(stage: Stage, tmp_path: Path, halfway: threading.Event) -> None:
    """Standard output is closed in the middle: the pull is done, and the end is silent."""
    command = Pull(stage, tmp_path)
    with command.start("--json", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        halfway.set()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    command.check_done()
    assert command.bundle.json("pull")["changed"] is False


def test_nobody_reads_the_progress(stage: Stage, tmp_path: Path, halfway: threading.Event) -> None:
    """Standard error is closed in the middle, and the pull is done."""
    command = Pull(stage, tmp_path)
    with command.start("--progress", "json") as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        halfway.set()
    assert process.returncode == 0
    command.check_done()


def test_the_stage_is_what_it_is_meant_to_be(stage: Stage, tmp_path: Path) -> None:
    """The large file travels as a blob of its own, and the small ones in a few packs."""
    Clone(stage, tmp_path).run()
    asked = stage.proxy.counts.asked
    blobs = {head.target for head in asked if head.method == "GET" and head.kind == "blob"}
    assert any(stage.big in target for target in blobs)
    assert 1 < len(blobs) < 20
    assert stage.proxy.clear().down() >= SIZE
    assert (tmp_path / "work" / FOLDER).is_dir()
