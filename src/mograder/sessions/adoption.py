"""What becomes of the sessions of the hub before, decided from its rows and from what runs."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime
from pathlib import Path

from mograder.sandbox.protocol import Endpoint, Mode
from mograder.sessions.session import LiveSession, SessionKey, Usage
from mograder.store.hub_state import SessionRow, SessionState


def has_answered(row: SessionRow) -> bool:
    """Tell whether a recorded session was ever seen to answer; else nobody has its address."""
    return row.state is SessionState.RUNNING


def key_of(row: SessionRow) -> SessionKey:
    """Return whose session a row is."""
    return SessionKey(row.username, row.item, Mode(row.mode))


def revived(row: SessionRow, usage: Usage, now: datetime) -> LiveSession:
    """Return the session of a row; ``now`` is its last activity.

    The hub was away, not the student.
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
    """Return the ids of running sessions that the hub has no record of and cannot reach."""
    return [session_id for session_id in running if session_id not in known]
