"""The people of the course: their pages, the access list, their invitations, and revoking tokens.

B35-B44, compatibility-0.3.16.md 2.3. Each change is in the audit log before it is answered.

An invitation is a one-time link, shown once: the database has only its hash, and a letter until it
is sent. It signs in students only, so that an instructor cannot make another one.

Every request checks the roster, so only open sessions have to be closed when people are removed.
The list may be edited by hand, and tokens revoked from elsewhere, so a task looks every two
seconds.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from mograder.auth.credentials import LinkCode, Role, make_code
from mograder.clients.mail import is_address
from mograder.core.csv_table import write_table
from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger
from mograder.core.names import INSTRUCTOR, Username, is_rehearsal
from mograder.core.tasks import every
from mograder.exchange.mailing import Post
from mograder.hub.counts import Count
from mograder.hub.notifier import Part
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.idle_culler import END_SECONDS
from mograder.sessions.session import LiveSession
from mograder.store.copies.workspaces import CopyFacts
from mograder.store.course.allowlist import numbered_names
from mograder.store.hub.hub_state import is_recorded
from mograder.web.background import Report
from mograder.web.context import request_context
from mograder.web.hub.client_page import lines_if_any
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, PlatformFacts, Run
from mograder.web.hub.core.responses import Done, deliver, tell
from mograder.web.hub.mail import write_links
from mograder.web.pages import page, saved_table, sheet_of, with_outcome
from mograder.web.request_body import MEGABYTE, is_form, read_form, read_json
from mograder.web.route import Access, JsonBody, Route

if TYPE_CHECKING:  # imported by hubs with platforms only
    from mograder.exchange.lti_roster import CourseMembers

_LOOK_SECONDS = 2.0
_MOST_USERS = 50_000
_LONG_FORM = 4 * MEGABYTE
_log = get_logger(__name__)

DAYS = (1, 7, 30)

_MOST = 2000
_APART = re.compile(r"[,;\t]")
_LONGEST = 300


class Synced(Done):
    """The list was replaced; it has ``count`` names."""

    count: int


class Revoked(Done):
    """All earlier tokens and logins are void; ``epoch`` counts the revocations.

    ``known``: the hub had a record of the name; if not, it may be misspelt.
    """

    epoch: int
    known: bool


class _Users(BaseModel):
    model_config = ConfigDict(extra="ignore")

    users: object = Field(None, json_schema_extra={"type": "array", "items": {"type": "string"}})


async def sync_users(
    request: Annotated[Request, JsonBody(_Users)], app: CurrentApp
) -> Annotated[Response, Synced]:
    """Replace the access list; a removed user loses access at once."""
    roster = app.services.roster
    if is_form(request):
        fields = await read_form(request, _LONG_FORM)
        text = fields.get("users", "")
        users: Sequence[str] = [_named(at, name) for at, name in numbered_names(text)]
        # With the comments and in the order of the form.
        save: Callable[[], Collection[str]] = partial(roster.rewrite, text, fields.get("stamp"))
        if not users and fields.get("empty") != "yes" and not _by_platform(app):
            raise InvalidInput(
                "The access list has no name: only staff could come in. Nothing was saved.",
                hint="Tick the box below the list if you mean that.",
            )
    else:
        given = (await read_json(request, _Users, _LONG_FORM)).users
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise InvalidInput("'users' must be a list")
        users = given
        save = partial(roster.replace, given)
    if len(users) > _MOST_USERS:
        raise InvalidInput(f"A course may have at most {_MOST_USERS} users.")

    async def job(report: Report) -> Synced:
        listed = await to_thread.run_sync(save)
        await app.audit.record(request, "sync users", f"{len(listed)} users")
        report("Closing the notebooks of those who are not on the access list")
        await end_removed(app)
        app.notifier.notify_all()
        return Synced(count=len(listed))

    return await deliver(request, job, with_outcome("/course/people", "people"))


async def revoke_token(
    user: str, request: Request, app: CurrentApp
) -> Annotated[Response, Revoked]:
    """End all tokens, logins and open pages of a person; new tokens can be made."""
    name, services = Username.of_account(user), app.services

    def revoke() -> Revoked:
        known = is_recorded(services.loaded, services.state, name)
        epoch = services.revocations.bump_epoch(name)
        services.capabilities.revoke_user(name)
        return Revoked(epoch=epoch, known=known)

    revoked = await to_thread.run_sync(revoke)
    await app.audit.record(request, "revoke token", name)
    app.notifier.notify(name, Part.COPIES)
    done = with_outcome(f"/course/students/{quote(name, safe='')}", "revoked", name)
    return tell(request, revoked, done)


@dataclass(frozen=True, slots=True)
class PersonLine:
    """One person; ``saved`` is the copy saved last, ``checked`` the time of the last validation."""

    name: str
    here: bool
    sessions: int
    copies: int
    saved: CopyFacts | None
    checked: datetime | None


async def students(request: Request, app: CurrentApp) -> Response:
    wanted = request.query_params.get("q", "").strip()[:100]
    count = await app.copy_counts.look()
    listed, courses = await to_thread.run_sync(_known, app)
    everybody = (live.key.user for live in app.services.pool.all())
    running = [user for user in everybody if not is_rehearsal(user)]
    called = {
        each.users[member.subject]: member.display_name
        for each in courses
        for member in each.members
        if member.subject in each.users
    }
    names = {*map(str, count.copies), *(listed or ()), *running, *called} - {INSTRUCTOR}
    found = sorted(name for name in names if wanted.casefold() in name.casefold())
    here = app.notifier.present() | set(running)
    sheet = sheet_of(sorted(found, key=lambda name: (name not in here, name)), request)
    return page(
        request,
        "students.html",
        here="students",
        sheet=sheet,
        people=[
            _person_line(name, count, running.count(name), name in here) for name in sheet.lines
        ],
        present=len(here & names),
        count=count,
        wanted=wanted,
        called=called,
        courses=courses,
        install=await lines_if_any(request, app),
    )


def people(request: Request, app: CurrentApp) -> Response:
    roster, oidc = app.services.roster, app.services.loaded.settings.oidc
    stamp = str(roster.stamp())  # before the text: a change in between is refused when it is saved
    return page(
        request,
        "people.html",
        here="people",
        listed=roster.listed(),
        text=roster.text(),
        trouble=roster.trouble(),
        stamp=stamp,
        by_platform=_by_platform(app),
        instructors=sorted(app.services.policy.instructors),
        external=bool(oidc.issuer) or app.find(PlatformFacts) is not None,
        writes=app.find(Post) is not None,
    )


def _by_platform(app: HubApp) -> bool:
    more = app.services.roster.more
    return more is not None and more.decides()


def _known(app: HubApp) -> tuple[Sequence[str] | None, Sequence[CourseMembers]]:
    platforms = app.find(PlatformFacts)
    return app.services.roster.listed(), () if platforms is None else platforms.courses()


def _person_line(name: str, count: Count, sessions: int, here: bool) -> PersonLine:
    copies = count.copies.get(Username(name), ())
    checked = [each.validated for each in copies if each.validated is not None]
    return PersonLine(
        name=name,
        here=here,
        sessions=sessions,
        copies=len(copies),
        saved=max(copies, key=lambda each: each.saved, default=None),
        checked=max(checked, default=None),
    )


@dataclass(frozen=True, slots=True)
class Invited:
    """One person: the rest of the list's line, the e-mail address in it, and the link."""

    username: Username
    about: str
    address: str
    code: LinkCode
    link: str


async def invite(request: Request, app: CurrentApp) -> Response:
    """Make links for the people of a form, and put them on the access list if one counts.

    The fields: ``people``, one a line; ``days``; ``form``, "csv" for a file, "mail" for letters.
    """
    fields = await read_form(request, MEGABYTE)
    by_mail, post = fields.get("form") == "mail", app.find(Post)
    if by_mail and post is None:
        raise InvalidInput("This hub sends no letters.", hint="Set [mail] in mograder.toml.")
    days = fields.get("days", "")
    if days not in map(str, DAYS):
        raise InvalidInput("Choose for how many days the links are valid.")
    until = app.services.clock.now() + timedelta(days=int(days))
    here = request_context(request).address_here
    home = post.home if by_mail and post is not None else here
    people = _people(app, fields.get("people", ""), f"{home}/login/link?code=")

    def keep() -> None:
        app.services.roster.add([each.username for each in people])
        codes = {each.code.hash: str(each.username) for each in people}
        app.services.state.invite(codes, Role.STUDENT, until)

    await to_thread.run_sync(keep)
    for each in people:
        await app.audit.record(request, "invite", each.username)
    app.notifier.notify_all()
    shown = people
    if by_mail:  # the page shows the people of whom no address is known
        links = [(each.username, each.address, each.link) for each in people]
        unknown = await to_thread.run_sync(write_links, app, links, until)
        shown = [each for each in people if each.username in unknown]
    rows = [(each.username, each.about, each.link, until.isoformat()) for each in shown]
    text = write_table(("username", "about", "link", "valid until"), rows)
    if fields.get("form") == "csv":
        return saved_table(text, "invitations.csv")
    return page(
        request,
        "invited.html",
        here="people",
        people=shown,
        written=len(people) - len(shown),
        text=text,
        until=until,
    )


def _people(app: HubApp, text: str, address: str) -> list[Invited]:
    lines = [(at, line.strip()) for at, line in enumerate(text.splitlines(), start=1)]
    filled = [(at, line) for at, line in lines if line]
    if not filled or len(filled) > _MOST:
        raise InvalidInput(f"Write 1 to {_MOST} names, one a line.")
    staff = app.services.policy.staff
    found: dict[Username, Invited] = {}
    for at, line in filled:
        name, *rest = _APART.split(line, maxsplit=1)
        user = _named(at, name)
        if user in staff:
            raise InvalidInput(
                f"Line {at}: {user} instructs or marks, and cannot be invited here.",
                hint="`mograder hub login-link` on the hub's machine makes a link for staff.",
            )
        code = make_code()
        about = "".join(rest).strip()[:_LONGEST]
        told = (each.strip() for each in _APART.split(about))
        email = next(filter(is_address, told), "")
        found[user] = Invited(user, about, email, code, f"{address}{code.text}")
    return list(found.values())


def _named(at: int, text: str) -> Username:
    """Return the name in line ``at``, which an InvalidInput tells."""
    try:
        return Username.claimed(text.strip())
    except InvalidInput as error:
        raise InvalidInput(f"Line {at}: {error.message}", hint=error.hint) from error


async def end_removed(app: HubApp) -> None:
    """End the sessions of people who are no longer on the access list.

    Where an instructor looks at one, it goes on, and only its student's pages end.
    """
    # Before the visits are read, so that an instructor's visit to one of these is among them.
    people = [live for live in app.services.pool.all() if not is_rehearsal(live.key.user)]
    removed = await to_thread.run_sync(_removed, app, people)
    for live in removed:
        _log.info("ending a session of %s, who was removed from the roster", live.key.user)
    stops = (app.services.pool.stop(live.key, EndReason.REMOVED) for live in removed)
    with suppress(TimeoutError):  # one that hangs must not keep the hub from the next change
        async with asyncio.timeout(END_SECONDS):
            await asyncio.gather(*stops)


def _removed(app: HubApp, people: Sequence[LiveSession]) -> list[LiveSession]:
    roster, capabilities = app.services.roster, app.services.capabilities
    role_of = app.services.policy.role_of
    visits = capabilities.all()
    roles = {(each.session_id, each.username, role_of(each.username, each.role)) for each in visits}
    owners = {(live.id, live.key.user) for live in people}
    seen = frozenset(
        session
        for session, user, role in roles
        if role is Role.INSTRUCTOR or (role is Role.MARKER and (session, user) in owners)
    )
    for user in {user for _, user, role in roles if not roster.allows(user, role)}:
        capabilities.forget_user(user)
    return [live for live in people if not roster.allows(live.key.user, _role(app, live, seen))]


def open_watch(app: HubApp) -> Run:
    seen = applied = object()  # differs from any stamp, so that adopted sessions are checked, too
    revoked: set[str] = set()  # whose pages are still to be closed
    revocations, capabilities = app.services.revocations, app.services.capabilities

    async def follow_revocations() -> None:
        revoked.update(await to_thread.run_sync(revocations.refresh))
        for user in tuple(revoked):
            await to_thread.run_sync(capabilities.revoke_user, user)
            revoked.discard(user)

    async def look() -> None:
        nonlocal seen, applied
        try:
            await follow_revocations()
        finally:  # the list is a file, and counts also while the database does not answer
            stamp: object = await to_thread.run_sync(app.services.roster.version)
            # A list that an editor or scp is writing just now is a valid one with fewer names.
            if stamp == seen and stamp != applied:
                await end_removed(app)
                applied = stamp
            seen = stamp

    return partial(every, _LOOK_SECONDS, "the access list", look)


def _role(app: HubApp, live: LiveSession, seen: frozenset[str]) -> Role:
    """Return the role under which a session may go on.

    It is INSTRUCTOR for one that is ``seen`` by an instructor, or by its user with a login as
    staff: a learning platform's role is in the login only.
    """
    user = live.key.user
    if user == INSTRUCTOR or live.id in seen:
        return Role.INSTRUCTOR
    return app.services.policy.role_of(user, Role.STUDENT)


ROUTES = (
    Route("GET", "/course/students", students, Access.INSTRUCTOR),
    Route("GET", "/course/people", people, Access.INSTRUCTOR),
    Route("POST", "/sync-users", sync_users, Access.INSTRUCTOR, "Course"),
    Route("POST", "/revoke-token/{user}", revoke_token, Access.INSTRUCTOR, "Course"),
    Route("POST", "/course/invite", invite, Access.INSTRUCTOR),
)
