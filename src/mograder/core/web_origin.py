"""The origin of a web address, and comparisons of addresses by it."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from mograder.core.errors import InvalidInput

_LONGEST = 2000
_PORTS = {"https": 443, "http": 80}


def origin_of(url: str) -> str:
    """Return the origin of an address, such as "https://moodle.example.org", without usual ports.

    Raises:
        InvalidInput: It is not an http(s) address of ASCII characters, or has a user or a
            fragment. The message does not hold the address, whose query may be secret.
    """
    parts = _parts(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = parts.port
    usual = port is None or port == _PORTS[parts.scheme]
    return f"{parts.scheme}://{shown}" if usual else f"{parts.scheme}://{shown}:{port}"


def _parts(url: str) -> SplitResult:
    wrong = InvalidInput("This is not a web address that can be used.")
    if len(url) > _LONGEST or not url.isascii() or not url.isprintable() or set(" \\#") & set(url):
        raise wrong
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise wrong
    return parts
