"""The parts of marimo's page that are off until somebody in charge allows them."""

from __future__ import annotations

from typing import Final

FEATURES: Final = ("ai", "execute", "lsp", "packages", "secrets", "terminal")
"""What ``[tool.mograder] allow`` and ``[items.NAME] allow`` may name (sessions.md, "Flags")."""
