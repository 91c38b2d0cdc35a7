"""Handing in on the hub: its state on pages, what is missing before it, and the submission itself.

A submission goes into the course's own ``submitted/``, never to Moodle (B59).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from anyio import to_thread
from fastapi import Query, Request
from starlette.responses import JSONResponse, Response

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.errors import Busy, Conflict, InvalidInput, MograderError
from mograder.core.item_dates import OwnDates
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.core.sections.settings_model import Settings
from mograder.hub.notifier import Part
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.points import key_of
from mograder.processes.notebook_calls import compare, find_unanswered
from mograder.sessions.session import CopyOf
from mograder.store.copies.workspaces import CopyFacts, CopyState, Saved
from mograder.store.releases.releases import Release
from mograder.store.submissions.history import Submission
from mograder.store.submissions.receipts import Receipt, receipt_of
from mograder.store.submissions.submissions import Kept, Terms
from mograder.web.background import Report
from mograder.web.error_responses import Wants, wanted
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy, copy_page
from mograder.web.hub.core.responses import Body, Done, back_from, deliver, in_json
from mograder.web.pages import page
from mograder.web.route import OWNER, Route

_PATIENCE_SECONDS = 3.0
"""Seconds until a comparison has to begin; at a deadline most would be begun only to be stopped."""

_COMPARE_SECONDS = 5.0
_CLOCKS_DIFFER = timedelta(minutes=1)
_log = get_logger(__name__)


class Submitted(Done):
    """It was submitted; the other fields name checks and marks that differ from the release."""

    submitted_path: str
    tampered_checks: list[str]
    tampered_marks: bool
    late: bool = False
    receipt: Receipt
    """The signed receipt; `mograder receipt verify` asks the hub whether it is genuine."""


class MissingWork(Body):
    """The sentences for a student before handing in, none where nothing is missing.

    ``late`` is whether it is handed in late: a student who does so after these sentences wants it
    to count. ``closed`` says that submissions have ended, and is "" until then.
    """

    words: list[str]
    late: bool = False
    closed: str = ""


@dataclass(frozen=True, slots=True)
class HandIn:
    """What a person has handed in of an item, and by when it has to be.

    ``lateness`` is how late the submission is, or work would be now, in words, and ``cost`` what
    that costs by the policy; ``again`` has both for handing in once more now. All are "" where they
    are nothing. ``edited`` is whether the notebook is another one than the submission, ``anew``
    whether it was begun anew since and is the release; ``url`` is the item's page in Moodle, ""
    without one. With ``unread`` the submissions cannot be read, and nothing else is known of them.
    """

    own: OwnDates
    submission: Submission | None = None
    edited: bool = False
    anew: bool = False
    lateness: str = ""
    cost: str = ""
    again: str = ""
    url: str = ""
    unread: bool = False

    @property
    def on_time(self) -> bool:
        return self.submission is not None and not self.own.is_late(self.submission.received)

    def is_next(self, copy: CopyFacts | None, now: datetime) -> bool:
        """Return whether handing in is what the person does next: something is answered."""
        if copy is None or self.unread or self.own.is_closed(now):
            return False
        if self.submission is None:
            return copy.state is not CopyState.DOWNLOADED
        return self.edited and not (self.on_time and self.own.is_late(now))


def hand_in_of(
    app: HubApp,
    user: Username,
    item: ItemName,
    copy: CopyFacts | None,
    *,
    knows: bool,
    url: str = "",
) -> HandIn:
    """Return the state of a person's work on an item; reads files.

    ``knows`` is whether the caller may know the item's dates (``Items.may_know``).
    """
    now, own = app.services.clock.now(), app.dates.own(item, user) if knows else OwnDates()
    if not app.services.loaded.settings.hub.collect:
        return HandIn(own, lateness=own.lateness(now), url=url)
    try:
        sent = app.submissions.counting(user, item)
    except MograderError:
        return HandIn(own, url=url, unread=True)
    if not knows:
        return HandIn(own, sent, url=url)
    edited, anew = _beside(app, user, item, copy, sent) if copy and sent else (False, False)
    late, cost = late_at(app, user, item, sent.received if sent else now, own)
    again = late_at(app, user, item, now, own) if edited else ()
    return HandIn(own, sent, edited, anew, late, cost, ", ".join(filter(None, again)), url)


def moodle_pages(settings: Settings) -> Mapping[str, str]:
    """Return assignments' pages in Moodle by the item: ``dir`` of its table, else ``name``."""
    base = moodle_base(settings)
    return {
        each.item: f"{base}/mod/assign/view.php?id={each.cmid}"
        for each in settings.assignments
        if base and each.cmid
    }


def course_page(settings: Settings) -> str:
    base, course = moodle_base(settings), settings.moodle.course_id
    return f"{base}/course/view.php?id={course}" if base and course else base


def moodle_base(settings: Settings) -> str:
    url = settings.moodle.url.rstrip("/")
    return url if url.startswith(("https://", "http://")) else ""


def late_at(app: HubApp, user: str, item: str, at: datetime, own: OwnDates) -> tuple[str, str]:
    """Return how late handing in at a time is, in words, and what it costs, in per cent.

    Both are "" for nothing; the cost also if it is not known. ``own`` are the person's dates, which
    do not matter after the rule's ``hard_limit``.
    """
    late, percent = own.lateness(at), 0.0
    try:
        percent = app.dates.if_received(item, user, at).percent
    except MograderError as error:
        _log.error("the deduction for %s of %s cannot be computed: %s", item, user, error)
    if percent and not late:
        late = "after the last moment"
    return late, f"−{percent:g} %" if percent else ""


async def hand_in(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Submitted | MissingWork]:
    """Submit the notebook as it was saved last, or name the missing parts if there are some.

    The time is that of the request, since the comparison may take seconds; the text is the compared
    one. ``/submit`` submits in spite of missing parts.
    """
    now = app.services.clock.now()
    missing, saved = await _look(copy, app, caller, now)
    if not missing.words and not missing.closed:
        return await _submit(copy, request, app, caller, now, saved=saved)
    if wanted(request) is not Wants.PAGE:
        return JSONResponse(in_json(missing))
    return page(
        request,
        "hand_in.html",
        copy=copy,
        missing=missing,
        action=copy_page("submit", copy) + ("?late=replace" if missing.late else ""),
        mine=copy.user == caller.username,
    )


async def submit(
    copy: KnownCopy,
    request: Request,
    app: CurrentApp,
    caller: Caller,
    late: Annotated[str, Query(max_length=20)] = "",
) -> Annotated[Response, Submitted]:
    """Submit the newest complete save; it is on disk before the answer is sent.

    Late work replaces a submission that was on time only with ``late=replace``.
    """
    return await _submit(copy, request, app, caller, app.services.clock.now(), late)


async def _look(
    copy: CopyOf, app: HubApp, caller: Identity, now: datetime
) -> tuple[MissingWork, Saved]:
    saved = await app.copies.export(copy)
    release = await to_thread.run_sync(app.items.shown, caller, copy)
    unanswered = await _compared(app, find_unanswered, copy, saved.data, release)
    missing = await to_thread.run_sync(_missing, app, copy, caller, saved, now, unanswered)
    return missing, saved


async def _submit(
    copy: CopyOf,
    request: Request,
    app: HubApp,
    caller: Identity,
    now: datetime,
    late: str = "",
    saved: Saved | None = None,
) -> Response:
    """Submit a save, the newest complete one unless it was read already.

    ``now`` is from before the text is read, so that what is saved later is told from it.
    """

    async def job(report: Report) -> Submitted:
        sent = saved or await app.copies.export(copy)
        report("Keeping your submission")
        # First: a comparison may have to wait, and the hub may be stopped meanwhile.
        kept, own = await to_thread.run_sync(_keep, app, caller, copy, sent, now, late)
        await app.audit.record(request, "submit", str(copy))
        app.notifier.notify(copy.user, Part.COPIES)
        if not kept.counts:
            raise Conflict(
                "What you handed in on time still counts: this late version was kept beside it.",
                hint="To let the late one count, hand in once more and confirm it.",
            )
        report("Comparing it with what was handed out")
        release = await to_thread.run_sync(app.items.shown, caller, copy)
        changed = await _compared(app, compare, copy, sent.data, release, ("marks",))
        receipt = receipt_of(app.services.secret, copy.item, kept.submission, own)
        return Submitted(
            submitted_path=str(kept.path),
            tampered_checks=[each[6:-1] for each in changed if each.startswith("check(")],
            tampered_marks="marks" in changed,
            late=receipt.late,
            receipt=receipt,
        )

    return await deliver(request, job, back_from(request, copy, "submitted"))


def _keep(
    app: HubApp, caller: Identity, copy: CopyOf, saved: Saved, now: datetime, late: str
) -> tuple[Kept, OwnDates]:
    own = app.dates.own(copy.item, copy.user)
    if own.is_closed(now) and caller.role is not Role.INSTRUCTOR:
        # The answer to the first try may have been lost.
        repeated = app.submissions.repeated(copy.user, copy.item, saved.data)
        if repeated is None:
            raise Conflict(
                f"Submissions to {copy.item} have ended. Nothing was changed.",
                hint="Ask your instructor if you should have more time.",
            )
        kept = repeated
    else:
        terms = Terms(due=own.due, replace=late == "replace", once=own.is_late(now))
        kept = app.submissions.add(copy.user, copy.item, saved.data, now, terms)
    if kept.counts:  # what was saved while it was compared is not in it
        at = max(saved.modified_ns, int(now.timestamp() * 1e9))
        app.services.workspaces.mark_submitted(copy.user, copy.item, at)
    return kept, own


def _missing(
    app: HubApp,
    copy: CopyOf,
    caller: Identity,
    saved: Saved,
    now: datetime,
    unanswered: tuple[str, ...],
) -> MissingWork:
    told, waiting = _checks(app, copy, app.services.workspaces.facts(copy.user, copy.item))
    words = [told, _open([*waiting, *unanswered])]
    if app.submissions.repeated(copy.user, copy.item, saved.data):  # its time stays
        return MissingWork(words=[each for each in words if each])
    own = app.dates.own(copy.item, copy.user)
    late, _ = late_at(app, copy.user, copy.item, now, own)
    if late:
        person, digest = app.submissions.of(copy.user, copy.item), hashlib.sha256(saved.data)
        same = (each for each in person.submissions if each.sha256 == digest.hexdigest())
        first = min((each.received for each in same), default=now)  # an earlier version's stays
        told, cost = late_at(app, copy.user, copy.item, first, own)
        if told:
            words.append(f"It is {told}{f': {cost} of the mark' if cost else ''}.")
        if person.counting is not None and not own.is_late(person.counting.received):
            words.append("You handed in on time before. What you hand in now counts instead.")
    is_over = own.is_closed(now) and caller.role is not Role.INSTRUCTOR
    closed = f"Submissions to {copy.item} have ended." if is_over else ""
    words = [each for each in words if each]
    return MissingWork(words=words, late=bool(late), closed=closed)


def _checks(app: HubApp, copy: CopyOf, facts: CopyFacts | None) -> tuple[str, list[str]]:
    result = app.results.of(copy.user, copy.item)
    if result is None or (facts is not None and facts.saved > result.at):
        return "It was not validated as it is now.", []
    checks = result.answer.checks
    passed = sum(each.passed for each in checks)
    waiting = [key_of(each.label) for each in checks if each.ran and each.status == "warn"]
    return ("" if passed == len(checks) else f"{passed} of {len(checks)} checks pass."), waiting


def _open(names: list[str]) -> str:
    if not names:
        return ""
    *others, last = dict.fromkeys(names)
    both = f"{', '.join(others)} and {last}" if others else last
    return f"{both} {'are' if others else 'is'} not answered."


async def _compared(
    app: HubApp,
    look: Callable[[str, str, str], tuple[str, ...]],
    copy: CopyOf,
    data: bytes,
    release: Release | None,
    otherwise: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Return what a function finds beside the release, ``otherwise`` if it cannot compare them.

    What cannot be compared is handed in all the same, and at a deadline a whole class waits for
    this: what is not compared in time, or for want of a process, has nothing found in it.
    """
    if release is None:
        return ()
    try:
        released = await to_thread.run_sync(release.notebook.read_bytes)
    except FileNotFoundError:  # it was just withdrawn, or is being replaced
        return ()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS + _COMPARE_SECONDS):
            return await app.copies.compare(
                look, copy, data, released, patience_seconds=_PATIENCE_SECONDS
            )
    except InvalidInput:
        return otherwise
    except (TimeoutError, Busy):
        _log.info("%s of %s was not compared with its release", copy.item, copy.user)
        return ()


def _beside(
    app: HubApp, user: Username, item: ItemName, copy: CopyFacts, sent: Submission
) -> tuple[bool, bool]:
    """Return whether a copy has work that was not submitted, and whether it equals the release."""
    # A clock that is stepped, and that of a share's server, differ from the hub's by less.
    if copy.touched <= sent.received - _CLOCKS_DIFFER:
        return False, False
    try:
        saved = app.services.workspaces.read(user, item, f"{item}.py", MAX_NOTEBOOK)
    except MograderError:
        return True, False
    if hashlib.sha256(saved.data).hexdigest() == sent.sha256:
        return False, False
    anew = saved.digest == app.items.came_from(user, item)  # so nothing in it is answered
    return not anew, anew


ROUTES = (
    Route("POST", "/submit/{user}/{a}", submit, OWNER, "Copies"),
    Route("POST", "/hand-in/{user}/{a}", hand_in, OWNER, "Copies"),
)
