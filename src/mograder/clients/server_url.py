"""The addresses of servers, a hub or a Moodle, as people give them: checked, and in our own form.

They tell whether a token or a password may be sent there: not unencrypted to another machine.
"""

from __future__ import annotations

import re

import httpx

from mograder.core.errors import InvalidInput
from mograder.core.web_origin import is_loopback

_MOODLE_HINT = (
    "Give the address of Moodle's front page, such as https://moodle.example.edu: --url, "
    "MOGRADER_MOODLE_URL, or [moodle] url in mograder.toml."
)

_PAGE = re.compile(r"/(?:[\w-]+\.php|(?:my|login|course|mod|webservice)(?:/.*)?)$")
"""Paths behind the site's own path, in addresses copied from a browser."""


def parse_hub_url(text: str, *, insecure: bool = False, what: str = "hub") -> str:
    """Return the base URL of a hub without a trailing slash; ``what`` names it in messages."""
    hint = f"Give it as https://{what}.example.org, with the path prefix if the {what} has one."
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise InvalidInput(f"{text!r} is not a URL: {error}.", hint=hint) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidInput(f"{text!r} is not the URL of a {what}.", hint=hint)
    if url.userinfo or url.query or url.fragment:
        raise InvalidInput(
            f"The {what}'s URL must have no user, query or fragment part.", hint=hint
        )
    if url.scheme == "http" and not insecure and not is_loopback(url.host):
        raise InvalidInput(
            f"{url} is not encrypted: anyone on the way could read the token.",
            hint="Use https, or --insecure if you trust every machine in between.",
        )
    return str(url).rstrip("/")


def parse_moodle_url(text: str) -> str:
    """Return the address in our form: no page, query or trailing slash; raises InvalidInput."""
    try:
        url = httpx.URL(text.strip())
        path = re.sub(r"/{2,}", "/", url.path).rstrip("/")
        while (shorter := _PAGE.sub("", path)) != path:
            path = shorter
        site = url.copy_with(path=path or "/", query=None, fragment=None)
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise InvalidInput(f"{text!r} is not an address: {error}.", hint=_MOODLE_HINT) from error
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise InvalidInput(f"{text!r} is not the address of a Moodle.", hint=_MOODLE_HINT)
    return str(site).rstrip("/")


def is_insecure(url: str) -> bool:
    """Return whether a token (compat 1: with a warning) or a password would be sent unencrypted."""
    parsed = httpx.URL(url)
    return parsed.scheme == "http" and not is_loopback(parsed.host)


def refuse_password(url: str, *, insecure: bool = False, remedy: str = "") -> None:
    """Raise if a password would be sent unencrypted, unless ``insecure`` allows it."""
    if is_insecure(url) and not insecure:
        raise InvalidInput(
            f"Your password would travel unencrypted: {url} begins with http://.",
            hint=f"Use the address that begins with https://. {remedy}".strip(),
        )
