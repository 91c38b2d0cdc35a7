"""The student's connection to their course: one connector for each kind of server.

The pages show one form for each of the connector's ways to sign in
(``templates/student/way_<name>.html``), and pass the filled-in form back. So another kind of server
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
"""Short, since a person waits for the page; an unsent submission is kept anyway."""


class Connector(Protocol):
    """The connection from this machine to one course."""

    @property
    def server(self) -> str:
        """The server's address for display; empty until a form names it."""
        ...

    @property
    def settled(self) -> bool:
        """Whether the address is the course's own, so that no form asks for it."""
        ...

    @property
    def ways(self) -> tuple[str, ...]:
        """The names of the forms for signing in, the usual one first."""
        ...

    def resume(self) -> Transport | None:
        """Return the connection of the last login without a request to the server, or None."""
        ...

    def sign_in(self, way: str, fields: Mapping[str, str], owner: str) -> Transport:
        """Sign in by one of the forms, and store the login for the next time.

        ``owner`` is the user whose work is in the folder, empty if there is none yet.

        Raises: Conflict for another user, before anything is stored; MograderError with a message
        for the student.
        """
        ...

    def sign_out(self) -> None:
        """Delete the stored login on this machine."""
        ...


class HttpsConnector:
    """The server of ``mograder serve``: an enrollment code, or a token (B141, B148)."""

    ways = ("register", "token")

    def __init__(
        self, server: str, tokens: TokenStore, *, settled: bool = True, token: str = ""
    ) -> None:
        """Check the address; ``token`` is one from the settings, preferred to a cached one.

        Raises: InvalidInput when the course's own address is not valid.
        """
        if settled and server:
            parse_hub_url(server, insecure=True, what="server")
        self.server = server
        self.settled = settled and bool(server)
        self._tokens = tokens
        self._token = token

    def resume(self) -> Transport | None:
        """Return the connection with the token stored for this server, or None."""
        if not self.server:
            return None
        if self._token:
            return _connected(self.server, self._token, user_of(self._token))
        found = self._tokens.find(self.server)
        return None if found is None else _connected(self.server, found.token, found.user)

    def sign_in(self, way: str, fields: Mapping[str, str], owner: str) -> Transport:
        """Register, or use a token; see :class:`Connector`."""
        server = self.server if self.settled else fields.get("server", "").strip()
        if not server:
            raise InvalidInput("The server's address is missing.", hint="Your course page has it.")
        match way:
            case "register":
                transport = self._register(server, fields, owner)
            case "token":
                transport = self._take(server, fields.get("token", "").strip(), owner)
            case _:
                raise NotFound("There is no such way to sign in.")
        self.server = server
        return transport

    def sign_out(self) -> None:
        """Delete the token."""
        self._token = ""
        if self.server:
            self._tokens.forget(self.server)

    def _register(self, server: str, fields: Mapping[str, str], owner: str) -> Transport:
        user, code = fields.get("user", "").strip(), fields.get("code", "").strip()
        if not user or not code:
            raise InvalidInput("Both a user name and the enrollment code are needed.")
        demand_owner(owner, user)
        cached = self._tokens.find(server)
        own = cached.token if cached is not None and cached.user == user else ""
        given = register(server, user, code, token=own, retry=_RETRY)
        # Stored at once: a name is given out only once.
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
    """Refuse another user than the owner: work would be sent as theirs. Raises: Conflict."""
    if owner not in ("", user):
        raise Conflict(
            f"This folder holds the work of {owner}, and you signed in as {user}.",
            hint=f"Start `mograder student` in another folder for {user}.",
        )


def _connected(server: str, token: str, user: str) -> HttpsTransport:
    return HttpsTransport(server, token, user=user, retry=_RETRY)
