"""The three ways to get a token: a password, an existing token, the browser.

A site with single sign-on accepts no passwords here: its users sign in with the browser, and Moodle
puts the token into a link of its app, signed with a random number of ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from urllib.parse import unquote

import httpx
from pydantic import TypeAdapter, ValidationError

from mograder.clients.moodle.http import Form, Wire, check_token
from mograder.clients.moodle.models import PublicConfigModel, TokenModel
from mograder.clients.moodle.records import PublicConfig
from mograder.clients.server_url import refuse_password
from mograder.core.errors import InvalidInput, NotAuthenticated, RemoteFailed

SERVICE = "moodle_mobile_app"
"""The service that almost every site offers to all users (compatibility-0.3.16.md 9)."""

_SCHEME = "moodlemobile"
_AJAX = "/lib/ajax/service-nologin.php"
_MAX_LINK = 4096


_CONFIGS = TypeAdapter(list[PublicConfigModel])


@dataclass(frozen=True, slots=True)
class Launch:
    """A sign-in in the browser: the user opens ``url`` and copies the link at its end.

    ``site`` and ``passport`` are the values that the link must be signed with.
    """

    url: str
    passport: str
    site: str


def public_config(url: str) -> PublicConfig:
    """Return a site's public configuration, which needs no sign-in."""
    function = "tool_mobile_get_public_config"
    call = json.dumps([{"index": 0, "methodname": function, "args": {}}])
    path = f"{_AJAX}?info={function}"
    with Wire(url) as wire:
        answer = wire.ask(Form(path, {}, function, safe=True, document=call))
    try:
        configs = _CONFIGS.validate_python(answer)
    except ValidationError as error:
        raise _no_moodle(wire.url) from error
    config = configs[0].data if configs and not configs[0].error else None
    if config is None:
        raise _no_moodle(wire.url)
    return config


def login_with_password(
    url: str,
    username: str,
    password: str,
    *,
    service: str = SERVICE,
    insecure: bool = False,
) -> str:
    """Return a token for a name and a password; Moodle gives the same one each time."""
    fields = {"username": username.strip(), "password": password, "service": service}
    with Wire(url) as wire:
        refuse_password(wire.url, insecure=insecure)
        answer = wire.ask(Form("/login/token.php", fields, "the login", safe=True))
    try:
        return check_token(TokenModel.model_validate(answer).token)
    except ValidationError as error:
        raise _no_moodle(wire.url) from error


def launch(config: PublicConfig) -> Launch:
    """Start a sign-in in the browser (``mograder moodle login --sso``).

    With OAuth 2, Moodle's launch page works whatever the app's type of login is.
    """
    if not (config.browser_login or config.has_providers) or not config.launch_url:
        raise RemoteFailed(
            f"{config.url} does not hand out tokens through the browser.",
            hint="Use `mograder moodle login` with your password, or ask the Moodle administrator "
            "to set the app's type of login to 'Via a browser window'.",
        )
    passport = str(secrets.randbelow(10**15))
    asked = httpx.URL(config.launch_url).copy_merge_params(
        {"service": SERVICE, "passport": passport, "urlscheme": _SCHEME}
    )
    return Launch(str(asked), passport, config.url)


def token_of(link: str, started: Launch) -> str:
    """Return the token in the link at the end of the sign-in.

    The signature binds it to this sign-in: a link from elsewhere would sign the user in to another
    account.
    """
    text = unquote(link.strip()[:_MAX_LINK])
    scheme, _, coded = text.partition("token=")
    try:
        if not scheme.startswith(f"{_SCHEME}://"):
            raise ValueError(scheme)
        padded = coded.rstrip("/") + "=" * (-len(coded.rstrip("/")) % 4)
        signature, token = base64.b64decode(padded).decode("ascii").split(":::")[:2]
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(
            "This is not the link that Moodle's sign-in ends in.",
            hint=f"It begins with {_SCHEME}://token= . Copy it whole, from the address bar or from "
            "the link on the page.",
        ) from error
    # MD5 is Moodle's choice, and the random number is ours.
    signed = hashlib.md5(f"{started.site}{started.passport}".encode(), usedforsecurity=False)
    if not hmac.compare_digest(signature, signed.hexdigest()):
        raise NotAuthenticated(
            "This link belongs to another sign-in.",
            hint="Use the link of the page that was opened last: `mograder moodle login --sso`.",
        )
    return check_token(token)


def _no_moodle(url: str) -> RemoteFailed:
    return RemoteFailed(
        f"What answers at {url} is not a Moodle that we know.",
        hint="Give the address of Moodle's front page; Moodle 4.1 or newer is needed.",
    )
