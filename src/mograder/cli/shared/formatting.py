"""Times and texts of servers, as commands print them."""

from __future__ import annotations

from datetime import datetime

_MOMENT = "%a %d %b %Y, %H:%M"


def when(moment: datetime | None) -> str:
    """Return a time in the reader's own zone, for people."""
    return "No deadline" if moment is None else f"{moment.astimezone():{_MOMENT}}"


def plain(text: str) -> str:
    """Remove control characters from a server's text, so that they do not reach the terminal."""
    return "".join(each if each.isprintable() else " " for each in text)
