"""From a command's context to a session on the bundle around the working directory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelops_bundle.errors import ConfigError, NotABundle, UsageError
from modelops_bundle.net.options import HostOptions
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session
from modelops_bundle.ui.cli import home
from modelops_bundle.ui.cli.command import Context
from modelops_bundle.ui.cli.options import Settings, user_config_file
from modelops_bundle.ui.text import Line
from modelops_bundle.workspace.config import KEYS
from modelops_bundle.workspace.project import Project

if TYPE_CHECKING:
    from modelops_bundle.operations import plans


def options(context: Context, seeds: Sequence[str] = ()) -> Options:
    """How to reach remotes: settings, and what the environment says about logins and proxies.

    :param seeds: what the user says may have chunks of what is pulled.
    :raises UsageError: flags that exclude each other, or a seed that is not there.
    """
    settings = context.settings
    places = tuple(settings.resolve(seed) for seed in seeds)
    for place in places:
        if not place.exists():
            raise UsageError(f"there is no {place} to take chunks from")
    logins = _login_files()
    given = _said(settings, settings.flags)
    if given.plain_http and (given.insecure or given.client_cert):
        raise UsageError("--plain-http has no certificates: it excludes --insecure and --client-cert")
    everyone = _variable("all_proxy")
    return Options(
        plain_http=bool(given.plain_http),
        insecure=bool(given.insecure),
        ca_file=Path(given.ca_file) if given.ca_file else None,
        client_cert=Path(given.client_cert) if given.client_cert else None,
        client_key=Path(given.client_key) if given.client_key else None,
        ambient=_said(settings, settings.fixed - settings.flags),
        defaults=replace(_said(settings, _HOSTS - settings.fixed), plain_http=settings.plain_http or None),
        platform=settings.platform,
        offline=settings.offline,
        timeout=settings.timeout,
        cache=home.cache(),
        hub=home.hub(os.environ),
        seeds=places,
        docker_config=logins[0],
        auth_files=tuple(file for file in logins[1:] if file is not None),
        auth_config=os.environ.get("DOCKER_AUTH_CONFIG"),
        helper_environment=tuple((name, value) for name, value in os.environ.items() if name not in _SECRET),
        username=os.environ.get("BUNDLE_USERNAME"),
        password=os.environ.get("BUNDLE_PASSWORD"),
        token=os.environ.get("BUNDLE_TOKEN"),
        http_proxy=_variable("http_proxy", upper="REQUEST_METHOD" not in os.environ) or everyone,
        https_proxy=_variable("https_proxy") or everyone,
        no_proxy=tuple((_variable("no_proxy") or "").replace(",", " ").split()),
    )


_SECRET = ("BUNDLE_PASSWORD", "BUNDLE_TOKEN", "COSIGN_PASSWORD", "DOCKER_AUTH_CONFIG")
"""Variables that no other program gets to see."""


def _login_files() -> tuple[Path | None, ...]:
    """The files that may hold logins, absolute, the one to write first (containers-auth.json(5) for the later ones).

    None stands for one that a user without a home does not have.
    """
    here, only = Path.cwd(), os.environ.get("REGISTRY_AUTH_FILE")
    if only:
        return (here / only,)
    at_home = home.home()
    docker = os.environ.get("DOCKER_CONFIG") or (at_home and at_home / ".docker")
    config = os.environ.get("XDG_CONFIG_HOME") or (at_home and at_home / ".config")
    podman = [folder for folder in (os.environ.get("XDG_RUNTIME_DIR"), config) if folder]
    first = here / docker / "config.json" if docker else None
    return first, *(here / each / "containers" / "auth.json" for each in podman)


_HOSTS = frozenset(["plain_http", "insecure", "ca_file", "client_cert", "client_key"])


def _said(settings: Settings, names: Set[str]) -> HostOptions:
    """What the options `names` say of hosts, paths absolute."""
    values = {name: getattr(settings, name) for name in _HOSTS & names}
    resolved: dict[str, Any] = {name: _absolute(settings, value) for name, value in values.items()}
    return HostOptions(**resolved)


def _absolute(settings: Settings, value: bool | Path | None) -> bool | str | None:
    return os.path.normpath(settings.resolve(str(value))) if isinstance(value, Path) else value


def _variable(name: str, *, upper: bool = True) -> str | None:
    """A variable that has its name in lower or upper case, as for curl; lower case wins, and empty is unset.

    :param upper: False where a request's header `Proxy` would be the variable (CGI: httpoxy, CVE-2016-5385).
    """
    return os.environ.get(name) or (os.environ.get(name.upper()) if upper else None) or None


@contextmanager
def session(
    context: Context,
    *,
    need_bundle: bool = True,
    after: Session | None = None,
    progress: bool = True,
    configure: bool = True,
    seeds: Sequence[str] = (),
) -> Iterator[Session]:
    """A session for one operation, with progress and signals. Print and ask outside of it.

    :param configure: False for commands that must work beside a setting nobody can use.
    :param progress: False for commands whose data goes to the terminal meanwhile.
    :param seeds: what the user says may have chunks of what is pulled.
    :param after: the session that made the plan: what it read need not be fetched again.
    :raises NotABundle: there is none, and the command needs one.
    """
    project: Project | None = None
    around = surrounding(context)
    try:
        project = Project.find(context.settings.directory)
        if configure:
            project.surround(*around)
            context.configure(project.config.values)
    except NotABundle:
        if need_bundle:
            raise
    with context.run(progress=progress) as run:
        here = Session(project, run, options(context, seeds), cwd=context.settings.directory, around=around)
        if after is not None:
            here.read.update(after.read)
            here.parsed.update(after.parsed)
            here.spooled.update(after.spooled)
        try:
            yield here
        finally:
            here.remember()


def surrounding(context: Context) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """The user's settings, which stand below a bundle's own, and those of this invocation, which stand above them."""
    return _anchored(context.settings.user_config), _given(context)


def _anchored(user_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The user's settings with the paths of its hosts and keys absolute: they are relative to the file's own directory."""
    file, hosts, trust = user_config_file(), user_config.get("hosts"), user_config.get("trust")
    remotes = user_config.get("remotes")
    if file is None:
        return user_config
    folder = file.parent
    changed: dict[str, Any] = dict(user_config)
    if isinstance(hosts, Mapping):
        changed["hosts"] = {
            host: {key: _below(folder, key, value) if key in _HOSTS else value for key, value in table.items()}
            if isinstance(table, Mapping)
            else table
            for host, table in hosts.items()
        }
    if isinstance(trust, Mapping):
        changed["trust"] = {place: _keys_below(folder, keys) for place, keys in trust.items()}
    if isinstance(remotes, Mapping):
        changed["remotes"] = {
            name: {
                key: _keys_below(folder, value) if key == "require_signature" else value for key, value in table.items()
            }
            if isinstance(table, Mapping)
            else table
            for name, table in remotes.items()
        }
    return changed


def _keys_below(folder: Path, keys: object) -> object:
    if isinstance(keys, list):
        return [_below(folder, "trust", key) for key in keys]
    return _below(folder, "trust", keys)


def _below(folder: Path, key: str, value: object) -> object:
    """A path in the user's own config file, absolute; an empty text and what is no text as they are."""
    return str(folder / _expanded(key, value)) if isinstance(value, str) and value else value


def _expanded(key: str, value: str) -> Path:
    try:
        return home.expanded(value)
    except ValueError as error:
        raise ConfigError(f"{key} in your config.toml cannot be {value[:200]!r}: {error}") from error


def _given(context: Context) -> dict[str, str]:
    """Settings for this invocation alone: `BUNDLE_*` variables, and above them `--config`."""
    settings = context.settings
    named = {f"BUNDLE_{key.replace('.', '_').upper()}": key for key in KEYS if "*" not in key}
    variables = {named[name]: value for name, value in settings.variables.items() if name in named and value}
    return {**variables, **{key: _seen_from_here(context, key, value) for key, value in settings.config.items()}}


def _seen_from_here(context: Context, key: str, value: str) -> str:
    """The paths of keys absolute: a command that makes a bundle has two directories they could be relative to."""
    if not key.startswith("trust.") and not key.endswith(".require_signature"):
        return value
    return ",".join(
        os.path.normpath(context.settings.resolve(path.strip())) for path in value.split(",") if path.strip()
    )


def only_shown(
    context: Context,
    plan: plans.Plan,
    document: Mapping[str, object],
    shown: Iterable[Line],
    *,
    dry_run: bool,
    plan_out: str | None,
) -> bool:
    """Show or save a plan instead of applying it, where that was asked for; False where it was not."""
    from modelops_bundle.operations import plans  # push and pull and all they need

    if plan_out == "-":
        context.out.data([plans.to_bytes(plan)])
        return True
    if plan_out is not None:
        plans.save(context.settings.resolve(plan_out), plan)
        shown = [*shown, f"Plan saved: bundle apply {plan_out}"]
    if dry_run or plan_out is not None:
        context.out.result({**document, "dry_run": True}, shown)
        return True
    return False


def remembered(remote: str, said: Mapping[str, bool | str]) -> list[Line]:
    """What to say when flags about a host were stored with a remote."""
    shown = (name if value is True else f"{name} = {value}" for name, value in said.items())
    return [f"Remembered for {remote}: {', '.join(shown)}"] if said else []


def annotations_of(pairs: Sequence[str]) -> dict[str, str]:
    """What `--annotation KEY=VALUE` says, the last of a key. :raises UsageError: it is no pair."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--annotation wants KEY=VALUE, not {pair!r}")
        found[key] = value
    return found


def source_date_epoch() -> int | None:
    """The time a build is said to happen at, in seconds since 1970 (reproducible-builds.org).

    :raises ConfigError: set, and no number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 11:
        raise ConfigError(f"SOURCE_DATE_EPOCH is {text[:40]!r}, not a number of seconds")
    return int(text)
