"""Runs marimo's unmodified command line on a listening socket.

Runs with the environment's own python, inside the sandbox or as a student's own editor, and imports
only the standard library, uvicorn and marimo. marimo has no option for a Unix socket, so uvicorn's
public ``Server.run(sockets=...)`` is used (sessions.md, "What is replaced in marimo"; tested with
marimo 0.14.17 to 0.25.2). Connections queue in the socket until the server accepts, so readiness
need not be polled.

Usage: ``python serve.py JSON -- MARIMO-ARGUMENTS...`` with JSON
``{"fd": 7, "rlimits": {"RLIMIT_NPROC": 256}, "config": "...", "caches": "/path"}``.

With ``"checks": 8``, the write end of a pipe, the notebook's checks report to it. They open it by
its path in ``/proc``, which the environment names: marimo's kernel inherits no descriptors.

With ``"host": "127.0.0.1"`` instead of ``fd`` it listens there on a free port itself, since Windows
passes no sockets on, and writes ``{"port": 2718}`` as the only line of its standard output. With
``"owner": 4711`` it ends when that process has ended, with the processes that it has started.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_BACKLOG = 128
_TRIES, _PAUSE_SECONDS = 20, 0.05
"""How often a notebook is saved again while another program has it open."""
_PATIENCE_SECONDS = 20.0
"""How long a page that shares a notebook waits for one that does not; the hub's reload takes 15."""
_LATEST_SECONDS, _LEAD_SECONDS = 10.0, 0.3
"""How long others are not told of a cell whose text is not there, and how far a text is ahead."""
_SHARED = re.compile(r"(\brtc_v2[\"']?\s*=\s*)true\b")


def main(argv: list[str]) -> None:
    options, arguments = json.loads(argv[0]), argv[2:]
    set_limits(options["rlimits"])
    _prepare_configuration(options["config"])
    copy_caches(options["caches"])
    if "fd" in options:
        listener = socket.socket(fileno=options["fd"])
    else:
        listener = socket.create_server((options["host"], 0), backlog=_BACKLOG)
        port = int(listener.getsockname()[1])
        os.write(1, json.dumps({"port": port}).encode() + b"\n")
        os.dup2(2, 1)  # closes the pipe after that line; what follows goes to the log
        # Before the notebook's path, which is the last argument.
        arguments[-1:-1] = ["--host", options["host"], "--port", str(port)]
    # The kernel and its children must not keep the listening socket open.
    listener.set_inheritable(False)
    if "checks" in options:
        os.set_inheritable(options["checks"], False)
        os.environ["MOGRADER_CHECKS_PATH"] = f"/proc/{os.getpid()}/fd/{options['checks']}"
    _serve_on(listener)
    _save_whole()
    _edit_together()
    _share_text()
    _share_in_turn()
    _share_new_cells()
    _send_what_was_missed()
    _run_what_never_ran()
    if "owner" in options:
        threading.Thread(target=_end_with, args=(options["owner"],), daemon=True).start()
    from marimo._cli.cli import main as marimo  # noqa: PLC0415 - after the limits are in force

    sys.argv = ["marimo", *arguments]
    marimo(args=arguments, prog_name="marimo", standalone_mode=True)


def set_limits(wanted: dict[str, int]) -> None:
    """Set rlimits by their names, none above its hard limit, which cannot be raised here."""
    for name, most in wanted.items():
        resource: Any = importlib.import_module("resource")  # Windows has none, and no rlimits
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))


def _end_with(owner: int) -> None:
    """Wait until a process has ended; then end this process and those that it has started."""
    psutil: Any = importlib.import_module("psutil")  # marimo requires it
    with contextlib.suppress(psutil.Error):
        psutil.Process(owner).wait()
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            each.kill()
    os._exit(1)


def _prepare_configuration(text: str) -> None:
    """Write marimo's user configuration, or end the sharing of an earlier session in the student's.

    Done here and not by the hub: the directory is the student's, and must be changed with the
    student's permissions only.
    """
    settings = pathlib.Path(os.environ["XDG_CONFIG_HOME"]) / "marimo" / "marimo.toml"
    with contextlib.suppress(OSError, UnicodeDecodeError):  # marimo handles an unusable file
        settings.parent.mkdir(parents=True, exist_ok=True)
        # Exclusively: the file of a session that is faster stays, and a link is not followed.
        with contextlib.suppress(FileExistsError), settings.open("x") as file:
            file.write(text)
            return
        # Switch off ``rtc_v2``, which marimo keeps: a session is shared only when a hub asks.
        shared = settings.read_text(encoding="utf-8")
        own = _SHARED.sub(r"\1false", shared)
        if own != shared:
            beside = settings.with_name(f".{settings.name}.unshared")
            beside.write_text(own, encoding="utf-8")
            _replace(beside, settings)


def copy_caches(directory: str) -> None:
    """Copy the environment's warm caches (matplotlib's font list) to this session."""
    try:
        shutil.copytree(directory, os.environ["XDG_CACHE_HOME"], dirs_exist_ok=True)
    except (OSError, shutil.Error):
        return  # the session only starts more slowly


def _serve_on(listener: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415 - the environment's, after the limits are in force

    run = uvicorn.Server.run

    def run_on_our_socket(self: Any, sockets: Any = None) -> None:
        run(self, sockets=[listener])

    uvicorn.Server.run = run_on_our_socket  # type: ignore[method-assign]


def _save_whole() -> None:
    """Make marimo save a notebook atomically, by a rename.

    marimo overwrites the file. A session killed while it writes, or a full disk, would leave
    half a notebook and lose the previous version.
    """
    try:
        storage: Any = importlib.import_module("marimo._session.notebook.storage")
        write = storage.FilesystemStorage.write
    except (ImportError, AttributeError):  # a marimo that saves elsewhere is left unchanged
        return

    @functools.wraps(write)
    def write_whole(self: Any, path: Any, content: str) -> None:
        target = pathlib.Path(path)
        if target.is_symlink() or not target.is_file():
            write(self, path, content)
            return
        beside = target.with_name(f".{target.name}.saving")
        try:
            write(self, beside, content)
            with beside.open("rb+") as saved:  # to be writable: Windows writes no other to disk
                if hasattr(os, "fchmod"):  # Windows has no modes
                    os.fchmod(saved.fileno(), stat.S_IMODE(target.stat().st_mode))
                os.fsync(saved.fileno())
            _replace(beside, target)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()  # incomplete, on a disk that may be full
            raise
        with contextlib.suppress(OSError):  # the rename survives a power cut, where a disk can
            fd = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    storage.FilesystemStorage.write = write_whole


_HANDLERS = (
    ("marimo._server.api.endpoints.ws.session_handler", "SessionHandler"),
    ("marimo._server.api.endpoints.ws_endpoint", "WebSocketHandler"),
)
"""The class whose ``_connect_to_existing_session`` admits a further editor: now, and to 0.23."""


def _edit_together() -> None:
    """Let everybody who edits a notebook together save and run it.

    With ``experimental.rtc_v2`` marimo takes a further page for an editor, but refuses its
    requests as a reader's: it grants the right to the main page only, and a page that was loaded
    again is not the main one any more. Without ``rtc_v2`` this changes nothing.
    """
    try:
        room: Any = importlib.import_module("marimo._session.room").Room
        editor = importlib.import_module("marimo._messaging.notification").ConsumerCapabilities
        granted, everything = room.get_capabilities, editor.EDITOR
    except (ImportError, AttributeError):  # a marimo that makes no difference between pages
        return
    handler = _handler()
    if handler is None:
        return
    join = handler._connect_to_existing_session

    @functools.wraps(join)
    def join_as_editor(self: Any, session: Any) -> None:
        self.mograder_edits = True
        join(self, session)
        if session.room.main_consumer is None:
            session.room.main_consumer = self

    @functools.wraps(granted)
    def capabilities(self: Any, consumer: Any) -> Any:
        return everything if hasattr(consumer, "mograder_edits") else granted(self, consumer)

    handler._connect_to_existing_session = join_as_editor
    room.get_capabilities = capabilities


def _share_text() -> None:
    """Give every page that edits together the same document, with each cell's language in it.

    marimo leaves the languages to the pages. Each that loads then sets them, and so replaces the
    code of a Markdown cell by its text. Two that load at the same time both delete the code and
    both insert the text: the merged document holds the text twice, and so does the file. Here
    every cell begins as Python.

    marimo also drops a document that no page has used for a minute, and gives an empty one to a
    page that asks for it before the notebook is read: pages then write cells of their own into it,
    and do not see each other's. Here it stays until the session ends, and such a page waits.
    """
    try:
        documents: Any = importlib.import_module("marimo._server.rtc.doc").LoroDocManager
        create, get = documents.create_doc, documents.get_or_create_doc
        if not hasattr(documents, "_clean_loro_doc"):
            return
    except (ImportError, AttributeError):  # a marimo that edits together in another way
        return

    @functools.wraps(create)
    async def create_with_languages(self: Any, file_key: Any, cell_ids: Any, codes: Any) -> Any:
        is_new = file_key not in self.loro_docs
        doc = await create(self, file_key, cell_ids, codes)
        # No page has a new document yet, since nothing is awaited between its creation and this.
        if is_new and doc.get_map("languages").is_empty():
            loro: Any = importlib.import_module("loro")
            for cell in cell_ids:
                language = doc.get_map("languages").insert_container(cell, loro.LoroText())
                language.insert(0, "python")
                doc.get_map("language_metadata").insert_container(cell, loro.LoroMap())
            doc.commit()
        return doc

    @functools.wraps(get)
    async def get_when_created(self: Any, file_key: Any) -> Any:
        await _until(lambda: file_key in self.loro_docs)
        return await get(self, file_key)

    documents.create_doc, documents.get_or_create_doc = create_with_languages, get_when_created
    documents._clean_loro_doc = _do_nothing


def _share_in_turn(patience: float = _PATIENCE_SECONDS) -> None:
    """Let a page edit together only when the page that edits alone has left.

    That one was loaded before the notebook was shared. What is typed in it is saved, but does not
    reach the document, and would be overwritten by the next save of another page. The hub has it
    loaded again. One that stays is disconnected, and refused when it connects again: marimo's page
    saves nothing then.
    """
    try:
        endpoint: Any = importlib.import_module("marimo._server.api.endpoints.ws_endpoint")
        handler = endpoint.WebSocketHandler
        start = handler.start
    except (ImportError, AttributeError):  # a marimo with another connection
        return
    alone: set[Any] = set()  # pages, by the number that each has until it is loaded again
    shared = False

    def edits_alone(self: Any) -> bool:
        session = self.manager.get_session_by_file_key(self.params.file_key)
        main = session and session.room.main_consumer
        return main is not None and main.consumer_id in alone

    @functools.wraps(start)
    async def start_in_turn(self: Any) -> None:
        nonlocal shared
        if not self.params.rtc_enabled:
            alone.add(self.params.session_id)
        elif self.params.session_id not in alone:
            await self.websocket.accept()
            self.websocket.accept = _do_nothing
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_until(lambda: not edits_alone(self)), patience)
            shared = True
            if edits_alone(self):
                self.manager.get_session_by_file_key(
                    self.params.file_key
                ).disconnect_main_consumer()
        elif shared:
            await self.websocket.close()
            return
        await start(self)

    handler.start = start_in_turn


def _share_new_cells() -> None:
    """Tell other pages of a new cell when the document that they share has it.

    A page sends the cell and its text by two connections. Another page that learns of the cell
    before it has the text begins a text of its own, and what one of the two types there is lost.
    """
    try:
        api: Any = importlib.import_module("marimo._server.api.endpoints.document")
        endpoint: Any = importlib.import_module("marimo._server.api.endpoints.ws_endpoint")
        parse, documents = api.parse_request, endpoint.DOC_MANAGER.loro_docs
    except (ImportError, AttributeError):  # a marimo in which pages learn of cells otherwise
        return

    def are_shared(cells: list[Any]) -> bool:
        held = [doc.get_deep_value().get("languages", {}) for doc in documents.values()]
        return all(languages.get(cell) for languages in held for cell in cells)

    @functools.wraps(parse)
    async def parse_in_turn(*given: Any, **named: Any) -> Any:
        body = await parse(*given, **named)
        new = [each.cell_id for each in body.changes if type(each).__name__ == "CreateCell"]
        if new and documents:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_until(lambda: are_shared(new)), _LATEST_SECONDS)
            await asyncio.sleep(_LEAD_SECONDS)
        return body

    api.parse_request = parse_in_turn


async def _do_nothing(*_: Any) -> None:
    pass


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - marimo raises no event for what is waited for
        await asyncio.sleep(_PAUSE_SECONDS)


def _send_what_was_missed() -> None:
    """Have marimo send the state of all cells to a page that connects again.

    It keeps that for pages that are loaded again, but sends it to no page whose connection broke: a
    cell that ended meanwhile would seem to run until the page is loaded again.
    """
    handler = _handler()
    if not (
        hasattr(handler, "_reconnect_session") and hasattr(handler, "_replay_previous_session")
    ):
        return  # a marimo that does this elsewhere is left unchanged
    reconnect = handler._reconnect_session

    @functools.wraps(reconnect)
    def reconnect_and_send(self: Any, session: Any, replay: bool) -> None:
        reconnect(self, session, replay)
        if not replay:
            self._replay_previous_session(session)

    handler._reconnect_session = reconnect_and_send


def _run_what_never_ran() -> None:
    """Have a page that is loaded again run a notebook of which no cell has run.

    marimo takes it for one at work, whose cells another page has run. But that page may have been
    left, or its connection may have broken, before it had them run.
    """
    handler = _handler()
    if not hasattr(handler, "_write_kernel_ready"):
        return
    write = handler._write_kernel_ready

    @functools.wraps(write)
    def write_ready(self: Any, *given: Any, **named: Any) -> None:
        if not (named.get("last_executed_code", True) or named.get("kiosk")):
            named["resumed"] = False
        write(self, *given, **named)

    handler._write_kernel_ready = write_ready


def _handler() -> Any:
    """Return the first class of ``_HANDLERS`` that this marimo has; None if it has none."""
    for module, name in _HANDLERS:
        with contextlib.suppress(ImportError):
            found = getattr(importlib.import_module(module), name, None)
            if hasattr(found, "_connect_to_existing_session"):
                return found
    return None


def _replace(beside: pathlib.Path, target: pathlib.Path) -> None:
    """Rename a file over another, which Windows refuses while some program has one of them open.

    Most, such as virus scanners, close it again at once. After a second, the error is
    marimo's to show; it saves again at the next change.
    """
    for _ in range(_TRIES):
        try:
            beside.replace(target)
        except PermissionError as error:
            if getattr(error, "winerror", None) is None:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    beside.replace(target)


if sys.platform != "win32":  # where nothing forks

    class _Forks(threading.local):
        """Lets processes that a notebook forks end on SIGTERM, as any process does.

        They inherit the kernel's handler, which is a Python function: Python drops a signal that
        arrives before the new process runs, and one that arrives just before a wait does not
        interrupt it. ``Pool.terminate`` sends one signal and then waits without a timeout.
        """

        _mask: set[int] | None = None
        """The signals that this thread had blocked before the fork; None outside a fork."""

        def before(self) -> None:
            of = getattr(signal.getsignal(signal.SIGTERM), "__module__", None)
            if isinstance(of, str) and of.startswith("marimo."):
                self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

        def after_in_parent(self) -> None:
            if self._mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
                self._mask = None

        def after_in_child(self) -> None:
            if self._mask is not None:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self.after_in_parent()

    _forks = _Forks()
    # At import, since a cold kernel is a spawned process, which imports only this module of ours.
    os.register_at_fork(
        before=_forks.before,
        after_in_parent=_forks.after_in_parent,
        after_in_child=_forks.after_in_child,
    )

if __name__ == "__main__":
    # Do not import from the script's own directory.
    sys.path[:] = [entry for entry in sys.path if entry != str(pathlib.Path(__file__).parent)]
    main(sys.argv[1:])
