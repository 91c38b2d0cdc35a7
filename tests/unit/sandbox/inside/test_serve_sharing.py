"""The document that several pages edit together, as marimo's own classes keep it."""

from __future__ import annotations

import asyncio
import importlib
from types import SimpleNamespace
from typing import Any

import pytest
from loro import ExportMode, LoroDoc
from marimo._messaging.notebook.changes import CreateCell
from marimo._server.api.endpoints.ws_endpoint import DOC_MANAGER, WebSocketHandler
from marimo._server.rtc.doc import LoroDocManager

from mograder.sandbox.inside import serve
from tests.support.supervisors import until

LORO: Any = importlib.import_module("loro")  # its classes have no types
DOCUMENT: Any = importlib.import_module("marimo._server.api.endpoints.document")

CELLS = {"setup": "import marimo as mo", "Hbol": 'mo.md(r"""\n# Words\n""")', "MJUe": "x = 1"}


@pytest.fixture(autouse=True)
def _marimo(monkeypatch: pytest.MonkeyPatch) -> None:
    """marimo's classes, as they are in a session, and as they were once the test has ended."""
    for name in ("create_doc", "get_or_create_doc", "_clean_loro_doc"):
        monkeypatch.setattr(LoroDocManager, name, getattr(LoroDocManager, name))
    monkeypatch.setattr(DOC_MANAGER, "loro_docs", {})
    monkeypatch.setattr(DOCUMENT, "parse_request", parsed)
    serve._share_text()
    serve._share_new_cells()


async def parsed(change: object) -> SimpleNamespace:
    """What a page asks of marimo: one change."""
    return SimpleNamespace(changes=(change,))


async def created(manager: LoroDocManager) -> LoroDoc:
    ids, codes = tuple(CELLS), tuple(CELLS.values())
    return await manager.create_doc("A1.py", ids, codes)  # type: ignore[arg-type]


async def test_a_page_gets_the_shared_document_with_the_language_of_every_cell() -> None:
    manager = LoroDocManager()
    first = asyncio.create_task(manager.get_or_create_doc("A1.py"))
    await asyncio.sleep(0)  # it asks before the notebook is read
    await created(manager)
    held = await first
    page = LORO.LoroDoc()
    page.import_(held.export(ExportMode.ShallowSnapshot(frontiers=held.state_frontiers)))
    assert page.get_deep_value() == {
        "codes": CELLS,
        "languages": dict.fromkeys(CELLS, "python"),
        "language_metadata": {name: {} for name in CELLS},
    }


async def test_the_shared_document_of_a_page_that_comes_back_is_the_one_that_it_left() -> None:
    manager = LoroDocManager()
    doc = await created(manager)
    page: asyncio.Queue[bytes] = asyncio.Queue()
    manager.add_client_to_doc("A1.py", page)
    await manager.remove_client("A1.py", page)
    cleaner = manager.loro_docs_cleaners["A1.py"]
    assert cleaner is not None
    await cleaner
    before = doc.get_deep_value()
    assert await created(manager) is doc
    assert doc.get_deep_value() == before


async def test_other_pages_hear_of_a_new_cell_when_the_shared_document_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "_LEAD_SECONDS", 0)
    new = CreateCell(cell_id="bkHC", code="", name="_", config={}, after=None)  # type: ignore[arg-type]
    assert await DOCUMENT.parse_request(new)  # of a notebook that is not shared
    doc: Any = await created(DOC_MANAGER)
    told = asyncio.create_task(DOCUMENT.parse_request(new))
    code = doc.get_map("codes").insert_container("bkHC", LORO.LoroText())
    language = doc.get_map("languages").insert_container("bkHC", LORO.LoroText())
    code.insert(0, 'mo.md(r""" """)')
    for _ in range(10):
        await asyncio.sleep(0)  # otherwise it waits for nothing
    assert not told.done()
    language.insert(0, "markdown")
    assert (await told).changes == (new,)


async def test_a_page_that_shares_a_notebook_waits_until_the_one_that_does_not_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notebook = Notebook()
    monkeypatch.setattr(WebSocketHandler, "start", notebook.start)
    serve._share_in_turn()
    await notebook.page("before", shares=False)
    joins = asyncio.create_task(notebook.page("helper", shares=True))
    await until(lambda: joins.done() or notebook.looks > 2)
    assert notebook.said == ["before starts", "helper accepted"]
    notebook.room.main_consumer = None
    await joins
    assert notebook.said[2:] == ["helper starts"]


async def test_a_page_that_does_not_share_a_notebook_is_disconnected_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notebook = Notebook()
    monkeypatch.setattr(WebSocketHandler, "start", notebook.start)
    serve._share_in_turn(patience=0)
    await notebook.page("before", shares=False)
    await notebook.page("helper", shares=True)
    assert notebook.said[:2] == ["before starts", "helper accepted"]
    await notebook.page("before", shares=True)
    assert notebook.said[2:] == ["before cut", "helper starts", "before refused"]


class Notebook:
    """marimo's server, as far as pages that connect see it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.room = SimpleNamespace(main_consumer=None)
        self.looks = 0

    def session(self, _: str) -> Notebook:
        """Count how often somebody asks what is open."""
        self.looks += 1
        return self

    async def page(self, name: str, *, shares: bool) -> None:
        """A page connects."""

        async def say(what: str) -> None:
            self.said.append(f"{name} {what}")

        page = SimpleNamespace(
            consumer_id=name,
            params=SimpleNamespace(session_id=name, file_key="A1.py", rtc_enabled=shares),
            manager=SimpleNamespace(get_session_by_file_key=self.session),
            websocket=SimpleNamespace(accept=lambda: say("accepted"), close=lambda: say("refused")),
        )
        await WebSocketHandler.start(page)  # type: ignore[arg-type]

    async def start(self, page: SimpleNamespace) -> None:
        """Begin to serve a page."""
        self.said.append(f"{page.consumer_id} starts")
        self.room.main_consumer = self.room.main_consumer or page

    def disconnect_main_consumer(self) -> None:
        """Close the connection of the page that edits."""
        self.said.append(f"{self.room.main_consumer.consumer_id} cut")
        self.room.main_consumer = None
