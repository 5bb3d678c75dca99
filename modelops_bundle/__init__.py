"""git for model directories over any OCI registry."""

__version__ = "0.1.0"
