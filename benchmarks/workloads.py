"""What is measured: each workload makes its trees and gives groups of tools at the same work, one after the other.

Targets are those of the design's performance budget.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import trees
from benchmarks.measure import MIB, Attempt, Case, Failed, Group, Target
from benchmarks.scene import BUNDLE, TAG, Scene, absent
from benchmarks.world import World

KIB = 1024
GIB = 1024 * MIB
DELAY = 0.025
RATE = 20e6
MEMORY = Target("rss", 100 * MIB, relative=False)
TWO_REQUESTS = Target("requests", 2, relative=False)

Workload = Callable[[World], Iterator[Group]]


def wall(limit: float) -> Target:
    """At most `limit` times the reference's wall time."""
    return Target("wall", limit)


def label(count: int, size: int) -> str:
    """`8×128 MiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{count:,}×{size // unit} {name}"
    return f"{count:,}×{size} B"


def start_up(world: World) -> Iterator[Group]:
    """`bundle --version` beside importing click."""

    def command(*words: str) -> Callable[[], Attempt]:
        return lambda: Attempt(words, world.trees)

    yield Group(
        "start-up",
        [
            Case("bundle --version", command(BUNDLE, "--version"), (wall(2.0),)),
            Case('python -c "import click"', command(sys.executable, "-c", "import click"), reference=True),
            Case("oras version", command("oras", "version"), absent=absent("oras")),
        ],
        rounds=15,
    )


def one_big(world: World) -> Iterator[Group]:
    """One large file, there and back."""
    size = world.scaled(GIB)
    scene = Scene(world, trees.large(world.place("big"), 1, size))
    yield Group(
        f"push {label(1, size)}",
        [
            scene.push(wall(0.85), MEMORY),
            scene.push(wall(1.0), MEMORY, known=False),
            scene.oras_push(),
            scene.crane_push(),
            scene.skopeo_push(rounds=1),
            scene.oras_py_push(),
        ],
    )
    scene.wipe()
    yield Group(
        f"pull {label(1, size)}",
        [
            scene.pull(wall(0.70), Target("cpu", 0.85), MEMORY),
            scene.oras_pull(),
            scene.oras_pull(reference=False, durable=True),
            scene.crane_pull(),
            scene.skopeo_pull(rounds=1),
            scene.oras_py_pull(),
            scene.curl(),
            scene.aria2c(),
        ],
    )


def eight_big(world: World) -> Iterator[Group]:
    """Eight files of 128 MiB, there and back."""
    size = world.scaled(128 * MIB)
    scene = Scene(world, trees.large(world.place("eight"), 8, size))
    yield Group(
        f"push {label(8, size)}",
        [
            scene.push(wall(0.90)),
            scene.push(known=False),
            scene.oras_push(),
            scene.crane_push(),
            scene.skopeo_push(rounds=1),
            scene.oras_py_push(),
        ],
    )
    scene.wipe()
    yield Group(
        f"pull {label(8, size)}",
        [
            scene.pull(wall(0.90)),
            scene.oras_pull(),
            scene.oras_pull(reference=False, durable=True),
            scene.crane_pull(),
            scene.skopeo_pull(rounds=1),
            scene.oras_py_pull(),
        ],
    )


def two_thousand(world: World) -> Iterator[Group]:
    """2,000 files of 64 KiB, there and back."""
    count, size = world.scaled(2000), 64 * KIB
    scene = Scene(world, trees.small(world.place("small"), count, size))
    yield Group(
        f"push {label(count, size)}",
        [
            scene.push(wall(0.25)),
            scene.push(known=False),
            scene.oras_push(),
            scene.oras_push(reference=False, directory=True),
            scene.crane_push(rounds=1),
        ],
    )
    scene.wipe()
    yield Group(
        f"pull {label(count, size)}",
        [
            scene.pull(wall(0.25)),
            scene.oras_pull(),
            scene.oras_pull(reference=False, directory=True),
            scene.crane_pull(rounds=1),
        ],
    )


def twenty_thousand(world: World) -> Iterator[Group]:
    """20,000 files of 4 KiB, there and back: more than oras can push one by one (its manifests end at 4 MiB)."""
    count, size = world.scaled(20_000), 4 * KIB
    scene = Scene(world, trees.small(world.place("tiny"), count, size))
    yield Group(
        f"push {label(count, size)}", [scene.push(wall(0.4)), scene.push(known=False), scene.oras_push(directory=True)]
    )
    scene.wipe()
    yield Group(f"pull {label(count, size)}", [scene.pull(wall(0.5)), scene.oras_pull(directory=True)])


def round_trip(world: World) -> Iterator[Group]:
    """200 files of 64 KiB over a round trip of 50 ms."""
    tree = trees.small(world.place("far"), 200, 64 * KIB)
    with world.link(delay=DELAY) as slow:
        slow.prove("/v2/", 2, delay=DELAY)
        scene = Scene(world, tree, slow)
        yield Group(
            f"push {label(200, 64 * KIB)}, round trip of 50 ms",
            [scene.push(wall(0.3)), scene.oras_push(), scene.oras_push(reference=False, directory=True)],
            warm=False,
        )
        scene.wipe()
        yield Group(
            f"pull {label(200, 64 * KIB)}, round trip of 50 ms",
            [scene.pull(wall(0.3)), scene.oras_pull(), scene.oras_pull(reference=False, directory=True)],
            warm=False,
        )


def slow_link(world: World) -> Iterator[Group]:
    """One blob of 256 MiB where each connection gets 20 MB/s."""
    size = world.scaled(256 * MIB)
    tree = trees.large(world.place("blob"), 1, size)
    with world.link(rate=RATE) as slow:
        scene = Scene(world, tree, slow)
        proof = Scene(world, trees.large(world.place("proof"), 1, 16 * MIB))
        slow.prove(proof.blob(), 16 * MIB, rate=RATE)
        yield Group(
            f"pull {label(1, size)}, 20 MB/s per connection",
            [scene.pull(wall(0.20)), scene.oras_pull(), scene.curl(rounds=1), scene.aria2c()],
            rounds=2,
            warm=False,
        )


def no_op(world: World) -> Iterator[Group]:
    """Pushing and pulling what is there already."""
    big, small = world.scaled(GIB), world.scaled(2000)
    for name, tree in (
        (label(1, big), trees.large(world.place("big"), 1, big)),
        (label(small, 64 * KIB), trees.small(world.place("small"), small, 64 * KIB)),
    ):
        scene = Scene(world, tree)
        scene.wipe()
        yield Group(f"no-op push of {name}", [_push_again(scene), _oras_push_again(scene)], rounds=5)
        yield Group(f"no-op pull of {name}", [_pull_again(scene), _oras_pull_again(scene)], rounds=5)


def _push_again(scene: Scene) -> Case:
    def prepare() -> Attempt:
        scene.seed()
        return Attempt([BUNDLE, "push", "--tag", TAG], scene.tree)

    return Case("bundle push", prepare, (wall(0.10), TWO_REQUESTS))


def _oras_push_again(scene: Scene) -> Case:
    def prepare() -> Attempt:
        target = f"{scene.host}/{scene.seed_oras()}:{TAG}"
        return Attempt(["oras", "push", "--plain-http", target, *trees.names(scene.tree)], scene.tree)

    return Case("oras push", prepare, reference=True, absent=absent("oras"))


def _pull_again(scene: Scene) -> Case:
    target = scene.world.place("clone")

    def prepare() -> Attempt:
        if not target.exists():
            scene.world.do([BUNDLE, "-q", "clone", f"{scene.host}/{scene.seed()}:{TAG}", str(target)], target.parent)
        return Attempt([BUNDLE, "pull"], target, lambda: trees.expect_same(scene.tree, target))

    return Case("bundle pull", prepare, (wall(0.10), TWO_REQUESTS))


def _oras_pull_again(scene: Scene) -> Case:
    target = scene.world.place("oras")

    def prepare() -> Attempt:
        command = ["oras", "pull", "--plain-http", f"{scene.host}/{scene.seed_oras()}:{TAG}", "-o", str(target)]
        if not target.exists():
            scene.world.do(command, scene.world.trees)
        return Attempt(command, scene.world.trees, lambda: trees.expect_same(scene.tree, target))

    return Case("oras pull", prepare, reference=True, absent=absent("oras"))


def one_byte(world: World) -> Iterator[Group]:
    """One byte of a large file changed: sent again, and fetched where the old version is."""
    size = world.scaled(GIB)
    scene = Scene(world, trees.large(world.place("edited"), 1, size))
    (name,) = trees.names(scene.tree)

    def ours() -> Attempt:
        scene.wipe()
        repository = scene.seed()
        trees.change_one_byte(scene.tree / name, 1)
        check = lambda: world.registry.expect(repository, TAG, size)  # noqa: E731
        return Attempt([BUNDLE, "push", "--tag", TAG], scene.tree, check)

    def oras() -> Attempt:
        scene.wipe()
        repository = scene.seed_oras()
        trees.change_one_byte(scene.tree / name, 2)
        target = f"{scene.host}/{repository}:{TAG}"
        check = lambda: world.registry.expect(repository, TAG, size)  # noqa: E731
        return Attempt(["oras", "push", "--plain-http", target, name], scene.tree, check)

    yield Group(
        f"push {label(1, size)}, one byte changed",
        [Case("bundle push", ours), Case("oras push", oras, reference=True, absent=absent("oras"))],
        rounds=2,
        warm=False,
    )
    scene.wipe()
    ours_at, oras_at = scene.seed(), scene.seed_oras()
    trees.change_one_byte(scene.tree / name, 3)
    world.do([BUNDLE, "-q", "push", "--tag", "v2"], scene.tree)
    world.do(["oras", "push", "--plain-http", f"{scene.host}/{oras_at}:v2", name], scene.tree)
    work = f"pull {label(1, size)}, one byte changed, into the old version"
    yield Group(work, _pulls_of_v2(scene, scene.host, ours_at, oras_at), rounds=2, warm=False)
    with world.link() as counted:
        yield Group(f"{work}: bytes, counted by a proxy", _pulls_of_v2(scene, counted.host, ours_at, oras_at), 1, False)


def _pulls_of_v2(scene: Scene, host: str, ours_at: str, oras_at: str) -> list[Case]:
    """Pulls of `v2` where the first version was pulled before, straight from the registry."""
    world, near = scene.world, scene.world.registry.host

    def case(begin: Callable[[Path], list[str]], command: Callable[[Path], list[str]]) -> Callable[[], Attempt]:
        def prepare() -> Attempt:
            target = world.place("old")
            world.do(begin(target), world.trees)

            def check() -> None:
                trees.expect_same(scene.tree, target)
                world.drop(target)

            return Attempt(command(target), world.trees, check)

        return prepare

    bundle = case(
        lambda target: [BUNDLE, "-q", "clone", f"{near}/{ours_at}:{TAG}", str(target)],
        lambda target: [BUNDLE, "-C", str(target), "pull", f"{host}/{ours_at}:v2"],
    )
    oras = case(
        lambda target: ["oras", "pull", "--plain-http", f"{near}/{oras_at}:{TAG}", "-o", str(target)],
        lambda target: ["oras", "pull", "--plain-http", f"{host}/{oras_at}:v2", "-o", str(target)],
    )
    return [Case("bundle pull", bundle), Case("oras pull", oras, reference=True, absent=absent("oras"))]


def status(world: World) -> Iterator[Group]:
    """Status of 100,000 unchanged files that a layout directory and git both have."""
    count = world.scaled(100_000)
    tree = trees.small(world.place("many"), count, 32)
    world.do(["git", "init", "-q", "."], tree)
    world.do(["git", "add", "."], tree)
    world.do(["git", "-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-qm", "all"], tree)
    world.do([BUNDLE, "-q", "init"], tree)
    world.do([BUNDLE, "-q", "add", "."], tree)
    synced = ""
    try:
        world.do([BUNDLE, "-q", "push", "--tag", TAG], tree)
    except Failed:
        synced = ", never pushed (that failed)"
    ours = [BUNDLE, "status"]
    # Twice: stamps younger than the clock's tick count for nothing, in git's index as in ours.
    for command in (ours, ["git", "status"]) * 2:
        world.do(command, tree)
    yield Group(
        f"status of {count:,} unchanged files{synced}",
        [
            Case("bundle status", lambda: Attempt(ours, tree), (wall(2.0),)),
            Case("git status", lambda: Attempt(["git", "status"], tree), reference=True, absent=absent("git")),
        ],
        rounds=5,
    )


def tags(world: World) -> Iterator[Group]:
    """The names of 10,000 tags of one repository."""
    count = world.scaled(10_000)
    scene = Scene(world, trees.small(world.place("tagged"), 1, KIB))
    place = scene.seed()
    world.registry.tag_often(place, TAG, count)
    where = f"{scene.host}/{place}"

    def command(*words: str) -> Callable[[], Attempt]:
        return lambda: Attempt([*words, where], world.trees)

    yield Group(
        f"names of {count:,} tags",
        [
            Case("bundle tags --names", command(BUNDLE, "tags", "--names")),
            Case(
                "oras repo tags", command("oras", "repo", "tags", "--plain-http"), reference=True, absent=absent("oras")
            ),
            Case("crane ls", command("crane", "ls", "--insecure"), absent=absent("crane")),
        ],
        rounds=5,
    )


def carry(world: World) -> Iterator[Group]:
    """One file of 1 GiB from a registry into an archive, from there into another repository, and straight there."""
    size = world.scaled(GIB)
    scene = Scene(world, trees.large(world.place("carried"), 1, size))
    source = f"{scene.host}/{scene.seed()}"
    archive = world.place("archive").with_suffix(".tar")

    def fresh(*words: str) -> Callable[[], Attempt]:
        def prepare() -> Attempt:
            archive.unlink(missing_ok=True)
            return Attempt(words, world.trees)

        return prepare

    yield Group(
        f"export {label(1, size)} from a registry",
        [
            Case("bundle export", fresh(BUNDLE, "export", f"{source}:{TAG}", "-o", str(archive)), (wall(1.0), MEMORY)),
            Case(
                "oras backup",
                fresh("oras", "backup", "--plain-http", "-o", str(archive), f"{source}:{TAG}"),
                reference=True,
                absent=absent("oras"),
            ),
            Case(
                "skopeo copy oci-archive",
                fresh(
                    "skopeo",
                    "copy",
                    "-q",
                    "--src-tls-verify=false",
                    f"docker://{source}:{TAG}",
                    f"oci-archive:{archive}:{TAG}",
                ),
                absent=absent("skopeo"),
            ),
        ],
        warm=False,
    )
    world.do([BUNDLE, "-q", "export", f"{source}:{TAG}", "-o", str(archive), "--force"], world.trees)

    def into(*words: str) -> Callable[[], Attempt]:
        def prepare() -> Attempt:
            scene.wipe()
            place = f"{scene.host}/{world.fresh('there')}"
            return Attempt([word.replace("PLACE", place) for word in words], world.trees)

        return prepare

    yield Group(
        f"import {label(1, size)} into a registry",
        [
            Case("bundle import", into(BUNDLE, "import", f"{archive}:{TAG}", "PLACE"), (wall(1.0), MEMORY)),
            Case(
                "oras restore",
                into("oras", "restore", "--plain-http", "--input", str(archive), f"PLACE:{TAG}"),
                reference=True,
                absent=absent("oras"),
            ),
            Case(
                "skopeo copy oci-archive",
                into(
                    "skopeo",
                    "copy",
                    "-q",
                    "--dest-tls-verify=false",
                    f"oci-archive:{archive}:{TAG}",
                    f"docker://PLACE:{TAG}",
                ),
                absent=absent("skopeo"),
            ),
        ],
        warm=False,
    )


def memory(world: World) -> Iterator[Group]:
    """Peak memory of a file larger than any limit, there and back."""
    size = world.scaled(2 * GIB)
    scene = Scene(world, trees.large(world.place("huge"), 1, size))
    yield Group(
        f"memory: push {label(1, size)}", [scene.push(MEMORY, known=False), scene.oras_push()], rounds=1, warm=False
    )
    scene.wipe()
    yield Group(f"memory: pull {label(1, size)}", [scene.pull(MEMORY), scene.oras_pull()], rounds=1, warm=False)


ALL: dict[str, Workload] = {
    "start-up": start_up,
    "one-big": one_big,
    "eight-big": eight_big,
    "two-thousand": two_thousand,
    "twenty-thousand": twenty_thousand,
    "round-trip": round_trip,
    "slow-link": slow_link,
    "no-op": no_op,
    "one-byte": one_byte,
    "status": status,
    "tags": tags,
    "carry": carry,
    "memory": memory,
}
