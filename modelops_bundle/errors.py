"""Every failure a user can cause, with its stable code, exit code and hint.

    BundleError
    ├── UsageError, ConfigError                              2
    ├── PartialFailure                                       3
    ├── NotABundle, AlreadyABundle, NoMatch, IgnoredPath,
    │   Conflict, WouldOverwrite, Locked, NeedsConfirmation,
    │   IsPointer                                             4
    ├── TagMoved, WorkspaceChanged, SourceChanged,
    │   VerifyFailed                                        5
    ├── NotFound                                             6
    ├── Unauthorized                                         7
    ├── Unavailable, RateLimited                             8
    ├── Corrupt, UnsafePath, Untrusted                       9
    ├── Unsupported                                         10
    ├── DiskFull, DiskError                                 11
    ├── Interrupted                                        130
    └── Terminated                                         143

Absence is ``None``; failure raises; the two are never merged. Facts are plain JSON values.
"""

from __future__ import annotations

from typing import Any, ClassVar


class BundleError(Exception):
    """Root of the hierarchy.

    :param message: what happened, one sentence, no trailing full stop.
    :param hint: what the user can do about it.
    :param facts: JSON-serialisable details for ``--json`` and for callers.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def to_json(self) -> dict[str, Any]:
        """The error as the value of ``"error"`` in a ``--json`` document."""
        return {
            "code": self.code,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "facts": self.facts,
        }


class UsageError(BundleError):
    """The words of the command are wrong."""

    code = "usage"
    exit_code = 2


class ConfigError(BundleError):
    """A configuration file or value cannot be used."""

    code = "config"
    exit_code = 2


class PartialFailure(BundleError):
    """Some items failed and others were done; ``facts["failed"]`` lists them."""

    code = "partial"
    exit_code = 3


class NotABundle(BundleError):
    """No bundle here or above."""

    code = "not-a-bundle"
    exit_code = 4


class AlreadyABundle(BundleError):
    """A bundle is here, or around here, already."""

    code = "already-a-bundle"
    exit_code = 4


class NoMatch(BundleError):
    """A path or pattern names nothing."""

    code = "no-match"
    exit_code = 4


class IgnoredPath(BundleError):
    """A path named on the command line is ignored by a rule."""

    code = "ignored"
    exit_code = 4


class Conflict(BundleError):
    """Both sides changed the same path in different ways."""

    code = "conflict"
    exit_code = 4


class WouldOverwrite(BundleError):
    """Local work would be lost."""

    code = "would-overwrite"
    exit_code = 4


class Locked(BundleError):
    """Another process is writing."""

    code = "locked"
    exit_code = 4


class IsPointer(BundleError):
    """A file stands for another one whose bytes are in chunk packs; it is no content."""

    code = "is-pointer"
    exit_code = 4


class NeedsConfirmation(BundleError):
    """A destructive step was asked for without a terminal to confirm on, or was declined."""

    code = "needs-confirmation"
    exit_code = 4


class TagMoved(BundleError):
    """The remote reference is not what this clone last saw."""

    code = "tag-moved"
    exit_code = 5


class WorkspaceChanged(BundleError):
    """Files changed between the plan and its application."""

    code = "workspace-changed"
    exit_code = 5


class SourceChanged(BundleError):
    """A remote file was replaced by another one between its resolution and the end of its transfer."""

    code = "source-changed"
    exit_code = 5


class VerifyFailed(BundleError):
    """Verification found edits, missing or extra files that are not corruption."""

    code = "verify-failed"
    exit_code = 5


class NotFound(BundleError):
    """A reference, tag, blob or remote path does not exist."""

    code = "not-found"
    exit_code = 6


class Unauthorized(BundleError):
    """The registry refused these credentials, or wants some."""

    code = "unauthorized"
    exit_code = 7


class Unavailable(BundleError):
    """The remote cannot be reached, or keeps failing after retries."""

    code = "unavailable"
    exit_code = 8


class RateLimited(Unavailable):
    """The remote asked for a pause longer than this command waits."""

    code = "rate-limited"


class Corrupt(BundleError):
    """Bytes do not match their digest, or metadata does not parse."""

    code = "corrupt"
    exit_code = 9


class UnsafePath(BundleError):
    """A path that must not be created on somebody's disk."""

    code = "unsafe-path"
    exit_code = 9


class Untrusted(BundleError):
    """A version has no valid signature by a key or an identity that is asked for."""

    code = "untrusted"
    exit_code = 9


class Unsupported(BundleError):
    """A format, registry ability or platform that cannot carry the operation."""

    code = "unsupported"
    exit_code = 10


class DiskError(BundleError):
    """The operating system refused to read or write."""

    code = "io"
    exit_code = 11


class DiskFull(DiskError):
    """No space or quota left."""

    code = "disk-full"


class Interrupted(BundleError):
    """Stopped by the user (SIGINT)."""

    code = "interrupted"
    exit_code = 130


class Terminated(BundleError):
    """Stopped by SIGTERM."""

    code = "terminated"
    exit_code = 143
