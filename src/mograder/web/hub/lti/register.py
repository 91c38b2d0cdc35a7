"""A learning platform registers itself, at the one-time address that an administrator made.

The platform opens the address in a frame. Nothing is fetched until the button is pressed, since
programs that preview addresses follow them too; the button uses the address up, whatever the
platform answers, but not where the hub may not even ask it. No identity counts here: the address is
the leave.
"""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.credentials import hash_code
from mograder.auth.lti_addresses import ToolAddresses
from mograder.clients.guarded_http import PrivateAddress, platform_http
from mograder.clients.lti_platform import register
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.web_origin import origin_of
from mograder.hub.lti_service import LtiService
from mograder.store.external.lti_platforms import Registrations
from mograder.web.context import request_context
from mograder.web.error_responses import status_of
from mograder.web.hub.core.audit import Event
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.signin.external_signin import framed
from mograder.web.pages import page
from mograder.web.request_body import read_form, single_fields
from mograder.web.route import ANYONE, Route

_CODE = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST_TOKEN = 8000
_PRIVATE = (
    "If that is intended, an administrator of the hub makes another address with mograder hub lti "
    "register --private-network."
)


async def ask(code: str, request: Request, app: CurrentApp) -> Response:
    platform = await _expected(app, code, use=False)
    query = single_fields(request.query_params.multi_items())
    try:
        configuration, token = _parameters(query, platform)
    except InvalidInput as error:
        return _failed(request, platform, error)
    shown = page(
        request,
        "lti_register.html",
        state="ask",
        platform=platform,
        code=code,
        configuration=configuration,
        token=token,
    )
    return framed(request, shown, platform)


async def use(code: str, request: Request, app: CurrentApp) -> Response:
    form = await read_form(request)
    platform = await _expected(app, code, use=False)
    client = request_context(request).address
    try:
        configuration, token = _parameters(form, platform)
        await to_thread.run_sync(
            platform_http(platform).look_up, configuration, limiter=app.of(LtiService).limiter
        )
        platform = await _expected(app, code, use=True)
        lti = app.of(LtiService)
        job = partial(
            register,
            platform_http(platform),
            configuration,
            token,
            platform,
            addresses=ToolAddresses(lti.own_url),
            title=app.title,
        )
        made = await to_thread.run_sync(job, limiter=lti.limiter)
        await to_thread.run_sync(lti.platforms.put, made, app.services.clock.now())
    except MograderError as error:
        await app.audit.refused(Event("", "register platform", platform.issuer, client))
        return _failed(request, platform, error)
    what = f"{made.issuer} {made.client_id}"
    await app.audit.granted(Event("", "register platform", what, client))
    origin = origin_of(made.issuer)
    shown = page(request, "lti_register.html", state="done", platform=made, origin=origin)
    return framed(request, shown, platform)


async def _expected(app: HubApp, code: str, *, use: bool) -> LtiPlatform:
    """Return the platform of an address. Raises: NotFound for a used or unknown one."""
    registrations, found = Registrations(app.services.state.engine), None
    if _CODE.fullmatch(code):
        look = registrations.use if use else registrations.find
        found = await to_thread.run_sync(look, hash_code(code), app.services.clock.now())
    if found is None:
        raise NotFound(
            "This address was used already, has expired, or was not copied in full.",
            hint="Make a new one with mograder hub lti register.",
        )
    return found


def _parameters(given: dict[str, str], platform: LtiPlatform) -> tuple[str, str]:
    """Return the address of the platform's configuration, and its token. Raises: InvalidInput."""
    address = given.get("openid_configuration", "")
    token = given.get("registration_token", "")
    if not address or len(token) > _LONGEST_TOKEN:
        raise InvalidInput(
            "This address is for a learning platform's page of registration.",
            hint=f"Paste it there, where {platform.issuer} registers tools.",
        )
    if origin_of(address) != origin_of(platform.issuer):
        host = urlsplit(address).hostname
        raise InvalidInput(
            f"Another platform opened this address: it was made for {platform.issuer}, not {host}.",
            hint="Make one for that platform with mograder hub lti register.",
        )
    return address, token


def _failed(request: Request, platform: LtiPlatform, error: MograderError) -> Response:
    status = status_of(error)
    hint = _PRIVATE if isinstance(error, PrivateAddress) else error.hint
    shown = page(
        request,
        "lti_register.html",
        status,
        state="failed",
        message=error.message,
        hint=hint,
    )
    return framed(request, shown, platform)


ROUTES = (
    Route("GET", "/lti/register/{code}", ask, ANYONE),
    Route("POST", "/lti/register/{code}", use, ANYONE),
)
