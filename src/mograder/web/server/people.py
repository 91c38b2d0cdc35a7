"""Registration by the class's enrollment code, the names that are taken, and their release."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import JSONResponse, Response

from mograder.auth.credentials import Role, make_token
from mograder.core.errors import Forbidden, InvalidInput
from mograder.core.names import Username
from mograder.core.web_origin import network_of
from mograder.store.assignment_server.name_registry import (
    How,
    check_code,
    parse_username,
    retry_mark,
    taken,
)
from mograder.store.submissions.receipts import moment
from mograder.store.submissions.submitted_files import reads_as_a_submission
from mograder.web.context import client_address, context_of
from mograder.web.request_body import read_body
from mograder.web.server.access import RequestInfo, identify

_LIMIT = 16 * 1024
_LOOPBACK = frozenset({None, "127.0.0.1", "::1"})


class _Wish(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    user: str = ""
    enrollment_code: str = ""
    retry_key: str = ""


async def register(info: RequestInfo) -> Response:
    """Register a name and return its token, given the enrollment code (B141)."""
    services = info.services
    options = services.options
    if not options.enrollment_code:
        raise Forbidden("Registration is not enabled on this server")
    if options.no_auth:
        raise InvalidInput("Server has no auth secret (running in --no-auth mode)")
    peer, headers = context_of(info.request.scope).client, info.request.scope["headers"]
    # Behind a proxy on this machine it is the one that the proxy reports.
    address = network_of(client_address(headers, peer, _LOOPBACK.__contains__))
    wish = _read(await read_body(info.request, _LIMIT))
    user = parse_username(wish.user)
    services.registration_limits.check(address, user)
    if reads_as_a_submission(user):
        raise InvalidInput("Invalid username: it reads as the name of a submission")
    try:
        check_code(options.enrollment_code, wish.enrollment_code)
    except Forbidden:
        services.registration_limits.failed(address, user)
        raise
    mark = retry_mark(wish.retry_key) if wish.retry_key else ""
    caller = await identify(info.request, services)
    if caller is None or caller.user != user:
        await services.write(_register, info, user, mark)
        services.registration_limits.made(address)
    token = make_token(services.secret, user, epoch=services.people.epoch(user))
    return JSONResponse({"token": token, "user": user})


async def me(info: RequestInfo) -> Response:
    caller = info.asker
    role = Role.INSTRUCTOR if caller.instructor else Role.STUDENT
    now = moment(info.services.clock.now())
    return JSONResponse({"user": caller.user, "role": role.value, "time": now})


async def list_all(info: RequestInfo) -> Response:
    people = [
        {"user": each.user, "since": moment(each.since), "how": each.how.value}
        for each in info.services.people.taken()
    ]
    return JSONResponse({"people": people})


async def reset(info: RequestInfo) -> Response:
    """End a name's tokens and make the name available again."""
    return await _end(info, How.RESET)


async def revoke(info: RequestInfo) -> Response:
    """End a name's tokens; it stays taken."""
    return await _end(info, How.REVOKED)


async def _end(info: RequestInfo, how: How) -> Response:
    services = info.services
    user = parse_username(info.names["person"])
    end, now = services.people.end, services.clock.now()
    await services.write(end, user, how, now)
    return JSONResponse({"status": "ok", "user": user})


def _register(info: RequestInfo, user: Username, mark: str) -> None:
    services, roster = info.services, info.services.roster
    # A list whose file is gone would let everybody in.
    if roster is not None and (roster.stamp() is None or not roster.allows(user, Role.STUDENT)):
        raise Forbidden(
            f"The name {user} is not on this course's list.",
            hint="Register with the name that your instructor has for you, or ask them.",
        )
    if roster is None and services.people.find(user) is None:
        Username.parse_new(user)
    # Submissions under the name from before there was a register of names.
    if services.people.find(user) is None and services.submissions.anything_of(user):
        raise taken(user)
    services.people.register(user, mark, services.clock.now())


def _read(body: bytes) -> _Wish:
    try:
        wish = _Wish.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid" or not first["loc"]:
            raise InvalidInput("Invalid JSON") from error
        raise InvalidInput(f"'{first['loc'][0]}' must be a text") from error
    if not wish.user:
        raise InvalidInput("Missing 'user' field")
    return wish
