"""The student's journey through the shipped nginx and Caddy, in Chromium (B19, B20).

What they carry is also tested by ``tests/contract/test_fronts.py``, quickly.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import Frame, expect

from mograder.core.web_origin import session_url
from tests.e2e.test_journey import (
    ASSIGNMENT,
    LECTURE,
    TYPED,
    edit_journey,
    lecture_journey,
    publish,
    session_of,
    type_into_a_new_cell,
    until,
)
from tests.support.browser import People, Person, notebook
from tests.support.fronts import Place, shipped
from tests.support.hub import HubProcess
from tests.support.identity import student, token
from tests.support.process import ServerProcess, free_port

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

FRONTS = [
    pytest.param("nginx", marks=pytest.mark.journey),
    pytest.param("caddy", marks=pytest.mark.long),
]

StartFront = Callable[..., tuple[Place, ServerProcess]]


@pytest.fixture
def start_shipped(work_directory: Path) -> Iterator[StartFront]:
    """Start a program with the shipped configuration before a hub."""
    with ExitStack() as stack:

        def start(hub: HubProcess, program: str, **choices: object) -> tuple[Place, ServerProcess]:
            here = {"port": free_port(), **choices}
            place = Place(hub_port=hub.port, request_mb=256, **here)  # type: ignore[arg-type]
            directory = work_directory / f"front-{place.port}"
            return place, stack.enter_context(shipped(program, place, directory))

        yield start


async def sign_in(person: Person, base: str) -> None:
    """Paste a token, as people do where no front signs them in."""
    page = await person.open(f"{base}/login")
    await page.get_by_role("textbox").fill(token(person.name))
    await page.get_by_role("button", name=re.compile("Sign in")).first.click()
    await page.wait_for_url(re.compile(r"/$"))
    await page.close()


async def submit(person: Person, base: str) -> None:
    """Submit the notebook on the hub's first page."""
    page = await person.open(f"{base}/")
    await page.get_by_role("button", name=f"Hand in {ASSIGNMENT}", exact=True).click()
    await page.get_by_role("button", name="Hand in all the same").click()
    await expect(page.get_by_text(f"{ASSIGNMENT} was handed in")).to_be_visible()
    await page.close()


@pytest.mark.parametrize("program", FRONTS)
async def test_b19_b20_a_student_edits_behind_a_front(
    start_hub: Callable[..., HubProcess],
    start_shipped: StartFront,
    people: People,
    program: str,
) -> None:
    """B19, B20: publish, deep link, edit, save, reload, submit."""
    hub = start_hub(settings={"hub.collect": True})
    place, server = start_shipped(hub, program)
    publish(hub, hub.url, ASSIGNMENT, "--force")
    alice = await people.person("alice")
    await sign_in(alice, place.url)
    await edit_journey(alice, place.url, hub.course / "hub-notebooks" / "alice")
    await submit(alice, place.url)
    assert TYPED in (hub.course / "submitted" / ASSIGNMENT / "alice.py").read_text("utf-8")
    publish(hub, hub.url, LECTURE)
    await lecture_journey(alice, place.url)
    assert "crit" not in server.log_text(), server.tail()


@pytest.mark.long  # test_fronts.py of the contracts has it without a browser
async def test_signing_out_ends_the_page_behind_a_front(
    start_hub: Callable[..., HubProcess],
    start_shipped: StartFront,
    people: People,
) -> None:
    """security.md: sign-out revokes the capability and closes its sockets, in a real sandbox."""
    hub = start_hub()
    place, _ = start_shipped(hub, "nginx")
    publish(hub, hub.url, ASSIGNMENT, "--force")
    alice = await people.person("alice")
    await sign_in(alice, place.url)
    page = await alice.open(f"{place.url}/edit/{ASSIGNMENT}")
    await page.wait_for_url("**/edit/user/**")
    closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with page.expect_websocket() as opening:
        await page.reload()
    line = await opening.value
    line.once("close", lambda _: closed.set_result(None))
    await expect((await notebook(page)).locator(".cm-content").first).to_be_visible()
    first = await session_of(alice, place.url)
    home = await alice.open(f"{place.url}/")
    await home.get_by_role("button", name="Sign out").click()
    await asyncio.wait_for(closed, 60)
    await expect(page.get_by_role("alert")).to_contain_text("sign")
    with hub.client(student("alice")) as client:
        rows = client.get("/sessions").json()
    assert first is not None
    assert [row["assignment"] for row in rows] == [ASSIGNMENT], "the session itself goes on"


@pytest.mark.long
async def test_a_session_has_an_origin_of_its_own_where_the_settings_say_so(
    start_hub: Callable[..., HubProcess], start_shipped: StartFront, people: People
) -> None:
    """security.md: one random label per viewer and session, below the hub's own page."""
    port = free_port()
    public, wildcard = f"http://127.0.0.1:{port}", f"http://{{session}}.localhost:{port}"
    hub = start_hub(settings={"hub.public_url": public, "hub.session_url": wildcard})
    url = session_url(wildcard, public)
    place, _ = start_shipped(hub, "nginx", port=port, sessions=url)
    publish(hub, hub.url, ASSIGNMENT, "--force")
    alice = await people.person("alice")
    await sign_in(alice, place.url)
    page = await alice.open(f"{place.url}/edit/{ASSIGNMENT}")
    await page.wait_for_url(f"{public}/edit/user/**")
    editor = await notebook(page)
    assert re.match(rf"http://[a-z2-7]{{32}}\.localhost:{port}/s/", editor.url)
    await expect(editor.locator(".cm-content").first).to_be_visible(timeout=120_000)
    await type_into_a_new_cell(page, TYPED)
    await expect(editor.get_by_text("typed 42")).to_be_visible()
    copy = hub.course / "hub-notebooks" / "alice" / ASSIGNMENT / f"{ASSIGNMENT}.py"
    await until(lambda: TYPED in copy.read_text("utf-8"))
    assert await editor.evaluate("localStorage.setItem('a', 'kept'), localStorage.getItem('a')")
    await _reaches_nothing_of_the_hub(editor, public)
    await page.reload()
    await expect((await notebook(page)).get_by_text("typed 42")).to_be_visible()
    home = await alice.open(f"{place.url}/")
    await home.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("alert")).to_be_visible()


async def _reaches_nothing_of_the_hub(page: Frame, public: str) -> None:
    """Run the requests of hostile code in the page with the viewer's login."""
    ask = """async (url) => {
        try {
            const answer = await fetch(url, { credentials: "include", method: "POST" });
            return answer.status;
        } catch (error) { return String(error); }
    }"""
    for path in ("/assignments", "/logout", f"/stop-edit/alice/{ASSIGNMENT}"):
        assert "TypeError" in str(await page.evaluate(ask, public + path))
    own = """async (path) => (await fetch(path, { credentials: "include" })).status"""
    for path in ("/", "/assignments", "/login", "/sessions", "/api/openapi.json", "/health"):
        assert await page.evaluate(own, path) == 404
    assert await page.evaluate("document.cookie") == ""
