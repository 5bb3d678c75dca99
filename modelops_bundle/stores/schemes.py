"""From a reference to its store: the one table of schemes. A store's module is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelops_bundle.events import Run
from modelops_bundle.model.ports import Store
from modelops_bundle.model.reference import Reference, Scheme

if TYPE_CHECKING:
    from modelops_bundle.net.client import Client
    from modelops_bundle.stores.learned import Learned


@dataclass(frozen=True, slots=True)
class _Wish:
    reference: Reference
    client_factory: Callable[[], Client]
    root: Path
    create: bool
    run: Run
    journal: Path | None
    learned: Learned | None
    scratch: Path


def _registry(wish: _Wish) -> Store:
    from modelops_bundle.stores.registry import RegistryStore

    place = wish.reference
    return RegistryStore(wish.client_factory(), place.host, place.repository, wish.journal, wish.learned)


def _layout(wish: _Wish) -> Store:
    from modelops_bundle.stores.layout import LayoutStore

    return LayoutStore(wish.root / wish.reference.place, wish.create, wish.run)


def _memory(wish: _Wish) -> Store:
    from modelops_bundle.stores.memory import named

    return named(wish.reference.place)


def _tar(wish: _Wish) -> Store:
    from modelops_bundle.stores.archive import ArchiveStore

    return ArchiveStore(wish.root / wish.reference.place, wish.scratch, wish.run)


_FACTORIES: Mapping[Scheme, Callable[[_Wish], Store]] = {
    "oci": _registry,
    "layout": _layout,
    "mem": _memory,
    "tar": _tar,
}


def open_store(
    reference: Reference,
    *,
    client_factory: Callable[[], Client],
    root: Path,
    run: Run,
    create: bool = False,
    journal: Path | None = None,
    learned: Learned | None = None,
    scratch: Path | None = None,
) -> Store:
    """The store at the place of `reference`.

    :param client_factory: gives the HTTP client; called only for registries.
    :param root: what relative layout places are relative to.
    :param create: make a layout directory that is not there, at the first write.
    :param journal: the folder that remembers uploads under way.
    :param learned: what is known of registries.
    :param scratch: a folder where a compressed archive may be unpacked meanwhile.
    :raises NotFound: a layout directory or an archive is not there. :raises Corrupt: an archive is damaged.
    :raises Unsupported: something is there that is no layout.
    """
    return _FACTORIES[reference.scheme](
        _Wish(reference, client_factory, root, create, run, journal, learned, scratch or root)
    )
