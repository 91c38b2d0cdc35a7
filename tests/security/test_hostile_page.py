"""A hostile notebook opened by an instructor in real Chromium.

See security.md, "The page is theirs as well".

Its script runs in the middle of marimo's own page. It must read nothing from the hub and
change nothing in it, although the instructor who opened it has all rights.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import notebooks
from tests.support.browser import People, Person, notebook
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import SECRET, from_proxy, instructor_token
from tests.support.prefix_proxy import PrefixProxy

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

ITEM = "A1"
NOTEBOOK = notebooks.notebook(
    """
    import pathlib

    import anywidget

    module = pathlib.Path("hostile.js")
    script = module.read_text() if module.exists() else "export default {render() {}}"

    class Widget(anywidget.AnyWidget):
        _esm = script

    Widget()
    return
    """,
    head='# /// script\n# dependencies = ["marimo", "anywidget"]\n# ///\n' + notebooks.HEAD,
)
_HOSTILE = Path(__file__).with_name("hostile.js")
_TELLING = ("alice", "A1", "file_status", "last_seen", "openapi", "Sign out", "serverToken")


@pytest.fixture
def hub(start_hub: Callable[..., HubProcess]) -> HubProcess:
    """A hub with a released item, alice at work on it, and mallory's hostile copy open."""
    hub = start_hub(settings={"hub.instructors": ["prof"]})
    release = hub.course / "hub-release" / ITEM
    release.mkdir(parents=True)
    (release / f"{ITEM}.py").write_text(NOTEBOOK, "utf-8")
    for user in ("alice", "mallory"):
        with hub.client(from_proxy(user)) as client:
            client.post(f"/start-edit-deep/{ITEM}").raise_for_status()
    workspace = hub.course / "hub-notebooks" / "mallory" / ITEM
    (workspace / "hostile.js").write_text(_HOSTILE.read_text("utf-8").replace("ITEM", ITEM))
    return hub


async def test_it_reads_nothing_and_does_nothing_with_a_login_cookie(
    hub: HubProcess, people: People
) -> None:
    """The instructor signed in by a one-time link, so that only the cookie speaks for them."""
    prof = await people.person("prof")
    await sign_in(prof, hub)
    await the_attack_fails(prof, hub, hub.url)


@pytest.mark.long  # the same attack, with another way to sign in
async def test_it_reads_nothing_and_does_nothing_behind_a_front_that_names_the_person(
    hub: HubProcess, people: People, start_front: Callable[..., PrefixProxy]
) -> None:
    """The front adds the header to every request, the hostile page's own among them."""
    front = start_front(hub, strips=True, remote_user="prof")
    prof = await people.person("prof")
    await the_attack_fails(prof, hub, front.url)


async def the_attack_fails(prof: Person, hub: HubProcess, base: str) -> None:
    before = state_of(hub)
    page = await prof.open(f"{base}/edit/user/mallory/{ITEM}/")
    frame = await notebook(page)
    await frame.wait_for_function("window.ATTEMPTS", timeout=90_000)
    attempts: dict[str, str] = await frame.evaluate("window.ATTEMPTS")
    assert attempts["origin"] == "null"
    assert attempts["cookie"] == attempts["cookie written"] == ""
    told = {name: said for name, said in attempts.items() if any(word in said for word in _TELLING)}
    assert told == {}
    assert attempts["ws alice"] == attempts["ws up"] == "refused"
    assert attempts["worker"].startswith("ERR")
    assert attempts["popup"] == "unreadable"
    for name in ("page around", "storage around", "top"):
        assert attempts[name] == "ERR SecurityError", name
    assert page.url == f"{base}/edit/user/mallory/{ITEM}/"
    assert state_of(hub) == before, "nothing was published, stopped or started"
    home = await prof.open(f"{base}/")
    assert await home.get_by_text("Sign out").count() == 1, "still signed in"


async def sign_in(person: Person, hub: HubProcess) -> None:
    link = run_mograder(
        *("hub", "login-link", "prof", "--role", "instructor", "--url", hub.url),
        env={"MOGRADER_HUB_SECRET": SECRET},
        cwd=hub.course,
    )
    assert link.status == 0, link.errors
    page = await person.open(link.output.strip())
    await page.get_by_role("button").first.click()
    await page.get_by_text("Sign out").wait_for()


def state_of(hub: HubProcess) -> tuple[str, ...]:
    """Return the state that the attack would change: running sessions and releases."""
    headers = {"Authorization": f"Bearer {instructor_token()}"}
    with hub.client(headers) as client:
        sessions = client.get("/sessions").json()
    running = sorted(f"{row['username']} {row['assignment']} {row['mode']}" for row in sessions)
    released = (hub.course / "hub-release" / ITEM / f"{ITEM}.py").read_text("utf-8")
    return (*running, released)
