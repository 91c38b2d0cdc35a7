"""The address of a hub: its validation, and whether a token may be sent to it."""

from __future__ import annotations

import ipaddress

import httpx

from mograder.core.errors import InvalidInput


def parse_hub_url(text: str, *, insecure: bool = False, what: str = "hub") -> str:
    """Return the base URL of a hub without a trailing slash; ``what`` names it in messages.

    Raises:
        InvalidInput: It is not an http(s) URL, or plain http to another machine without `insecure`.
    """
    hint = f"Give it as https://{what}.example.org, with the path prefix if the {what} has one."
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as error:
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


def is_loopback(host: str) -> bool:
    """Return whether a host name means this machine, without a DNS lookup."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
