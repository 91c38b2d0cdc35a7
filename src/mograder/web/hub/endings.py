"""What pages say about a session that has ended; ``sessions.endings`` has the words."""

from __future__ import annotations

import dataclasses
from typing import Literal
from urllib.parse import parse_qs

from mograder.core.settings_model import Settings
from mograder.sessions.endings import Ending, EndReason, Explanation, describe
from mograder.sessions.launcher import SessionLimits
from mograder.sessions.spawner import limits_of
from mograder.web.hub.models import Standing

_WANTED = frozenset({EndReason.STOPPED, EndReason.REPLACED})
_LONGEST_ID = 64
_UNKNOWN = Explanation("This session has ended.", "What was saved is safe. Open it again to go on.")
_SIGNED_OUT = Explanation(
    "This page is no longer signed in.",
    "Somebody signed out in this browser, or your access has ended. The notebook may run on; "
    "sign in and open it again.",
)


def news_of(ending: Ending | None, settings: Settings) -> Explanation | None:
    """Explain an ending that its student did not ask for; none for the others."""
    if ending is None or ending.reason in _WANTED:
        return None
    return explain(ending, settings)


def explain(ending: Ending, settings: Settings) -> Explanation:
    """Say what happened and what to do, with the bounds of the item as they are set now."""
    return describe(ending, _limits_now(settings, ending.key.item))


def standing(ending: Ending | None, settings: Settings, *, runs: bool, admitted: bool) -> Standing:
    """Answer a page that asks how it stands with its session.

    ``admitted`` is whether the page may still use a session that runs.
    """
    if runs:
        return _said("running") if admitted else _said("signed-out", _SIGNED_OUT)
    return _said("ended", _UNKNOWN if ending is None else explain(ending, settings))


def session_asked(query: bytes) -> str:
    """Return the session that a page asks about, bounded; "" when it names none."""
    found = parse_qs(query.decode("latin-1"), max_num_fields=8).get("session", [""])[0]
    return found if len(found) <= _LONGEST_ID else ""


def _said(
    state: Literal["running", "ended", "signed-out"], words: Explanation | None = None
) -> Standing:
    if words is None:
        return Standing(state=state)
    return Standing(state=state, title=words.title, text=words.text)


def _limits_now(settings: Settings, item: str) -> SessionLimits:
    """The general bounds, and what the administrator set for this item."""
    general = limits_of(settings.limits)
    own = settings.items.get(item)
    if own is None:
        return general
    given = own.limits.model_dump(exclude_none=True)
    return dataclasses.replace(general, **given)
