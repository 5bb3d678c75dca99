"""login and logout: a registry's login, verified, into the file or helper that keeps such things, and out of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelops_bundle.disk.files import sweep, write_file
from modelops_bundle.disk.locks import exclusive
from modelops_bundle.disk.problems import translated
from modelops_bundle.errors import ConfigError, Unauthorized, Unavailable, UsageError
from modelops_bundle.events import Run
from modelops_bundle.model.reference import parse
from modelops_bundle.net import authfiles
from modelops_bundle.net.authfiles import AuthFile, names_host, server_of
from modelops_bundle.net.client import Client
from modelops_bundle.net.credentials import Anonymous, Credentials, CredentialSource
from modelops_bundle.net.exchange import Request
from modelops_bundle.net.helpers import Helper, Helpers, Login
from modelops_bundle.net.logins import TOKEN_USER, read
from modelops_bundle.net.problems import is_html
from modelops_bundle.operations import wiring
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session
from modelops_bundle.workspace.config import remember_host


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A login that is stored.

    :param verified: whether the registry was asked and agreed.
    :param where: the file or the helper that has it.
    :param helper: whether a helper has it, and no file.
    :param settings: what was remembered of the host.
    """

    host: str
    username: str
    verified: bool
    where: str
    helper: bool
    settings: Mapping[str, bool | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """Where a login was removed, nowhere when there was none; and who still has one."""

    host: str
    removed: tuple[str, ...]
    left: tuple[str, ...]


def host_of(session: Session, place: str) -> str:
    """The registry that `place` names: a host, a reference, a web address, or a remote.

    :raises UsageError: it names none.
    """
    if place in session.remotes and session.remotes[place].reference.scheme == "oci":
        return session.remotes[place].reference.host
    scheme, separator, rest = place.rpartition("://")
    name = rest.partition("/")[0]
    if scheme not in ("", "https", "http", "oci") or "@" in name:
        raise UsageError("HOST is not a registry", hint="write it without user name: bundle login registry.example.com")
    if not (separator or "." in name or ":" in name or name == "localhost"):
        # What no reference can begin with is a slip: a user name, a remote that is not there.
        raise UsageError(f"not a registry: {place[:100]!r}", hint=f"write oci://{name} for a host without a dot")
    return parse(f"oci://{name}/a").host


def login(session: Session, place: str, credentials: Credentials, settings: Path | None = None) -> LoggedIn:
    """Verify `credentials` at the registry of `place`, and store them.

    :param settings: the user's own config file, to remember in it how the caller said to reach the host.
    :raises Unauthorized: the registry refused them; nothing is stored. :raises Unavailable: it cannot be asked.
    :raises ConfigError: there is no place to store them, or the helper that should keep them fails.
    """
    host = host_of(session, place)
    path = _login_file(session.options)
    if session.options.offline:
        raise Unavailable(f"{host} is not asked: offline", hint="a login is verified before it is stored", offline=True)
    key, verified = _verify(session, host, credentials)
    helper = _store(session, path, key, credentials)
    if not verified:
        session.run.notice("unverified-login", f"{host} asks for no login, so this one could not be verified")
    if helper is None:
        session.run.notice(
            "plain-login",
            f"the login is stored unencrypted in {path}; a credential helper named in it would encrypt it",
        )
    for other in _known(_before_files(session, host, key), key):
        session.run.notice("login-overridden", f"{other} has a login for {host}, too, and comes first")
    said = session.options.given
    if settings is not None and said.said():
        remember_host(settings, host, said)
    kept = said.said() if settings is not None else {}
    return LoggedIn(host, credentials.username, verified, str(helper or path), helper is not None, kept)


def logout(session: Session, place: str) -> LoggedOut:
    """Forget the login for the registry of `place`, where `login` stores it: in the helper, and in the file.

    :raises ConfigError: the helper that has it fails; the file has nothing of it any more.
    """
    host = host_of(session, place)
    path = _login_file(session.options)
    with _client(session, host, Anonymous()) as client:
        key = client.options.registry(host).netloc
    removed = _remove(session, path, key) if path.is_file() else []
    later = [wiring.logins(each, session.options, session.run) for each in session.options.auth_files]
    left = (*_known([*_before_files(session, host, key), *later], key), *_namespaces(session, key))
    return LoggedOut(host, tuple(removed), left)


# --- verifying


class _Asked:
    """Credentials for the one registry that is asked, and whether it wanted them."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.wanted = False

    def get(self, host: str, repository: str = "") -> Credentials | None:  # noqa: ARG002  (the port's signature)
        self.wanted = True
        return self._credentials


def _verify(session: Session, host: str, credentials: Credentials) -> tuple[str, bool]:
    """The host as sources are asked for it, and whether the registry looked at the credentials and took them."""
    asked = _Asked(credentials)
    with _client(session, host, asked) as client:
        origin = client.options.registry(host)
        try:
            reply = client.fetch(Request("GET", f"{origin}/v2/", "root"))
        except Unauthorized as error:
            raise Unauthorized(
                error.message, hint="check the user name and the password or token; nothing was stored", **error.facts
            ) from error
    if is_html(reply.headers, reply.body):
        raise Unavailable(f"{host} answered with HTML, not as a registry", hint="check the host name", host=host)
    return origin.netloc, asked.wanted


@contextmanager
def _client(session: Session, host: str, credentials: CredentialSource) -> Iterator[Client]:
    client = session.make_client(host, session.remote_at(host), credentials)
    session.run.stoppers.append(client.abort)
    try:
        with client:
            yield client
    finally:
        session.run.stoppers.remove(client.abort)


# --- storing


def _login_file(options: Options) -> Path:
    if options.docker_config is None:
        raise ConfigError(
            "there is no file to store logins in",
            hint="set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE; in Python, Options(docker_config=...)",
        )
    return options.docker_config


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """The file behind `path`, to be replaced by one writer of ours at a time.

    Links are followed: people keep their settings in repositories.
    """
    target = Path(os.path.realpath(path))
    with translated(f"create {target.parent}"):
        _make_private(target.parent)
    with exclusive(target.with_name(f"{target.name}.lock"), what=str(path)):
        sweep(target.parent)
        yield target


def _make_private(folder: Path) -> None:
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _store(session: Session, path: Path, host: str, credentials: Credentials) -> Helper | None:
    """Store in the helper that the file names for `host`, else in the file; the helper."""
    helper, changed = _with_login(path, str(path), host, credentials)
    if helper is not None and changed is None:
        # Where the file stays as it is nothing is locked: it may be read-only, as a mounted one is.
        _keep(session, helper, host, credentials)
        return helper
    with _locked(path) as target:
        helper, changed = _with_login(target, str(path), host, credentials)
        if helper is not None:
            _keep(session, helper, host, credentials)
        if changed is not None:
            write_file(target, changed.encode(), mode=0o600)
    return helper


def _with_login(file: Path, name: str, host: str, credentials: Credentials) -> tuple[Helper | None, str | None]:
    """The helper that `file` names for `host`, and the file with the login in it; None where it stays as it is."""
    text = read(file)[0]
    known = AuthFile.parse(text, name)
    helper = known.helper(host)
    # A store for everybody does not say for whom it has something. The file does, and holds no password itself.
    if helper is not None and helper.own and not known.keys(host):
        return helper, None
    changed = authfiles.with_login(text, name, host, credentials if helper is None else None)
    return helper, changed if helper is None or AuthFile.parse(changed, name) != known else None


def _keep(session: Session, helper: Helper, host: str, credentials: Credentials) -> None:
    secret = credentials.identity_token or credentials.password
    user = TOKEN_USER if credentials.identity_token is not None else credentials.username
    _helpers(session, helper).store(helper, server_of(host), Login(user, secret), session.run.check)


def _helpers(session: Session, helper: Helper) -> Helpers:
    if not session.options.helper_environment:
        raise ConfigError(
            f"{helper} keeps this login, and none may be run here", hint="Options(helper_environment=...)"
        )
    return wiring.helpers_in(session.options.helper_environment)


# --- removing


def _remove(session: Session, path: Path, host: str) -> list[str]:
    """Remove from helper and file; where something was."""
    removed: list[str] = []
    trouble: ConfigError | None = None
    text, name = read(path)
    # As in `_store`: who has nothing to write needs no lock.
    stays = authfiles.without(text, name, host) is None
    with nullcontext(path) if stays else _locked(path) as target:
        text = text if stays else read(target)[0]
        file = AuthFile.parse(text, name)
        helper = file.helper(host)
        if helper is not None:
            try:
                removed += [str(helper)] if _erase(session, file, helper, host) else []
            except ConfigError as error:
                trouble = error
        held = _holds(file, host)
        changed = authfiles.without(text, name, host)
        if changed is not None:
            write_file(target, changed.encode(), mode=0o600)
            removed += [name] if held or not removed else []
    # A store for everybody that cannot be asked is no reason to fail where nothing says that it has a login.
    if trouble is not None and helper is not None:
        if helper.own or (changed is not None and not held):
            raise trouble
        session.run.notice("credential-helper", trouble.message)
    return removed


def _holds(file: AuthFile, host: str) -> bool:
    try:
        return file.login(host) is not None
    except ConfigError:
        return True  # an entry that nobody can read is one to get rid of


def _erase(session: Session, file: AuthFile, helper: Helper, host: str) -> bool:
    """Let `helper` forget `host` in every spelling; whether it knew one."""
    helpers, check = _helpers(session, helper), session.run.check
    servers = {server_of(host), *file.keys(host)}
    with suppress(ConfigError):  # not every helper can list
        servers |= {server for server in helpers.servers(helper, check) if names_host(server, host)}
    known = [server for server in sorted(servers) if helpers.get(helper, server, check) is not None]
    for server in known:
        helpers.erase(helper, server, check)
    return bool(known)


# --- who else knows


def _before_files(session: Session, host: str, key: str) -> list[CredentialSource]:
    """The sources that are asked before the file that `login` writes."""
    options = replace(session.options, docker_config=None, auth_files=())
    return wiring.sources(options, key, session.run, trusted=session.trusts(host))


def _known(sources: Iterable[CredentialSource], host: str) -> Iterator[str]:
    for source in sources:
        found = None
        with suppress(ConfigError):  # what cannot be read is no login
            found = source.get(host)
        if found is not None:
            yield found.source


def _namespaces(session: Session, host: str) -> Iterator[str]:
    for path in (_login_file(session.options), *session.options.auth_files):
        with suppress(ConfigError):
            file = wiring.logins(path, session.options, Run()).file
            yield from (f"{path} ({key})" for key in file.namespaces(host))
