"""The pages for the browser alone: the switch, the policies, the addresses."""

from __future__ import annotations

import pytest

from mograder.core.names import ItemName
from mograder.core.settings import load_settings
from mograder.store.assignment_server.browser_pages import BrowserPage, BrowserPages
from tests.support.assignment_app import Course

HW1 = ItemName.parse("hw1")
SCRIPT = b"export const answer = 42;\n" * 100


def export(course: Course) -> str:
    """Write a page of one file for the assignment, and return its address."""
    pages = BrowserPages(course.root)
    directory = pages.add("frame", {"index.html": b"<!doctype html>", "assets/main.js": SCRIPT})
    frame = f"{directory}/index.html"
    about = BrowserPage(protocol=1, frame=frame, notebook="hw1.py", marimo="1", pyodide="2")
    pages.save(HW1, about)
    course.restart(web=True)
    return f"/web/files/{directory}"


async def test_nothing_is_there_without_the_switch(course: Course) -> None:
    place = export(course)
    course.restart(web=False)
    for path in ("/web", "/web/items/hw1", f"{place}/index.html"):
        assert (await course.ask("GET", path)).status_code == 404


async def test_the_page_allows_one_frame_and_our_own_scripts(course: Course) -> None:
    place = export(course)
    answer = await course.ask("GET", "/web/items/hw1")
    policy = answer.headers["content-security-policy"]
    assert "script-src http://course.test/web/static/;" in policy
    assert "frame-src http://course.test/web/files/;" in policy
    assert "unsafe" not in policy
    assert f'data-frame="{place.removeprefix("/web/files/")}/index.html"' in answer.text
    assert "allow-same-origin" not in answer.text
    assert "/web/items/hw1" in (await course.ask("GET", "/web")).text
    assert (await course.ask("GET", "/web/items/other")).status_code == 404


async def test_an_item_that_is_not_open_is_not_listed(course: Course) -> None:
    export(course)
    text = 'timezone = "UTC"\n[items.hw1]\nopens = 2026-09-01T10:00\n'
    (course.root / "mograder.toml").write_text(text)
    course.restart(loaded=load_settings(course.root, environ={}))
    assert "hw1" not in (await course.ask("GET", "/web")).text
    assert (await course.ask("GET", "/web/items/hw1")).status_code == 404
    course.clock.advance(3600)
    assert "/web/items/hw1" in (await course.ask("GET", "/web")).text


async def test_the_frame_has_an_opaque_origin_and_reaches_its_files_only(course: Course) -> None:
    place = export(course)
    answer = await course.ask("GET", f"{place}/index.html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts ")
    assert "allow-same-origin" not in policy
    assert "connect-src data: blob:;" in policy
    assert "script-src 'unsafe-inline' 'unsafe-eval' blob: data:;" in policy
    assert "https:" not in policy
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_files_are_packed_for_browsers_that_take_it(course: Course) -> None:
    place = export(course)
    plain = await course.ask("GET", f"{place}/assets/main.js", headers={"accept-encoding": "gzip"})
    packed = await course.ask("GET", f"{place}/assets/main.js", headers={"accept-encoding": "br"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "br"
    assert plain.content == packed.content == SCRIPT
    assert int(packed.headers["content-length"]) < len(SCRIPT)
    assert packed.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    [
        *("%2e%2e/items/hw1.json", "../items/hw1.json", ".complete", "assets/..%2f.complete"),
        *("assets", "", "no.js", "assets/main.js/x"),
    ],
)
async def test_nothing_else_is_served(course: Course, path: str) -> None:
    place = export(course)
    assert (await course.ask("GET", f"{place}/{path}")).status_code == 404


async def test_other_names_of_directories_are_refused(course: Course) -> None:
    export(course)
    for path in ("/web/files/items/hw1.json", "/web/files/../drafts/x", "/web/files/frame-0/x"):
        assert (await course.ask("GET", path)).status_code == 404
