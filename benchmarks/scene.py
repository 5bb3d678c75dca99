"""One tree beside the registry, and what each tool does with it: the cases that workloads are made of."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import trees
from benchmarks.measure import Attempt, Case, Failed, Target
from benchmarks.servers import Link
from benchmarks.world import World

BUNDLE = str(Path(sys.executable).with_name("bundle"))
ORAS_PUSH = ("oras", "push", "--plain-http", "--disable-path-validation")
TAG = "v1"
_ORAS_PY = "import sys, oras.client; client = oras.client.OrasClient(insecure=True); "
_ORAS_PY_PUSH = _ORAS_PY + "client.push(target=sys.argv[1], files=sys.argv[2:], disable_path_validation=True)"
_ORAS_PY_PULL = _ORAS_PY + "client.pull(target=sys.argv[1], outdir=sys.argv[2])"

Targets = tuple[Target, ...]


def absent(*programs: str) -> str | None:
    """Why a tool cannot run here."""
    missing = [name for name in programs if shutil.which(name) is None]
    return f"no {' and no '.join(missing)} on PATH" if missing else None


def _no_oras_py() -> str | None:
    return None if importlib.util.find_spec("oras") else "oras-py is not installed"


class Scene:
    """What tools do with `tree`, through `slow` when given.

    Pushes find an empty registry each time; pulls find what `seed` and the like put there once, and an absent target.
    """

    def __init__(self, world: World, tree: Path, slow: Link | None = None) -> None:
        self.world, self.tree = world, tree
        self.size = trees.size(tree)
        self._slow = slow
        self._seeds: dict[str, str] = {}
        self._layout: Path | None = None

    @property
    def host(self) -> str:
        """Where tools find the registry."""
        return self._slow.host if self._slow else self.world.registry.host

    def wipe(self) -> None:
        """Empty the registry."""
        self._seeds.clear()
        self.world.registry.wipe()

    # What is there before something is measured

    def begin(self, host: str, *, known: bool = True) -> str:
        """Make `tree` a bundle whose remote is a new repository of `host`, and give its name.

        :param known: whether the digests of the files are in the cache.
        """
        repository = self.world.fresh("ours")
        self.world.drop(self.tree / trees.OURS)
        self.world.do([BUNDLE, "-q", "init", f"{host}/{repository}"], self.tree)
        self.world.do([BUNDLE, "-q", "add", "."], self.tree)
        if known:
            self.world.do([BUNDLE, "-q", "status"], self.tree)
        else:
            (self.tree / trees.OURS / "index").unlink(missing_ok=True)
        return repository

    def seed(self) -> str:
        """The repository that `bundle push` put `tree` into."""
        if "ours" not in self._seeds:
            repository = self.begin(self.world.registry.host)
            self.world.do([BUNDLE, "-q", "push", "--tag", TAG], self.tree)
            self._seeds["ours"] = repository
        return self._seeds["ours"]

    def seed_oras(self, *, directory: bool = False) -> str:
        """The repository that `oras push` put `tree` into, file by file or as one directory."""
        kind = "oras-dir" if directory else "oras"
        if kind not in self._seeds:
            repository = self.world.fresh(kind)
            self.world.do(*self._oras_push(f"{self.world.registry.host}/{repository}:{TAG}", directory))
            self._seeds[kind] = repository
        return self._seeds[kind]

    def layout(self) -> Path:
        """An OCI layout of `tree`, for tools that push nothing else."""
        if self._layout is None:
            path = self.world.place("layout")
            self.world.do(["oras", "push", "--oci-layout", f"{path}:{TAG}", *trees.names(self.tree)], self.tree)
            self._layout = path
        return self._layout

    def blob(self) -> str:
        """The path of the address of the only file's blob."""
        repository = self.seed_oras()
        layer = self.world.registry.manifest(repository, TAG)["layers"][0]
        return f"/v2/{repository}/blobs/{layer['digest']}"

    def _oras_push(self, reference: str, directory: bool) -> tuple[Sequence[str], Path]:
        if directory:
            return [*ORAS_PUSH, reference, self.tree.name], self.tree.parent
        return [*ORAS_PUSH, reference, *trees.names(self.tree)], self.tree

    # Pushes

    def push(self, *targets: Target, known: bool = True) -> Case:
        """`bundle push`, digests known or not."""

        def prepare() -> Attempt:
            self.wipe()
            repository = self.begin(self.host, known=known)
            return self._sending([BUNDLE, "push", "--tag", TAG], self.tree, repository)

        return Case(f"bundle push, digests {'known' if known else 'unknown'}", prepare, targets)

    def oras_push(self, *, reference: bool = True, directory: bool = False, rounds: int | None = None) -> Case:
        """`oras push` of all files, or of the directory."""

        def prepare() -> Attempt:
            self.wipe()
            repository = self.world.fresh("oras")
            command, cwd = self._oras_push(f"{self.host}/{repository}:{TAG}", directory)
            return self._sending(command, cwd, repository)

        name = "oras push DIR (tar.gz)" if directory else "oras push"
        return Case(name, prepare, reference=reference, absent=absent("oras"), rounds=rounds)

    def crane_push(self, rounds: int | None = None) -> Case:
        """`crane push` of a layout, whose digests are known by nature."""
        return self._layout_push(
            "crane", lambda layout, target: ["crane", "push", "--insecure", layout, target], rounds
        )

    def skopeo_push(self, rounds: int | None = None) -> Case:
        """`skopeo copy` of a layout."""

        def command(layout: str, target: str) -> list[str]:
            flags = ["--insecure-policy", "copy", "--dest-tls-verify=false"]
            return ["skopeo", *flags, f"oci:{layout}:{TAG}", f"docker://{target}"]

        return self._layout_push("skopeo", command, rounds)

    def oras_py_push(self) -> Case:
        """oras-py, which keeps names only: files at the root."""

        def prepare() -> Attempt:
            self.wipe()
            repository = self.world.fresh("oras-py")
            command = [sys.executable, "-c", _ORAS_PY_PUSH, f"{self.host}/{repository}:{TAG}"]
            return self._sending([*command, *trees.names(self.tree)], self.tree, repository)

        return Case("oras-py push", prepare, absent=_no_oras_py(), rounds=1)

    def _layout_push(self, tool: str, command: Callable[[str, str], list[str]], rounds: int | None) -> Case:
        def prepare() -> Attempt:
            self.wipe()
            repository = self.world.fresh(tool)
            words = command(str(self.layout()), f"{self.host}/{repository}:{TAG}")
            return self._sending(words, self.world.trees, repository)

        name = f"{tool} {'push' if tool == 'crane' else 'copy'} of a layout"
        return Case(name, prepare, absent=absent(tool, "oras"), rounds=rounds)

    def _sending(self, command: Sequence[str], cwd: Path, repository: str) -> Attempt:
        return self._through(
            Attempt(command, cwd, lambda: self.world.registry.expect(repository, TAG, self.size)), way=0
        )

    # Pulls

    def pull(self, *targets: Target) -> Case:
        """`bundle clone` into a new directory."""

        def prepare() -> Attempt:
            target = self.world.place("clone")
            command = [BUNDLE, "clone", f"{self.host}/{self.seed()}:{TAG}", str(target)]
            return self._fetching(command, target, lambda: trees.expect_same(self.tree, target))

        return Case("bundle clone", prepare, targets)

    def oras_pull(
        self, *, reference: bool = True, directory: bool = False, durable: bool = False, rounds: int | None = None
    ) -> Case:
        """`oras pull` of what `oras push` made; `durable` waits for the disk, as ours always does."""

        def prepare() -> Attempt:
            target = self.world.place("oras")
            repository = self.seed_oras(directory=directory)
            command = ["oras", "pull", "--plain-http", f"{self.host}/{repository}:{TAG}", "-o", str(target)]
            if durable:
                command = ["sh", "-c", '"$@" && sync -f "$0"', str(target), *command]
            came = target / self.tree.name if directory else target
            return self._fetching(command, target, lambda: trees.expect_same(self.tree, came))

        name = "oras pull" + (" of DIR (tar.gz)" if directory else "") + (", then sync" if durable else "")
        return Case(name, prepare, reference=reference, absent=absent("oras"), rounds=rounds)

    def crane_pull(self, rounds: int | None = None) -> Case:
        """`crane pull` into a layout."""
        return self._layout_pull(
            "crane", lambda source, layout: ["crane", "pull", "--insecure", "--format=oci", source, layout], rounds
        )

    def skopeo_pull(self, rounds: int | None = None) -> Case:
        """`skopeo copy` into a layout."""

        def command(source: str, layout: str) -> list[str]:
            flags = ["--insecure-policy", "copy", "--src-tls-verify=false"]
            return ["skopeo", *flags, f"docker://{source}", f"oci:{layout}:{TAG}"]

        return self._layout_pull("skopeo", command, rounds)

    def oras_py_pull(self) -> Case:
        """oras-py, which does not verify digests."""

        def prepare() -> Attempt:
            target = self.world.place("oras-py")
            command = [sys.executable, "-c", _ORAS_PY_PULL, f"{self.host}/{self.seed_oras()}:{TAG}", str(target)]
            return self._fetching(command, target, lambda: trees.expect_same(self.tree, target))

        return Case("oras-py pull, unverified", prepare, absent=_no_oras_py(), rounds=1)

    def curl(self, rounds: int | None = None) -> Case:
        """`curl` of the blob, unverified."""

        def prepare() -> Attempt:
            address = f"http://{self.host}{self.blob()}"
            return self._one_file(lambda target: ["curl", "-qsSf", "--noproxy", "*", "-o", str(target), address])

        return Case("curl, unverified", prepare, absent=absent("curl", "oras"), rounds=rounds)

    def aria2c(self, rounds: int | None = None) -> Case:
        """`aria2c` of the blob on 16 connections, verified."""

        def prepare() -> Attempt:
            path = self.blob()
            flags = ["-q", "--no-conf", "-x16", "-s16", "-k1M", "--file-allocation=falloc"]
            flags.append(f"--checksum=sha-256={path.rpartition(':')[2]}")
            return self._one_file(
                lambda target: [
                    "aria2c",
                    *flags,
                    "-d",
                    str(target.parent),
                    "-o",
                    target.name,
                    f"http://{self.host}{path}",
                ]
            )

        return Case("aria2c -x16, verified", prepare, absent=absent("aria2c", "oras"), rounds=rounds)

    def _one_file(self, command: Callable[[Path], list[str]]) -> Attempt:
        folder = self.world.place("file")
        folder.mkdir()
        target = folder / "blob"
        (only,) = trees.names(self.tree)
        return self._fetching(command(target), folder, lambda: trees.expect_same_file(self.tree / only, target))

    def _layout_pull(self, tool: str, command: Callable[[str, str], list[str]], rounds: int | None) -> Case:
        def prepare() -> Attempt:
            target = self.world.place(tool)
            words = command(f"{self.host}/{self.seed_oras()}:{TAG}", str(target))
            return self._fetching(words, target, lambda: expect_layout(target, self.size))

        name = f"{tool} {'pull' if tool == 'crane' else 'copy'} into a layout"
        return Case(name, prepare, absent=absent(tool, "oras"), rounds=rounds)

    def _fetching(self, command: Sequence[str], target: Path, expect: Callable[[], None]) -> Attempt:
        def check() -> None:
            expect()
            self.world.drop(target)

        return self._through(Attempt(command, self.world.trees, check), way=1)

    def _through(self, attempt: Attempt, *, way: int) -> Attempt:
        """`attempt`, with the proof that its bytes took the slow link: registries name upload addresses themselves."""
        slow = self._slow
        if slow is None:
            return attempt
        before = slow.carried()[way]

        def check() -> None:
            attempt.check()
            carried = slow.carried()[way] - before
            if carried < 0.9 * self.size:
                raise Failed(f"{carried} bytes of {self.size} took the slow link")

        return replace(attempt, check=check)


def expect_layout(layout: Path, size: int) -> None:
    """An OCI layout with every layer of its only manifest, about `size` bytes together.

    :raises Failed: there is less.
    """
    try:
        (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
        manifest = json.loads(_blob(layout, entry["digest"]).read_bytes())
        stored = sum(_blob(layout, layer["digest"]).stat().st_size for layer in manifest["layers"])
    except (OSError, ValueError, KeyError) as error:
        raise Failed(f"not a layout of one artifact: {error}") from None
    if stored < 0.9 * size:
        raise Failed(f"the layout holds {stored} bytes of {size}")


def _blob(layout: Path, digest: str) -> Path:
    return layout.joinpath("blobs", *digest.split(":"))
