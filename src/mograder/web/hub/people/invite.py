"""Makes one-time links for a list of names: a page, a CSV file for a mail merge, or letters.

The links are shown once: the database has only their hashes, and a letter until it is sent. They
sign students in and nobody else, so that an instructor cannot make another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.login_links import LinkCode, make_code
from mograder.auth.roles import Role
from mograder.clients.mail import is_address
from mograder.core.csv_table import write_table
from mograder.core.errors import InvalidInput
from mograder.core.names import Username
from mograder.exchange.post import Post
from mograder.web.context import request_context
from mograder.web.downloads import saved_file
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.mail.events import write_links
from mograder.web.pages import page
from mograder.web.request_body import MEGABYTE, read_form
from mograder.web.route import Access, Route

DAYS = (1, 7, 30)
"""The choices for the validity of a link, in days."""

_MOST = 2000
_APART = re.compile(r"[,;\t]")
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Invited:
    """One person: the rest of the line in the list, such as an address, and the link.

    ``address`` is the e-mail address in that rest, "" without one.
    """

    username: Username
    about: str
    address: str
    code: LinkCode
    link: str


async def invite(request: Request, app: CurrentApp) -> Response:
    """Make links for the people of a form, and put them on the list of users if one counts.

    The form's fields: ``people``, one a line, with an address after a comma or without; ``days``;
    and ``form``, "csv" for a file, "mail" for letters. The page shows the links that no letter has.
    """
    fields = await read_form(request, MEGABYTE)
    by_mail, post = fields.get("form") == "mail", app.find(Post)
    if by_mail and post is None:
        raise InvalidInput("This hub sends no letters.", hint="Set [mail] in mograder.toml.")
    until = app.services.clock.now() + timedelta(days=_days(fields.get("days", "")))
    here = request_context(request).address_here
    home = post.home if by_mail and post is not None else here
    people = _people(app, fields.get("people", ""), f"{home}/login/link?code=")
    await to_thread.run_sync(_keep, app, people, until)
    for each in people:
        await app.audit.record(request, "invite", each.username)
    app.notifier.notify_all()
    invited = len(people)
    if by_mail:
        people = await to_thread.run_sync(_write, app, people, until)
    rows = [(each.username, each.about, each.link, until.isoformat()) for each in people]
    text = write_table(("username", "about", "link", "valid until"), rows)
    if fields.get("form") == "csv":
        return saved_file(text, "invitations.csv", "text/csv; charset=utf-8")
    return page(
        request,
        "invited.html",
        here="people",
        people=people,
        written=invited - len(people),
        text=text,
        until=until,
    )


def _days(text: str) -> int:
    if text not in map(str, DAYS):
        raise InvalidInput("Choose for how many days the links are valid.")
    return int(text)


def _people(app: HubApp, text: str, address: str) -> list[Invited]:
    """Return the people of a list, each once.

    Raises: InvalidInput names the line that cannot be used.
    """
    lines = [(at, line.strip()) for at, line in enumerate(text.splitlines(), start=1)]
    filled = [(at, line) for at, line in lines if line]
    if not filled or len(filled) > _MOST:
        raise InvalidInput(f"Write 1 to {_MOST} names, one a line.")
    staff = app.services.policy.staff
    found: dict[Username, Invited] = {}
    for at, line in filled:
        name, *rest = _APART.split(line, maxsplit=1)
        try:
            user = Username.claimed(name.strip())
        except InvalidInput as error:
            raise InvalidInput(f"Line {at}: {error.message}", hint=error.hint) from error
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


def _write(app: HubApp, people: list[Invited], until: datetime) -> list[Invited]:
    """Write the letters; return the people of whom no address is known."""
    links = [(each.username, each.address, each.link) for each in people]
    unknown = write_links(app, links, until)
    return [each for each in people if each.username in unknown]


def _keep(app: HubApp, people: list[Invited], until: datetime) -> None:
    app.services.roster.add([each.username for each in people])
    codes = {each.code.hash: str(each.username) for each in people}
    app.services.state.invite(codes, Role.STUDENT, until)


ROUTES = (Route("POST", "/course/invite", invite, Access.INSTRUCTOR),)
"""The routes of inviting."""
