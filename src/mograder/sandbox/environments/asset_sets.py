"""The names of the shared sets of marimo's static files (:mod:`.static_assets`)."""

from __future__ import annotations

import re

ASSETS = "assets"
"""The directory of all sets, beside the environments."""

SET_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_]{0,39}-[0-9a-f]{16}")
"""The name of a set: marimo's version and a digest."""
