"""From an address to its resolver: ours, or a plugin for schemes that we do not have.

Plugins are entry points of the group `modelops_bundle.resolvers`, whose value is a class. They are looked for only when a
scheme is unknown: listing them takes longer than most commands (facts: fetch §1.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Protocol, cast

from modelops_bundle.errors import ConfigError, Unsupported
from modelops_bundle.model import source_uri
from modelops_bundle.model.remote import API, Resolver
from modelops_bundle.model.source_uri import SourceUri

GROUP = "modelops_bundle.resolvers"

_BUILT_IN = {
    "hf": ("modelops_bundle.sources.huggingface", "HuggingFace"),
    "civitai": ("modelops_bundle.sources.civitai", "Civitai"),
    "modelscope": ("modelops_bundle.sources.modelscope", "Modelscope"),
}
_MEMBERS = ("parse", "resolve", "open")


class EntryPoint(Protocol):
    """What is used of `importlib.metadata.EntryPoint`."""

    @property
    def name(self) -> str: ...

    def load(self) -> Any: ...


Listing = Callable[[], Iterable[EntryPoint]]


def installed() -> Iterable[EntryPoint]:
    """The plugins that are installed."""
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def read(text: str, plugins: Listing = installed) -> tuple[SourceUri, Resolver]:
    """The address in `text`, and who resolves it.

    :param plugins: lists the entry points; called only for schemes that the grammar does not have.
    :raises UsageError: it is no address, and no plugin has its scheme.
    :raises ConfigError: the plugin that has it cannot be used.
    :raises Unsupported: the scheme is known, and nothing here resolves it.
    """
    scheme = source_uri.scheme_of(text)
    if scheme is not None and scheme not in source_uri.SCHEMES:
        plugin = _plugin(scheme, plugins)
        if plugin is not None:
            return plugin.parse(text), plugin
    uri = source_uri.parse(text)
    return uri, _built_in(uri.scheme)


def _built_in(scheme: str) -> Resolver:
    found = _BUILT_IN.get(scheme)
    if found is None:
        raise Unsupported(
            f"{scheme}:// is not fetched from yet", hint=f"what is: {', '.join(f'{name}://' for name in _BUILT_IN)}"
        )
    return cast(Resolver, getattr(import_module(found[0]), found[1])())


def _plugin(scheme: str, plugins: Listing) -> Resolver | None:
    """The plugin for `scheme`. Its entry point is named as the scheme is: no other code is loaded to find it.

    :raises ConfigError: there are two, or it does not keep the port.
    """
    found = [one for one in plugins() if one.name.lower() == scheme]
    if not found:
        return None
    if len(found) > 1:
        raise ConfigError(f"{len(found)} plugins resolve {scheme}://", hint="uninstall all but one")
    try:
        resolver = found[0].load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"the plugin for {scheme}:// cannot be loaded: {error}", hint="update or uninstall it"
        ) from error
    return check(resolver, scheme)


def check(resolver: Any, scheme: str) -> Resolver:
    """Return `resolver` when it is one, and resolves nothing that is ours.

    :raises ConfigError: it is not, or it does.
    """
    name = str(getattr(resolver, "name", type(resolver).__name__))[:80]
    if getattr(resolver, "api", None) != API:
        raise ConfigError(
            f"the plugin {name} is for another version of the port than {API}", hint="update one of the two"
        )
    if not all(callable(getattr(resolver, member, None)) for member in _MEMBERS):
        raise ConfigError(f"the plugin {name} is no resolver", hint=f"it needs {', '.join(_MEMBERS)}")
    schemes = tuple(getattr(resolver, "schemes", ()))
    taken = sorted(set(schemes) & set(source_uri.SCHEMES))
    if taken or scheme not in schemes:
        reason = f"claims {', '.join(taken)}, which are built in" if taken else f"does not resolve {scheme}://"
        raise ConfigError(f"the plugin {name} {reason}", hint="uninstall it")
    return cast(Resolver, resolver)
