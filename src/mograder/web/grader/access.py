"""Access to the grader: by a one-time link on one's own machine, or by a proxy's header.

The rules for the header are those of 0.3.16's ``grader-asgi`` (compatibility-0.3.16.md 5), except
that nothing that came through a proxy without a trusted name is taken for local use.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from mograder.auth.identity import Network, is_within, named_user, parse_networks
from mograder.auth.roles import Role
from mograder.core.errors import Forbidden, InvalidInput, MograderError
from mograder.core.names import Username
from mograder.web.app import Header
from mograder.web.browser_access import BrowserAccess, refuse_other_site
from mograder.web.context import request_context
from mograder.web.grader.app import answer_problem, role_shown
from mograder.web.marking.context import enter_marking
from mograder.web.problems import Wants, wanted

_USER = b"x-remote-user"
_BY_PROXY = ("x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip")
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_OPEN = ("/health", "/static/")


def local_user() -> str:
    """Return the name of the person at this machine, for the marks that they give."""
    try:
        return Username.valid(getpass.getuser()) or "instructor"
    except (OSError, KeyError):  # a user without a name
        return "instructor"


def _let_in(request: Request, name: str, role: Role) -> None:
    enter_marking(request, name, role_shown(request, role))


class LocalAccess:
    """The person at this machine, in a browser that used the one-time link, is an instructor."""

    def __init__(self, browser: BrowserAccess, user: str) -> None:
        self._browser = browser
        self._user = user
        self.enter = browser.enter

    async def admit(self, request: Request, headers: list[Header]) -> Response | None:
        """Return the refusal of a request, None for one that is admitted."""
        refusal = await self._browser.admit(request, headers)
        if refusal is None and self._browser.admits(request.scope):
            _let_in(request, self._user, Role.INSTRUCTOR)
        return refusal


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """The rules of a grader behind a proxy.

    Without instructors and markers every user that a trusted proxy names is an instructor.
    ``local_proxy``: a proxy on this machine may name users.
    """

    instructors: frozenset[str]
    markers: frozenset[str]
    proxies: tuple[Network, ...]
    local_proxy: bool = False

    def trusts(self, client: str | None) -> bool:
        """Return whether a peer may name users and report their address."""
        if client is None:
            return False
        return is_within(client, self.proxies) or (self.local_proxy and is_loopback(client))

    def role_of(self, user: str) -> Role:
        """Return the role of a user whom a trusted proxy names.

        Raises: Forbidden if there are lists and the user is on none of them.
        """
        if user in self.instructors or not (self.instructors or self.markers):
            return Role.INSTRUCTOR
        if user in self.markers:
            return Role.MARKER
        raise Forbidden("You do not mark in this course.", hint="Ask an instructor to add you.")


def proxy_rules(
    instructors: Iterable[str],
    markers: Iterable[str],
    proxies: Iterable[str],
    *,
    local_proxy: bool,
) -> ProxyRules:
    """Return the rules of these users and addresses.

    Raises: InvalidInput naming what is no username, or no address.
    """
    try:
        peers = parse_networks(proxies)
    except InvalidInput as error:
        raise InvalidInput(error.message, hint="Correct --trusted-proxies.") from error
    return ProxyRules(
        frozenset(map(Username.claimed, instructors)),
        frozenset(map(Username.claimed, markers)),
        peers,
        local_proxy=local_proxy,
    )


class ProxyAccess:
    """Users that a trusted proxy names; a person at this machine without a proxy instructs.

    Where this machine's own address is a trusted proxy's, each request has to name its user.
    """

    enter = None

    def __init__(self, rules: ProxyRules, user: str) -> None:
        self._rules = rules
        self._user = user

    async def admit(self, request: Request, _: list[Header]) -> Response | None:
        """Return the refusal of a request, None for one that is admitted."""
        try:
            name, role = self._person(request)
        except MograderError as error:
            if request_context(request).path.startswith(_OPEN):
                return None
            if wanted(request) is not Wants.PAGE and isinstance(error, Forbidden):
                return PlainTextResponse("403 Forbidden", 403)
            return await answer_problem(request, error)
        _let_in(request, name, role)
        return refuse_other_site(request)

    def _person(self, request: Request) -> tuple[str, Role]:
        named = named_user([value for name, value in request.scope["headers"] if name == _USER])
        context = request_context(request)
        client = context.client
        if named:
            if not self._rules.trusts(client):
                raise Forbidden(
                    "This address may not name a user.",
                    hint="Start the grader with --trusted-proxies or --trust-local-proxy.",
                )
            if not context.known_host:  # a page in a browser on the proxy's machine
                raise Forbidden(
                    "The grader has another name.",
                    hint="Open it by its proxy's address, or by localhost.",
                )
            user = Username.claimed(named)
            return user, self._rules.role_of(user)
        # A proxy on this machine that is trusted passes on requests of visitors without a name.
        if is_loopback(client) and not self._rules.trusts(client) and _without_proxy(request):
            return self._user, Role.INSTRUCTOR
        raise Forbidden("Nobody is signed in.", hint="Open the grader through its proxy.")


def _without_proxy(request: Request) -> bool:
    """Whether a local request names this machine and went through no proxy.

    A page on the web that leads its own name to this machine (DNS rebinding) names another host.
    """
    host = request_context(request).host.lower()
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in _LOCAL_NAMES and not any(each in request.headers for each in _BY_PROXY)


def is_loopback(client: str | None) -> bool:
    """Return whether a peer's address is this machine's."""
    try:
        address = ip_address(client or "")
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
