"""The address of a Moodle: validation, and its form in settings and caches."""

from __future__ import annotations

import re

import httpx

from mograder.clients.server_url import is_loopback
from mograder.core.errors import InvalidInput

_HINT = (
    "Give the address of Moodle's front page, such as https://moodle.example.edu: --url, "
    "MOGRADER_MOODLE_URL, or [moodle] url in mograder.toml."
)
_PAGE = re.compile(r"/(?:[\w-]+\.php|(?:my|login|course|mod|webservice)(?:/.*)?)$")
"""Paths behind the site's own path, in addresses copied from a browser."""


def parse_moodle_url(text: str) -> str:
    """Return a site's address in our form: no page, no query, no trailing slash.

    Raises:
        InvalidInput: It is not an http(s) address.
    """
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{text!r} is not an address: {error}.", hint=_HINT) from error
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise InvalidInput(f"{text!r} is not the address of a Moodle.", hint=_HINT)
    path = re.sub(r"/{2,}", "/", url.path).rstrip("/")
    while (shorter := _PAGE.sub("", path)) != path:
        path = shorter
    return str(url.copy_with(path=path or "/", query=None, fragment=None)).rstrip("/")


def is_insecure(url: str) -> bool:
    """Return whether a token or a password would be sent unencrypted to another machine.

    A token is sent there with a warning (compat 1), a password not at all
    (:func:`refuse_password`).
    """
    parsed = httpx.URL(url)
    return parsed.scheme == "http" and not is_loopback(parsed.host)


def refuse_password(url: str, *, insecure: bool = False, remedy: str = "") -> None:
    """Raise if a password would be sent unencrypted; ``insecure`` allows it.

    ``remedy`` is added to the hint.

    Raises:
        InvalidInput: The address is plain http to another machine.
    """
    if is_insecure(url) and not insecure:
        raise InvalidInput(
            f"Your password would travel unencrypted: {url} begins with http://.",
            hint=f"Use the address that begins with https://. {remedy}".strip(),
        )
