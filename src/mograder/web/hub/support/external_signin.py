"""The end of a sign-in by another system: the user name, the link, the login, or a refusal."""

from __future__ import annotations

from datetime import timedelta

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.cookies import LIFETIME, Login
from mograder.auth.external_names import (
    KnownName,
    ProvenPerson,
    Refusal,
    check_new_name,
    parsed_name,
)
from mograder.auth.identity import Method
from mograder.core.errors import Conflict
from mograder.core.names import Username
from mograder.store.external.external_people import ExternalPeople, ProviderLogins
from mograder.store.gradebook.gradebook import existing_gradebook
from mograder.store.gradebook.student_grades import has_marks
from mograder.web.context import request_context
from mograder.web.hub.support.audit import Event
from mograder.web.hub.support.hub_app import HubApp, identity_of
from mograder.web.hub.support.logins import end_login, new_login, safe_next, signed_in
from mograder.web.pages import page


async def complete(
    request: Request, app: HubApp, person: ProvenPerson, target: str, *, old_login: str = ""
) -> Response:
    """Sign a proven person in and answer 303 to ``target``, or with a page that says why not.

    The browser's login of before ends: the one of this request and ``old_login``. The new one has
    an id of its own, also for the same person.
    """
    prefix, present = request_context(request).prefix, identity_of(request)
    name, linked = await to_thread.run_sync(_user_of, app, person)
    front = present is not None and present.method is Method.HEADER
    if not isinstance(name, Refusal) and front and present and present.username != name:
        name = Refusal.FRONT_DISAGREES
    if isinstance(name, Refusal):
        told = "" if isinstance(person.name, Refusal) else person.name
        # The log tells the subject, which an instructor needs to link the person.
        subject = f"subject {person.subject}"
        return await refuse(request, app, name, issuer=person.issuer, name=told, detail=subject)
    login = new_login(app, name, person.role, person.lifetime)
    old = {old_login, present.login_id if present is not None else ""} - {""}
    await to_thread.run_sync(_exchange, app, person, login, old)
    where = request_context(request).address
    if linked:
        link = f"{name} {person.issuer} {person.subject}"
        await app.audit.granted(Event(name, "link person", link, where))
    await app.audit.granted(Event(name, "sign in", f"{person.method} {person.issuer}", where))
    return signed_in(request, app, login, safe_next(target, prefix) or f"{prefix}/")


async def refuse(
    request: Request,
    app: HubApp,
    reason: str,
    *,
    issuer: str,
    name: str = "",
    detail: str = "",
    status: int = 403,
) -> Response:
    """Return the page of a sign-in that failed, and record it in the audit log.

    ``reason`` is a :class:`Refusal` or another reason that the template ``signin_refused.html``
    has words for; ``detail`` is a text of ours for it.
    """
    client = request_context(request).address
    if not app.login_throttle.failed(client):
        response = page(request, "signin_refused.html", 429, reason="too many", name="", detail="")
        response.headers["Retry-After"] = "60"
        return response
    what = f"{issuer}: {reason}" + (f" ({detail})" if detail else "")
    await app.audit.refused(Event(name, "sign in", what, client))
    return page(
        request, "signin_refused.html", status, reason=str(reason), name=name, detail=detail
    )


def _user_of(app: HubApp, person: ProvenPerson) -> tuple[Username | Refusal, bool]:
    """Return the user name of a person, and whether this sign-in linked them to it."""
    people = ExternalPeople(app.services.state.engine)
    linked = people.username_of(person.issuer, person.subject)
    if linked:
        return Username.valid(linked) or Refusal.BAD_NAME, False
    name = parsed_name(person)
    if isinstance(name, Refusal):
        return name, False
    issuers = people.issuers_of(name)
    known = KnownName(linked=person.issuer in issuers, used=bool(issuers) or is_known(app, name))
    refusal = check_new_name(person, known)
    if refusal is not None:
        return refusal, False
    now = app.services.clock.now()
    try:
        people.link(person.issuer, person.subject, name, person.display_name, "", now)
    except Conflict:
        # Another request linked the subject or the name in between.
        same = people.username_of(person.issuer, person.subject) == name
        return name if same else Refusal.OTHER_SUBJECT, False
    return name, True


def is_known(app: HubApp, name: Username) -> bool:
    """Return whether this hub knows a user name by anything but a link to an issuer.

    Also by work and marks that came in another way: they would be the newcomer's to see. A list of
    names, such as that of allowed users, or of students without marks, shows nothing yet.
    """
    services = app.services
    if name in services.policy.instructors or name in services.policy.markers:
        return True
    if services.state.records(name) or services.workspaces.has_folder(name):
        return True
    if app.submissions.anything_of(name):
        return True
    book = existing_gradebook(services.loaded.gradebook_path)
    if book is None:
        return False
    with book:
        return has_marks(book, name)


def _exchange(app: HubApp, person: ProvenPerson, login: Login, old: set[str]) -> None:
    """End the browser's old logins; remember a login that its provider can end."""
    for login_id in old:
        end_login(app, login_id)
    if person.method == "oidc":
        now = app.services.clock.now()
        ProviderLogins(app.services.state.engine).add(
            login.login_id,
            person.issuer,
            person.subject,
            person.session,
            until=now + timedelta(seconds=LIFETIME),
            now=now,
        )
