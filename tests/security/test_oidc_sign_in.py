"""Signing in by a real OpenID provider, and the attacks on it; the hub runs in this process."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import tomlkit
from sqlalchemy import func, select

from mograder.auth.tokens import make_token
from mograder.core.errors import InvalidInput
from mograder.store.database import reading
from mograder.store.external_people import ExternalPeople
from mograder.store.external_tables import external_people, used_states
from tests.support.hub_app import SECRET, Hub, make_hub, running
from tests.support.oidc_provider import SECRET as CLIENT_SECRET
from tests.support.oidc_provider import OpenIdProvider

pytestmark = pytest.mark.full

HUB = "https://hub.test"
BACK = "/auth/oidc/back"
LOGOUT = "/auth/oidc/backchannel-logout"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    """A provider whose id_token holds the subject only."""
    with OpenIdProvider(tmp_path_factory.mktemp("strict") / "log") as provider:
        provider.serve(HUB)
        yield provider


@pytest.fixture(scope="module")
def generous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    """A provider whose id_token holds all claims."""
    log = tmp_path_factory.mktemp("generous") / "log"
    with OpenIdProvider(log, conform=False) as provider:
        provider.serve(HUB)
        yield provider


@dataclass
class Rig:
    """A hub with its provider, and browsers that are signed in at it."""

    hub: Hub
    provider: OpenIdProvider
    at_provider: list[httpx.Client] = field(default_factory=list)

    @asynccontextmanager
    async def browser(self, client: str = "192.0.2.7") -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.hub.app, client=(client, 5000))
        headers = {"Accept": "text/html,application/xhtml+xml"}
        async with httpx.AsyncClient(transport=transport, base_url=HUB, headers=headers) as browser:
            yield browser

    async def begin(self, browser: httpx.AsyncClient, target: str = "") -> str:
        """Begin a sign-in; return where the hub sends the browser."""
        answer = await browser.get("/auth/oidc/start", params={"next": target} if target else {})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def answer(self, address: str, account: str = "alice") -> str:
        """Sign in at the provider; return the path and query that it sends the browser to."""
        self.at_provider.append(httpx.Client(trust_env=False))
        way = self.provider.sign_in(self.at_provider[-1], address, account)
        assert way.startswith(f"{HUB}{BACK}?")
        return way.removeprefix(HUB)

    async def sign_in(
        self, browser: httpx.AsyncClient, account: str = "alice", target: str = ""
    ) -> httpx.Response:
        return await browser.get(self.answer(await self.begin(browser, target), account))

    async def refused(self, account: str) -> str:
        """Return the page that refuses an account, which must set no login."""
        async with self.browser() as browser:
            answer = await self.sign_in(browser, account)
        assert answer.status_code == 403
        assert not logged_in(answer)
        return " ".join(answer.text.split())

    def rows(self) -> tuple[int, int]:
        """Return how many used states and links of people are stored."""
        with reading(self.hub.engine) as connection:
            tables = (used_states, external_people)
            counts = [
                connection.execute(select(func.count()).select_from(each)).scalar_one()
                for each in tables
            ]
        return counts[0], counts[1]


NewRig = Callable[..., Rig]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[NewRig]:
    """Make hubs: ``rig(provider, client_id="hub--ES256", strip_domain="example.edu")``."""
    made: list[Rig] = []

    def new(provider: OpenIdProvider, *, secret: bool = True, **oidc: object) -> Rig:
        course = tmp_path / f"course-{len(made)}"
        course.mkdir()
        (course / "client-secret").write_text(f"{CLIENT_SECRET}\n")
        given = {
            "issuer": provider.issuer,
            "client_id": "hub",
            "name": "University",
            "private_network": True,
            **({"client_secret_file": "client-secret"} if secret else {}),
            **oidc,
        }
        hub = {"public_url": HUB, "instructors": ["teach1"]}
        settings = tomlkit.dumps({"title": "Numerics", "hub": hub, "oidc": given})
        made.append(Rig(make_hub(course, settings), provider))
        fresh = made[-1].hub
        fresh.publish("A1")
        fresh.clock.advance((datetime.now(UTC) - fresh.clock.now()).total_seconds())
        return made[-1]

    yield new
    for each in made:
        for browser in each.at_provider:
            browser.close()
        each.hub.close()


def logged_in(answer: httpx.Response) -> str:
    """Return the login cookie that an answer sets, "" if it sets none."""
    for cookie in answer.headers.get_list("set-cookie"):
        if cookie.startswith("__Host-mograder_session="):
            assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400; Secure")
            return cookie.partition(";")[0].partition("=")[2]
    return ""


def changed(way: str, **fields: str) -> str:
    """Return the way back with other fields; an empty one is left out."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(way).query).items()}
    query.update(fields)
    return f"{BACK}?{urlencode({name: value for name, value in query.items() if value})}"


async def viewer(browser: httpx.AsyncClient, name: str) -> bool:
    return f"<strong>{name}</strong>" in (await browser.get("/")).text


# Signing in


@pytest.mark.parametrize("kind", ["strict", "generous"])
async def test_a_person_signs_in_and_lands_where_they_wanted(
    rig: NewRig, request: pytest.FixtureRequest, kind: str
) -> None:
    made = rig(request.getfixturevalue(kind))
    async with made.browser() as browser:
        page = await browser.get("/login?next=/edit/A1")
        assert 'href="/auth/oidc/start?next=/edit/A1"' in page.text
        assert "Sign in with University" in page.text
        answer = await made.sign_in(browser, target="/edit/A1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/edit/A1")
        assert logged_in(answer)
        assert await viewer(browser, "alice")
        assert not [name for name in browser.cookies if "signin" in name]
    issuer = made.provider.issuer
    assert ("alice", "sign in", f"oidc {issuer}", "ok") in made.hub.audit()
    (person,) = ExternalPeople(made.hub.engine).people()
    assert (person.subject, person.username, person.display_name) == (
        "alice",
        "alice",
        "Alice Ångström",
    )


@pytest.mark.parametrize(
    "client",
    ["hub--ES256", "hub--PS256--client_secret_post", "hub--EdDSA", "hub--RS256--none"],
)
async def test_algorithms_and_authentications_of_the_client(
    rig: NewRig, strict: OpenIdProvider, client: str
) -> None:
    made = rig(strict, client_id=client, secret="none" not in client)
    async with made.browser() as browser:
        assert logged_in(await made.sign_in(browser))


async def test_an_instructor_of_the_settings_is_one_by_the_provider_too(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        await made.sign_in(browser, "teach1")
        assert (await browser.get("/course/items")).status_code == 200


async def test_new_keys_of_the_provider_are_found(rig: NewRig, tmp_path: Path) -> None:
    with OpenIdProvider(tmp_path / "log") as provider:
        provider.serve(HUB)
        made = rig(provider)
        async with made.browser() as browser:
            assert logged_in(await made.sign_in(browser))
            provider.restart_with_new_keys()
            made.hub.clock.advance(61)
            assert logged_in(await made.sign_in(browser))


async def test_a_provider_that_is_down_is_told_and_not_asked_again_at_once(
    rig: NewRig, strict: OpenIdProvider, tmp_path: Path
) -> None:
    with OpenIdProvider(tmp_path / "log") as provider:
        made = rig(provider)
        provider.stop()
        async with made.browser() as browser:
            for _ in range(3):
                answer = await browser.get("/auth/oidc/start")
                assert answer.status_code == 502
                assert "cannot be asked at the moment" in answer.text
            assert (await browser.get("/login")).status_code == 200
            provider.start()
            provider.serve(HUB)
            assert (await browser.get("/auth/oidc/start")).status_code == 502
            made.hub.clock.advance(5)
            assert logged_in(await made.sign_in(browser))


async def test_a_person_who_is_not_on_the_list_signs_in_but_does_not_enter(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    (made.hub.course / "allowed_users.txt").write_text("bob\n")
    async with made.browser() as browser:
        assert logged_in(await made.sign_in(browser))
        answer = await browser.get("/assignments", headers={"Accept": "text/html"})
        assert answer.status_code == 403
        assert "Access Restricted" in answer.text


async def test_the_sign_out_page_leads_to_the_providers(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        await made.sign_in(browser)
        page = await browser.get("/login?bye=1")
        assert f'href="{strict.issuer}/session/end?client_id=hub&amp;post_logout' in page.text
        assert f"{strict.issuer}/session/end" not in (await browser.get("/login")).text


# The user name


async def test_claims_by_setting(rig: NewRig, strict: OpenIdProvider) -> None:
    scopes = ["openid", "profile", "eduperson"]
    claim = {"scopes": scopes, "username_claim": "eduperson_principal_name"}
    made = rig(strict, **claim, strip_domain="example.edu")
    async with made.browser() as browser:
        await made.sign_in(browser)
        assert await viewer(browser, "alice")
    whole = rig(strict, **claim)
    async with whole.browser() as browser:
        await whole.sign_in(browser)
        assert await viewer(browser, "alice@example.edu")
    other = rig(strict, **claim, strip_domain="other.edu")
    assert "another organisation" in await other.refused("alice")


async def test_required_claims(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict, scopes=["openid", "profile", "groups"], require={"groups": "numerics"})
    async with made.browser() as browser:
        assert logged_in(await made.sign_in(browser))
    assert "groups" in await made.refused("teach1")
    ungiven = rig(strict, require={"groups": "numerics"})
    assert "groups" in await ungiven.refused("alice")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../x", "cannot look like that"),
        ("__instructor__", "cannot look like that"),
        ("alice ", "cannot look like that"),
        ("a\0b", "cannot look like that"),
        ("", "did not tell your user name"),
        (None, "did not tell your user name"),
        ("<img src=x onerror=alert(1)>", "&lt;img"),
    ],
)
async def test_names_that_are_refused(
    rig: NewRig, strict: OpenIdProvider, name: str | None, words: str
) -> None:
    strict.claim("mallory", {"preferred_username": name, "email": "alice@example.edu"})
    made = rig(strict)
    page = await made.refused("mallory")
    assert words in page
    assert "<img src=x" not in page
    assert made.rows() == (1, 0)


async def test_a_second_subject_does_not_get_a_name_that_has_one(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        await made.sign_in(browser)
    strict.claim("eve", {"preferred_username": "alice", "email": "alice@example.edu"})
    assert "belongs to another account" in await made.refused("eve")
    refusal = ("alice", "sign in", f"{strict.issuer}: other subject (subject eve)", "refused")
    assert refusal in made.hub.audit()
    people = ExternalPeople(made.hub.engine)
    assert people.username_of(strict.issuer, "eve") == ""
    people.unlink(strict.issuer, "alice")
    async with made.browser() as browser:
        assert logged_in(await made.sign_in(browser, "eve"))


async def test_a_name_that_only_looks_alike_is_another_person(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    for account, name in (("eve", "al\u0131ce"), ("zoe", "ALICE")):
        strict.claim(account, {"preferred_username": name, "email": "alice@example.edu"})
        async with made.browser() as browser:
            await made.sign_in(browser, account)
            assert await viewer(browser, name)


async def test_a_known_subject_keeps_its_name_whatever_the_claims_say(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    strict.claim("eve", {"preferred_username": "eve"})
    async with made.browser() as browser:
        await made.sign_in(browser, "eve")
    for name in ("teach1", "", "../x"):
        strict.claim("eve", {"preferred_username": name})
        async with made.browser() as browser:
            assert logged_in(await made.sign_in(browser, "eve"))
            assert await viewer(browser, "eve")


async def test_a_token_and_the_provider_are_one_person(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        form = {"token": make_token(SECRET, "alice")}
        await browser.post("/login", data=form, headers={"Origin": HUB})
        assert await viewer(browser, "alice")
        before = browser.cookies["__Host-mograder_session"]
        assert logged_in(await made.sign_in(browser)) != before
        assert await viewer(browser, "alice")


async def test_a_name_that_the_front_contradicts_gets_no_login(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser("127.0.0.1") as browser:
        browser.headers["X-Remote-User"] = "bob"
        answer = await made.sign_in(browser)
    assert answer.status_code == 403
    assert "signs you in as <strong>bob</strong>" in answer.text
    assert not logged_in(answer)


# Replay


async def test_a_way_back_counts_once(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        way = made.answer(await made.begin(browser))
        kept = dict(browser.cookies)
        assert logged_in(await browser.get(way))
        again = await browser.get(way)
        assert (again.status_code, logged_in(again)) == (403, "")
    async with made.browser() as thief:
        thief.cookies.update(kept)
        replayed = await thief.get(way)
        assert (replayed.status_code, logged_in(replayed)) == (502, "")


async def test_of_several_ways_back_at_once_one_counts_at_most(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        way = made.answer(await made.begin(browser))
        answers = await asyncio.gather(*(browser.get(way) for _ in range(6)))
    assert sum(bool(logged_in(each)) for each in answers) <= 1
    assert made.rows()[0] <= 1


# Another browser, another flow, another provider


async def test_an_answer_counts_only_in_the_browser_that_began(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as attacker, made.browser() as victim:
        way = made.answer(await made.begin(attacker), "mallory")
        for prepared in (False, True):
            if prepared:
                await made.begin(victim)
            answer = await victim.get(way)
            assert answer.status_code == 403
            assert "has not begun this sign-in" in " ".join(answer.text.split())
            assert not logged_in(answer)
        planted = dict.fromkeys(attacker.cookies, "x.y")
        victim.cookies.update(planted)
        assert (await victim.get(way)).status_code == 403
        own = next(iter(attacker.cookies))
        other = made.answer(await made.begin(victim))
        victim.cookies.set(own, dict(attacker.cookies)[own], domain="hub.test")
        state = parse_qs(urlsplit(way).query)["state"][0]
        mixed = await victim.get(changed(other, state=state))
        assert not logged_in(mixed)


async def test_a_sign_in_takes_ten_minutes_at_most(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        way = made.answer(await made.begin(browser))
        made.hub.clock.advance(600)
        answer = await browser.get(way)
    assert (answer.status_code, logged_in(answer)) == (403, "")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"iss": "https://evil.test"}, 403, "another provider"),
        ({"iss": ""}, 403, "another provider"),
        ({"code": ""}, 403, "It has no code"),
        ({"code": "x" * 5000}, 403, "It has no code"),
        ({"code": "wrong"}, 502, "Begin again"),
        ({"state": "wrong"}, 403, "has not begun"),
        ({"state": "A" * 43}, 403, "has not begun"),
        ({"error": "access_denied", "error_description": "<b>CANARY"}, 403, "access was denied"),
        ({"error": "<b>CANARY"}, 403, "did not let you in."),
    ],
)
async def test_answers_that_were_changed(
    rig: NewRig, strict: OpenIdProvider, fields: dict[str, str], status: int, words: str
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        answer = await browser.get(changed(made.answer(await made.begin(browser)), **fields))
    page = " ".join(answer.text.split())
    assert answer.status_code == status
    assert words in page
    assert "CANARY" not in page
    assert not logged_in(answer)
    assert made.rows() == (0, 0)


async def test_doubled_parameters_are_refused(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        way = made.answer(await made.begin(browser))
        for more in ("&state=x", "&code=x", "&iss=x"):
            answer = await browser.get(way + more)
            assert (answer.status_code, logged_in(answer)) == (400, "")
        assert logged_in(await browser.get(way))


async def test_the_same_client_at_another_provider_is_another_issuer(
    rig: NewRig, strict: OpenIdProvider, generous: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        address = await made.begin(browser)
        elsewhere = address.replace(strict.issuer, generous.issuer)
        other = Rig(made.hub, generous)
        answer = await browser.get(other.answer(elsewhere))
        other.at_provider[0].close()
        assert (answer.status_code, logged_in(answer)) == (403, "")
        unnamed = await made.begin(browser)
        other = Rig(made.hub, generous)
        way = other.answer(unnamed.replace(strict.issuer, generous.issuer))
        other.at_provider[0].close()
        forged = await browser.get(changed(way, iss=strict.issuer))
        assert (forged.status_code, logged_in(forged)) == (502, "")


# The login


async def test_the_login_is_a_new_one_and_the_old_one_ends(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    capabilities = made.hub.services.capabilities
    async with made.browser() as browser:
        first = logged_in(await made.sign_in(browser))
        old = made.hub.services.authenticator.identify(
            [(b"cookie", f"c={first}".encode())], None, cookie="c"
        )
        assert old is not None
        made.hub.start("alice", "A1", server=made.hub.course / "socket")
        session = next(iter(made.hub.pool.all()))
        cap = capabilities.issue(session.id, old)
        second = logged_in(await made.sign_in(browser))
        assert second
        assert second != first
        assert capabilities.resolve(cap) is None
        browser.cookies.set("__Host-mograder_session", first, domain="hub.test")
        assert not await viewer(browser, "alice")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "/%0d%0aSet-Cookie:x\n",
        "javascript:alert(1)",
        "https://hub.test@evil.test/",
        "/" + "x" * 2001,
    ],
)
async def test_a_sign_in_leads_to_pages_of_this_hub_only(
    rig: NewRig, strict: OpenIdProvider, target: str
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        answer = await made.sign_in(browser, target=target)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


# Floods and traces


async def test_a_flood_leaves_no_rows_and_few_cookies(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        for _ in range(30):
            await made.begin(browser)
        assert len([name for name in browser.cookies if "signin" in name]) <= 8
        assert logged_in(await made.sign_in(browser))
    async with made.browser() as browser:
        way = changed(f"{BACK}?x=1", state="A" * 43, code="x")
        statuses = [(await browser.get(way)).status_code for _ in range(30)]
    assert statuses.count(429) >= 9
    assert made.rows() == (1, 1)
    assert sum(line[3] == "refused" for line in made.hub.audit()) <= 2


async def test_no_secret_is_logged_or_audited(
    rig: NewRig, strict: OpenIdProvider, caplog: pytest.LogCaptureFixture
) -> None:
    made = rig(strict)
    caplog.set_level("DEBUG", "mograder")
    async with made.browser() as browser:
        address = await made.begin(browser)
        way = made.answer(address)
        assert (await browser.get(changed(way, code="canary-code"))).status_code == 502
        way = made.answer(await made.begin(browser))
        await browser.get(way)
        await browser.post(LOGOUT, data={"logout_token": "eyJ.canary-token.x"})
    query = parse_qs(urlsplit(way).query)
    secrets = ["canary", CLIENT_SECRET, query["code"][0], query["state"][0]]
    told = caplog.text + repr(made.hub.audit())
    assert "sign in" in told
    assert [secret for secret in secrets if secret in told] == []


# Signing out at the provider


class Heard(http.server.ThreadingHTTPServer):
    """A server in a hub's place that keeps the logout tokens a provider sends."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.arrived = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                body = handler.rfile.read(int(handler.headers["content-length"])).decode()
                self.tokens += parse_qs(body)["logout_token"]
                handler.send_response(200)
                handler.end_headers()
                self.arrived.set()

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def heard() -> Iterator[Heard]:
    with Heard() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_signing_out_at_the_provider_ends_the_logins_of_that_session(
    rig: NewRig, strict: OpenIdProvider, heard: Heard
) -> None:
    strict.serve(heard.url, HUB)
    made = rig(strict)
    capabilities = made.hub.services.capabilities
    async with made.browser() as browser, made.browser() as elsewhere, running(made.hub.app):
        await made.sign_in(browser)
        await made.sign_in(elsewhere)
        made.hub.start("alice", "A1", server=made.hub.course / "socket")
        session = next(iter(made.hub.pool.all()))
        cookie = browser.cookies["__Host-mograder_session"]
        login = made.hub.services.authenticator.identify(
            [(b"cookie", f"c={cookie}".encode())], None, cookie="c"
        )
        assert login is not None
        cap = capabilities.resolve(capabilities.issue(session.id, login))
        assert cap is not None
        closed = asyncio.Event()
        capabilities.on_revoke(cap, closed.set)
        await asyncio.to_thread(strict.sign_out, made.at_provider[0])
        assert await asyncio.to_thread(heard.arrived.wait, 10)
        (token,) = heard.tokens
        first = await browser.post(LOGOUT, data={"logout_token": token})
        assert (first.status_code, first.headers["cache-control"]) == (200, "no-store")
        await asyncio.wait_for(closed.wait(), 5)
        assert not await viewer(browser, "alice")
        assert await viewer(elsewhere, "alice")
        again = await browser.post(LOGOUT, data={"logout_token": token})
        assert again.status_code == 400
    strict.serve(HUB)
    what = f"{strict.issuer}: 1 logins"
    assert ("", "sign out by the provider", what, "ok") in made.hub.audit()


async def test_the_back_channel_needs_no_origin_and_knows_no_identity(
    rig: NewRig, strict: OpenIdProvider, heard: Heard
) -> None:
    strict.serve(heard.url, HUB)
    made = rig(strict)
    async with made.browser() as browser:
        await made.sign_in(browser)
        await asyncio.to_thread(strict.sign_out, made.at_provider[0])
        assert await asyncio.to_thread(heard.arrived.wait, 10)
        token = heard.tokens[0]
        for form in (
            {},
            {"logout_token": ""},
            {"logout_token": token[:-6]},
            {"logout_token": [token, token]},
            {"logout_token": "x" * 200_000},
        ):
            answer = await browser.post(LOGOUT, data=form)
            assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
            assert answer.headers["cache-control"] == "no-store"
        assert await viewer(browser, "alice")
        made.hub.clock.advance(181)
        assert (await browser.post(LOGOUT, data={"logout_token": token})).status_code == 400
        made.hub.clock.advance(-181)
        sent = {"Sec-Fetch-Mode": "cors", "X-Remote-User": "prof"}
        good = await browser.post(LOGOUT, data={"logout_token": token}, headers=sent)
        assert good.status_code == 200
        assert not await viewer(browser, "alice")
    strict.serve(HUB)


async def test_only_the_three_posts_of_other_systems_skip_the_check_of_the_origin(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    foreign = {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}
    async with made.browser() as browser:
        await made.sign_in(browser)
        for path in ("/logout", "/login", f"{LOGOUT}/", f"/{LOGOUT}", f"{LOGOUT}/../../../logout"):
            answer = await browser.post(path, data={}, headers=foreign)
            assert answer.status_code in (403, 404), path
        assert (await browser.post(LOGOUT, data={}, headers=foreign)).status_code == 400
        assert await viewer(browser, "alice")


# Settings


async def test_a_hub_without_a_provider_has_none_of_its_routes(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "course")
    async with hub.client(browser=True) as browser:
        for path in ("/auth/oidc/start", BACK):
            assert (await browser.get(path)).status_code == 404
        assert (await browser.post(LOGOUT)).status_code == 404
        assert "/auth/oidc" not in (await browser.get("/login")).text
    hub.close()


async def test_below_a_prefix_the_address_and_the_cookies_have_it(
    tmp_path: Path, strict: OpenIdProvider
) -> None:
    strict.serve(f"{HUB}/live/hub")
    oidc = {"issuer": strict.issuer, "client_id": "hub--RS256--none", "private_network": True}
    given = {"public_url": HUB, "base_url": "/live/hub"}
    hub = make_hub(tmp_path / "course", tomlkit.dumps({"hub": given, "oidc": oidc}))
    hub.clock.advance((datetime.now(UTC) - hub.clock.now()).total_seconds())
    async with Rig(hub, strict).browser() as browser:
        begun = await browser.get("/live/hub/auth/oidc/start?next=/live/hub/edit/A1")
        (cookie,) = begun.headers.get_list("set-cookie")
        assert cookie.startswith("__Secure-mograder_signin_")
        assert "; Path=/live/hub; HttpOnly; " in cookie
        with httpx.Client(trust_env=False) as there:
            way = strict.sign_in(there, begun.headers["location"])
        assert way.startswith(f"{HUB}/live/hub{BACK}?")
        answer = await browser.get(way.removeprefix(HUB), headers={"Host": "evil.test"})
        assert answer.headers["location"] == "/live/hub/edit/A1"
    strict.serve(HUB)
    hub.close()


@pytest.mark.parametrize(
    ("hub", "oidc", "words"),
    [
        ({}, {}, "public_url with https"),
        ({"public_url": "http://hub.test"}, {}, "public_url with https"),
        ({"public_url": HUB}, {"client_id": ""}, "client_id is not set"),
        ({"public_url": HUB}, {"scopes": ["profile"]}, "lacks openid"),
        ({"public_url": HUB}, {"issuer": "http://127.0.0.1:9"}, "no https"),
        ({"public_url": HUB}, {"client_secret_file": "none"}, "client_secret_file"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(
    tmp_path: Path, hub: dict[str, object], oidc: dict[str, object], words: str
) -> None:
    given = {"issuer": "https://login.test", "client_id": "hub", **oidc}
    with pytest.raises(InvalidInput, match=words):
        make_hub(tmp_path / "course", tomlkit.dumps({"hub": hub, "oidc": given}))
