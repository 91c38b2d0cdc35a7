"""The state of an open notebook, for the bar above it (``frame_page``).

The bar asks after a change event and does not poll. Memory and a few inodes are read, and of a
notebook that was saved after its submission also the text.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from pydantic import (
    Field,
)

from mograder.sandbox.protocol import Mode
from mograder.sessions.copy_updates import CopyUpdates
from mograder.sessions.end_reasons import Explanation, describe_to_others
from mograder.sessions.session import CopyOf, SessionKey
from mograder.web.hub.board.help_requests import HelpAsked, help_of, shown_name
from mograder.web.hub.copies.copy_update import NotebookUpdate, in_bar
from mograder.web.hub.copies.hand_in import hand_in_of
from mograder.web.hub.copies.open_editor import CellToPut, asked_of_page
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy
from mograder.web.hub.core.responses import Body
from mograder.web.hub.machines import MachineWatch
from mograder.web.hub.sessions.sessions import UNKNOWN, explain
from mograder.web.route import VISITOR, Route

_HELPED = Explanation(
    "You are not in this notebook any more.",
    "The request for help has ended. What was saved stays in the student's notebook.",
)


class SessionMachine(Body):
    """Whether the machine of a session will be shut down, and in how many seconds, if known.

    ``elsewhere`` is whether another machine takes the notebook then.
    """

    leaving: bool
    seconds: int | None = None
    elsewhere: bool = False


class NotebookMessage(Body):
    """A message of an instructor; ``seconds`` are left.

    ``alone`` is whether it is for this student, and not for all open notebooks of the item.
    """

    number: int
    text: str
    sender: str
    seconds: int
    alone: bool


class NotebookState(Body):
    """The state of an open page's session and notebook; the times are Unix times.

    ``state`` is "replaced" if another session of the same notebook runs now. ``title`` and ``text``
    say why a session has ended. ``saved`` and ``submitted`` are null before the first save or
    submission, ``due`` and ``closes`` where the item has no such date for this person.
    """

    state: Literal["running", "replaced", "ended"]
    title: str = ""
    text: str = ""
    saved: float | None = None
    submitted: float | None = None
    late: str = ""
    """How late the submission is, or one would be now, in words, with what it costs."""
    edited: bool = False
    """Whether the notebook is another one than its submission."""
    hand_in: bool = False
    """Whether handing in is what comes next."""
    due: float | None = None
    closes: float | None = None
    machine: Annotated[SessionMachine | None, Field(exclude_if=lambda machine: machine is None)] = (
        None
    )
    """The node that runs the session; left out for a session on the hub's own machine."""
    help: Annotated[HelpAsked | None, Field(exclude_if=lambda asked: asked is None)] = None
    """The owner's request for help; left out without one."""
    messages: list[NotebookMessage] = Field(
        default_factory=list, exclude_if=lambda messages: not messages
    )
    """Messages that are shown now; left out if there are none."""

    update: Annotated[NotebookUpdate | None, Field(exclude_if=lambda update: update is None)] = None
    """The author's update of the notebook; left out where there is nothing to say of one."""
    cell: Annotated[CellToPut | None, Field(exclude_if=lambda cell: cell is None)] = None
    """A cell that this page is to put back; left out without one."""


async def standing(
    copy: KnownCopy,
    app: CurrentApp,
    caller: Caller,
    mode: Mode = Mode.EDIT,
    session: str = "",
    together: bool = False,
) -> NotebookState:
    """Return whether a session runs or why it ended, and when the notebook was saved and submitted.

    ``session`` is the session that the page shows. If another session has taken its place, its
    state is "replaced". With ``together`` the page is a helper's, and ends with the help.
    """
    key = SessionKey(copy.user, copy.item, mode)
    if together and not app.desk.works_with(caller.username, copy.user, copy.item):
        return NotebookState(state="ended", title=_HELPED.title, text=_HELPED.text)
    live = app.services.pool.find(key)
    work: dict[str, Any] = {}
    update = None
    if mode is Mode.EDIT:
        work = await to_thread.run_sync(_work, app, copy)
        update = in_bar(await app.of(CopyUpdates).standing(copy))
    if live is not None:
        same = live.id == session
        return NotebookState(
            state="running" if same else "replaced",
            **work,
            machine=_machine(app, live.endpoint.node),
            update=update,
            help=help_of(app, copy) if mode is Mode.EDIT else None,
            messages=_messages(app, copy),
            cell=asked_of_page(app, caller, live) if same else None,
        )
    words = await to_thread.run_sync(partial(_words, app, caller, key, session, helps=together))
    return NotebookState(state="ended", title=words.title, text=words.text, **work)


def _messages(app: HubApp, copy: CopyOf) -> list[NotebookMessage]:
    now = app.services.clock.now()
    return [
        NotebookMessage(
            number=each.number,
            text=each.text,
            sender=shown_name(each.sender),
            seconds=max(1, int((each.until - now).total_seconds())),
            alone=bool(each.username),
        )
        for each in app.desk.messages(copy.item, copy.user)
    ]


def _words(
    app: HubApp, caller: Caller, key: SessionKey, session: str, *, helps: bool
) -> Explanation:
    ending = app.services.pool.history.of_session(session)
    mine = caller.username == key.user
    if ending is None or ending.key != key:
        return UNKNOWN if mine else Explanation(UNKNOWN.title, "What was saved stays.")
    if not mine:
        return describe_to_others(ending, helps=helps)
    return explain(app, ending)


def _machine(app: HubApp, node: str) -> SessionMachine | None:
    """Return whether the machine of a session will be shut down; None for the hub's own."""
    machines = app.find(MachineWatch)
    if machines is None or not node:
        return None
    leaving = machines.leaving(node)
    if leaving is None:
        return SessionMachine(leaving=False)
    seconds = leaving.seconds(app.services.clock.now())
    return SessionMachine(leaving=True, seconds=seconds, elsewhere=leaving.elsewhere)


def _work(app: HubApp, copy: CopyOf) -> dict[str, Any]:
    """Return the fields about the copy, its dates and its submission; the times are Unix times.

    There are none without a copy: a student must not learn the dates of a hidden item.
    """
    facts = app.services.workspaces.facts(copy.user, copy.item)
    if facts is None:
        return {}
    found = hand_in_of(app, copy.user, copy.item, facts)
    sent, own = found.submission, found.own
    return {
        "saved": facts.saved.timestamp(),
        "submitted": sent.received.timestamp() if sent else None,
        "late": f"{found.lateness}, {found.cost}" if found.cost else found.lateness,
        "edited": found.edited,
        "hand_in": found.is_next(facts, app.services.clock.now()),
        "due": own.due.timestamp() if own.due else None,
        "closes": own.closes.timestamp() if own.closes else None,
    }


ROUTES = (Route("GET", "/standing/{user}/{a}", standing, VISITOR, "Sessions"),)
