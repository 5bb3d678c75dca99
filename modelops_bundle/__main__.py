"""`python -m modelops_bundle`."""

from __future__ import annotations

import sys

from modelops_bundle.ui.cli.main import main

sys.exit(main())
