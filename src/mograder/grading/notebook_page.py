"""The notebook as it ran, as a page; a placeholder until the page is written."""

from __future__ import annotations

import html
from collections.abc import Sequence

from mograder.sandbox.execution.report import CellResult


def render_notebook_page(text: str, filename: str, cells: Sequence[CellResult]) -> str:
    """Return the notebook as an inert page."""
    title, body = html.escape(filename), html.escape(text)
    return f"<!doctype html><title>{title}</title><pre>{body}</pre><p>{len(cells)} cells</p>\n"
