"""git for model directories over any OCI registry."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from modelops_bundle.api.bundle import Bundle as Bundle
    from modelops_bundle.api.bundle import ensure as ensure
    from modelops_bundle.api.bundle import open_store as open_store
    from modelops_bundle.errors import BundleError as BundleError
    from modelops_bundle.events import Run as Run

# Lazily: the command line imports this package for its version, and nothing else must come with it.
_PUBLIC = {
    "Bundle": "modelops_bundle.api.bundle",
    "ensure": "modelops_bundle.api.bundle",
    "open_store": "modelops_bundle.api.bundle",
    "BundleError": "modelops_bundle.errors",
    "Run": "modelops_bundle.events",
}
__all__ = ["Bundle", "BundleError", "Run", "__version__", "ensure", "open_store"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
