"""The outcome of an examination: what was looked at, what was found, and how it ends the command."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from modelops_bundle.errors import BundleError, Interrupted, Terminated

Verdict = Literal["ok", "info", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param seconds: that it took. :param code: of the error, and `exit_code` its exit code, when it failed.
    """

    name: str
    verdict: Verdict
    message: str
    hint: str | None = None
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    exit_code: int = 0

    def under(self, name: str) -> Finding:
        """The same as part of `name`."""
        return replace(self, name=f"{name} {self.name}")

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "message": self.message,
            "hint": self.hint,
            "seconds": round(self.seconds, 4),
            "facts": dict(self.facts),
            "code": self.code,
            "exit_code": self.exit_code,
        }


class Examination:
    """Collects findings, in the order in which they were made.

    :param told: called with each of them at once.
    """

    def __init__(self, told: Callable[[Finding], None] | None = None) -> None:
        self.findings: list[Finding] = []
        self._told = told

    def look(self, name: str, step: Callable[[], Finding]) -> bool:
        """Take one step; False when it failed.

        :param step: makes the finding, or raises the error that is one.
        """
        began = time.monotonic()
        try:
            found = step()
        except (Interrupted, Terminated):
            raise
        except BundleError as error:
            found = failed(error)
        return self.add(replace(found, name=name, seconds=time.monotonic() - began))

    def add(self, finding: Finding) -> bool:
        """Take in a finding; False when it is a failure."""
        self.findings.append(finding)
        if self._told is not None:
            self._told(finding)
        return finding.verdict != "fail"

    def skip(self, names: Sequence[str], why: str) -> None:
        """Note what was not looked at."""
        for name in names:
            self.add(Finding(name, "skip", why))

    @property
    def exit_code(self) -> int:
        """That of the first failure, 0 when there is none."""
        return next((finding.exit_code for finding in self.findings if finding.verdict == "fail"), 0)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"ok": self.exit_code == 0, "checks": [finding.to_json() for finding in self.findings]}


def failed(error: BundleError) -> Finding:
    """It does not work."""
    return Finding("", "fail", error.message, error.hint, 0.0, error.facts, error.code, error.exit_code)


def ok(message: str, **facts: Any) -> Finding:
    """It is as it should be."""
    return Finding("", "ok", message, facts=facts)


def info(message: str, hint: str | None = None, **facts: Any) -> Finding:
    """Worth knowing."""
    return Finding("", "info", message, hint, facts=facts)


def warn(message: str, hint: str | None = None, **facts: Any) -> Finding:
    """It works, and will not always."""
    return Finding("", "warn", message, hint, facts=facts)
