"""Credential helpers: programs named `docker-credential-NAME` that keep logins (docker/docker-credential-helpers, README).

The action is the argument; server and secrets go through standard input and output only. A helper that has nothing
says so in one fixed sentence and ends with 1.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from modelops_bundle.errors import ConfigError
from modelops_bundle.net import processes
from modelops_bundle.net.redact import safe

PROGRAM = "docker-credential-"
TIMEOUT = 30.0
"""Seconds that a helper may take, which includes somebody who unlocks a keychain."""
LIFE = 300.0
"""Seconds that an answer is good for: a long-lived program sees a login made meanwhile."""
NOT_FOUND = "credentials not found in native keychain"

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper as it stands in a file.

    :param where: the setting that names it, for people: `credsStore in FILE`.
    :param own: named for one host, not for all.
    """

    name: str
    where: str
    own: bool

    def __str__(self) -> str:
        return f"the credential helper {safe(self.name, 80)} ({self.where})"


@dataclass(frozen=True, slots=True)
class Login:
    """What a helper keeps for a server. The user name `<token>` says that the secret is an identity token."""

    username: str
    secret: str = field(repr=False)


class Helpers:
    """Runs helpers, one at a time, and remembers what they said. Safe to share between threads.

    :param environment: the helpers'; its `PATH` is where they are looked for.
    :param timeout: seconds; a helper that takes longer is killed with its children.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment = environment
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], tuple[float, Login | ConfigError | None]] = {}

    def get(self, helper: Helper, server: str, check: Callable[[], None]) -> Login | None:
        """What `helper` has for `server`; None when it has nothing. Asked once, failures included.

        :param check: raises when nobody waits any more.
        :raises ConfigError: the helper is missing, fails, hangs or answers nonsense.
        """
        key = (helper.name, server)
        with self._lock:
            since, answer = self._answers.get(key, (-LIFE, None))
            if key not in self._answers or self._clock() - since >= LIFE:
                try:
                    answer = self._get(helper, server, check)
                except ConfigError as error:
                    answer = error
                self._answers[key] = (self._clock(), answer)
        if isinstance(answer, ConfigError):
            # Its own error for each who asks: an exception that is raised twice has two tracebacks.
            raise ConfigError(answer.message, hint=answer.hint, **answer.facts)
        return answer

    def store(self, helper: Helper, server: str, login: Login, check: Callable[[], None]) -> None:
        """Let `helper` keep `login` for `server`.

        :raises ConfigError: as `get`.
        """
        document = {"ServerURL": server, "Username": login.username, "Secret": login.secret}
        with self._lock:
            self._answers.clear()
            ended = self._run(helper, "store", json.dumps(document).encode("ascii"), check)
        if ended.code:
            raise _failed(helper, "store", ended)

    def erase(self, helper: Helper, server: str, check: Callable[[], None]) -> None:
        """Let `helper` forget `server`; nothing to forget is fine.

        :raises ConfigError: as `get`.
        """
        with self._lock:
            self._answers.clear()
            ended = self._run(helper, "erase", server.encode(), check)
        if ended.code and not _is_not_found(ended):
            raise _failed(helper, "erase", ended)

    def servers(self, helper: Helper, check: Callable[[], None]) -> Mapping[str, str]:
        """The servers that `helper` has logins for, with their user names (its action `list`).

        :raises ConfigError: as `get`; not every helper can do it.
        """
        ended = self._run(helper, "list", b"", check)
        if ended.code:
            raise _failed(helper, "list", ended)
        return {str(server): str(user) for server, user in _object(helper, ended.out or b"{}").items()}

    def _get(self, helper: Helper, server: str, check: Callable[[], None]) -> Login | None:
        ended = self._run(helper, "get", server.encode(), check)
        if ended.code:
            if _is_not_found(ended):
                return None
            raise _failed(helper, "get", ended)
        answer = _object(helper, ended.out)
        username, secret = answer.get("Username", ""), answer.get("Secret", "")
        if not isinstance(username, str) or not isinstance(secret, str):
            raise _nonsense(helper)
        # `pass` before its first use answers for every server, with nothing.
        return Login(username, secret) if secret else None

    def _run(self, helper: Helper, action: str, data: bytes, check: Callable[[], None]) -> processes.Ended:
        if not _NAME.fullmatch(helper.name):
            raise ConfigError(
                f"{helper.where} is {safe(helper.name, 80)!r}, which is not the name of a credential helper",
                hint="a name such as pass or ecr-login: letters, digits, '_', '.' and '-'",
            )
        facts = {"helper": helper.name, "action": action}
        program = processes.find(PROGRAM + helper.name, self._environment.get("PATH", ""))
        if program is None:
            raise ConfigError(
                f"{helper} is not installed: there is no {PROGRAM}{helper.name} on PATH",
                hint=f"install it, or take it out of {helper.where}",
                **facts,
            )
        try:
            return processes.run(program, (action,), data, self._environment, timeout=self._timeout, check=check)
        except OSError as error:
            raise ConfigError(
                f"{helper} cannot be started: {error.strerror}", hint=f"look at {program}", **facts
            ) from error
        except processes.Hung as error:
            raise ConfigError(
                f"{helper} did not answer within {self._timeout:g} s and was ended",
                hint=f"unlock the keychain it may wait for, and try it: {PROGRAM}{helper.name} list",
                **facts,
            ) from error
        except processes.TooMuch as error:
            raise ConfigError(
                f"{helper} answered with more than {processes.MAX_OUTPUT:,} bytes and was ended",
                hint=f"this is no credential helper: look at {program}",
                **facts,
            ) from error


def _is_not_found(ended: processes.Ended) -> bool:
    # The protocol says standard output; scripts that imitate it use either.
    return any(text.strip().lower() == NOT_FOUND.encode() for text in (ended.out, ended.err))


def _object(helper: Helper, out: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(out)
    except (ValueError, RecursionError):
        # Not as its cause: the exception holds what the helper printed.
        raise _nonsense(helper) from None
    if not isinstance(value, dict):
        raise _nonsense(helper)
    return value


def _nonsense(helper: Helper) -> ConfigError:
    return ConfigError(
        f"{helper} answered with something else than a login in JSON",
        hint=f"see what it prints: {PROGRAM}{helper.name} list",
        helper=helper.name,
    )


def _failed(helper: Helper, action: str, ended: processes.Ended) -> ConfigError:
    # What it printed is not quoted: a helper that prints a login before it fails is no rarer than one that explains
    # itself, and nobody can tell a password from a word.
    how = f"exit code {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
    return ConfigError(
        f"{helper} failed to {action} ({how})",
        hint=f"see what it says: {PROGRAM}{helper.name} list",
        helper=helper.name,
        action=action,
    )
