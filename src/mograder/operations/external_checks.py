"""``mograder hub check``: whether provider, platforms and mail server answer, and know the hub.

Nothing of a person is read, and no mark or letter is sent: a provider's description and keys, a
platform's keys, an access token for the services that the settings use, a sign-in at the mail
server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from mograder.auth.jose import KeySet, PrivateKey
from mograder.auth.lti_addresses import scopes_of
from mograder.clients.key_sets import key_request
from mograder.clients.lti_platform import LtiServices
from mograder.clients.oidc_provider import OidcProvider
from mograder.core.clock import SystemClock
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.name_lookup import counted
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.settings import Environ, LoadedSettings
from mograder.operations.report import Line, note, ok, problem, tried
from mograder.operations.sign_in_settings import check_oidc, client_secret, mail_server, own_url
from mograder.store.database.upgrades import awaits_upgrade
from mograder.store.external.lti_platforms import Keys, Platforms
from mograder.store.hub.hub_state import HubState, existing_state

T = TypeVar("T")

_log = get_logger(__name__)


def external_lines(loaded: LoadedSettings, environ: Environ) -> Iterator[Line]:
    """Yield what is found about the other systems; nothing for a hub without them."""
    if issuer := loaded.settings.oidc.issuer:
        yield from tried("oidc", f"sign-in: {issuer}", lambda: _provider(loaded, environ))
    if loaded.settings.mail.host:
        yield from tried("mail", "letters", lambda: _mail(loaded, environ))
    yield from tried("lti", "LTI", lambda: _platforms(loaded, environ))


def _platforms(loaded: LoadedSettings, environ: Environ) -> Iterator[Line]:
    platforms, key = _stored(loaded, environ)
    if platforms:
        own_url(loaded)
    for platform in platforms:
        yield from _platform(platform, key)


def _stored(
    loaded: LoadedSettings, environ: Environ
) -> tuple[tuple[LtiPlatform, ...], PrivateKey | None]:
    """Return the platforms of the settings and the database, and the hub's key if it has one."""
    secret, lti = environ.hub_secret, loaded.settings.lti

    def read(state: HubState) -> tuple[tuple[LtiPlatform, ...], PrivateKey | None]:
        key = Keys(state.engine, secret.get_secret_value()).held() if secret else None
        return Platforms(state.engine, lti).all(), key

    return _of_database(loaded, read) or (lti.platform, None)


def members_decide(loaded: LoadedSettings) -> bool:
    """Return whether the members of platforms' courses decide who may enter."""
    lti = loaded.settings.lti
    found = _of_database(loaded, lambda state: Platforms(state.engine, lti).decide())
    return any(each.roster == "allow" for each in lti.platform) if found is None else found


def _of_database(loaded: LoadedSettings, read: Callable[[HubState], T]) -> T | None:
    """Return what is read from the hub's database; None without one that can be read."""
    try:
        with existing_state(loaded) as state:
            if state is not None and not awaits_upgrade(state.engine):
                return read(state)
    except MograderError as error:
        _log.debug("the platforms in the database could not be read: %s", error)
    return None


def _provider(loaded: LoadedSettings, environ: Environ) -> Line:
    settings = loaded.settings.oidc
    given = environ.oidc_secret.get_secret_value() if environ.oidc_secret else ""
    check_oidc(loaded)
    secret = given or client_secret(loaded)
    provider = OidcProvider(settings, secret)
    provider.describe().client_auth(secret)
    keys = KeySet.parse(provider.key_set()).keys
    if not keys:
        return problem("oidc", f"sign-in: {settings.issuer} publishes no key for signatures")
    return ok("oidc", f"sign-in: {settings.issuer} answers, with {counted(len(keys), 'key')}")


def _mail(loaded: LoadedSettings, environ: Environ) -> Line:
    given = environ.mail_password.get_secret_value() if environ.mail_password else ""
    own_url(loaded)
    server = mail_server(loaded, given)
    server.check()
    how = "without encryption" if server.security == "none" else f"by {server.security}"
    signed = f", signed in as {server.user}" if server.user else ""
    return ok("mail", f"letters: {server.host}:{server.port} answers {how}{signed}")


def _platform(platform: LtiPlatform, key: PrivateKey | None) -> Iterator[Line]:
    name = f"LTI: {platform.issuer} (client {platform.client_id})"
    missing = [each for each in ("deployments", "courses") if not getattr(platform, each)]
    if missing:
        text = f"{name} has no {' and no '.join(missing)}: every launch is refused"
        yield problem("lti-settings", text, "Set them in its [[lti.platform]] table.")
    try:
        found = KeySet.parse(key_request(platform)()).keys
    except MograderError as error:
        hint = error.hint or "Is jwks_url right, and may this machine reach the platform?"
        yield problem("lti-keys", f"{name}: {error.message}", hint)
        return
    if not found:
        yield problem("lti-keys", f"{name} publishes no key for signatures")
        return
    yield ok("lti-keys", f"{name} publishes {counted(len(found), 'key')}")
    wanted = scopes_of(platform)
    if not wanted:
        return
    if key is None:
        text = f"{name}: its services were not tried, since the hub's key is not at hand"
        hint = "Start the hub once, and run the check as its user with its environment."
        yield note("lti-services", text, hint)
        return
    yield from tried("lti-services", name, lambda: _services(platform, key, wanted, name))


def _services(platform: LtiPlatform, key: PrivateKey, wanted: tuple[str, ...], name: str) -> Line:
    granted = LtiServices(platform, key.sign, SystemClock()).access(wanted).scopes
    lacking = [each.rpartition("/")[2] for each in wanted if each not in granted]
    if lacking:
        text = f"{name} does not grant {', '.join(lacking)}, which the settings need"
        return problem("lti-services", text, "Switch the service on in the tool's settings there.")
    return ok("lti-services", f"{name} gives tokens for its services")
