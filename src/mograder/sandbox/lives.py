"""The live sessions of a supervisor: start one, end one, tell of its end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import Conflict, NotFound
from mograder.sandbox.bubblewrap import Runner, Sandboxed
from mograder.sandbox.host import SESSIONS
from mograder.sandbox.inhabited import Arriving
from mograder.sandbox.policy import SANDBOXED_SESSION, Host, Plan, session_plan, unconfined
from mograder.sandbox.protocol import Arrived, Ended, News, SessionInfo, StartSession
from mograder.sandbox.record import RECORD, read_record
from mograder.sandbox.zygotes import WarmStart, Zygotes

_log = logging.getLogger("mograder.supervisor")

_GENTLY_SECONDS = 1.5
"""How long marimo may finish a save: it writes in place, and half a file is a lost file."""

_LOG_BYTES = 16_384
_BACKLOG = 1024


@dataclass(slots=True)
class _Life:
    info: SessionInfo
    sandbox: Sandboxed
    log: bytearray


class Lives:
    """Sessions by id; all of it is memory, since they die with this process."""

    def __init__(
        self,
        runner: Runner,
        host: Host,
        runtime: Path,
        on_end: Callable[[Ended], None],
        on_news: Callable[[News], None],
        zygotes: Zygotes | None = None,
    ) -> None:
        """With ``zygotes``, sessions start warm where they can."""
        self._runner = runner
        self._zygotes = zygotes
        self._host = host
        self._sockets = runtime / SESSIONS
        self._on_end = on_end
        self._on_news = on_news
        self._lives: dict[str, _Life] = {}

    def all(self) -> tuple[SessionInfo, ...]:
        """Return what lives now."""
        return tuple(life.info for life in self._lives.values())

    def start(self, request: StartSession) -> SessionInfo:
        """Start a session on a listening socket made here, so nothing inside chooses it.

        Raises: :class:`Conflict` for an id in use, :class:`NotFound` for a missing directory,
        :class:`~mograder.core.errors.SandboxUnavailable`.
        """
        if request.session_id in self._lives:
            raise Conflict(f"Session {request.session_id} is running already.")
        for path in (request.directory / request.notebook, request.environment / RECORD):
            self._runner.reach(path)
        if not (request.directory / request.notebook).is_file():
            raise NotFound(f"There is no notebook {request.notebook!r} to open.")
        path = self._sockets / f"{request.session_id}.sock"
        listener = _listen(path)
        log = bytearray()
        try:
            sandbox = self._open(request, listener, lambda data: _keep_tail(log, data))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            listener.close()
        life = _Life(SessionInfo(session_id=request.session_id, socket=path), sandbox, log)
        self._lives[request.session_id] = life
        sandbox.exited.add_done_callback(lambda done: self._ended(life, done.result()))
        _log.info("session %s started", request.session_id)
        return life.info

    def _open(
        self, request: StartSession, listener: socket.socket, on_output: Callable[[bytes], None]
    ) -> Sandboxed:
        zygotes = self._zygotes
        if zygotes is None:
            sandbox = self._open_cold(request, listener.fileno(), on_output)
            self._on_news(Arrived(session_id=request.session_id, warm=False))
            return sandbox
        plan = self._plan(request, listener.fileno())
        descriptor = listener.detach()  # it is needed for longer than this call

        def start_cold(reason: str) -> Sandboxed:
            zygotes.fell_back(reason)
            sandbox = self._open_cold(request, descriptor, on_output)
            self._on_news(Arrived(session_id=request.session_id, warm=False, fallback=reason))
            return sandbox

        async def join() -> Sandboxed:
            session = await zygotes.join(start)
            self._on_news(Arrived(session_id=request.session_id, warm=True))
            return session

        start = WarmStart(plan, request.environment, request.uid_slot, descriptor, on_output)
        return Arriving(join, start_cold, descriptor, on_output)

    def _open_cold(
        self, request: StartSession, listener: int, on_output: Callable[[bytes], None]
    ) -> Sandboxed:
        return self._runner.start(
            self._plan(request, listener),
            uid_slot=request.uid_slot,
            keep=listener,
            on_output=on_output,
        )

    def _plan(self, request: StartSession, fd: int) -> Plan:
        record = read_record(request.environment)
        inside = SANDBOXED_SESSION
        if self._runner.kind == "none":
            inside = unconfined(self._host, work=request.directory, environment=request.environment)
        roots = record.interpreter_roots
        return session_plan(request, roots, self._host, inside, fd, assets=record.assets)

    async def arrived(self, session_id: str) -> None:
        """Wait until a session that was just started is in its sandbox, or over.

        Raises: the reason, where it could not be started at all.
        """
        life = self._lives.get(session_id)
        if life is not None and isinstance(life.sandbox, Arriving):
            await life.sandbox.arrived()

    async def stop(self, session_id: str) -> bool:
        """End a session, gently first; false when there is none."""
        life = self._lives.get(session_id)
        if life is None:
            return False
        life.sandbox.end_gently()
        await asyncio.wait({life.sandbox.exited}, timeout=_GENTLY_SECONDS)
        if not life.sandbox.exited.done():
            life.sandbox.end()
            await asyncio.wait({life.sandbox.exited})
        return True

    async def end_all(self) -> None:
        """End every session at the supervisor's own end."""
        await asyncio.gather(*(self.stop(session_id) for session_id in tuple(self._lives)))

    def _ended(self, life: _Life, status: int) -> None:
        life.info.socket.unlink(missing_ok=True)
        self._lives.pop(life.info.session_id, None)
        _log.info("session %s ended with status %s", life.info.session_id, status)
        if isinstance(life.sandbox, Arriving) and life.sandbox.failure:
            return  # told to whoever asked for it: it never was
        tail = life.log.decode("utf-8", "replace")
        self._on_end(Ended(session_id=life.info.session_id, status=status, log_tail=tail))


def _keep_tail(log: bytearray, data: bytes) -> None:
    log += data
    del log[:-_LOG_BYTES]


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener
