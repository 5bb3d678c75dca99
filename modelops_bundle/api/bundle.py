"""`Bundle`: the operations of the command line, for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from modelops_bundle.events import Run
from modelops_bundle.model.ports import Store
from modelops_bundle.model.reference import parse
from modelops_bundle.operations import add as _add
from modelops_bundle.operations import clone as _clone
from modelops_bundle.operations import diff as _diff
from modelops_bundle.operations import ensure as _ensure
from modelops_bundle.operations import init as _init
from modelops_bundle.operations import plans, pull, push
from modelops_bundle.operations import remove as _remove
from modelops_bundle.operations import status as _status
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session
from modelops_bundle.plan.pull import PLAIN, Choices, PullPlan
from modelops_bundle.plan.push import PushPlan

Plan = PullPlan | PushPlan
Result = pull.Result | push.Result


class Bundle:
    """A bundle's directory.

    Every method may raise a `BundleError`; events go to the sink of `run`, which also cancels and limits.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    def open(cls, path: str | Path = ".", run: Run | None = None, options: Options | None = None) -> Self:
        """The bundle at `path` or above it. :raises NotABundle: there is none."""
        return cls(Session.find(Path(path).absolute(), run or Run(), options))

    @classmethod
    def init(
        cls,
        path: str | Path,
        reference: str | None = None,
        *,
        adopt: bool = False,
        run: Run | None = None,
        options: Options | None = None,
    ) -> Self:
        """Make `path` a bundle. :raises AlreadyABundle: it is one, or is inside one."""
        root = Path(path).absolute()
        _init.init(Session(None, run or Run(), options, cwd=root), root, reference, adopt=adopt)
        return cls.open(root, run, options)

    @classmethod
    def clone(cls, reference: str, path: str | Path, run: Run | None = None, options: Options | None = None) -> Self:
        """A new directory `path` holding `reference`. :raises NotFound: the reference is absent."""
        root = Path(path).absolute()
        _clone.clone(Session(None, run or Run(), options, cwd=root.parent), reference, root.name)
        return cls.open(root, run, options)

    @property
    def root(self) -> Path:
        """The directory."""
        return self._session.project.root

    def add(self, *paths: str, force: bool = False) -> _add.Result:
        """Track files, directories and patterns, relative to the root or absolute."""
        with self._fresh() as session:
            return _add.add(session, paths, force=force)

    def remove(self, *paths: str, delete: bool = False) -> tuple[str, ...]:
        """Stop tracking paths; with `delete` the files go too, pushed or not."""
        with self._fresh() as session:
            removal = _remove.plan_remove(session, paths, delete=delete)
            _remove.apply_remove(session, removal)
            return removal.paths

    def status(self, reference: str | None = None, *, untracked: bool = True) -> _status.Status:
        """What changed here and there since they last agreed."""
        with self._fresh() as session:
            return _status.status(session, reference, untracked=untracked)

    def diff(self, old: str | None = None, new: str | None = None) -> _diff.Diff:
        """What turns one version into another; None is the last synced one, and the tree."""
        with self._fresh() as session:
            return _diff.diff(session, old, new)

    def plan_push(
        self,
        reference: str | None = None,
        *,
        tags: Sequence[str] = (),
        expect: str | None = None,
        force: bool = False,
        delta: bool = False,
        xor_base: str | None = None,
    ) -> PushPlan:
        """Decide a push; nothing is sent.

        :param delta: store large files as chunks. :param xor_base: as differences to those of this version, or directory
            (beginning with ``.`` or ``/``).
        """
        with self._fresh() as session:
            request = push.PushRequest(reference, tags, expect=expect, force=force, delta=delta, xor_base=xor_base)
            return push.plan_push(session, request)

    def plan_pull(self, reference: str | None = None, choices: Choices = PLAIN) -> PullPlan:
        """Decide a pull; nothing is changed."""
        with self._fresh() as session:
            return pull.make_plan(session, reference, choices)

    def apply(self, plan: Plan) -> Result:
        """Carry a plan out, exactly. :raises TagMoved, WorkspaceChanged: the world is not as it was planned for."""
        with self._fresh() as session:
            return plans.apply(session, plan)

    def push(
        self,
        reference: str | None = None,
        *,
        tags: Sequence[str] = (),
        delta: bool = False,
        xor_base: str | None = None,
    ) -> push.Result:
        """Plan and apply a push; the parameters are those of `plan_push`."""
        with self._fresh() as session:
            request = push.PushRequest(reference, tags, delta=delta, xor_base=xor_base, direct=True)
            look = push.Look(session, request)
            return look.unchanged() or push.apply_push(session, look.plan(), since=look.state)

    def pull(self, reference: str | None = None, choices: Choices = PLAIN) -> pull.Result:
        """Plan and apply a pull."""
        with self._fresh() as session:
            look = pull.Look(session, reference)
            unchanged = look.unchanged() if choices == PLAIN else None
            return unchanged or pull.apply_pull(session, look.plan(choices))

    def _fresh(self) -> Session:
        # A session reads each state file once; every call here sees the disk as it is now.
        old = self._session
        return Session.find(old.project.root, old.run, old.options)


def ensure(
    reference: str | None,
    dest: str | Path,
    choices: _ensure.Choices | None = None,
    run: Run | None = None,
    options: Options | None = None,
) -> _ensure.Result:
    """Let the directory `dest` hold exactly the version that `reference` names; None goes back to the one before.

    Without `options.cache`, a folder for what can be fetched again, nothing is kept but `dest`.

    :raises WouldOverwrite: `dest` holds what is not ours, or edits. :raises NotFound: the reference is absent.
    """
    session = Session(None, run or Run(), options, cwd=Path.cwd())
    return _ensure.ensure(session, reference, Path(dest).absolute(), choices)


def open_store(reference: str, run: Run | None = None, options: Options | None = None) -> Store:
    """The store at `reference`'s place, for reading and writing blobs, manifests and tags directly."""
    session = Session(None, run or Run(), options, cwd=Path.cwd())
    return session.store(parse(reference), create=True)
