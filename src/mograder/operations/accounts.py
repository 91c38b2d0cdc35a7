"""Whether a course has any record of a user name: a command and a route tell a misspelt one."""

from __future__ import annotations

from mograder.core.names import INSTRUCTOR
from mograder.core.settings import LoadedSettings
from mograder.store.course.allowlist import Allowlist
from mograder.store.hub.hub_state import HubState


def is_recorded(loaded: LoadedSettings, state: HubState, username: str) -> bool:
    """Return whether the hub's database, the list of users or the settings have a name."""
    settings = loaded.settings
    listed = Allowlist(loaded.course_dir / "allowed_users.txt").listed() or ()
    named = (INSTRUCTOR, *settings.hub.instructors, *settings.marking.markers, *listed)
    return username in named or state.records(username)
