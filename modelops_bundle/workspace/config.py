"""`config.toml`: the user's file. Reading is the standard library's; edits keep comments and order (tomlkit)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from modelops_bundle.disk.files import read_file, write_file
from modelops_bundle.disk.locks import exclusive
from modelops_bundle.errors import ConfigError, UsageError
from modelops_bundle.model.reference import Reference, is_remote_name, parse
from modelops_bundle.net.options import NOTHING_SAID, HostOptions

DEFAULT_REMOTE = "origin"
DEFAULT_TAG = "latest"


def _text(value: str) -> str:
    return value


def _boolean(value: str) -> bool:
    words = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "on": True, "off": False}
    if value.lower() not in words:
        raise ValueError("true or false")
    return words[value.lower()]


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("a whole number from 1")
    return number


def _rate(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?\s*([KMGT]i?)?B?(/s)?|none|unlimited", value.strip(), re.IGNORECASE):
        raise ValueError("a number of bytes per second, as in 10M")
    return value


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0.1 <= seconds <= 86400:
        raise ValueError("a number of seconds from 0.1")
    return seconds


def _globs(value: str) -> list[str]:
    return [glob.strip() for glob in value.split(",") if glob.strip()]


def _keys(value: str) -> list[str]:
    return _globs(value)


def _one_of(*words: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in words:
            raise ValueError(" or ".join(words))
        return value

    return check


KEYS: Mapping[str, Callable[[str], Any]] = {
    "default_remote": _text,
    "default_tag": _text,
    "ignore.defaults": _boolean,
    "limits.connections": _positive,
    "limits.jobs": _positive,
    "limits.rate": _rate,
    "limits.retry_wait": _seconds,
    "limits.timeout": _seconds,
    "namespace": _text,
    "plain_http": _boolean,
    "ca_file": _text,
    "cache": _boolean,
    "offline": _boolean,
    "pack": _one_of("auto", "always", "never"),
    "layout": _one_of("plain", "image"),
    "image.prefix": _text,
    "platform": _text,
    "progress": _one_of("auto", "plain", "json", "none"),
    "quiet": _boolean,
    "verbose": _boolean,
    "remotes.*.url": _text,
    "remotes.*.tag": _text,
    "remotes.*.race": _one_of("default", "strict"),
    "remotes.*.require_signature": _keys,
    "remotes.*.layout": _one_of("plain", "image"),
    "remotes.*.delta": _one_of("off", "auto"),
    "remotes.*.plain_http": _boolean,
    "remotes.*.insecure": _boolean,
    "remotes.*.ca_file": _text,
    "remotes.*.client_cert": _text,
    "remotes.*.client_key": _text,
    "hosts.*.plain_http": _boolean,
    "hosts.*.insecure": _boolean,
    "hosts.*.ca_file": _text,
    "hosts.*.client_cert": _text,
    "hosts.*.client_key": _text,
    "tags.*.interop": _one_of("any", "plain"),
    "trust.*": _keys,
    "roles.*": _globs,
    "annotations.*": _text,
    "follow_links": _globs,
}
"""Every key, `*` standing for a name, with the reader of its value on the command line."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_FITS: Mapping[Callable[[str], Any], Callable[[object], bool]] = {
    _boolean: lambda value: isinstance(value, bool),
    _positive: lambda value: type(value) is int and value > 0,
    _rate: lambda value: type(value) is int or isinstance(value, str),
    _seconds: lambda value: type(value) in (int, float),
    _globs: _is_texts,
    _keys: lambda value: isinstance(value, str) or _is_texts(value),
}
"""What a value in a file may be, by the reader of its key; text where nothing is said."""


def key_rule(key: str) -> Callable[[str], Any]:
    """The reader of values of `key`.

    :raises ConfigError: no such key.
    """
    parts = _split(key)
    if parts[0] == "hosts" and len(parts) > 1:
        _check_host(parts[1])
    if parts[0] == "trust" and len(parts) > 1:
        _check_place(parts[1])
    for pattern, rule in KEYS.items():
        wanted = pattern.split(".")
        if len(parts) == len(wanted) and all(w == p or (w == "*" and p) for w, p in zip(wanted, parts, strict=True)):
            return rule
    close = get_close_matches(key, list(KEYS), n=1)
    raise ConfigError(
        f"no configuration key {key!r}", hint=f"did you mean {close[0]}?" if close else f"keys: {', '.join(KEYS)}"
    )


def parse_value(key: str, text: str) -> Any:
    """The value of `key` from how a person writes it.

    :raises ConfigError: no such key, or no such value.
    """
    try:
        return key_rule(key)(text)
    except ValueError as error:
        raise ConfigError(f"{key} cannot be {text!r}", hint=f"it wants {error}") from error


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _nested(parts: list[str], value: Any) -> dict[str, Any]:
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def _split(key: str) -> list[str]:
    # The name of an annotation has dots of its own, and so has a host; the file's quotes around it may be written.
    head, _, rest = key.partition(".")
    if head == "hosts" and rest:
        host, _, name = rest.rpartition(".")
        return [head, host.strip("\"'").lower(), name]
    if head == "trust" and rest:
        return [head, rest.strip("\"'")]
    if head == "tags" and rest:
        glob, _, name = rest.rpartition(".")
        return [head, glob.strip("\"'"), name]
    return [head, rest] if head in ("annotations", "roles") and rest else key.split(".")


def _check_host(host: str) -> None:
    try:
        known = parse(f"oci://{host}/x").host == host.lower()
    except UsageError:
        known = False
    if not known:
        hint = 'write HOST or HOST:PORT, as in hosts."registry.example.com:5000".ca_file'
        raise ConfigError(f"hosts.{host}: not a host", hint=hint)


def _check_place(place: str) -> None:
    """A prefix that no reference could ever have would protect nothing. :raises ConfigError: it is one."""
    try:
        known = parse(f"oci://{place}/x").place.lower() == f"{place}/x".lower()
    except UsageError:
        known = False
    if not known:
        hint = 'write HOST or HOST/PATH without a tag, as in trust."registry.example.com/team"'
        raise ConfigError(f"trust.{place}: not a place on a registry", hint=hint)


def _host_options(where: str, table: Mapping[str, Any]) -> HostOptions:
    """The options in `table`, which has other keys too. :raises ConfigError: a value of the wrong type."""
    said: dict[str, Any] = {}
    for field in fields(HostOptions):
        value = table.get(field.name)
        rule = KEYS[f"hosts.*.{field.name}"]
        if value is not None and not _FITS.get(rule, _is_text)(value):
            raise ConfigError(f"{where}.{field.name} cannot be {value!r}", hint="bundle config set KEY VALUE")
        # An empty text takes back what the user's own file says of the host.
        said[field.name] = None if value == "" else value
    return HostOptions(**said)


@dataclass(frozen=True, slots=True)
class Remote:
    """A named place to push to and pull from."""

    name: str
    reference: Reference
    tag: str
    race: str = "default"
    options: HostOptions = NOTHING_SAID
    """How its host is spoken to; paths as they are written."""
    layout: str | None = None
    """The layout of what is pushed there; None where the bundle's own counts."""
    delta: str = "off"
    """Whether large files are pushed there as chunks where that saves much: `off` or `auto`."""

    @property
    def default(self) -> Reference:
        """The reference that the bare name of the remote means."""
        return self.reference if self.reference.tag or self.reference.digest else self.reference.at(self.tag)


class Config:
    """The parsed file. Immutable; changes go through `edit`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read `path`; absent is empty.

        :raises ConfigError: not TOML.
        """
        data = read_file(path)
        try:
            return cls(tomllib.loads((data or b"").decode("utf-8")))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}", hint="mend it in an editor") from error

    def layered(self, below: Mapping[str, Any], above: Mapping[str, str]) -> Config:
        """These settings over `below` (the user's own), under `above` (dotted keys with values as written).

        :raises ConfigError: a key of `above` that there is not, or a value it cannot have.
        """
        merged = _merge(below, self.values)
        for key, text in above.items():
            merged = _merge(merged, _nested(_split(key), parse_value(key, text)))
        checked = Config(merged)
        checked.check()
        return checked

    def check(self) -> None:
        """:raises ConfigError: a key that there is not, or a value of the wrong type, named."""
        for key, value in self.flat().items():
            rule = key_rule(key)
            fits = _FITS.get(rule, _is_text)
            if not fits(value):
                raise ConfigError(f"{key} cannot be {value!r}", hint="bundle config set KEY VALUE")
            if isinstance(value, str):
                parse_value(key, value)

    def get(self, key: str) -> Any:
        """The value of dotted `key`, None when unset."""
        value: Any = self.values
        for part in _split(key):
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return value

    def flat(self) -> dict[str, Any]:
        """Every set value by dotted key."""
        found: dict[str, Any] = {}

        def walk(prefix: str, value: Any) -> None:
            if isinstance(value, Mapping):
                for name, item in value.items():
                    walk(f"{prefix}.{name}" if prefix else name, item)
            else:
                found[prefix] = value

        walk("", self.values)
        return found

    @property
    def default_remote(self) -> str:
        """Name of the remote that commands without one mean."""
        return str(self.get("default_remote") or DEFAULT_REMOTE)

    @property
    def pack(self) -> str:
        """When pushes pack small files."""
        return str(self.get("pack") or "auto")

    @property
    def default_tag(self) -> str:
        """Tag of references without one."""
        return str(self.get("default_tag") or DEFAULT_TAG)

    def remotes(self) -> dict[str, Remote]:
        """The remotes by name.

        :raises ConfigError: one cannot be read.
        """
        table = self.get("remotes") or {}
        if not isinstance(table, Mapping):
            raise ConfigError("'remotes' in config.toml is not a table")
        return {str(name): self._remote(str(name), value) for name, value in table.items()}

    def _remote(self, name: str, value: Any) -> Remote:
        if not is_remote_name(name) or not isinstance(value, Mapping) or not isinstance(value.get("url"), str):
            raise ConfigError(f"remote {name!r} in config.toml has no usable name or url")
        race = str(value.get("race", "default"))
        if race not in ("default", "strict"):
            raise ConfigError(f"remotes.{name}.race is {race!r}", hint="it can be default or strict")
        return Remote(
            name,
            parse(value["url"]),
            str(value.get("tag") or self.default_tag),
            race,
            _host_options(f"remotes.{name}", value),
            None if value.get("layout") is None else str(value["layout"]),
            self._delta(name, value),
        )

    @staticmethod
    def _delta(name: str, value: Mapping[str, Any]) -> str:
        delta = str(value.get("delta", "off"))
        if delta not in ("off", "auto"):
            raise ConfigError(f"remotes.{name}.delta is {delta!r}", hint="it can be off or auto")
        return delta

    def readable_tags(self) -> tuple[str, ...]:
        """Globs of the tags that every OCI tool has to be able to read.

        :raises ConfigError: not tables.
        """
        table = self.get("tags") or {}
        if not isinstance(table, Mapping) or not all(isinstance(value, Mapping) for value in table.values()):
            raise ConfigError("'tags' in config.toml must hold tables", hint='[tags."v*"] interop = "plain"')
        return tuple(str(glob) for glob, value in table.items() if value.get("interop") == "plain")

    def hosts(self) -> dict[str, HostOptions]:
        """How single hosts are spoken to, by `HOST[:PORT]`; paths as they are written.

        :raises ConfigError: a name that no host has, or a value of the wrong type.
        """
        table = self.get("hosts") or {}
        if not isinstance(table, Mapping) or not all(isinstance(value, Mapping) for value in table.values()):
            raise ConfigError("'hosts' in config.toml must hold tables", hint='[hosts."registry.example.com:5000"]')
        for host in table:
            _check_host(host)
        return {str(host).lower(): _host_options(f"hosts.{host}", value) for host, value in table.items()}

    def roles(self) -> dict[str, list[str]]:
        """Role globs of the user, by role.

        :raises ConfigError: not lists of strings.
        """
        table = self.get("roles") or {}
        if not isinstance(table, Mapping) or not all(
            isinstance(globs, list) and all(isinstance(glob, str) for glob in globs) for globs in table.values()
        ):
            raise ConfigError("'roles' in config.toml must hold lists of globs")
        return {str(role): list(globs) for role, globs in table.items()}

    def required_keys(self, remote: str) -> list[str]:
        """Files with the keys one of which has to have signed what comes from `remote`; none is asked for when empty."""
        return _paths(self.get(f"remotes.{remote}.require_signature"))

    def trust(self) -> dict[str, list[str]]:
        """By place on a registry and all below it, files with the keys one of which has to have signed what comes from
        there.

        :raises ConfigError: not a place, or no files.
        """
        table = self.get("trust") or {}
        if not isinstance(table, Mapping) or not all(_FITS[_keys](value) for value in table.values()):
            raise ConfigError(
                "'trust' in config.toml must hold files with keys", hint='"registry.example.com" = "x.pub"'
            )
        for place in table:
            _check_place(place)
        return {str(place): _paths(value) for place, value in table.items()}

    def follow_links(self) -> frozenset[str]:
        """Paths of links that stand for the content of their target (`add --follow-links`)."""
        return frozenset(self.get("follow_links") or ())

    def annotations(self) -> dict[str, str]:
        """Manifest annotations that every push carries."""
        table = self.get("annotations") or {}
        return {str(key): str(value) for key, value in table.items()} if isinstance(table, Mapping) else {}


def _paths(value: object) -> list[str]:
    found = value if isinstance(value, list) else [value]
    return [str(path) for path in found if path]


def edit(path: Path, changes: Mapping[str, Any]) -> None:
    """Set dotted keys (None removes) in the file, keeping everything else as the user wrote it.

    :raises ConfigError: the file is not TOML.
    """
    import tomlkit  # noqa: PLC0415  15 ms that only edits pay
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    try:
        document = tomlkit.parse((read_file(path) or b"").decode("utf-8"))
        for key, value in changes.items():
            _set(document, _split(key), value)
    except (UnicodeDecodeError, TOMLKitError, TypeError) as error:
        raise ConfigError(f"{path} cannot be edited: {error}", hint="mend it in an editor") from error
    write_file(path, tomlkit.dumps(document).encode("utf-8"))


def remember_host(path: Path, host: str, options: HostOptions) -> None:
    """Set what `options` say of `host` in the config file at `path`, and keep everything else.

    Relative paths in it are relative to the file's directory; store absolute ones.

    :param path: the user's own file; made when it is not there.
    :param host: `HOST[:PORT]`.
    :raises ConfigError: the file is not TOML, or no host. :raises Locked: somebody else keeps writing it.
    """
    _check_host(host)
    said: dict[str, Any] = {f"hosts.{host}.{name}": value for name, value in options.said().items()}
    if options.client_cert is not None:
        # A key that belonged to the certificate before would not fit.
        said.setdefault(f"hosts.{host}.client_key", None)
    if options.means_tls:
        said.setdefault(f"hosts.{host}.plain_http", None)
    if said:
        with exclusive(path.with_name(f".{path.name}.lock"), what=str(path)):
            edit(path, said)


def _set(table: Any, parts: list[str], value: Any) -> None:
    import tomlkit  # noqa: PLC0415

    *groups, last = parts
    above = [table]
    for group in groups:
        if group not in table:
            if value is None:
                return
            table[group] = tomlkit.table(is_super_table=group == groups[0] and len(groups) > 1)
        table = table[group]
        above.append(table)
    if value is None:
        table.pop(last, None)
        # An emptied table would still count as a remote, or a role.
        for outer, group in zip(reversed(above[:-1]), reversed(groups), strict=True):
            if not outer[group]:
                outer.pop(group)
    else:
        table[last] = value
