"""marimo's page in an opaque origin: real Chromium, real marimo, the proxy in between.

sessions.md, "What a page can and cannot do": what must work there, and the shim that makes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Frame, Page, expect

from mograder.auth.credentials import COOKIE, Login, Role, make_cookie
from mograder.sandbox.protocol import Mode
from tests.support import notebooks
from tests.support.browser import People, Person, saved_on_disk, type_over
from tests.support.browser import notebook as framed
from tests.support.hub_app import SECRET
from tests.support.marimo import Address, open_editor
from tests.support.plain_marimo import marimo_on
from tests.support.session_proxy import Rig, bearer, running_rig

pytestmark = pytest.mark.full

PREFIX = "/live/hub"
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cf500f000381018070d2f5f80000000049454e44ae426082"
)
_NOTEBOOK = notebooks.notebook(
    "import marimo as mo",
    '''
    mo.md("""
    hello **there**, [the lecture](../../../../run/L02/)

    <img id="picture" src="public/pixel.png">
    """)
    ''',
    'mo.download(b"seven bytes of it", filename="my data.txt", label="Take it")',
    """
    mo.iframe("<p style='height: 444px'>framed</p>")
    """,
    """
    @app.cell
    def total():
        40 + 1
        return
    """,
)


_DOWNLOADS = notebooks.notebook(
    """
    import asyncio

    import marimo as mo

    async def soon():
        await asyncio.sleep(0)
        return b"computed by a coroutine"

    mo.vstack([
        mo.download(b"eager bytes", filename="eager.txt", label="eager"),
        mo.download("data:text/plain;base64,YSB0ZXh0", filename="text.txt", label="eager text"),
        mo.download(b"named late", filename=lambda: "late name.txt", label="late name"),
        mo.download(lambda: b"lazy bytes", filename="lazy.txt", label="lazy"),
        mo.download(lambda: "data:,lazy%20text", filename="str.txt", label="lazy text"),
        mo.download(soon, filename="soon.txt", label="coroutine"),
        mo.download(lambda: b"0123456789" * 500_000, filename="large.bin", label="large"),
    ])
    return (mo,)
    """,
)
_STORAGE_PROBE = """<script>
localStorage.setItem("a", "kept"); sessionStorage.b = "too"; document.cookie = "c=1";
const opened = new Promise((done) => {
  const request = indexedDB.open("x");
  request.onerror = () => done("no database");
});
addEventListener("load", async () => {
  const said = [localStorage.getItem("a"), sessionStorage.b, document.cookie, await opened];
  document.body.append(said.join("|"));
});
</script>"""
_FRAMES = f'''\
import marimo

app = marimo.App()


@app.cell
def _():
    import html

    import marimo as mo

    probe = """{_STORAGE_PROBE}"""
    page = "<!DOCTYPE html><html><head><title>t</title></head><body>" + probe + "</body></html>"
    mo.vstack([
        mo.iframe(probe),
        mo.iframe(page),
        mo.Html(f"<iframe srcdoc='{{html.escape(page)}}'></iframe>"),
    ])
    return


if __name__ == "__main__":
    app.run()
'''


@pytest.fixture
def notebook(work_directory: Path) -> Path:
    """A directory with a notebook and a picture in its ``public`` folder."""
    (work_directory / "A1.py").write_text(_NOTEBOOK)
    (work_directory / "public").mkdir()
    (work_directory / "public" / "pixel.png").write_bytes(_PIXEL)
    return work_directory


@asynccontextmanager
async def signed_in(people: People, rig: Rig, name: str) -> AsyncIterator[Person]:
    """A person with the login cookie of this user."""
    login = Login(name, Role.STUDENT, f"login-of-{name}-xxxxxxxx", int(_now()), 0)
    person = await people.person(name)
    cookie = {"name": COOKIE, "value": make_cookie(SECRET, login), "url": rig.url}
    await person.context.add_cookies([cookie])  # type: ignore[list-item]
    yield person


async def test_the_editor_works_in_an_opaque_origin(notebook: Path, people: People) -> None:
    with marimo_on(notebook, "/edit/user/alice/A1") as path:
        async with running_rig(base_url=PREFIX) as rig, signed_in(people, rig, "alice") as alice:
            session = rig.session(path)
            page = await alice.open(f"{rig.url}{PREFIX}/edit/user/alice/A1/#scrollTo=total")
            frame = await framed(page)
            await expect(frame.get_by_text("hello there")).to_be_visible()
            await expect(frame.locator("[data-cell-name=total]")).to_be_focused()
            assert await frame.evaluate("self.origin") == "null"
            assert session.connections >= 1
            await type_over(frame, "40 + 1", "40 + 2 + 1000")
            await expect(frame.get_by_text("1042", exact=True)).to_be_visible()
            await saved_on_disk(notebook / "A1.py", "40 + 2 + 1000")
            await _check_fixes(frame, rig)
            await page.reload()
            frame = await framed(page)
            await expect(frame.get_by_text("1042", exact=True)).to_be_visible()
            assert not _serious(alice.notes)


async def _check_fixes(page: Frame, rig: Rig) -> None:
    """The fixes that sessions.md lists."""
    loaded = "() => document.querySelector('#picture')?.naturalWidth === 1"
    await page.wait_for_function(loaded)
    async with page.page.expect_download() as downloading:
        await page.get_by_role("link", name="Take it", exact=True).click()
    download = await downloading.value
    assert download.suggested_filename == "my data.txt"
    content = await asyncio.to_thread((await download.path()).read_bytes)
    assert content == b"seven bytes of it"
    link = page.get_by_role("link", name="the lecture")
    await link.hover()
    await link.dispatch_event("pointerdown")
    assert await link.get_attribute("href") == f"{rig.url}{PREFIX}/run/L02/"
    frame = page.locator("iframe").first
    await expect(frame).to_have_css("height", "468px")
    await page.evaluate("localStorage.setItem('a', 1)")
    assert await page.evaluate("[localStorage.getItem('a'), document.cookie]") == ["1", ""]


def _serious(notes: list[str]) -> list[str]:
    """Errors of pages, without what a reload breaks off and what marimo itself complains of."""
    harmless = (
        "ERR_ABORTED",
        "ERR_CONNECTION_REFUSED",
        "console warning",
        "net::ERR_INTERNET",
        "favicon",
    )
    return [note for note in notes if not any(word in note for word in harmless)]


async def test_every_kind_of_download_delivers_its_file(
    work_directory: Path, people: People
) -> None:
    (work_directory / "A1.py").write_text(_DOWNLOADS)
    expected = {
        "eager": ("eager.txt", b"eager bytes"),
        "eager text": ("text.txt", b"a text"),
        "late name": ("late name.txt", b"named late"),
        "lazy": ("lazy.txt", b"lazy bytes"),
        "lazy text": ("str.txt", b"lazy text"),
        "coroutine": ("soon.txt", b"computed by a coroutine"),
        "large": ("large.bin", b"0123456789" * 500_000),
    }
    with marimo_on(work_directory, "/edit/user/alice/A1") as path:
        async with running_rig() as rig, signed_in(people, rig, "alice") as alice:
            rig.session(path)
            address = f"{rig.url}/edit/user/alice/A1/"
            page = await alice.open(address)
            frame = await framed(page)
            for label, told in expected.items():
                assert await _downloaded(page, frame, label) == told, label
            assert page.url.split("?")[0] == address
            assert not _serious(alice.notes)


async def _downloaded(page: Page, frame: Frame, label: str) -> tuple[str, bytes]:
    """Click a download button and return the name and the bytes of the file."""
    async with page.expect_download() as downloading:
        await frame.get_by_role("link", name=label, exact=True).click()
    download = await downloading.value
    return download.suggested_filename, await asyncio.to_thread((await download.path()).read_bytes)


async def test_a_frame_has_storage_in_memory_and_the_console_stays_quiet(
    work_directory: Path, people: People
) -> None:
    (work_directory / "A1.py").write_text(_FRAMES)
    with marimo_on(work_directory, "/edit/user/alice/A1") as path:
        async with running_rig() as rig, signed_in(people, rig, "alice") as alice:
            rig.session(path)
            page = await framed(await alice.open(f"{rig.url}/edit/user/alice/A1/"))
            for number in range(3):
                body = page.frame_locator("iframe").nth(number).locator("body")
                await expect(body).to_contain_text("kept|too||no database")
            inside = "frame => frame.contentDocument"
            assert await page.locator("iframe").first.evaluate(inside) is None
            assert not [note for note in alice.notes if "ervice worker" in note]


async def test_a_lecture_runs_in_an_opaque_origin(notebook: Path, people: People) -> None:
    with marimo_on(notebook, "/run/user/alice/A1", Mode.RUN) as path:
        async with running_rig() as rig, signed_in(people, rig, "alice") as alice:
            rig.session(path, mode=Mode.RUN)
            tab = await alice.open(f"{rig.url}/run/user/alice/A1/")
            page = await framed(tab)
            await expect(page.get_by_text("hello there")).to_be_visible()
            await expect(page.get_by_text("41", exact=True)).to_be_visible()
            assert await page.evaluate("self.origin") == "null"


async def test_a_headless_client_edits_through_the_whole_proxy(notebook: Path) -> None:
    with marimo_on(notebook, "/edit/user/alice/A1") as path:
        async with running_rig() as rig:
            rig.session(path)
            where = f"{rig.url}/edit/user/alice/A1"
            async with open_editor(Address(base_url=where, headers=bearer("alice"))) as editor:
                output = await editor.edit(4, "6 * 7")
                assert "42" in output.data
                await editor.save()
            assert "6 * 7" in (notebook / "A1.py").read_text()


def _now() -> float:
    return datetime.now(UTC).timestamp()
