"""The settings of signing in by other systems, where one key alone does not show a mistake."""

from __future__ import annotations

from urllib.parse import urlsplit

from mograder.clients.server_url import is_loopback
from mograder.core.errors import InvalidInput
from mograder.core.settings import LoadedSettings
from mograder.store.assignment_server.secret import read_secret


def own_url(loaded: LoadedSettings) -> str:
    """Return the hub's public address with its path prefix, without a slash at the end.

    Raises: InvalidInput if the settings do not tell it, or it has no https and is not for a trial.
    """
    hub = loaded.settings.hub
    parts = urlsplit(hub.public_url)
    local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not local:
        raise InvalidInput(
            "[oidc], [lti] and [mail] need [hub] public_url with https.",
            hint="Such as https://hub.example.org: other systems and letters lead browsers to it.",
        )
    return f"{hub.public_url.rstrip('/')}{hub.base_url.rstrip('/')}"


def client_secret(loaded: LoadedSettings) -> str:
    """Return the client's secret in ``[oidc] client_secret_file``, "" without that setting.

    Raises: InvalidInput if the file cannot be read.
    """
    settings = loaded.settings.oidc
    if not settings.client_secret_file:
        return ""
    hint = "Correct [oidc] client_secret_file, or set MOGRADER_OIDC_SECRET."
    return read_secret(loaded.path(settings.client_secret_file), hint=hint)


def check_oidc(loaded: LoadedSettings) -> None:
    """Check what one key alone does not show.

    Raises: InvalidInput naming the key.
    """
    settings = loaded.settings.oidc
    if not settings.client_id:
        raise InvalidInput("[oidc] client_id is not set.", hint="The provider gives it.")
    if "openid" not in settings.scopes:
        raise InvalidInput("[oidc] scopes lacks openid.", hint="Without it there is no identity.")
    if settings.issuer.startswith("http:") and not settings.private_network:
        raise InvalidInput(
            "[oidc] issuer has no https.",
            hint="For a trial on this machine set private_network = true in [oidc] too.",
        )
    own_url(loaded)
