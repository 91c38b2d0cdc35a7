"""The hub's own address, as other systems know it: from the settings, never from a request."""

from __future__ import annotations

from urllib.parse import urlsplit

from mograder.clients.server_url import is_loopback
from mograder.core.errors import InvalidInput
from mograder.core.settings import LoadedSettings


def own_url(loaded: LoadedSettings) -> str:
    """Return the hub's public address with its path prefix, without a slash at the end.

    Raises: InvalidInput if the settings do not tell it, or it has no https and is not for a trial.
    """
    hub = loaded.settings.hub
    parts = urlsplit(hub.public_url)
    local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not local:
        raise InvalidInput(
            "Sign-in by another system needs [hub] public_url with https.",
            hint="Such as https://hub.example.org: other systems send browsers back to it.",
        )
    return f"{hub.public_url.rstrip('/')}{hub.base_url.rstrip('/')}"
