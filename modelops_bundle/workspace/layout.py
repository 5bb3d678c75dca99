"""Names inside `.modelops-bundle/` (DESIGN §5), in one place."""

from __future__ import annotations

FOLDER = ".modelops-bundle"
VERSION = "version"
CONFIG = "config.toml"
TRACKED = "tracked"
AT = "at"
SEEN = "seen"
STORE = "store"
INDEX = "index"
PACKS = "packs"
CHUNKS = "chunks"
PARTS = "parts"
JOURNAL = "journal"
UPLOADS = "uploads"
LANDING = "landing.json"
LOCK = "lock"
LOG = "log"
IGNORE_FILE = ".modelopsignore"

CURRENT_VERSION = 1
EMBEDDED = f"layout:{FOLDER}/{STORE}"
"""The remote of a bundle that was given none: relative, so the directory can be moved."""
