"""Adoption of the previous hub's sessions, from its database rows and the running sessions."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime
from pathlib import Path

from mograder.sandbox.protocol import Endpoint, Mode
from mograder.sessions.session import LiveSession, SessionKey, Usage
from mograder.store.hub_state import SessionRow, SessionState


def has_answered(row: SessionRow) -> bool:
    """Return whether a recorded session has ever answered; until then no page has its address."""
    return row.state is SessionState.RUNNING


def key_of(row: SessionRow) -> SessionKey:
    """Return the user, item and mode of a row."""
    return SessionKey(row.username, row.item, Mode(row.mode))


def revived(row: SessionRow, usage: Usage, now: datetime) -> LiveSession:
    """Return the session of a row, with ``now`` as its last activity.

    While the hub was down it could not record any activity, so the idle time starts anew.
    """
    key = key_of(row)
    return LiveSession(
        id=row.session_id,
        key=key,
        endpoint=Endpoint(Path(row.socket)),
        base_url=f"/{key.url.rstrip('/')}",
        version=row.version,
        started_at=row.started_at,
        last_seen=now,
        usage=usage,
    )


def orphans(known: Container[str], running: Iterable[str]) -> list[str]:
    """Return the ids of running sessions that are not ``known``: the hub cannot reach them."""
    return [session_id for session_id in running if session_id not in known]
