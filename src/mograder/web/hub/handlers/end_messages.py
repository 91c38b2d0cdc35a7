"""Messages about ended sessions for the pages; ``sessions.endings`` has the texts."""

from __future__ import annotations

from mograder.core.sections.settings_model import Settings
from mograder.notebook.pep723 import Script
from mograder.sandbox.execution.item_limits import limited, limits_of
from mograder.sessions.end_reasons import Ending, EndReason, Explanation, describe

_WANTED = frozenset({EndReason.STOPPED, EndReason.REPLACED, EndReason.REWRITTEN})
UNKNOWN = Explanation("This session has ended.", "Open it again to go on.")


def news_of(ending: Ending | None, settings: Settings) -> Explanation | None:
    """Return the explanation of an ending that the student did not cause; None for the others."""
    if ending is None or ending.reason in _WANTED:
        return None
    return explain(ending, settings)


def explain(ending: Ending, settings: Settings) -> Explanation:
    """Return what happened and what to do, with the item's current limits."""
    own = settings.items.get(ending.key.item)
    return describe(ending, limited(limits_of(settings.limits), Script(), own))
