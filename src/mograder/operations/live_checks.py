"""The checks of ``mograder hub check`` that ask a running hub, as a browser would.

With ``--url`` they test the web server in front of the hub (security.md): each test sends requests
to the public address.

With ``--session`` they open and close a session through the hub's HTTP interface. They publish a
demo with one cell, which students do not see, run it, and remove it again.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.auth.credentials import Role, make_token
from mograder.clients.certificate import look_at_certificate, trusting
from mograder.clients.file_upload import Upload
from mograder.clients.front_probe import FrontSeen, Spoof, look_at_front, try_spoof
from mograder.clients.hub import HubClient
from mograder.clients.server_url import parse_hub_url
from mograder.core.errors import MograderError, RemoteFailed
from mograder.core.sections.settings_model import HubSettings
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import Progress
from mograder.operations.report import Level, Line, note, ok, problem
from mograder.operations.trial_notebook import TRIAL_NOTEBOOK
from mograder.store.filesystem.files import remove_tree

NAME = "mograder-check"
"""The name of the item, and of the user that runs it."""

_HTTPS = 443
_SHOWN = 3

_LATE = 0.2
"""The last fraction of a certificate's lifetime, before which automatic renewal should happen."""

_REFUSED = 403
_OK = 200

_SESSION_POLICY = "sandbox"
"""The first directive of the policy of every response below ``/s/``, including errors."""

_SEE = (
    'See "Run the hub behind nginx or Caddy" in the documentation, or `mograder hub proxy-config`.'
)


class _Started(BaseModel):
    model_config = ConfigDict(extra="ignore")

    url: str


def examine_front(hub: HubSettings, url: str, transport: httpx.BaseTransport | None = None) -> Line:
    """Send a request with a forged trusted header to the public address; report the result."""
    user = hub.instructors[0] if hub.instructors else "mograder-check"
    header = hub.trusted_header or HubSettings().trusted_header  # a hub may trust none
    match try_spoof(url, header, user, transport=transport):
        case Spoof.REFUSED:
            return ok("front", f"{url} does not believe a client's own {header}")
        case Spoof.OPEN:
            text = f"{url} lets anybody in without signing in"
            hint = "Is the hub in --dev mode, or is the check itself signed in by its address?"
            return problem("front", text, hint)
        case Spoof.BELIEVED:
            text = f"{url} passes on a client's own {header}: anybody can come in as anybody"
            hint = f"Have the front delete {header} from what clients send, or take it out of "
            return problem("front", text, f"{hint}[hub] trusted_proxies.")


def examine_public(hub: HubSettings, url: str, authority: Path | None = None) -> tuple[Line, ...]:
    """Run all tests of the public address that need no sign-in.

    ``authority`` is a file with the certificate of an additional authority to trust.
    """
    try:
        trust = trusting(authority)
        certificate = certificate_line(url, trust)
        if certificate is not None and certificate.level is Level.PROBLEM:
            return (certificate,)  # no further request would succeed
        spoof = examine_front(hub, url, _transport(authority, trust))
        seen = look_at_front(url, transport=_transport(authority, trust), trust=trust)
    except MograderError as error:
        return (problem("front", error.message, error.hint),)
    return (spoof, *front_lines(seen, hub.public_url, certificate))


def certificate_line(url: str, trust: ssl.SSLContext, now: datetime | None = None) -> Line | None:
    """Return the fault of the front's certificate, or its expiry date.

    Return None without HTTPS, or if the front cannot be reached directly (behind a proxy).
    """
    parsed = httpx.URL(parse_hub_url(url, insecure=True))
    if parsed.scheme != "https":
        return None
    try:
        found = look_at_certificate(parsed.host, parsed.port or _HTTPS, trust)
    except RemoteFailed:
        return None
    ends = f"{found.ends:%Y-%m-%d %H:%M} UTC" if found.ends else "a time unknown"
    if found.trouble:
        names = ", ".join(found.names[:_SHOWN]) or "no name"
        issuer = found.issuer or "nobody named"
        text = f"the certificate of {parsed.host} {found.trouble}"
        told = f"{text} (for {names}, by {issuer}, until {ends})"
        return problem("front-https", told, found.remedy)
    text = f"the address is encrypted, and its certificate is accepted until {ends}"
    at = now or datetime.now(UTC)
    if found.begins and found.ends and found.ends - at < (found.ends - found.begins) * _LATE:
        hint = "It should have been renewed by now: see the front's log, and ports 80 and 443."
        return note("front-https", text, hint)
    return ok("front-https", text)


def front_lines(
    seen: FrontSeen, public_url: str = "", certificate: Line | None = None
) -> Iterator[Line]:
    if certificate is not None:
        yield certificate
    elif seen.origin.startswith("https://"):
        yield ok("front-https", "the address is encrypted, and its certificate is accepted")
    else:
        text = f"{seen.origin} is not encrypted: logins and work can be read on the way"
        yield note("front-https", text, "Give the front a certificate; Caddy gets one by itself.")
    yield _headers(seen)
    yield _session_path(seen)
    yield _websocket(seen)
    if public_url and public_url != seen.origin:
        text = f"[hub] public_url is {public_url}, browsers come by {seen.origin}"
        yield problem("front-url", text, "Make them the same, or leave public_url empty.")


def examine_session(
    loaded: LoadedSettings,
    environ: Environ,
    url: str | None,
    progress: Progress,
    authority: Path | None = None,
) -> Line:
    """Open a session on the running hub, request its page, and close it.

    ``url`` is the hub's address, by default the local one; ``authority`` is a file with the
    certificate of an additional authority to trust.
    """
    if environ.hub_secret is None:
        return note("session", "session: not tried, since the hub's secret is not at hand")
    hub = loaded.settings.hub
    address = url or f"http://{hub.here}{hub.base_url}"
    token = make_token(environ.hub_secret.get_secret_value(), NAME, Role.INSTRUCTOR)
    try:
        transport = httpx.HTTPTransport(verify=trusting(authority)) if authority else None
        with HubClient(address, token, insecure=True, transport=transport) as client:
            _try_session(client, progress)
    except MograderError as error:
        return problem("session", f"session: {error.message}", error.hint)
    finally:
        remove_tree(loaded.path(hub.release_dir) / NAME)
    return ok("session", f"session: one was opened at {address}, answered, and was closed")


def _transport(authority: Path | None, trust: ssl.SSLContext) -> httpx.BaseTransport | None:
    return None if authority is None else httpx.HTTPTransport(verify=trust)


def _headers(seen: FrontSeen) -> Line:
    """Check the hub's policy header, which shows the address that the front has passed to it."""
    own = seen.own
    if own.status != _OK:
        text = f"/health answers {own.status} through the front, as if behind a sign-in"
        hint = "Let /health through, so that monitoring and this check see the hub."
        return problem("front-signin", text, hint)
    if not own.policy or not own.nosniff:
        text = "the front takes the hub's security headers away"
        hint = "Have it pass on Content-Security-Policy and X-Content-Type-Options."
        return problem("front-headers", text, hint)
    if f"script-src {seen.static};" in own.policy:
        return ok("front-headers", f"the hub knows that browsers see it at {seen.origin}")
    believed = own.policy.partition("script-src ")[2].partition(";")[0]
    text = (
        f"the hub believes that its files are at {believed or 'no address'}, "
        f"and they are at {seen.static}: pages stay without scripts, forms are refused"
    )
    hint = "Have the front send Host, X-Forwarded-Proto and, below a path, X-Forwarded-Prefix; "
    return problem("front-headers", text, f"{hint}its address must be in [hub] trusted_proxies.")


def _session_path(seen: FrontSeen) -> Line:
    session = seen.session
    if session.policy.startswith(_SESSION_POLICY):
        return ok("front-sessions", "session paths (/s/) reach the hub without a sign-in")
    where = f", and leads to {session.location}" if session.location else ""
    text = f"/s/ does not reach the hub: the front answers {session.status}{where}"
    hint = f"Let /s/ through without a sign-in: session pages have no cookie there. {_SEE}"
    return problem("front-sessions", text, hint)


def _websocket(seen: FrontSeen) -> Line:
    if seen.websocket == _REFUSED:
        return ok("front-websocket", "WebSockets reach the hub")
    if seen.websocket == _OK:
        text = "the front makes plain requests of WebSockets: editors would not connect"
    elif seen.websocket_trouble:
        text = f"a WebSocket through the front fails: {seen.websocket_trouble}"
    else:
        text = f"a WebSocket through the front is answered {seen.websocket}"
    return problem("front-websocket", text, f"Pass on Upgrade and Connection. {_SEE}")


def _try_session(client: HubClient, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="mograder-check-") as place:
        notebook = Path(place) / f"{NAME}.py"
        notebook.write_text(TRIAL_NOTEBOOK, "utf-8")
        client.publish(NAME, "demo", [Upload(notebook.name, notebook)], progress)
    progress("Starting a session")
    try:
        started = _Started.model_validate_json(client.ask("POST", f"/start-run/{NAME}"))
        page = client.ask("GET", f"/{quote(started.url)}")
    except ValidationError as error:
        raise RemoteFailed("The hub does not say where the session is.") from error
    finally:
        client.ask("POST", f"/stop-edit/{NAME}/{NAME}?mode=run")
    if b"marimo" not in page:
        raise RemoteFailed("The session's server answers something else than marimo's page.")
