"""SIGKILL in `push --delta`, in pulls of delta versions and in delta pulls of plain ones, at real sizes, on a real registry.

One author pushes, one reader pulls with the version before as seeds, and a twin of the reader pulls undisturbed first: what
that took is what a killed pull may take, and one chunk per worker for each kill. A push sends again what was under way:
nothing is kept of an upload that nobody finished, so as many packs as there are jobs. Facts: delta §4, reliability §3.6.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from modelops_bundle.model import media
from modelops_bundle.net.throttle import RECEIVED
from modelops_bundle.workspace.layout import FOLDER
from tests.support import models
from tests.support.campaign import rounds
from tests.support.fault_proxy import Counts, FaultProxy
from tests.support.http_wire import PIECE
from tests.support.killing import Child, Killer, Moment, final, moments, standing
from tests.support.models import MIB
from tests.support.registry_process import Registry
from tests.support.remote_check import damage, make_room, manifest_digest, manifest_of
from tests.support.worlds import Tree, litter, look, write
from tests.support.zygote import Outcome, Trap, Zygote

SEED = int(os.environ.get("CAMPAIGN_SEED", "20251122"))
"""Of everything: `CAMPAIGN_SEED=n` runs other rounds."""
ROUNDS = 100
TENSORS, ROWS = 66, 65
CHANGED, STEPPED = 20, 48
"""Tensors of which an edit makes others, and those that a step of training changes a little."""
LOST_HEADS = 64 * 1024
"""Bytes of small blobs that a run more may move: its config, pointers and indexes aside."""
WIRE = 3 * PIECE + RECEIVED
"""Bytes of one connection that the proxy counts and that are no chunk yet: what the kernel holds at both ends, and the
read under way."""
MODEL, TABLE = "model.safetensors", "data/table.csv"
PLAIN = f"{models.__name__}:{models.small_packs.__name__}"
BUFFERS = f"{models.__name__}:{models.small_buffers.__name__}"
UNKEPT = f"{models.__name__}:{models.small_packs_unkept.__name__}"


class Author:
    """A working directory with a model and a table, of which each version is other in a part."""

    def __init__(self, root: Path, seed: int, *, table: bool) -> None:
        self.root = root
        self._seed = seed
        self.version = 0
        self._tensors = [models.tensor(f"{seed}/{n}") for n in range(TENSORS)]
        self._rows = [models.rows(f"{seed}/{n}") for n in range(ROWS)] if table else []
        root.mkdir()
        self._write(table=table)

    def edit(self, *, step: bool) -> None:
        """Make the next version: other tensors, or, as a `step`, many that are nearly the same; rows now and then."""
        self.version += 1
        name = f"{self._seed}/{self.version}"
        random = Random(name)
        change = models.stepped if step else lambda _data, seed: models.tensor(seed)
        for n in random.sample(range(TENSORS), STEPPED if step else CHANGED):
            self._tensors[n] = change(self._tensors[n], f"{name}/{n}")
        table = bool(self._rows) and self.version % 3 == 0
        if table:
            for n in random.sample(range(ROWS), 3):
                self._rows[n] = models.rows(f"{name}/{n}")
            at = random.randrange(ROWS)
            self._rows[at] = models.rows(f"{name}/more")[: 65 * random.randint(1, 1000)] + self._rows[at]
        self._write(table=table)

    def _write(self, *, table: bool) -> None:
        models.write_model(self.root / MODEL, self._tensors)
        write(self.root, {"config.json": b'{"version": %d}\n' % self.version})
        if table:
            write(self.root, {TABLE: b"".join(self._rows)})


class Accounts:
    """How many bytes travelled again, beside how many may."""

    def __init__(self) -> None:
        self._again: dict[str, list[tuple[int, int]]] = {}

    def note(self, verb: str, again: int, most: int, ways: int) -> list[str]:
        """What is wrong when `again` bytes came again, of which `most` may.

        :param ways: connections or uploads that kills can have cut off.
        """
        self._again.setdefault(verb, []).append((max(0, again), max(1, ways)))
        return [f"{again:,} bytes travelled again, more than {most:,}"] if again > most else []

    def told(self) -> str:
        """By verb, in KiB: maximum and mean, and the maximum for each that a kill can have cut off."""
        found = []
        for verb, noted in sorted(self._again.items()):
            sizes, each = [size for size, _ in noted], max(size // ways for size, ways in noted)
            mean = sum(sizes) // len(sizes)
            found.append(
                f"{verb}: again at most {max(sizes) >> 10:,} KiB, mean {mean >> 10:,}, for each way {each >> 10:,}"
            )
        return "; ".join(found)


class Story:
    """Versions that travel from an author to a reader, by commands that are killed."""

    def __init__(
        self, registry: Registry, proxy: FaultProxy, zygote: Zygote, base: Path, *, table: bool = True
    ) -> None:
        self.registry, self.proxy, self.zygote, self.base = registry, proxy, zygote, base
        self.repository = f"kills/{uuid.uuid4().hex}"
        self.reference = f"{proxy.host}/{self.repository}:latest"
        self.author = Author(base / "author", SEED, table=table)
        self.reader, self.twin = base / "reader", base / "twin"
        self.tally: Counter[str] = Counter()
        self.accounts = Accounts()
        self.moved: Counter[str] = Counter()
        """Bytes of blobs of this round, by direction."""
        self.versions: list[tuple[str, Tree]] = []
        """Digest and tree of each."""
        self.held: set[str] = set()
        """Blobs that the repository has."""
        self._sizes = {"push": 14 * MIB, "push, difference": 8 * MIB}
        """About what goes up."""
        self.zygote.ok(["init", self.reference], ["add", "."], ["push"], cwd=self.author.root)
        for clone in (self.reader, self.twin):
            self.zygote.ok(["clone", self.reference, str(clone)], cwd=base)
        self._pushed()

    # --- the remote

    def latest(self) -> str | None:
        """What the tag stands for."""
        return manifest_digest(self.registry.url, self.repository, "latest")

    def _layers(self, name: str) -> list[dict[str, object]]:
        manifest = manifest_of(self.registry.url, self.repository, name)
        assert manifest is not None
        return [manifest["config"], *manifest["layers"]]

    def _pushed(self) -> dict[str, int]:
        """Note the version that the tag stands for; the sizes of the blobs that had to go up for it."""
        digest = self.latest()
        assert digest is not None
        self.versions.append((digest, look(self.author.root)))
        new = {str(what["digest"]): int(str(what["size"])) for what in self._layers(digest)}
        new = {name: size for name, size in new.items() if name not in self.held}
        self.held |= new.keys()
        return new

    def _metadata(self) -> int:
        """Bytes of the indexes of the version: what each run reads again."""
        found = LOST_HEADS
        for what in self._layers("latest"):
            titles = what.get("annotations", {})
            title = titles.get(media.TITLE, "") if isinstance(titles, dict) else ""
            if title.startswith((".bundle/index.json", ".bundle/indexes/")):
                found += int(str(what["size"]))
        return found

    def _old(self, random: Random) -> list[str]:
        """What is wrong with an earlier version, read whole from the registry."""
        digest, tree = random.choice(self.versions[:-1])
        wrong = damage(self.registry.url, self.repository, digest)
        if not wrong and random.random() < 0.1:
            wrong = self._fetched(f"@{digest}", tree)
        return [f"an earlier version: {what}" for what in wrong]

    def _fetched(self, version: str, expected: Tree) -> list[str]:
        target = self.base / "fetched"
        shutil.rmtree(target, ignore_errors=True)
        self.zygote.ok(["clone", f"{self.registry.host}/{self.repository}{version}", str(target)], cwd=self.base)
        self.tally["old versions cloned"] += 1
        return final(target, expected)

    # --- rounds

    def round(self, number: int) -> list[str]:
        """What went wrong in round `number`."""
        random = Random(f"{SEED}:{number}")
        self.moved.clear()
        self.proxy.clear()
        if number % 3 == 0:
            verb = "push, difference" if number % 6 else "push"
            wrong = self._push(random, verb)
        else:
            verb = "pull of a delta version" if number % 3 == 1 else "pull of a plain version"
            if number % 3 == 2:
                self._publish_plain()
            wrong = self._pull(random, verb)
        self.tally[verb] += 1
        return [f"seed {SEED}, round {number} ({verb}): {what}" for what in wrong]

    def _next(self, *, step: bool) -> Tree:
        self.author.edit(step=step)
        self.zygote.ok(["add", "."], cwd=self.author.root)
        return look(self.author.root)

    def _publish_plain(self) -> None:
        self._next(step=False)
        self.zygote.ok(["push", "--plain"], cwd=self.author.root)
        self._pushed()

    def _kills(
        self,
        random: Random,
        start: Callable[[Trap | None], Child],
        choose: Callable[[int], Trap | Moment],
        check: Callable[[], list[str]],
    ) -> tuple[int, list[str]]:
        """Kill once, or twice: how often it came to that, and what is wrong then."""
        killed, told = 0, []
        for attempt in range(2 if random.random() < 0.35 else 1):
            when = choose(attempt)
            told.append(f"{when.named or 'checkpoint'} {when.at}" if isinstance(when, Trap) else str(when))
            outcome = self._strike(start, when)
            killed += outcome.killed
            self.tally["kills" if outcome.killed else "ended before"] += 1
            self.tally["kills at checkpoints"] += outcome.killed and isinstance(when, Trap)
            self.tally["second kills"] += outcome.killed and attempt
            if not outcome.killed and outcome.code:
                return killed, [f"{told}: ended with {outcome.code}: {outcome.err}"]
            if wrong := check():
                return killed, [f"{told}: {what}" for what in wrong]
        return killed, []

    def _strike(self, start: Callable[[Trap | None], Child], when: Trap | Moment) -> Outcome:
        if isinstance(when, Moment):
            killer = Killer(self.proxy, when)
            outcome, counts = killer.end(start(None)), killer.counts
        else:
            outcome = start(when).wait()
            self.proxy.settle()
            counts = self.proxy.clear()
        self._count(counts)
        return outcome

    def _count(self, counts: Counts) -> None:
        self.moved["up"] += counts.up()
        self.moved["down"] += counts.down()

    def _status(self, root: Path) -> list[str]:
        asked = self.zygote.run(["status"], cwd=root)
        return [f"status ends with {asked.code}: {asked.err}"] if asked.code else []

    # --- push

    def _push(self, random: Random, verb: str) -> list[str]:
        before, mine = self.latest(), self._next(step=verb != "push")
        jobs, how = random.choice([1, 1, 4]), random.choice([PLAIN, PLAIN, UNKEPT])
        words = ["push", "--delta", "--jobs", str(jobs)]
        words += ["--xor-base", "../reader"] if verb != "push" else []
        had_to: dict[str, int] = {}

        def start(trap: Trap | None) -> Child:
            return self.zygote.start(words, cwd=self.author.root, prepare=how, trap=trap)

        def choose(attempt: int) -> Trap | Moment:
            if random.random() < 0.35:
                # Nothing is sent yet: within what makes the packs.
                most = STEPPED if verb != "push" else CHANGED
                return Trap(named="chunk encoded", at=random.randint(1, most >> attempt))
            return moments(random, self._sizes[verb] >> attempt, 12)

        def check() -> list[str]:
            wrong = [] if look(self.author.root) == mine else ["the working directory changed"]
            if self.latest() != before and not had_to:
                self.tally["tag moved, killed after"] += 1
                had_to.update(self._pushed())
            return wrong + damage(self.registry.url, self.repository, "latest") + self._status(self.author.root)

        killed, wrong = self._kills(random, start, choose, check)
        return wrong or self._push_again(random, verb, mine, lambda: start(None), killed * jobs, had_to)

    def _push_again(
        self, random: Random, verb: str, mine: Tree, start: Callable[[], Child], under_way: int, had_to: dict[str, int]
    ) -> list[str]:
        """The run that completes.

        :param under_way: how many blobs kills can have torn. :param had_to: the sizes of blobs that a version needed.
        """
        again = start().wait()
        self._count(self.proxy.clear())
        if again.code:
            return [f"push again ends with {again.code}: {again.err}"]
        had_to.update(self._pushed())
        self._sizes[verb] = need = sum(had_to.values())
        packs = sorted(size for size in had_to.values() if size > LOST_HEADS)
        self.tally["packs pushed"] += len(packs)
        most = min(under_way, 2 * len(packs)) * packs[-1] + (under_way > 0) * 2 * self._metadata()
        wrong = self.accounts.note(verb, self.moved["up"] - need, most, min(under_way, 2 * len(packs)))
        wrong += final(self.author.root, mine) + damage(self.registry.url, self.repository, "latest")
        wrong += [f"litter: {name}" for name in litter(self.author.root)] + self._status(self.author.root)
        return wrong + self._old(random)

    # --- pull

    def _pull(self, random: Random, verb: str) -> list[str]:
        old, new = look(self.reader), self.versions[-1][1]
        connections = random.choice([1, 2, 4])
        words = ["pull", "--jobs", random.choice("14"), "--connections", str(connections)]
        need, asked, marks = self._undisturbed(words)

        def choose(attempt: int) -> Trap | Moment:
            if random.random() < 0.35:
                return Trap(at=random.randint(1, marks >> attempt))
            return moments(random, max(1, need >> attempt), max(1, asked >> attempt))

        def start(trap: Trap | None) -> Child:
            return self.zygote.start(words, cwd=self.reader, prepare=BUFFERS, trap=trap)

        def check() -> list[str]:
            return standing(self.reader, old, new) + self._status(self.reader)

        killed, wrong = self._kills(random, start, choose, check)
        if wrong:
            return wrong
        self.between(self.reader)
        again = start(None).wait()
        self._count(self.proxy.clear())
        if again.code:
            return [f"pull again ends with {again.code}: {again.err}"]
        most = killed * (connections * (MIB + WIRE) + self._metadata())
        wrong = self.accounts.note(verb, self.moved["down"] - need, most, killed * connections)
        wrong += [f"litter: {name}" for name in litter(self.reader)] + self._status(self.reader)
        return wrong + final(self.reader, new) + final(self.twin, new)

    def _undisturbed(self, words: Sequence[str]) -> tuple[int, int, int]:
        """Bytes, requests and checkpoints of the same pull into the twin."""
        self.proxy.clear()
        outcome = self.zygote.run(words, cwd=self.twin, prepare=BUFFERS, trap=Trap())
        assert outcome.code == 0, outcome
        counts = self.proxy.clear()
        return counts.down(), len(counts.asked), len(outcome.moments)

    def between(self, root: Path) -> None:
        """Between a kill and the run that completes: nothing happens."""

    def clean(self) -> None:
        """Leave no gigabytes behind."""
        make_room(self.registry.root, self.repository, [name.partition(":")[2] for name in self.held])

    def told(self) -> str:
        """What happened, and the bytes that travelled again."""
        return f"{dict(self.tally)}; {self.accounts.told()}"


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(tmp_path / "zygote") as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FaultProxy]:
    with FaultProxy(registry.host) as running:
        yield running


def test_killed_at_random(
    registry: Registry, proxy: FaultProxy, zygote: Zygote, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    story = Story(registry, proxy, zygote, tmp_path)
    wrong: list[str] = []
    count = rounds(ROUNDS)
    for number in range(count):
        wrong = story.round(number)
        if wrong:
            break  # the next round starts from where this one was to end
    story.clean()
    figure(f"{count} rounds, seed {SEED}: {story.told()}; {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
    assert story.tally["kills"] >= count * 3 // 4, "too many commands ended before their moment"


def test_the_accounts_see_a_pull_that_starts_over(
    registry: Registry, proxy: FaultProxy, zygote: Zygote, tmp_path: Path
) -> None:
    """Negative control: what a killed pull had brought is taken away from the next one."""
    story = Forgetful(registry, proxy, zygote, tmp_path, table=False)
    found = story.late_kill()
    story.clean()
    assert len(found) == 1 and "travelled again" in found[0], found


class Forgetful(Story):
    """Its pulls begin anew."""

    def between(self, root: Path) -> None:
        for path in (root / FOLDER / "parts").glob("*.assembly"):
            path.unlink()

    def late_kill(self) -> list[str]:
        """What is wrong with a pull that is killed near its end."""
        self._publish_plain()
        self.proxy.clear()
        return self._pull(_Late(), "pull of a plain version")


class _Late(Random):
    """Draws that kill once, at the last byte, one connection at a time."""

    def random(self) -> float:
        return 0.4

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return (start if stop is None else stop) * 9 // 10

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]
