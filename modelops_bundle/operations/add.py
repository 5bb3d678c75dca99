"""add: record paths to track. Contents are never recorded: push sends what is on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelops_bundle.errors import IgnoredPath, NoMatch, PartialFailure, UnsafePath
from modelops_bundle.model import paths
from modelops_bundle.operations import pointers
from modelops_bundle.operations.local_state import nothing_ignored
from modelops_bundle.operations.recover import recover
from modelops_bundle.operations.select import is_pattern, matching, relative
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace.ignore import Ignore, Rule
from modelops_bundle.workspace.scan import Found, Walker, look, refuse_special


@dataclass(slots=True)
class Result:
    """Paths newly tracked, tracked before, and refused by an ignore rule."""

    added: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    ignored: dict[str, Rule] = field(default_factory=dict)
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "added": self.added,
            "already_tracked": self.already,
            "ignored": {path: rule.explained for path, rule in self.ignored.items()},
            "dry_run": self.dry_run,
        }


def add(
    session: Session, words: Sequence[str], *, force: bool = False, dry_run: bool = False, follow_links: bool = False
) -> Result:
    """Track the files, links and empty directories that `words` name.

    :param force: also what ignore rules exclude. :param follow_links: links named here stand for their target's
        content.
    :raises NoMatch: a word names nothing; nothing is changed then. :raises IgnoredPath: all of them are ignored.
    :raises PartialFailure: some are ignored, the others were added. :raises UnsafePath: a path nobody could pull.
    :raises IsPointer: a file stands for one in delta storage; nothing is changed.
    """
    project = session.project
    with project.locked():
        recover(session)
        tracked = project.tracked()
        chooser = _Chooser(session, tracked, nothing_ignored() if force else session.ignore)
        for word in words:
            chooser.choose(word)
        found = chooser.found
        refuse_special(found)
        _check_links(session, found, follow_links)
        new = sorted(path for path in found if path not in tracked)
        pointers.refuse(session.tree, ((path, found[path].key.size) for path in new if found[path].kind == "file"))
        kept = tracked - _implied(found) - _replaced(session, tracked, found)
        kept = _compatible(session, kept, new)
        result = Result(new, sorted(path for path in found if path in kept), chooser.ignored, dry_run)
        if not dry_run and {*kept, *new} != tracked:
            project.write_tracked({*kept, *new})
    if result.ignored:
        _tell_ignored(result)
    return result


def _compatible(session: Session, kept: set[str], new: list[str]) -> set[str]:
    """`kept` without tracked paths that are gone and would collide with `new`: a rename that only changes the case.

    :raises UnsafePath: a path nobody could pull, or two that are one on some file systems.
    """
    try:
        paths.validate_tree(sorted({*kept, *new}))
    except UnsafePath:
        kept &= look(session.tree, kept).keys()
        paths.validate_tree(sorted({*kept, *new}))
    return kept


def _implied(found: Iterable[str]) -> set[str]:
    """Directories above `found`: a path tracked as a file or an empty directory is neither any more."""
    return {parent for path in found for parent in paths.parents(path)}


def _replaced(session: Session, tracked: Iterable[str], found: dict[str, Found]) -> set[str]:
    """Tracked paths that are gone because something is added now where their directory was."""
    below = [path for path in tracked if path not in found and any(p in found for p in paths.parents(path))]
    return set(below) - look(session.tree, below).keys()


def _tell_ignored(result: Result) -> None:
    told = "; ".join(f"{paths.display(path)} by {rule.explained}" for path, rule in list(result.ignored.items())[:10])
    hint = "bundle add --force adds them all the same"
    if result.added or result.already:
        raise PartialFailure(f"ignored: {told}", hint=hint, failed=sorted(result.ignored), done=result.to_json())
    raise IgnoredPath(f"ignored: {told}", hint=hint, ignored=sorted(result.ignored))


def _check_links(session: Session, found: dict[str, Found], follow: bool) -> None:
    """Links that leave the tree are refused, or become followed ones in the settings."""
    followed = set(session.project.config.follow_links())
    for path, item in found.items():
        if item.kind != "link" or path in followed:
            continue
        reason = paths.link_problem(path, item.target or "")
        if follow:
            if not (session.project.root / path).is_file():
                raise UnsafePath(f"the link {paths.display(path)} does not lead to a regular file", path=path)
            followed.add(path)
        elif reason is not None:
            raise UnsafePath(
                f"the link {paths.display(path)} cannot be added: {reason}",
                hint=f"bundle add --follow-links {paths.display(path)} stores what it points to",
                path=path,
            )
    if followed != session.project.config.follow_links():
        session.project.edit_config({"follow_links": sorted(followed)})


class _Chooser:
    """Finds what each word names; nothing is decided before every word named something."""

    def __init__(self, session: Session, tracked: set[str], ignore: Ignore) -> None:
        self._session = session
        self._tracked = tracked
        self._ignore = ignore
        self._walker = Walker(session.project.root, tracked, ignore)
        self._everything: dict[str, Found] | None = None
        self.found: dict[str, Found] = {}
        self.ignored: dict[str, Rule] = {}

    def choose(self, word: str) -> None:
        """Add what `word` names to `found` or `ignored`. :raises NoMatch: nothing."""
        path = relative(self._session, word)
        if path == "":
            self.found.update(self._walk(""))
            if not self.found:
                self._session.run.notice("nothing-to-add", "there is nothing to add here")
            return
        at = look(self._session.tree, [path]).get(path)
        if at is None:
            self._choose_absent(word, path)
        elif at.kind == "dir":
            self._choose_directory(path, at)
        else:
            self._choose_one(path, at)

    def _choose_absent(self, word: str, path: str) -> None:
        if path in self._tracked:
            return
        if is_pattern(word):
            if self._everything is None:
                self._everything = self._walk("")
            matched = matching(self._session, word, self._everything)
            if matched:
                self.found.update({name: self._everything[name] for name in matched})
                return
        raise NoMatch(f"{paths.display(word)} matches nothing", path=paths.display(word))

    def _choose_directory(self, path: str, at: Found) -> None:
        rule = self._ignore.match(path, True)
        if rule is not None and path not in self._tracked:
            self.ignored[path] = rule
            return
        paths.validate(path)
        below = self._walk(path)
        self.found.update(below or {path: at})

    def _choose_one(self, path: str, at: Found) -> None:
        paths.validate(path)
        rule = self._ignore.match(path, False)
        if rule is not None and path not in self._tracked:
            self.ignored[path] = rule
        else:
            self.found[path] = at

    def _walk(self, start: str) -> dict[str, Found]:
        walk = self._walker.walk(start)
        return {**walk.untracked, **walk.tracked}
