"""The settings of other systems, where one key alone does not show a mistake."""

from __future__ import annotations

from urllib.parse import urlsplit

from mograder.clients.mail import MailServer, is_address
from mograder.core.errors import InvalidInput
from mograder.core.log import register_secret
from mograder.core.settings import LoadedSettings
from mograder.core.web_origin import is_loopback
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
    """Return the client's secret in ``[oidc] client_secret_file``, "" without that setting."""
    oidc = loaded.settings.oidc
    if not oidc.client_secret_file:
        return ""
    hint = "Correct [oidc] client_secret_file, or set MOGRADER_OIDC_SECRET."
    return read_secret(loaded.path(oidc.client_secret_file), hint=hint)


def check_oidc(loaded: LoadedSettings) -> None:
    """Check what one key alone does not show; raises InvalidInput, which names the key."""
    oidc = loaded.settings.oidc
    if not oidc.client_id:
        raise InvalidInput("[oidc] client_id is not set.", hint="The provider gives it.")
    if "openid" not in oidc.scopes:
        raise InvalidInput("[oidc] scopes lacks openid.", hint="Without it there is no identity.")
    if oidc.issuer.startswith("http:") and not oidc.private_network:
        raise InvalidInput(
            "[oidc] issuer has no https.",
            hint="For a trial on this machine set private_network = true in [oidc] too.",
        )
    own_url(loaded)


def mail_server(loaded: LoadedSettings, password: str) -> MailServer:
    """Return the mail server of ``[mail]``; ``password`` counts before ``password_file``."""
    mail = loaded.settings.mail
    if not is_address(mail.sender):
        raise InvalidInput(
            f"[mail] sender must be a mail address, and is {mail.sender!r}.",
            hint='Such as sender = "numerics@example.edu".',
        )
    if not mail.events:
        raise InvalidInput(
            "[mail] events is empty, so no letter would ever be sent.",
            hint='Such as events = ["handed-in", "released", "decided"].',
        )
    if mail.user and not password and mail.password_file:
        hint = "Correct [mail] password_file, or set MOGRADER_MAIL_PASSWORD."
        password = read_secret(loaded.path(mail.password_file), hint=hint)
    if mail.user and not password:
        raise InvalidInput(
            "[mail] user is set, but there is no password.",
            hint="Set MOGRADER_MAIL_PASSWORD, or [mail] password_file.",
        )
    if not f"{mail.user}{password}".isascii():
        raise InvalidInput(
            "[mail] user and its password can have letters without accents only.",
            hint="The sign-in at a mail server takes ASCII: choose another password there.",
        )
    if mail.user and mail.security == "none" and not is_loopback(mail.host):
        raise InvalidInput(
            '[mail] security = "none" would send the password readable by others.',
            hint='Use "starttls" or "tls".',
        )
    register_secret(password)
    return MailServer(mail.host, mail.port, mail.security, mail.sender, mail.user, password)
