"""Two pages that edit one notebook: what a hub switches on, and what marimo then lets them do."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from mograder.sandbox.protocol import Endpoint
from mograder.sessions.connections import LocalConnections, share_editing
from tests.support.hub_app import NOTEBOOK
from tests.support.marimo import Address, EditorFailed, MarimoClient, open_editor
from tests.support.plain_marimo import marimo_on
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import served_on_unix

pytestmark = pytest.mark.full

BASE = "/edit/user/alice/A1"


@asynccontextmanager
async def tab(socket: Path, *, run: bool = False) -> AsyncIterator[MarimoClient]:
    """A page of the session."""
    address = Address(base_url=f"http://session{BASE}", socket=socket)
    async with open_editor(address, run=run) as client:
        yield client


async def is_refused(socket: Path) -> None:
    """Check that marimo by itself takes a second page for a reader."""
    async with tab(socket) as second:
        with pytest.raises(EditorFailed, match="403"):
            await second.edit(0, "1 + 2")


async def share(socket: Path) -> None:
    """Share the session, as a hub does when a helper comes."""
    assert await share_editing(Endpoint(socket), BASE, LocalConnections())


async def test_both_pages_of_a_shared_session_run_and_save(tmp_path: Path) -> None:
    (tmp_path / "A1.py").write_text(NOTEBOOK)
    with marimo_on(tmp_path, BASE) as socket:
        async with tab(socket, run=True):
            await is_refused(socket)
            await share(socket)
            await share(socket)
        async with tab(socket) as helper, tab(socket) as student:
            assert "5" in (await helper.edit(0, "2 + 3")).data
            await helper.save()
            assert "2 + 3" in (tmp_path / "A1.py").read_text()
            await student.edit(0, "3 + 4")
        # The student's page is loaded again while the helper's, which came later, is open.
        async with tab(socket) as helper, tab(socket) as again:
            assert "11" in (await again.edit(0, "5 + 6")).data
            await again.save()
            assert "15" in (await helper.edit(0, "7 + 8")).data
    assert "5 + 6" in (tmp_path / "A1.py").read_text()


async def test_a_page_that_shares_comes_in_when_the_page_that_does_not_has_left(
    tmp_path: Path,
) -> None:
    """What is typed in that page before it is loaded again is in the notebook that both get."""
    (tmp_path / "A1.py").write_text(NOTEBOOK)
    with marimo_on(tmp_path, BASE) as socket:
        async with tab(socket, run=True) as alone:
            await share(socket)
            joins = asyncio.create_task(code_of_a_new_page(socket))
            for code in ("1 + 2", "2 + 3", "3 + 4"):
                await alone.edit(0, code)
            await alone.save()
            assert not joins.done()
            alone.vanish()
            assert await joins == "3 + 4"
            # Nor does it come back: what it holds is not in the document.
            with pytest.raises(InvalidStatus):
                await alone.connect()


async def code_of_a_new_page(socket: Path) -> str:
    """Connect a page, and return the code of its first cell once it has the notebook."""
    async with tab(socket) as page:
        return page.cells.codes[0]


async def test_a_session_is_not_shared_because_an_earlier_one_of_the_copy_was(
    tmp_path: Path,
) -> None:
    (tmp_path / "A1.py").write_text(NOTEBOOK)
    folder = tmp_path / "settings"
    file = folder / "marimo" / "marimo.toml"
    with marimo_on(tmp_path, BASE, settings=folder) as socket:
        await share(socket)
    first = tomllib.loads(file.read_text())
    assert first["experimental"]["rtc_v2"] is True
    with marimo_on(tmp_path, BASE, settings=folder) as socket:
        async with tab(socket):
            await is_refused(socket)
        second = tomllib.loads(file.read_text())
        assert second == first | {"experimental": {"rtc_v2": False}}
        await share(socket)
        async with tab(socket), tab(socket) as helper:
            assert "5" in (await helper.edit(0, "2 + 3")).data


async def test_a_server_that_knows_no_such_setting_is_not_shared(tmp_path: Path) -> None:
    async with served_on_unix(Upstream()) as socket:
        assert not await share_editing(Endpoint(socket), BASE, LocalConnections())
    nowhere = Endpoint(tmp_path / "no.sock")
    assert not await share_editing(nowhere, BASE, LocalConnections())
