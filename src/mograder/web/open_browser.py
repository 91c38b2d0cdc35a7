"""Open a page in the user's own browser, if this machine has one with windows."""

from __future__ import annotations

import webbrowser
from contextlib import suppress

_SCHEMES = ("http://", "https://")
_IN_THE_TERMINAL = ("www-browser", "links", "elinks", "lynx", "w3m")


def open_page(url: str) -> bool:
    """Open an address in the browser; return False if there is none, or it does not start.

    A browser inside the terminal is not started: it would cover the command's own output. Windows
    opens any address with the program for it, so only http and https are accepted.
    """
    if not url.startswith(_SCHEMES):
        return False
    with suppress(webbrowser.Error, OSError):
        found = webbrowser.get()
        name = str(getattr(found, "name", "")).replace("\\", "/").rpartition("/")[2]
        return name not in _IN_THE_TERMINAL and found.open(url)
    return False
