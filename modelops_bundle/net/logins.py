"""Files of logins as a source of credentials, with the helpers that they name."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from modelops_bundle.errors import ConfigError
from modelops_bundle.net import authfiles
from modelops_bundle.net.authfiles import AuthFile, server_of
from modelops_bundle.net.credentials import Credentials
from modelops_bundle.net.helpers import Helper, Helpers, Login

TOKEN_USER = "<token>"
"""The user name that says that a helper's secret is an identity token (docker/cli, credentials store)."""

MOST = 16 * 1024 * 1024
"""Bytes of a file of logins."""

Notice = Callable[[str, str], None]
"""Takes (code, message)."""


class Logins:
    """The logins of one file (`auths`), and of the helpers it names. Read at first use, safe between threads.

    docs/decisions/0013 says when a helper that fails is an error: when the file says that it has a login for the host.

    :param place: a path, or `NAME=JSON` of a variable given as (name, text). An absent file means nobody.
    :param helpers: runs them; None where no program may be run.
    :param notice: hears of helpers that fail for hosts which may not need them, and of files that others can read.
    :param check: raises when nobody waits for a helper any more.
    """

    def __init__(
        self,
        place: Path | tuple[str, str],
        helpers: Helpers | None,
        notice: Notice,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = place
        self._helpers = helpers
        self._notice = notice
        self._check = check
        self._lock = threading.Lock()
        self._loaded: AuthFile | None = None

    @property
    def file(self) -> AuthFile:
        """The file's content. :raises ConfigError: it cannot be read."""
        with self._lock:
            if self._loaded is None:
                text, name = read(self._place) if isinstance(self._place, Path) else (self._place[1], self._place[0])
                self._loaded = AuthFile.parse(text, name)
            return self._loaded

    def get(self, host: str, repository: str = "") -> Credentials | None:
        helper = self.file.helper(host)
        kept = self._from_helper(helper, host, repository) if helper is not None else None
        return kept if kept is not None else self._from_file(host, repository)

    def _from_file(self, host: str, repository: str) -> Credentials | None:
        found = self.file.login(host, repository)
        if found is not None and isinstance(self._place, Path) and _others_read(self._place):
            self._notice(
                "readable-logins",
                f"others on this machine can read the logins in {self._place}: chmod 600 {self._place}",
            )
        return found

    def _from_helper(self, helper: Helper, host: str, repository: str) -> Credentials | None:
        if self._helpers is None:
            return None
        try:
            for server in self._spellings(host):
                login = self._helpers.get(helper, server, self._check)
                if login is not None:
                    return _credentials(helper, login)
        except ConfigError as error:
            if self._is_needed(helper, host, repository):
                raise
            self._notice("credential-helper", f"{error.message}; {host} is asked without it ({error.hint})")
        return None

    def _spellings(self, host: str) -> Iterator[str]:
        yield server_of(host)
        yield from (key for key in self.file.keys(host) if key != server_of(host))

    def _is_needed(self, helper: Helper, host: str, repository: str) -> bool:
        if helper.own:
            return True
        # An empty entry is how docker notes that the store has the login. A full one is a login by itself.
        return bool(self.file.keys(host)) and self.file.login(host, repository) is None


def _credentials(helper: Helper, login: Login) -> Credentials:
    if login.username == TOKEN_USER:
        return Credentials("", "", login.secret, source=str(helper))
    return Credentials(login.username, login.secret, source=str(helper))


def read(path: Path) -> tuple[str, str]:
    """The text of a file of logins, empty when it is absent, and its name for people.

    :raises ConfigError: it is there and cannot be read: no regular file, or larger than any such file.
    """
    try:
        # Opening a pipe would wait for its writer, for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            if not _is_file(os.fstat(descriptor)):
                raise ConfigError(f"cannot read {path}: it is not a regular file", hint=authfiles.HINT)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(MOST + 1)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return "", str(path)
    except OSError as error:
        hint = "look at its owner and mode; REGISTRY_AUTH_FILE names another file"
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    if len(data) > MOST:
        raise ConfigError(f"cannot read {path}: it has more than {MOST:,} bytes", hint=authfiles.HINT)
    try:
        return str(data, "utf-8"), str(path)
    except UnicodeDecodeError:
        # Not as its cause: the exception holds the bytes.
        raise ConfigError(f"cannot read {path}: it is not UTF-8", hint=authfiles.HINT) from None


def _is_file(facts: os.stat_result) -> bool:
    # The null device is how people say that there are no logins.
    return stat.S_ISREG(facts.st_mode) or os.path.samestat(facts, Path(os.devnull).stat())


def _others_read(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return os.name == "posix" and bool(mode & (stat.S_IRGRP | stat.S_IROTH))
