"""Progress of work at which nobody looks."""

from __future__ import annotations


def quiet(_: str) -> None:
    """Ignore progress."""
