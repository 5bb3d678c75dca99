"""From a command's context to a session on the bundle around the working directory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelops_bundle.errors import ConfigError, NotABundle
from modelops_bundle.operations.options import Options
from modelops_bundle.operations.session import Session
from modelops_bundle.ui.cli.command import Context
from modelops_bundle.ui.text import Line
from modelops_bundle.workspace.config import KEYS
from modelops_bundle.workspace.project import Project

if TYPE_CHECKING:
    from modelops_bundle.operations import plans


def options(context: Context) -> Options:
    """How to reach remotes: settings, and what the environment says about logins and proxies."""
    settings = context.settings
    from platformdirs import user_cache_path

    logins = _login_files()
    no_proxy = _variable("no_proxy") or ""
    return Options(
        plain_http=settings.plain_http,
        ca_file=settings.resolve(str(settings.ca_file)) if settings.ca_file else None,
        offline=settings.offline,
        timeout=settings.timeout,
        cache=user_cache_path("modelops-bundle", appauthor=False),
        docker_config=logins[0],
        auth_files=logins[1:],
        auth_config=os.environ.get("DOCKER_AUTH_CONFIG"),
        helper_environment=tuple((name, value) for name, value in os.environ.items() if name not in _SECRET),
        username=os.environ.get("BUNDLE_USERNAME"),
        password=os.environ.get("BUNDLE_PASSWORD"),
        token=os.environ.get("BUNDLE_TOKEN"),
        proxy=_variable("https_proxy") or _variable("http_proxy"),
        no_proxy=tuple(host.strip() for host in no_proxy.split(",") if host.strip()),
    )


_SECRET = ("BUNDLE_PASSWORD", "BUNDLE_TOKEN", "DOCKER_AUTH_CONFIG")
"""Variables that no other program gets to see."""


def _login_files() -> tuple[Path, ...]:
    """The files that may hold logins, absolute, the one to write first (containers-auth.json(5) for the later ones)."""
    only = os.environ.get("REGISTRY_AUTH_FILE")
    if only:
        return (Path.cwd() / only,)
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    podman = [*([runtime] if runtime else []), config]
    return Path.cwd() / folder / "config.json", *(Path.cwd() / each / "containers" / "auth.json" for each in podman)


def _variable(name: str) -> str | None:
    return os.environ.get(name) or os.environ.get(name.upper())


@contextmanager
def session(
    context: Context,
    *,
    need_bundle: bool = True,
    after: Session | None = None,
    progress: bool = True,
    configure: bool = True,
) -> Iterator[Session]:
    """A session for one operation, with progress and signals. Print and ask outside of it.

    :param configure: False for commands that must work beside a setting nobody can use.
    :param progress: False for commands whose data goes to the terminal meanwhile.
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
        here = Session(project, run, options(context), cwd=context.settings.directory, around=around)
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
    return context.settings.user_config, _given(context)


def _given(context: Context) -> dict[str, str]:
    """Settings for this invocation alone: `BUNDLE_*` variables, and above them `--config`."""
    settings = context.settings
    named = {f"BUNDLE_{key.replace('.', '_').upper()}": key for key in KEYS if "*" not in key}
    variables = {named[name]: value for name, value in settings.variables.items() if name in named and value}
    return {**variables, **settings.config}


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
