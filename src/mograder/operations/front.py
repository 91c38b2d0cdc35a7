"""The configuration of the web server in front of a hub: its values, and the text for each server.

The values come from the hub's settings; the templates are ``fronts/nginx.conf.j2`` and
``fronts/Caddyfile.j2``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import HubSettings
from mograder.core.sections.settings_values import normalise_public_url
from mograder.core.settings import LoadedSettings
from mograder.core.web_origin import SessionUrl, session_url

_HUB_IS_DOWN = (
    "<!doctype html><html lang=en><meta charset=utf-8>"
    "<meta name=viewport content=width=device-width>"
    "<meta http-equiv=refresh content=10><title>The hub is not running</title><style>"
    ":root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}"
    "body{max-width:36rem;margin:15vh auto;padding:0 1rem}</style>"
    "<main><h1>The hub is not running</h1>"
    "<p>It is being restarted, or it has a fault. Saved work is safe.</p>"
    "<p>This page tries again every ten seconds.</p></main></html>"
)
"""The page shown while no hub answers; without quotes, so that both configurations can hold it."""

_RETRY_SECONDS = 10

_EXPRESSION = re.compile(r"\$[a-z0-9_]+|\{[A-Za-z0-9_.-]+\}")
_SIGN_ON_HEADER = re.compile(r"\{(?:http\.request\.)?header\.([^{}]+)\}")
"""Caddy's two spellings of a header of the request, which the sign-on sets."""

_HUB = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")
_FILE = re.compile(r"/[A-Za-z0-9._/@+-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The values for one web server in front of one hub, or of several, of which one works.

    ``scheme``, ``host`` and ``port`` (0: the scheme's default) are the public address,
    ``upstreams`` are host and port of each hub. ``user`` is the front's expression for the
    signed-in user; empty if users sign in at the hub. ``sessions`` is the address of sessions' own
    origins, if configured. Empty paths of certificates and keys stand for the web server's
    defaults.
    """

    scheme: str
    host: str
    port: int
    prefix: str
    upstreams: tuple[str, ...]
    header: str
    user: str
    request_mb: int
    sessions: SessionUrl | None
    certificate: str = ""
    key: str = ""
    session_certificate: str = ""
    session_key: str = ""

    @property
    def address(self) -> str:
        """The public URL without path; the port only if it is not the scheme's default."""
        return f"{self.scheme}://{self.host}{f':{self.port}' if self.port else ''}"

    @property
    def upstream(self) -> str:
        """The hub's name in nginx, where those of other courses may stand beside it."""
        return "mograder_" + re.sub(r"[^A-Za-z0-9]+", "_", f"{self.host}{self.prefix}")

    @property
    def sign_on_header(self) -> str:
        """The header from which Caddy takes the user; a client may send it, too. "" if none."""
        found = _SIGN_ON_HEADER.fullmatch(self.user)
        return found[1] if found else ""

    @property
    def several(self) -> bool:
        return len(self.upstreams) > 1

    @property
    def prefix_pattern(self) -> str:
        return self.prefix.replace(".", "\\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontOptions:
    domain: str = ""
    user: str = ""
    certificate: str = ""
    key: str = ""
    session_certificate: str = ""
    session_key: str = ""
    hubs: tuple[str, ...] = ()


def front_of(loaded: LoadedSettings, options: FrontOptions) -> Front:
    """Return a front's values; raises :class:`InvalidInput` for unsafe or unknown ones."""
    settings = loaded.settings
    hub = settings.hub
    scheme, host, port = _address(hub.public_url, options.domain)
    if hub.port == 0:
        raise InvalidInput("A front needs to know the hub's port.", hint="Set [hub] port.")
    if options.user and not _EXPRESSION.fullmatch(options.user):
        raise InvalidInput(
            f"{options.user!r} is no expression for who signed in.",
            hint="Give one variable, such as $remote_user or {http.auth.user.id}.",
        )
    if options.user and not hub.trusted_header:
        raise InvalidInput(
            "[hub] trusted_header is empty: the hub believes nobody who names the user.",
            hint='Set it, such as trusted_header = "X-Remote-User".',
        )
    upstreams = _upstreams(options.hubs, hub.here)
    listens = port or (443 if scheme == "https" else 80)
    if {f"{own}:{listens}" for own in ("127.0.0.1", "[::1]", "localhost")} & {*upstreams}:
        raise InvalidInput(
            f"The front would listen on port {listens}, which is the hub's own.",
            hint="Name the front's address: [hub] public_url, or --domain.",
        )
    certificate, key = _with_key(options.certificate, options.key)
    own_certificate, own_key = _with_key(options.session_certificate, options.session_key)
    return Front(
        scheme=scheme,
        host=host,
        port=port,
        prefix=hub.base_url,
        upstreams=upstreams,
        header=hub.trusted_header or HubSettings().trusted_header,
        user=options.user,
        request_mb=settings.limits.request_mb,
        sessions=session_url(hub.session_url, hub.public_url),
        certificate=certificate,
        key=key,
        session_certificate=own_certificate,
        session_key=own_key,
    )


def nginx_config(front: Front) -> str:
    """Return the site's file for nginx (1.18 and later, Debian's own modules)."""
    _demand_variable(front, "nginx", "$remote_user")
    if front.user.startswith("$http_"):
        raise InvalidInput(
            f"{front.user} is a header of the request: a client can send any name in it.",
            hint="Name a variable that the sign-on sets, as auth_request_set does.",
        )
    live, domain = "/etc/letsencrypt/live", front.sessions.domain if front.sessions else ""
    return _render(
        "nginx.conf.j2",
        front,
        user=front.user or '""',
        certificate=front.certificate or f"{live}/{front.host}/fullchain.pem",
        key=front.key or f"{live}/{front.host}/privkey.pem",
        session_certificate=front.session_certificate or f"{live}/{domain}/fullchain.pem",
        session_key=front.session_key or f"{live}/{domain}/privkey.pem",
    )


def caddy_config(front: Front) -> str:
    """Return the site's block for Caddy (2.6, as Debian has it, and later)."""
    _demand_variable(front, "Caddy", "{http.auth.user.id}")
    # A variable of `vars` has the username from a single sign-on in front of Caddy, which may add
    # its own bearer tokens; these requests must keep the username.
    signs_in_here = bool(front.user) and not front.user.startswith("{http.vars.")
    hubs = " ".join(front.upstreams)
    return _render("Caddyfile.j2", front, hubs=hubs, signs_in_here=signs_in_here)


def _demand_variable(front: Front, server: str, example: str) -> None:
    if front.user and front.user[0] != example[0]:
        raise InvalidInput(
            f"{front.user} is no variable of {server}.", hint=f"Give one, such as {example}."
        )


def _render(template: str, front: Front, **values: object) -> str:
    values |= {"retry_seconds": _RETRY_SECONDS, "hub_is_down": _HUB_IS_DOWN}
    return _environment().get_template(template).render(front=front, **values)


@cache
def _environment() -> Environment:
    """Return the environment, without HTML escaping: :func:`front_of` validates the values."""
    return Environment(
        loader=PackageLoader("mograder.operations", "fronts"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _address(public_url: str, domain: str) -> tuple[str, str, int]:
    if not (public_url or domain):
        raise InvalidInput(
            "Under which name do browsers find the hub?",
            hint="Set [hub] public_url, or give --domain hub.example.org.",
        )
    try:
        url = normalise_public_url(f"https://{domain}" if domain else public_url)
    except ValueError as error:
        raise InvalidInput(f"The domain {domain!r} {error}.") from error
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return parts.scheme, host, parts.port or 0


def _upstreams(hubs: tuple[str, ...], own: str) -> tuple[str, ...]:
    for hub in hubs:
        if not _HUB.fullmatch(hub):
            raise InvalidInput(
                f"--hub {hub!r} is no host and port.",
                hint="Give what this web server reaches the hub by, such as hub-1.internal:8080.",
            )
    return hubs or (own,)


def _with_key(certificate: str, key: str) -> tuple[str, str]:
    if bool(certificate) != bool(key):
        raise InvalidInput("A certificate needs its key, and a key its certificate.")
    return (_file(certificate), _file(key)) if certificate else ("", "")


def _file(path: str) -> str:
    if not _FILE.fullmatch(path):
        raise InvalidInput(
            f"The path {path!r} cannot be written into a web server's configuration.",
            hint="Use letters, digits, dots, dashes and slashes.",
        )
    return path
