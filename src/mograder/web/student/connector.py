"""The student's connection to their course: one connector for each kind of server.

The pages show one form for each of the connector's ``ways`` to sign in, the usual one first
(``templates/way_<name>.html``), and pass the filled-in form back. So another kind of server
is one class here and its forms, and no page changes. ``server`` is its address for display, empty
until a form names it; ``settled`` is whether that is the course's own, so that no form asks for it.

A dashboard has one :class:`ServerConnection`, which one thread at a time uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar

import httpx
from anyio import to_thread

from mograder.clients.assignment_server.client import HttpsTransport, register
from mograder.clients.assignment_server.protocol import COPY_AGAIN, REFUSED
from mograder.clients.course_server import NeedsDecision, Transport
from mograder.clients.http import RetryPolicy
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.login import login_with_password
from mograder.clients.moodle.transport import MoodleTransport
from mograder.clients.server_url import (
    is_insecure,
    parse_hub_url,
    parse_moodle_url,
)
from mograder.clients.token_store import (
    HTTPS,
    MOODLE,
    TokenStore,
    demand_user_of,
    server_key,
    user_of,
)
from mograder.core.errors import (
    Busy,
    Conflict,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TimedOut,
)
from mograder.core.names import INSTRUCTOR
from mograder.core.settings import Environ, LoadedSettings, Origin
from mograder.core.web_origin import is_loopback
from mograder.exchange.student.course import Known
from mograder.store.copies.student_folder import StudentFolder

_RETRY = RetryPolicy(tries=3, first_pause=0.3, longest=5.0)
"""Short, since a person waits for the page; an unsent submission is kept anyway."""

T = TypeVar("T")
_AWAY = (RemoteFailed, Busy, TimedOut)


class HttpsConnector:
    """The server of ``mograder serve``: an enrollment code, or a token (B141, B148)."""

    ways = ("register", "token")
    course_id = 0

    def __init__(
        self, server: str, tokens: TokenStore, *, settled: bool = True, token: str = ""
    ) -> None:
        """Check the address; ``token`` is one from the settings, preferred to a cached one."""
        if settled and server:
            parse_hub_url(server, insecure=True, what="server")
        self.server = server
        self.settled = settled and bool(server)
        self._tokens = tokens
        self._token = token

    @property
    def token(self) -> str:
        if self._token or not self.server:
            return self._token
        found = self._tokens.find(self.server)
        return "" if found is None else found.token

    @property
    def token_file(self) -> Path:
        return self._tokens.path

    def resume(self) -> Transport | None:
        """Return the connection with the token stored for this server, or None."""
        if not self.server:
            return None
        if self._token:
            return _connected(self.server, self._token, user_of(self._token))
        found = self._tokens.find(self.server)
        return None if found is None else _connected(self.server, found.token, found.user)

    def sign_in(self, way: str, fields: Mapping[str, str], known: Known | None) -> Transport:
        """Register, or use a token; the login is stored for the next time.

        ``known`` tells whose work, on which course, is in the folder; None if there is none yet.

        Raises: Conflict for another user or course, before anything is stored; MograderError with
        a message for the student.
        """
        server = self.server if self.settled else fields.get("server", "").strip()
        if not server:
            raise InvalidInput("The server's address is missing.", hint="Your course page has it.")
        if is_insecure(parse_hub_url(server, insecure=True, what="server")):
            raise InvalidInput(
                f"{server} is not encrypted: anyone on the way could read the token.",
                hint="Ask your instructor for the address that begins with https://.",
            )
        if not self.settled:
            _demand_course(known, server)
        match way:
            case "register":
                transport = self._register(server, fields, known)
            case "token":
                transport = self._take(server, fields.get("token", "").strip(), known)
            case _:
                raise NotFound("There is no such way to sign in.")
        self.server, self._token = server, ""
        return transport

    def sign_out(self) -> None:
        self._token = ""
        if self.server:
            self._tokens.forget(self.server)

    def _register(self, server: str, fields: Mapping[str, str], known: Known | None) -> Transport:
        user, code = fields.get("user", "").strip(), fields.get("code", "").strip()
        if not user or not code:
            raise InvalidInput("Both a user name and the enrollment code are needed.")
        _demand_owner(known, user)
        cached = self._tokens.find(server)
        own = cached.token if cached is not None and cached.user == user else ""
        key = self._tokens.retry_key(server, user)
        given = register(server, user, code, retry_key=key, token=own, retry=_RETRY)
        # Stored at once: a name is given out only once.
        self._tokens.save(server, given.token, given.user)
        return _connected(server, given.token, given.user)

    def _take(self, server: str, token: str, known: Known | None) -> Transport:
        if not token:
            raise InvalidInput("The token is missing.")
        user = demand_user_of(token)
        if user == INSTRUCTOR:
            raise InvalidInput(
                "This is the instructor's token.", hint="Use a student's: `mograder token NAME`."
            )
        _demand_owner(known, user)
        transport = _connected(server, token, user)
        try:
            transport.list_assignments()
        except MograderError as error:
            transport.close()
            if isinstance(error, NotAuthenticated):
                raise NotAuthenticated(f"{REFUSED} {COPY_AGAIN}") from error
            raise
        self._tokens.save(server, token, user)
        return transport


class MoodleConnector:
    """A course on Moodle, whose address and number are in the course's settings.

    A student whose Moodle uses single sign-on signs in once with ``mograder moodle login --sso``,
    whose token is used here.
    """

    settled = True
    ways = ("moodle_password", "moodle_token")

    def __init__(self, server: str, course_id: int, tokens: TokenStore) -> None:
        """Raise InvalidInput if the address is not valid, or the course's number is missing."""
        self.server = parse_moodle_url(server)
        if course_id <= 0:
            raise InvalidInput(
                "The settings do not say which course on Moodle this is.",
                hint="Set [moodle] course_id in mograder.toml: it is the id= in the course page's "
                "address.",
            )
        self.course_id = course_id
        self._tokens = tokens

    def resume(self) -> Transport | None:
        """Return the connection with the stored token, or None; it may ask the site for a name."""
        found = self._tokens.find(self.server)
        if found is None:
            return None
        transport = self._connected(found.token, found.user)
        try:
            _ = transport.user
        except MograderError:
            transport.close()
            raise
        return transport

    def sign_in(self, way: str, fields: Mapping[str, str], known: Known | None) -> Transport:
        """Sign in, and check that the account is in the course and is the folder's owner."""
        match way:
            case "moodle_password":
                token = self._token_for(fields)
            case "moodle_token":
                token = fields.get("token", "").strip()
            case _:
                raise NotFound("There is no such way to sign in.")
        client = MoodleClient(self.server, token)
        transport = MoodleTransport(client, self.course_id)
        try:
            site = client.site()
            _demand_owner(known, transport.user)
            transport.list_assignments()
            self._tokens.save(self.server, token, transport.user, site.full_name)
        except MograderError:
            transport.close()
            raise
        return transport

    def sign_out(self) -> None:
        self._tokens.forget(self.server)

    def _token_for(self, fields: Mapping[str, str]) -> str:
        user, password = fields.get("user", "").strip(), fields.get("password", "")
        if not user or not password:
            raise InvalidInput("Both a user name and a password are needed.")
        return login_with_password(self.server, user, password)

    def _connected(self, token: str, user: str) -> MoodleTransport:
        return MoodleTransport(MoodleClient(self.server, token), self.course_id, user=user)


def connector_of(loaded: LoadedSettings, environ: Environ) -> Connector:
    """Return the connector to this course's server.

    A folder without settings uses its last server again, or asks for one.

    Raises: InvalidInput for an invalid address, or a Moodle course without its number; Conflict if
    the folder holds work on another course of this Moodle, or at another server, unless its own
    ``mograder.toml`` has the address: then the course has moved there.
    """
    known, settings = StudentFolder(loaded.course_dir).known(Known), loaded.settings
    found: Connector
    if loaded.on_moodle:
        tokens = TokenStore(environ.home, MOODLE)
        found = MoodleConnector(settings.moodle.url, settings.moodle.course_id, tokens)
    else:
        server = settings.https.url
        address = server or (known.server if known else "")
        tokens, token = TokenStore(environ.home, HTTPS), settings.https.token.get_secret_value()
        # As for the commands, a kept token counts before that of mograder.toml, which may be void.
        if loaded.origins["https.token"] is not Origin.ENVIRONMENT and tokens.find(address):
            token = ""
        found = HttpsConnector(address, tokens, settled=bool(server), token=token)
    key = "moodle.url" if loaded.on_moodle else "https.url"
    if found.settled and loaded.origins[key] is not Origin.FILE:
        _demand_course(known, found.server)
    _demand_number(known, found)
    return found


def _demand_course(known: Known | None, server: str) -> None:
    """Raise Conflict for another server than that of the folder's work, which would be sent there.

    A trial on this machine may have another port each time.
    """
    if known is None or server_key(known.server) in ("", server_key(server)):
        return
    if not all(is_loopback(httpx.URL(each).host) for each in (known.server, server)):
        raise Conflict(
            f"This folder holds the work on the course at {known.server}, and not at {server}.",
            hint="Start the dashboard in another folder for that course. If the course itself "
            "has moved, write its new address into mograder.toml in this folder, and start without "
            "an address.",
        )


def _demand_number(known: Known | None, found: Connector) -> None:
    """Refuse another course of the same Moodle: their files would mix. Raises: Conflict."""
    if known is None or server_key(known.server) != server_key(found.server):
        return
    if known.course_id and found.course_id not in (0, known.course_id):
        raise Conflict(
            f"This folder holds the work on course {known.course_id} at {known.server}, and not on "
            f"course {found.course_id}.",
            hint="Start the dashboard in another folder for that course.",
        )


def _demand_owner(known: Known | None, user: str) -> None:
    """Refuse another user than the owner: work would be sent as theirs. Raises: Conflict."""
    owner = known.user if known else ""
    if owner not in ("", user):
        raise Conflict(
            f"This folder holds the work of {owner}, and you signed in as {user}.",
            hint=f"Start the dashboard in another folder for {user}.",
        )


def _connected(server: str, token: str, user: str) -> HttpsTransport:
    return HttpsTransport(server, token, user=user, retry=_RETRY)


Connector: TypeAlias = HttpsConnector | MoodleConnector


class ServerConnection:
    """The login, and whether the server could be reached at the last request."""

    def __init__(self, connector: Connector, known: Callable[[], Known | None]) -> None:
        self.connector = connector
        self._known = known
        self.trouble = ""
        """Why the server cannot be used at the moment; empty when it can."""
        self.signed_out = False
        """Whether the server no longer accepts the login; it is kept, since that may pass."""
        self.first_look: asyncio.Task[str] | None = None
        """The sync with the server that the dashboard began by itself, None without a login."""
        self._transport: Transport | None = None
        self._turn = asyncio.Lock()

    @property
    def user(self) -> str:
        return "" if self._transport is None else self._transport.user

    async def resume(self) -> None:
        """Restore the last connection, if its credentials are still stored."""
        async with self._turn:
            try:
                self._transport = await to_thread.run_sync(self._resumed)
            except MograderError as error:  # an invalid stored address must not stop the dashboard
                self.trouble = str(error)

    async def sign_in(self, way: str, fields: Mapping[str, str]) -> None:
        async with self._turn:
            fresh = await to_thread.run_sync(
                lambda: self.connector.sign_in(way, fields, self._known())
            )
            self._hang_up()
            self._transport, self.trouble, self.signed_out = fresh, "", False

    async def sign_out(self) -> None:
        async with self._turn:
            self._hang_up()
            await to_thread.run_sync(self.connector.sign_out)

    async def use(self, do: Callable[[Transport], T]) -> T:
        """Raise NotAuthenticated without a login, and what ``do`` raises."""
        async with self._turn:
            if self._transport is None:
                raise NotAuthenticated("Nobody is signed in.", hint="Sign in first.")
            try:
                # Cancellation waits for the thread: the transport allows one thread at a time.
                result = await to_thread.run_sync(do, self._transport)
            except (*_AWAY, NotAuthenticated) as error:
                self.signed_out = isinstance(error, NotAuthenticated)
                self.trouble = error.message if self.signed_out else str(error)
                raise
            except NeedsDecision:  # which the server's own answer asks for
                self.trouble, self.signed_out = "", False
                raise
            self.trouble, self.signed_out = "", False
            return result

    async def close(self) -> None:
        """Close the connection; the login stays stored."""
        async with self._turn:
            self._hang_up()

    def _resumed(self) -> Transport | None:
        found = self.connector.resume()
        if found is None:
            return None
        try:
            _demand_owner(self._known(), found.user)
        except MograderError:
            found.close()
            raise
        return found

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._transport, self.signed_out = None, False
