"""The connector to a course on Moodle: by password, or by a token stored by the commands."""

from __future__ import annotations

from collections.abc import Mapping

from mograder.clients.course_server import Transport
from mograder.clients.moodle.address import parse_moodle_url
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.login import login_with_password
from mograder.clients.moodle.transport import MoodleTransport
from mograder.clients.token_store import TokenStore
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.web.student.connector import demand_owner


class MoodleConnector:
    """A course on Moodle, whose address and number are in the course's settings.

    A student whose Moodle uses single sign-on signs in once with ``mograder moodle login --sso``,
    whose token is used here.
    """

    settled = True
    ways = ("moodle_password", "moodle_token")

    def __init__(self, server: str, course_id: int, tokens: TokenStore) -> None:
        """Check the settings.

        Raises:
            InvalidInput: The address is not valid, or the course's number is missing.
        """
        self.server = parse_moodle_url(server)
        if course_id <= 0:
            raise InvalidInput(
                "The settings do not say which course on Moodle this is.",
                hint="Set [moodle] course_id in mograder.toml: it is the id= in the course page's "
                "address.",
            )
        self._course_id = course_id
        self._tokens = tokens

    def resume(self) -> Transport | None:
        """Return the connection with the token stored for this site, or None.

        Raises:
            MograderError: 0.3.16 stored it without the user name, and the site cannot be asked.
        """
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

    def sign_in(self, way: str, fields: Mapping[str, str], owner: str) -> Transport:
        """Sign in, and check that the account is in the course and is the folder's ``owner``.

        Raises:
            MograderError: With a message for the student.
        """
        match way:
            case "moodle_password":
                token = self._token_for(fields)
            case "moodle_token":
                token = fields.get("token", "").strip()
            case _:
                raise NotFound("There is no such way to sign in.")
        client = MoodleClient(self.server, token)
        transport = MoodleTransport(client, self._course_id)
        try:
            site = client.site()
            demand_owner(owner, transport.user)
            transport.list_assignments()
            self._tokens.save(self.server, token, transport.user, site.full_name)
        except MograderError:
            transport.close()
            raise
        return transport

    def sign_out(self) -> None:
        """Delete the token on this machine."""
        self._tokens.forget(self.server)

    def _token_for(self, fields: Mapping[str, str]) -> str:
        user, password = fields.get("user", "").strip(), fields.get("password", "")
        if not user or not password:
            raise InvalidInput("Both a user name and a password are needed.")
        return login_with_password(self.server, user, password)

    def _connected(self, token: str, user: str) -> MoodleTransport:
        return MoodleTransport(MoodleClient(self.server, token), self._course_id, user=user)
