"""The choice of a course's connector: the one place that knows all kinds of servers."""

from __future__ import annotations

from mograder.clients.token_store import HTTPS, MOODLE, TokenStore
from mograder.core.settings import Environ, LoadedSettings
from mograder.exchange.student.course import Known
from mograder.store.copies.student_folder import StudentFolder
from mograder.web.student.connector import Connector, HttpsConnector
from mograder.web.student.moodle_connector import MoodleConnector


def connector_of(loaded: LoadedSettings, environ: Environ) -> Connector:
    """Return the connector to this course's server.

    A folder without settings uses its last server again, or asks for one.

    Raises: InvalidInput for an invalid address, or a Moodle course without its number.
    """
    settings = loaded.settings
    if loaded.on_moodle:
        tokens = TokenStore(environ.home, MOODLE)
        return MoodleConnector(settings.moodle.url, settings.moodle.course_id, tokens)
    server = settings.https.url
    known = StudentFolder(loaded.course_dir).known(Known)
    remembered = known.server if known and not server else ""
    return HttpsConnector(
        server or remembered,
        TokenStore(environ.home, HTTPS),
        settled=bool(server),
        token=settings.https.token.get_secret_value(),
    )
