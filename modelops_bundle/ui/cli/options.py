"""The options every command has, from flags, environment, project config and user config, in that order.

Only this module and its neighbours in `ui` read the environment or the working directory (DESIGN §3).
"""

from __future__ import annotations

import _thread
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from modelops_bundle.errors import BundleError, ConfigError, UsageError
from modelops_bundle.ui import text
from modelops_bundle.ui.cli import home
from modelops_bundle.ui.cli import values as parse
from modelops_bundle.ui.sinks import PROGRESS, Progress, choose

if TYPE_CHECKING:
    from modelops_bundle.events import Run

DEFAULT_JOBS = 4
"""That of `events.Limits`, which a test compares: importing events for it takes longer than parsing the command line."""
DEFAULT_CONNECTIONS = 16
"""Likewise."""
DEFAULT_TIMEOUT = 30.0
"""That of `net.options.NetOptions`, which a test compares likewise."""
VARIABLE_PREFIX = "BUNDLE_"
FLAGS_KEY = "modelops_bundle.flags"
"""Where the flags that were met so far are kept in `click.Context.meta`, shared by all contexts of one invocation."""

# -------------------------------------------------------------------------------------------------------- options


@dataclass(frozen=True, slots=True)
class Option:
    """One global option. Its variable is `BUNDLE_` and the name in capitals."""

    name: str
    flags: tuple[str, ...]
    parse: Callable[[object], object]
    help: str
    metavar: str | None = None
    """None makes it a switch."""
    key: str | None = None
    """Its key in config files; None where it is no setting: consent, and what a single invocation is for."""

    @property
    def variable(self) -> str:
        return VARIABLE_PREFIX + self.name.upper()


OPTIONS: tuple[Option, ...] = (
    Option("directory", ("-C", "--directory"), parse.path, "Work as if started in DIR.", "DIR"),
    Option("quiet", ("-q", "--quiet"), parse.switch, "Errors and notices only.", key="quiet"),
    Option("verbose", ("-v", "--verbose"), parse.switch, "Show every request.", key="verbose"),
    Option("json", ("--json",), parse.switch, "One JSON document on stdout."),
    Option(
        "progress",
        ("--progress",),
        parse.progress,
        "Progress on stderr (default auto).",
        "|".join(PROGRESS),
        "progress",
    ),
    Option("jobs", ("--jobs",), parse.count, f"Transfers at once (default {DEFAULT_JOBS}).", "N", "limits.jobs"),
    Option(
        "connections",
        ("--connections",),
        parse.count,
        f"Most connections to one host (default {DEFAULT_CONNECTIONS}).",
        "N",
        "limits.connections",
    ),
    Option("limit_rate", ("--limit-rate",), parse.rate, "Most bytes per second, as in 10M.", "RATE", "limits.rate"),
    Option(
        "timeout",
        ("--timeout",),
        parse.seconds,
        f"Seconds without a byte after which a transfer is tried again (default {DEFAULT_TIMEOUT:.0f}).",
        "SECONDS",
        "limits.timeout",
    ),
    Option(
        "plain_http", ("--plain-http",), parse.switch, "Talk HTTP instead of HTTPS to registries.", key="plain_http"
    ),
    Option("insecure", ("--insecure",), parse.switch, "Do not check the registry's certificate."),
    Option("ca_file", ("--ca-file",), parse.path, "Trust the certificates in FILE.", "FILE", "ca_file"),
    Option("client_cert", ("--client-cert",), parse.path, "Show the registry the certificate in FILE.", "FILE"),
    Option("client_key", ("--client-key",), parse.path, "The key of that, where it is in a FILE of its own.", "FILE"),
    Option(
        "platform",
        ("--platform",),
        parse.platform,
        "Of an image index the manifest for this platform (default: this machine's); an image is said to be for it.",
        "OS/ARCH",
        "platform",
    ),
    Option("offline", ("--offline",), parse.switch, "Do not use the network.", key="offline"),
    Option("yes", ("--yes",), parse.switch, "Confirm without asking."),
)
_BY_NAME = {option.name: option for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options of one invocation, and the terminal it runs on."""

    directory: Path = field(default_factory=Path)
    """Absolute. Relative paths that a user wrote go through `resolve`."""
    quiet: bool = False
    verbose: bool = False
    json: bool = False
    progress: Progress = "auto"
    jobs: int = DEFAULT_JOBS
    connections: int = DEFAULT_CONNECTIONS
    limit_rate: int | None = None
    timeout: float = DEFAULT_TIMEOUT
    plain_http: bool = False
    insecure: bool = False
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    platform: str | None = None
    offline: bool = False
    yes: bool = False

    config: Mapping[str, str] = field(default_factory=dict)
    """`--config KEY=VALUE`, as written."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The `BUNDLE_*` variables."""
    user_config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The user's config file, parsed."""
    fixed: frozenset[str] = frozenset()
    """Names of the options that a flag or a variable decided."""
    flags: frozenset[str] = frozenset()
    """Those that a flag decided."""

    stdin_is_tty: bool = False
    stdout_is_tty: bool = False
    stderr_is_tty: bool = False
    dumb: bool = False
    """Whether the terminal moves no cursor (an editor's shell window)."""
    ci: bool = False
    colour: bool = False
    colour_stderr: bool = False

    def override(self, config: Mapping[str, Any]) -> Settings:
        """These settings with the project's config filled in where no flag and no variable spoke.

        Keys that are no global option are ignored: they belong to others.

        :raises ConfigError: a value that cannot be used.
        """
        values = _from_config(config, "the bundle's config.toml")
        return replace(self, **{name: value for name, value in values.items() if name not in self.fixed})

    def get(self, key: str, project: Mapping[str, Any] | None = None, default: Any = None) -> Any:
        """Any config key by the same precedence: `--config`, variable, project config, user config, `default`.

        `key` is dotted (`push.storage`); its variable is `BUNDLE_PUSH_STORAGE`. Flags and variables give strings,
        config files what TOML has.
        """
        if key in self.config:
            return self.config[key]
        variable = VARIABLE_PREFIX + re.sub(r"[^A-Za-z0-9]", "_", key).upper()
        if variable in self.variables:
            return self.variables[variable]
        for layer in (project or {}, self.user_config):
            value = _dig(layer, key)
            if value is not None:
                return value
        return default

    def resolve(self, path: str) -> Path:
        """A path as the user wrote it, seen from `-C DIR`."""
        return self.directory / Path(path)


def _dig(config: Mapping[str, Any], key: str) -> Any:
    """The value of dotted `key` in nested tables, or under its full name (`--config` has no tables)."""
    value: Any = config
    if key in config:
        return config[key]
    for part in key.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


# -------------------------------------------------------------------------------------------------------- sources


def build_settings(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    user_config: Mapping[str, Any],
    *,
    where: Path,
    terminals: tuple[bool, bool, bool] = (False, False, False),
) -> Settings:
    """Settings from everything but the project config, which the command reads and gives to `override`.

    :param flags: option names to what the command line says; `config` to its list of KEY=VALUE.
    :param where: the working directory.
    :param terminals: whether stdin, stdout and stderr are terminals.
    :raises UsageError: a flag that cannot be used.
    :raises ConfigError: a variable or a config value that cannot be used.
    """
    config = _pairs(flags.get("config", ()))
    variables = {name: value for name, value in environment.items() if name.startswith(VARIABLE_PREFIX)}
    flagged = _from_flags(flags)
    decided = {**_from_variables(variables), **_from_config(config, "--config", UsageError), **flagged}
    values = {**_from_config(user_config, "your config.toml"), **decided}
    directory = Path(os.path.normpath(where / values.pop("directory", Path())))
    if not directory.is_dir():
        raise UsageError(f"no such directory: {text.safe(str(directory))}", hint="-C names the directory to work in")
    stdin, stdout, stderr = terminals
    return Settings(
        **values,
        directory=directory,
        config=MappingProxyType(config),
        variables=MappingProxyType(variables),
        user_config=user_config,
        fixed=frozenset(decided),
        flags=frozenset(flagged),
        stdin_is_tty=stdin,
        stdout_is_tty=stdout,
        stderr_is_tty=stderr,
        dumb=environment.get("TERM") == "dumb",
        ci=environment.get("CI", "").lower() not in ("", "0", "false"),
        colour=text.wants_colour(stdout, environment),
        colour_stderr=text.wants_colour(stderr, environment),
    )


def _from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _parsed(_BY_NAME[name], value, _BY_NAME[name].flags[-1], UsageError)
        for name, value in flags.items()
        if name in _BY_NAME
    }


def _from_variables(variables: Mapping[str, str]) -> dict[str, Any]:
    return {
        option.name: _parsed(option, variables[option.variable], option.variable)
        for option in OPTIONS
        if variables.get(option.variable)
    }


def _from_config(config: Mapping[str, Any], where: str, refusal: type[BundleError] = ConfigError) -> dict[str, Any]:
    values = {}
    for option in OPTIONS:
        value = _dig(config, option.key) if option.key else None
        if value is not None:
            values[option.name] = _parsed(option, value, f"{option.key} in {where}", refusal)
    return values


def _parsed(option: Option, value: object, where: str, refusal: type[BundleError] = ConfigError) -> object:
    try:
        return option.parse(value)
    except ValueError as error:
        raise refusal(f"{where} cannot be {text.safe(repr(value))}: {error}") from error


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for pair in texts:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--config wants KEY=VALUE, not {text.safe(repr(pair))}")
        pairs[key.strip()] = value.strip()
    return pairs


def user_config_file() -> Path | None:
    """Where the user's own config is; None for a user without a home."""
    folder = home.config()
    return folder / "config.toml" if folder is not None else None


def read_user_config(file: Path) -> dict[str, Any]:
    """The user's config, empty when there is none.

    :raises ConfigError: it cannot be read.
    """
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {text.safe(str(file))}: {error.strerror}") from error
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise ConfigError(f"{text.safe(str(file))} is not TOML: {error}") from error


def current(context: click.Context) -> Settings:
    """The settings of the running process and the command line parsed so far."""
    return build_settings(
        context.meta.get(FLAGS_KEY, {}),
        os.environ,
        read_user_config(file) if (file := user_config_file()) is not None else {},
        where=Path.cwd(),
        terminals=(_is_tty(sys.stdin), _is_tty(sys.stdout), _is_tty(sys.stderr)),
    )


def _is_tty(stream: Any) -> bool:
    # Python has None here when it was started with the descriptor closed.
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:
        return False


# ---------------------------------------------------------------------------------------------------------- click


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a flag that was given. The command's flags are parsed after the group's: the last one wins."""
    if value in (None, (), False):
        return
    flags = context.meta.setdefault(FLAGS_KEY, {})
    if parameter.name == "config":
        flags["config"] = [*flags.get("config", ()), *value]
    else:
        flags[parameter.name] = value


def click_options() -> list[click.Option]:
    """New parameters for a command or a group that takes the global options."""
    made = []
    for option in OPTIONS:
        kind: dict[str, Any] = {"is_flag": True} if option.metavar is None else {"metavar": option.metavar}
        made.append(_click_option((option.name, *option.flags), help=option.help, **kind))
    made.append(_click_option(("config", "--config"), help="Set a config value.", metavar="KEY=VALUE", multiple=True))
    return made


def _click_option(names: tuple[str, ...], **attributes: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_remember, **attributes)


def wants_json(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether errors are to be documents, known before the command line is understood."""
    words = list(arguments)
    if "--" in words:
        words = words[: words.index("--")]
    if "--json" in words:
        return True
    try:
        return parse.switch(environment.get(_BY_NAME["json"].variable, ""))
    except ValueError:
        return False


# ------------------------------------------------------------------------------------------------------------ run


def make_run(settings: Settings, *, progress: bool = True) -> AbstractContextManager[Run]:
    """The run of an operation: progress on stderr, limits, and signals that stop it at a clean place.

    Print and ask nothing while it is open: the terminal belongs to the progress display.

    :param progress: False for commands that write to stdout while they work; notices are shown even so.
    """
    return _running(settings if progress or settings.progress == "json" else replace(settings, progress="none"))


@contextmanager
def _running(settings: Settings) -> Iterator[Run]:
    from modelops_bundle.events import Limits, Run

    sinks = choose(
        settings.progress,
        quiet=settings.quiet,
        verbose=settings.verbose,
        json_output=settings.json,
        stderr_is_tty=settings.stderr_is_tty and not settings.dumb,
        ci=settings.ci,
        colour=settings.colour_stderr,
    )
    with sinks as emit:
        run = Run(emit=emit, limits=Limits(settings.jobs, settings.limit_rate, settings.connections))
        with cancelling(run, show_cursor=settings.stderr_is_tty):
            yield run


def leave_now(number: int) -> NoReturn:
    """End the process without asking anybody: what a second Ctrl-C wants."""
    os._exit(128 + number)


@contextmanager
def cancelling(
    run: Run, *, show_cursor: bool = False, leave: Callable[[int], object] = leave_now, patience: float = 1.0
) -> Iterator[None]:
    """The first SIGINT or SIGTERM cancels `run`, which then raises at its next check; the second ends the process.

    :param show_cursor: whether a progress display may have hidden it.
    :param patience: seconds after which somebody who waits for the end is told how to have it at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread; an embedding program has its own way to cancel
        return
    met: list[int] = []
    ended = threading.Event()

    def cancel(name: str) -> None:
        run.cancel(name)
        if not ended.wait(patience):
            run.notice("stopping", "stopping at the next clean place; Ctrl-C once more stops at once")

    def handle(number: int, _frame: FrameType | None) -> None:
        met.append(number)
        if len(met) > 1:
            if show_cursor:
                os.write(2, b"\x1b[?25h\n")
            leave(number)
            return
        # In a thread of its own, started without any lock of `threading`: a handler runs between two instructions of
        # the main thread, which may just then hold the lock of the event that `cancel` sets, or that of the sink.
        _thread.start_new_thread(cancel, (signal.Signals(number).name,))

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
