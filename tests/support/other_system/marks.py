"""The mark of tests that run once as on each other system; the programs there need no pytest."""

from __future__ import annotations

import pytest

SYSTEMS = pytest.mark.parametrize("system", ["windows", "macos"])
