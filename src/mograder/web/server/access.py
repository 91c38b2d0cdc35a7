"""Access to the routes of the assignment server (B139, B145-B147)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl

from starlette.requests import Request

from mograder.auth.credentials import Claims, Role, verify_token
from mograder.auth.identity import bearer_token
from mograder.core.errors import Forbidden, InvalidInput, MograderError, NotAuthenticated
from mograder.core.log import get_logger
from mograder.core.names import INSTRUCTOR, Username
from mograder.store.assignment_server.name_registry import How, parse_username
from mograder.web.context import context_of
from mograder.web.request_body import single_fields
from mograder.web.server.services import Services

_MOST_FIELDS = 20
_log = get_logger(__name__)


class Access(StrEnum):
    ANYONE = "anyone"
    SIGNED_IN = "signed in"
    OWNER = "owner or instructor"
    SELF = "owner alone"
    INSTRUCTOR = "instructor"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller; with ``--no-auth`` an unnamed one with an instructor's rights."""

    user: str
    instructor: bool


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One request, as its handler gets it.

    ``names`` are the named segments of its path, decoded; ``query`` its fields, one value each;
    ``user`` is the person whose data it concerns, where the route demands one.
    """

    request: Request
    services: Services
    names: Mapping[str, str]
    query: Mapping[str, str]
    caller: Caller | None = None
    user: Username | None = None

    @property
    def whose(self) -> Username:
        """The person whose data it concerns. Raises: RuntimeError for a route without an owner."""
        if self.user is None:
            raise RuntimeError("a route without an owner asked for one")
        return self.user

    @property
    def asker(self) -> Caller:
        """The caller. Raises: RuntimeError for a route that admits anyone."""
        if self.caller is None:
            raise RuntimeError("a route for anyone asked who is there")
        return self.caller

    @property
    def detailed(self) -> bool:
        """Whether the client asks for the fields that 0.3.16 did not have."""
        return self.query.get("detail", "") not in ("", "0")


def read_query(request: Request) -> dict[str, str]:
    """Return the query's fields; raises :class:`InvalidInput` for a repeated, ambiguous one."""
    text = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise InvalidInput("The query cannot be read.") from error
    return single_fields(pairs)


async def identify(request: Request, services: Services) -> Caller | None:
    """Return the caller that the token names, or None without a valid token.

    Raises: :class:`InvalidInput` for two of them; :class:`Forbidden` without tokens under a name
    that another site's page may have led here.
    """
    if services.options.no_auth:
        if not context_of(request.scope).known_host:
            raise Forbidden("With --no-auth, use localhost or the server's IP address")
        return Caller("", instructor=True)
    token = bearer_token(request.scope["headers"])
    claims = token and verify_token(services.secret, token, services.people.epoch)
    if not claims:
        return None
    instructor = claims.role is Role.INSTRUCTOR or claims.username == INSTRUCTOR
    if not instructor:
        await _note_use(claims, services)
    return Caller(claims.username, instructor)


async def admit(info: RequestInfo, access: Access) -> Username | None:
    """Check the route's access; return the person whose data it concerns, or None."""
    if access is Access.ANYONE:
        return None
    caller = info.caller
    if caller is None:
        raise NotAuthenticated("Authentication required")
    if access is Access.INSTRUCTOR:
        if not caller.instructor:
            raise Forbidden("Instructor access required")
        # Without tokens any page in this machine's browser could send this: allow only our own
        # pages and programs.
        origin = info.request.headers.get("origin") if info.services.options.no_auth else None
        if origin is not None and origin not in context_of(info.request.scope).own_origins:
            raise Forbidden("With --no-auth, pages from elsewhere have no instructor access")
        return None
    if access is Access.SIGNED_IN:
        return None
    text = info.names.get("user", info.query.get("user", ""))
    if not text:
        raise InvalidInput("Missing 'user' query parameter")
    user = parse_username(text)
    alone = access is Access.SELF and not info.services.options.no_auth
    if caller.user != user and (alone or not caller.instructor):
        raise Forbidden("Token user does not match request user")
    return user


async def _note_use(claims: Claims, services: Services) -> None:
    """Register a name whose token is used for the first time: it is taken from now on."""
    if services.people.find(claims.username) is not None:
        return
    note, now = services.people.note, services.clock.now()
    try:
        await services.write(note, (claims.username,), How.USED, now)
    except (OSError, MograderError) as error:
        _log.warning("cannot note that %s's token is in use: %s", claims.username, error)
