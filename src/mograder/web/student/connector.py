"""How a student gets to their course: one connector for each kind of server.

The pages ask a connector for the ways in that it has, show one form for each
(``templates/student/way_<name>.html``), and hand the filled-in form back. So another kind of server
is one class here and its forms, and no page changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mograder.clients.assignment_server.client import HttpsTransport, register
from mograder.clients.course_server import Transport
from mograder.clients.http import RetryPolicy
from mograder.clients.server_url import parse_hub_url
from mograder.clients.token_store import TokenStore, user_of
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound

_RETRY = RetryPolicy(tries=3, first_pause=0.3, longest=5.0)
"""Somebody looks at the page meanwhile; what cannot be sent now waits here anyway."""


class Connector(Protocol):
    """The way from this machine to one course."""

    @property
    def server(self) -> str:
        """The server's address as people read it; empty until a form tells it."""
        ...

    @property
    def settled(self) -> bool:
        """Whether the address is the course's own, so that no form asks for it."""
        ...

    @property
    def ways(self) -> tuple[str, ...]:
        """The forms for signing in, the usual one first."""
        ...

    def resume(self) -> Transport | None:
        """Return the connection of whoever signed in last time, without asking the server."""
        ...

    def sign_in(self, way: str, fields: Mapping[str, str], owner: str) -> Transport:
        """Sign in by one of the forms, and remember it for the next time.

        ``owner`` is whose work lies in the folder, empty for nobody's yet.

        Raises: Conflict for somebody else, before anything is remembered; MograderError in words
        for the student.
        """
        ...

    def sign_out(self) -> None:
        """Forget who was signed in, on this machine."""
        ...


class HttpsConnector:
    """The server of ``mograder serve``: a code to register with, or a token (B141, B148)."""

    def __init__(
        self, server: str, tokens: TokenStore, *, settled: bool = True, token: str = ""
    ) -> None:
        """``token`` is one from the settings, which counts before what was cached.

        Raises: InvalidInput when the course's own address is none.
        """
        if settled and server:
            parse_hub_url(server, insecure=True, what="server")
        self._server = server
        self._settled = settled and bool(server)
        self._tokens = tokens
        self._token = token

    @property
    def server(self) -> str:
        """The address, as it was given."""
        return self._server

    @property
    def settled(self) -> bool:
        """Whether the course's settings or the command line named it."""
        return self._settled

    @property
    def ways(self) -> tuple[str, ...]:
        """With the enrollment code, or with a token that one has."""
        return ("register", "token")

    def resume(self) -> Transport | None:
        """Return the connection of the token that is kept for this server."""
        if not self._server:
            return None
        if self._token:
            return _connected(self._server, self._token, user_of(self._token))
        found = self._tokens.find(self._server)
        return None if found is None else _connected(self._server, found.token, found.user)

    def sign_in(self, way: str, fields: Mapping[str, str], owner: str) -> Transport:
        """Register, or take a token; see :class:`Connector`."""
        server = self._server if self._settled else fields.get("server", "").strip()
        if not server:
            raise InvalidInput("The server's address is missing.", hint="Your course page has it.")
        match way:
            case "register":
                transport = self._register(server, fields, owner)
            case "token":
                transport = self._take(server, fields.get("token", "").strip(), owner)
            case _:
                raise NotFound("There is no such way to sign in.")
        self._server = server
        return transport

    def sign_out(self) -> None:
        """Drop the token."""
        self._token = ""
        if self._server:
            self._tokens.forget(self._server)

    def _register(self, server: str, fields: Mapping[str, str], owner: str) -> Transport:
        user, code = fields.get("user", "").strip(), fields.get("code", "").strip()
        if not user or not code:
            raise InvalidInput("Both a user name and the enrollment code are needed.")
        demand_owner(owner, user)
        cached = self._tokens.find(server)
        own = cached.token if cached is not None and cached.user == user else ""
        given = register(server, user, code, token=own, retry=_RETRY)
        # At once: a name is given out only one time.
        self._tokens.save(server, given.token, given.user)
        return _connected(server, given.token, given.user)

    def _take(self, server: str, token: str, owner: str) -> Transport:
        if not token:
            raise InvalidInput("The token is missing.")
        demand_owner(owner, user_of(token))
        transport = _connected(server, token, user_of(token))
        try:
            transport.list_assignments()
        except MograderError:
            transport.close()
            raise
        self._tokens.save(server, token, user_of(token))
        return transport


def demand_owner(owner: str, user: str) -> None:
    """Let nobody sign in over another's work: it would be sent as theirs. Raises: Conflict."""
    if owner not in ("", user):
        raise Conflict(
            f"This folder holds the work of {owner}, and you signed in as {user}.",
            hint=f"Start `mograder student` in another folder for {user}.",
        )


def _connected(server: str, token: str, user: str) -> HttpsTransport:
    return HttpsTransport(server, token, user=user, retry=_RETRY)
