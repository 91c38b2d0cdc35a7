"""The end of a sign-in by another system: the name, the link, the login, or a refusal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from mograder.auth.credentials import LIFETIME, Login, Role, read_cookie
from mograder.auth.external_signin import ProvenPerson, Refusal
from mograder.auth.identity import Identity, Method
from mograder.core.errors import Busy, InvalidInput
from mograder.core.names import ItemName, Username
from mograder.core.settings import load_settings
from mograder.hub.notifier import Notifier
from mograder.operations.sign_in_settings import own_url
from mograder.store.external.external_people import ExternalPeople, ProviderLogins
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook import Identity as MoodleUser
from mograder.web.app import AppMiddleware
from mograder.web.context import ContextMiddleware
from mograder.web.hub.app import admit, make_core
from mograder.web.hub.core.hub_app import HubApp
from mograder.web.hub.signin.external_signin import complete, refuse
from mograder.web.hub.signin.signin import end_login, new_login, open_signin, replace_login
from mograder.web.marking.context import SharedGradebook
from tests.support.gradebooks import FAIR, a_run
from tests.support.hub_app import ORIGIN, SECRET, Hub

MOODLE = "https://moodle.test"
ALICE = ProvenPerson("lti", MOODLE, "13", "alice", same_names=False, lifetime=LIFETIME)


def by_session(hub: Hub) -> None:
    hub.services.state.slot_of("alice")


def by_unused_token(hub: Hub) -> None:
    now = hub.clock.now()
    hub.services.state.record(now, "", "make student token", "alice", "command line", "ok")


def by_revoked_token(hub: Hub) -> None:
    hub.services.revocations.bump_epoch("alice")


def by_copy(hub: Hub) -> None:
    release = hub.services.releases.get(ItemName.parse("A1"))
    assert release is not None
    hub.services.workspaces.ensure(Username.parse("alice"), release)


def by_marks(hub: Hub) -> None:
    with Gradebook(hub.services.loaded.gradebook_path) as book:
        book.record_run(a_run("alice", FAIR))


def by_another_issuer(hub: Hub) -> None:
    now = hub.clock.now()
    ExternalPeople(hub.engine).link("https://other.test", "13", "alice", "", "", now)


@pytest.fixture
def app(hub: Hub) -> HubApp:
    """The object that the hub's handlers get."""
    made = make_core(hub.services, Notifier(), SharedGradebook(hub.services.loaded))
    open_signin(made)
    return made


async def came(
    hub: Hub,
    app: HubApp,
    person: ProvenPerson,
    target: str = "",
    *,
    proxy_name: str = "",
    login: str = "",
) -> httpx.Response:
    """Have a person come from another system, maybe named by the proxy; return the answer.

    ``login`` is the cookie of a login that the browser has.
    """
    headers = {"X-Remote-User": proxy_name} if proxy_name else {}
    if login:
        headers["Cookie"] = f"mograder_session={login}"
    return await answered(app, lambda request: complete(request, app, person, target), headers)


async def answered(
    app: HubApp, handle: Callable[[Request], Awaitable[Response]], headers: dict[str, str]
) -> httpx.Response:
    """Return the hub's answer to a request that is handled so."""
    routes = FastAPI()

    @routes.get("/came")
    async def handler(request: Request) -> Response:
        return await handle(request)

    own = ContextMiddleware(AppMiddleware(routes, app, admit))
    transport = httpx.ASGITransport(own)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        return await client.get("/came", headers=headers)


async def test_a_newcomer_is_linked_and_signed_in(hub: Hub, app: HubApp) -> None:
    answer = await came(hub, app, ALICE, "/edit/A1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/edit/A1")
    login = login_of(hub, answer)
    assert (login.username, login.role) == ("alice", Role.STUDENT)
    (person,) = ExternalPeople(hub.engine).people()
    assert (person.issuer, person.subject, person.username) == (MOODLE, "13", "alice")
    again = await came(hub, app, replace(ALICE, name="bob"))
    assert again.status_code == 303
    assert ("alice", "sign in", f"lti {MOODLE}", "ok") in hub.audit()
    assert ("alice", "link person", f"alice {MOODLE} 13", "ok") in hub.audit()


async def test_a_link_is_in_the_audit_log_though_the_proxy_names_somebody_else(
    hub: Hub, app: HubApp
) -> None:
    answer = await came(hub, app, ALICE, proxy_name="bob")
    assert answer.status_code == 403
    assert ExternalPeople(hub.engine).username_of(MOODLE, "13") == "alice"
    assert ("alice", "link person", f"alice {MOODLE} 13", "ok") in hub.audit()


async def test_the_proxys_name_counts_beside_the_login_that_it_began(hub: Hub, app: HubApp) -> None:
    """The next page would be alice's all the same, since the new login contradicts the proxy."""
    alice, bob = (
        replace(ALICE, method="oidc", subject=name, name=name) for name in ("alice", "bob")
    )
    cookie = (await came(hub, app, alice, proxy_name="alice")).cookies["mograder_session"]
    answer = await came(hub, app, bob, proxy_name="alice", login=cookie)
    assert answer.status_code == 403
    assert "Your institution signs you in as <strong>alice</strong>" in answer.text
    assert "set-cookie" not in answer.headers
    again = await came(hub, app, alice, proxy_name="alice", login=cookie)
    assert again.status_code == 303


async def test_a_providers_sign_out_finds_a_login_as_long_as_its_notebook_may_be_open(
    hub: Hub, app: HubApp
) -> None:
    """A notebook that was opened at the end of the login's day is open for another day."""
    alice = replace(ALICE, method="oidc", session="s1")
    found = []
    for _ in range(3):
        assert (await came(hub, app, alice)).status_code == 303
        found.append(len(ProviderLogins(hub.engine).logins(MOODLE, sid="s1")))
        hub.clock.advance(LIFETIME + 60)
    assert found == [1, 2, 2]


def opened(hub: Hub, login: Login) -> str:
    """The capability of a page that the person has open by this login."""
    if not hub.pool.all():
        hub.start(login.username, "A1", server=hub.course / "s.sock")
    (session,) = hub.pool.all()
    who = Identity(login.username, login.role, Method.COOKIE, login.login_id, None)
    capabilities = hub.services.capabilities
    return capabilities.issue(capabilities.visit(session.id, session.key.user, who))


def login_of(hub: Hub, answer: httpx.Response) -> Login:
    login = read_cookie(SECRET, answer.cookies["mograder_session"], hub.clock.now())
    assert login is not None
    return login


async def test_a_providers_sign_out_finds_the_login_that_has_its_open_notebooks(
    hub: Hub, app: HubApp
) -> None:
    oidc, found = replace(ALICE, method="oidc", session="s1"), ProviderLogins(hub.engine)
    answer = await came(hub, app, oidc)
    cap = opened(hub, login_of(hub, answer))
    for person, session in ((ALICE, "s1"), (replace(oidc, session="s2"), "s2"), (oidc, "s1")):
        answer = await came(hub, app, person, login=answer.cookies["mograder_session"])
        login = login_of(hub, answer)
        assert login.login_id in found.logins(MOODLE, sid=session)
        visit = hub.services.capabilities.resolve(cap)
        assert visit is not None
        assert visit.login_id == login.login_id
    end_login(app, login.login_id)
    assert hub.services.capabilities.resolve(cap) is None


@pytest.mark.parametrize("ends", ["before", "old", "new"])
async def test_a_login_that_is_signed_out_meanwhile_leaves_no_notebook_open(
    hub: Hub, app: HubApp, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    old, new = (new_login(app, "alice", Role.STUDENT) for _ in range(2))
    cap, until = opened(hub, old), hub.clock.now() + timedelta(days=1)
    passes, revocations = hub.services.capabilities.pass_on, hub.services.revocations
    if ends == "before":
        revocations.revoke_login(old.login_id, until)

    def pass_on(*given: Any) -> bool:
        revocations.revoke_login((old if ends == "old" else new).login_id, until)
        return passes(*given)

    monkeypatch.setattr(hub.services.capabilities, "pass_on", pass_on)
    replace_login(app, old.login_id, new)
    assert hub.services.capabilities.resolve(cap) is None
    assert hub.services.state.capabilities() == ()


@pytest.mark.parametrize(
    ("before", "after", "open_after"),
    [
        (Role.INSTRUCTOR, Role.STUDENT, {"alice"}),
        (Role.STUDENT, Role.INSTRUCTOR, {"alice"}),
        (Role.INSTRUCTOR, Role.INSTRUCTOR, {"alice", "bob"}),
    ],
)
async def test_anothers_notebook_stays_open_with_the_same_role_only(
    hub: Hub, app: HubApp, before: Role, after: Role, open_after: set[str]
) -> None:
    hub.start("bob", "A1", server=hub.course / "b.sock")
    hub.start("alice", "A1", server=hub.course / "a.sock")
    old, new = new_login(app, "alice", before), new_login(app, "alice", after)
    who = Identity("alice", before, Method.COOKIE, old.login_id, None, before)
    capabilities = hub.services.capabilities
    caps = {
        live.key.user: capabilities.issue(capabilities.visit(live.id, live.key.user, who))
        for live in hub.pool.all()
    }
    replace_login(app, old.login_id, new)
    found = {user: capabilities.resolve(cap) for user, cap in caps.items()}
    assert {user for user, visit in found.items() if visit is not None} == open_after
    assert found["alice"] is not None
    assert found["alice"].role is after


@pytest.mark.parametrize("fails", ["pass_on_capabilities", "revoke_login"])
async def test_nothing_is_open_by_a_login_that_nobody_got(
    hub: Hub, app: HubApp, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """No sign-out could end what passed on to it."""

    def fail(*_: object) -> None:
        raise Busy("The database is busy.")

    old, new = (new_login(app, "alice", Role.STUDENT) for _ in range(2))
    cap = opened(hub, old)
    monkeypatch.setattr(hub.services.state, fails, fail)
    with pytest.raises(Busy):
        replace_login(app, old.login_id, new)
    assert hub.services.capabilities.resolve(cap) is None


@pytest.mark.parametrize(
    "known",
    [by_session, by_unused_token, by_revoked_token, by_copy, by_marks, by_another_issuer],
)
async def test_a_name_that_is_known_here_is_given_to_nobody_by_a_platform_with_its_own_names(
    hub: Hub, app: HubApp, known: Callable[[Hub], None]
) -> None:
    known(hub)
    answer = await came(hub, app, ALICE)
    assert answer.status_code == 403
    assert "knows the name “alice” from elsewhere" in answer.text
    assert "mograder_session" not in answer.cookies
    assert ExternalPeople(hub.engine).username_of(MOODLE, "13") == ""
    same = await came(hub, app, replace(ALICE, same_names=True))
    assert same.status_code == 303


async def test_only_a_name_that_marks_may_make_anothers_waits_for_a_gradebook_that_can_be_read(
    hub: Hub, app: HubApp
) -> None:
    hub.services.loaded.gradebook_path.write_text("not a database" * 100)
    answer = await came(hub, app, ALICE)
    assert answer.status_code == 403
    assert "cannot look up at the moment whether somebody else has the name “alice”" in answer.text
    assert ExternalPeople(hub.engine).username_of(MOODLE, "13") == ""
    refused = f"{MOODLE}: {Refusal.UNDECIDED} (subject 13)"
    assert ("alice", "sign in", refused, "refused") in hub.audit()
    assert (await came(hub, app, replace(ALICE, same_names=True))).status_code == 303
    assert (await came(hub, app, ALICE)).status_code == 303, "linked by now"


async def test_a_name_that_the_proxy_has_named_is_known(hub: Hub, app: HubApp) -> None:
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    headers = {"X-Remote-User": "alice"}
    for _ in range(2):  # by a program, which keeps no cookie
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            assert (await client.get("/", headers=headers)).status_code == 200
    assert hub.audit() == [("alice", "sign in", "by the web server in front", "ok")]
    assert "knows the name “alice” from elsewhere" in (await came(hub, app, ALICE)).text
    by_session(hub)
    assert (await came(hub, app, ALICE, proxy_name="alice")).status_code == 403
    assert ExternalPeople(hub.engine).people() == ()


async def test_a_name_that_the_proxy_alone_knows_is_the_persons_own_in_the_same_browser(
    hub: Hub, app: HubApp
) -> None:
    assert (await came(hub, app, ALICE, proxy_name="alice")).status_code == 303
    assert ExternalPeople(hub.engine).username_of(MOODLE, "13") == "alice"


def number(hub: Hub, user_id: int, username: str = "alice", site: str = MOODLE) -> None:
    """Record a person of Moodle, as `mograder moodle` does."""
    with Gradebook(hub.services.loaded.gradebook_path) as book:
        book.put_identities(site, [MoodleUser(user_id, username)])


async def test_marks_are_a_persons_whose_number_there_has_this_name(hub: Hub, app: HubApp) -> None:
    by_marks(hub)
    number(hub, 13)
    assert (await came(hub, app, ALICE)).status_code == 303
    assert ExternalPeople(hub.engine).username_of(MOODLE, "13") == "alice"


@pytest.mark.parametrize(
    ("user_id", "username", "site", "beside"),
    [
        (14, "alice", MOODLE, None),
        (13, "other", MOODLE, None),
        (13, "alice", "https://other.example.org", None),
        (13, "alice", MOODLE, "by_copy"),
        (13, "alice", MOODLE, "by_session"),
        (13, "alice", MOODLE, "by_revoked_token"),
        (13, "alice", MOODLE, "by_another_issuer"),
    ],
)
async def test_a_number_of_somebody_else_or_a_name_that_was_used_here_opens_nothing(
    hub: Hub, app: HubApp, user_id: int, username: str, site: str, beside: str | None
) -> None:
    by_marks(hub)
    number(hub, user_id, username, site)
    if beside:
        globals()[beside](hub)
    assert (await came(hub, app, ALICE)).status_code == 403
    assert ExternalPeople(hub.engine).username_of(MOODLE, "13") == ""


async def test_staff_get_no_name_by_a_number(hub: Hub, app: HubApp) -> None:
    number(hub, 13, "prof")
    assert (await came(hub, app, replace(ALICE, name="prof"))).status_code == 403


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "Share launcher's name with tool"),
        ("../x", "a user name of this hub cannot look like that"),
        ("x" * 300, f"calls you “{'x' * 99}…”"),
        ("x\ud800\0y", "calls you “x  y”"),  # half a character, which JSON can name
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror"),
        (Refusal.OTHER_DOMAIN, "belongs to another organisation"),
    ],
)
async def test_a_name_that_cannot_be_is_told_and_nobody_is_linked(
    hub: Hub, app: HubApp, name: str | Refusal, words: str
) -> None:
    answer = await came(hub, app, replace(ALICE, name=name))
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert words in answer.text
    assert "<img src=x" not in answer.text
    assert ExternalPeople(hub.engine).people() == ()


async def test_a_second_subject_does_not_get_a_name_that_has_one(hub: Hub, app: HubApp) -> None:
    people, eve = ExternalPeople(hub.engine), replace(ALICE, subject="14", same_names=True)
    await came(hub, app, ALICE)
    for person in (eve, replace(eve, same_names=False)):
        answer = await came(hub, app, person)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
        assert "belongs to another account" in answer.text
    refusal = ("alice", "sign in", f"{MOODLE}: other subject (subject 14)", "refused")
    assert refusal in hub.audit()
    assert people.username_of(MOODLE, "14") == ""
    people.unlink(MOODLE, "alice")
    assert (await came(hub, app, eve)).status_code == 303


async def test_lists_of_names_keep_nobody_out(hub: Hub, app: HubApp) -> None:
    (hub.course / "allowed_users.txt").write_text("bob\nalice\n")
    with Gradebook(hub.services.loaded.gradebook_path) as book:
        book.put_students({"alice": "Alice"})
    assert (await came(hub, app, ALICE)).status_code == 303


@pytest.mark.parametrize("name", ["prof", "marta"])
async def test_the_names_of_staff_are_known_here(hub: Hub, app: HubApp, name: str) -> None:
    answer = await came(hub, app, replace(ALICE, name=name))
    assert answer.status_code == 403
    assert (name, "sign in", f"{MOODLE}: known here (subject 13)", "refused") in hub.audit()


async def test_a_link_made_by_an_instructor_counts_for_a_name_that_is_known(
    hub: Hub, app: HubApp
) -> None:
    by_copy(hub)
    ExternalPeople(hub.engine).link(MOODLE, "13", "alice", "", "prof", hub.clock.now())
    assert (await came(hub, app, replace(ALICE, name=""))).status_code == 303


async def test_a_role_and_a_lifetime_hold_for_that_login(hub: Hub, app: HubApp) -> None:
    hours = 8 * 3600
    teacher = replace(ALICE, role=Role.INSTRUCTOR, lifetime=hours)
    answer = await came(hub, app, teacher)
    assert answer.headers["location"] == "/course/today"
    cookie = answer.cookies["mograder_session"]
    now = hub.clock.now()
    login = read_cookie(SECRET, cookie, now + timedelta(seconds=hours - 1))
    assert login is not None
    assert login.role is Role.INSTRUCTOR
    assert read_cookie(SECRET, cookie, now + timedelta(seconds=hours)) is None
    student = await came(hub, app, ALICE)
    login = read_cookie(SECRET, student.cookies["mograder_session"], now)
    assert login is not None
    assert login.role is Role.STUDENT


async def test_each_of_a_class_at_one_address_is_told_why_and_is_in_the_audit_log(
    hub: Hub, app: HubApp
) -> None:
    """A lecture hall has one address, and an instructor links people from the log."""
    names = [f"student{number}" for number in range(21)]
    for name in names:
        hub.services.state.slot_of(name)
        answer = await came(hub, app, replace(ALICE, subject=name, name=name))
        assert answer.status_code == 403
        assert f"knows the name “{name}” from elsewhere" in answer.text
    assert {line[0] for line in hub.audit() if line[3] == "refused"} == {*names}


async def test_each_of_a_class_at_one_address_is_told_that_the_system_does_not_answer(
    app: HubApp,
) -> None:
    """The twenty-first was told of too many failures, and so was each later one, of anything."""
    for _ in range(21):
        answer = await answered(
            app, lambda request: refuse(request, app, "unreachable", issuer=MOODLE, status=502), {}
        )
        assert answer.status_code == 502
        assert "cannot be asked at the moment" in answer.text
    other = await answered(app, lambda request: refuse(request, app, "used", issuer=MOODLE), {})
    assert other.status_code == 403


def test_the_hubs_own_address(tmp_path: Path) -> None:
    file = tmp_path / "mograder.toml"
    for public, base, expected in (
        ("https://hub.test", "", "https://hub.test"),
        ("https://hub.test/", "/live/hub", "https://hub.test/live/hub"),
        ("http://127.0.0.1:8080", "", "http://127.0.0.1:8080"),
    ):
        file.write_text(f'[hub]\npublic_url = "{public}"\nbase_url = "{base}"\n')
        assert own_url(load_settings(tmp_path, environ={})) == expected
    file.write_text('[hub]\npublic_url = "http://hub.test"\n')
    with pytest.raises(InvalidInput, match="with https"):
        own_url(load_settings(tmp_path, environ={}))
