"""How many rounds a randomised campaign runs."""

from __future__ import annotations

import os


def rounds(full: int) -> int:
    """`full` under BUNDLE_CAMPAIGN=1 (`make campaign`), a twentieth in `make test`."""
    if os.environ.get("BUNDLE_CAMPAIGN", "") not in ("", "0"):
        return full
    return max(1, full // 20)
