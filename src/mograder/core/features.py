"""The features of marimo's editor that are off unless the author or administrator allows them."""

from __future__ import annotations

from typing import Final

FEATURES: Final = ("ai", "execute", "lsp", "packages", "secrets", "terminal")
"""The allowed values in ``[tool.mograder] allow`` and ``[items.NAME] allow`` (sessions.md, "What is
switched off")."""
