"""Sessions that a zygote forked or will fork, as seen from the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Collection, Coroutine

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.sandbox.isolation.bwrap import Sandboxed
from mograder.sandbox.isolation.bwrap_process import Held, NotJoinedError
from mograder.sandbox.warm.zygote_client import Forked

_log = logging.getLogger("mograder.supervisor")

_STATUS_SECONDS = 1.0
"""Timeout for a zygote's report of a session's exit status; a killed zygote never sends it."""

_END_SECONDS = 3.0
"""Timeout for a zygote to reap a session's dead first process, before the zygote is killed as
stuck. Not a limit on the sandbox's end: a fork bomb of many processes may take as long."""

_SIGNALLED = 128
_UNKNOWN = 255


class WarmSession:
    """A session in a sandbox that had only a placeholder; it has ended when the sandbox has."""

    def __init__(self, held: Held, forked: Forked, kill_zygote: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self._held = held
        self._forked = forked
        self._kill_zygote = kill_zygote
        self._over = False
        loop.add_reader(forked.pidfd, self._program_gone)
        held.exited.add_done_callback(lambda _: self._sandbox_gone())

    @property
    def first_pid(self) -> int:
        """The host pid of the sandbox's first process."""
        return self._held.first_pid

    def end_gently(self) -> None:
        if self._over:
            self.end()
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._forked.pidfd, signal.SIGTERM)

    def end(self) -> None:
        self._held.end()

    def _free_from_zygote(self) -> None:
        if not (self._held.exited.done() or self._forked.ended.done()):
            _log.error("a zygote does not collect what has ended, and is ended itself")
            self._kill_zygote()

    def _program_gone(self) -> None:
        """End the sandbox: its program is dead, but other processes in it may still run."""
        self._forget_program()
        self.end()
        loop = asyncio.get_running_loop()
        loop.call_later(_END_SECONDS, self._free_from_zygote)

    def _forget_program(self) -> None:
        if not self._over:
            self._over = True
            asyncio.get_running_loop().remove_reader(self._forked.pidfd)
            self._forked.forget()

    def _sandbox_gone(self) -> None:
        self._forget_program()
        self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        await asyncio.wait({self._forked.ended}, timeout=_STATUS_SECONDS)
        known = self._forked.ended.done() and not self._forked.ended.cancelled()
        status = self._forked.ended.result() if known else _UNKNOWN
        self.exited.set_result(_SIGNALLED - status if status < 0 else status)


class PendingSession:
    """A session being started: warm if that works, else cold; it can be cancelled before either."""

    def __init__(
        self,
        join: Callable[[], Coroutine[None, None, Sandboxed]],
        start_cold: Callable[[str], Sandboxed],
        descriptors: Collection[int],
        on_output: Callable[[bytes], None],
    ) -> None:
        """The ``descriptors`` are closed here once they were passed on."""
        self._on_output = on_output
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.failure: MograderError | None = None
        """Why the session could not be started, warm or cold."""
        self._start_cold = start_cold
        self._descriptors = descriptors
        self._session: Sandboxed | None = None
        self._unwanted = False
        self._joining = asyncio.create_task(join())
        self._arriving = asyncio.create_task(self._arrive())

    def end_gently(self) -> None:
        if self._session is None:
            self._call_off()
        else:
            self._session.end_gently()

    def end(self) -> None:
        if self._session is None:
            self._call_off()
        else:
            self._session.end()

    async def arrived(self) -> None:
        """Wait until the session is in its sandbox, or has ended.

        Raises: the ``failure``, if it could not be started at all.
        """
        await asyncio.wait({self._arriving})
        if self.failure is not None:
            raise self.failure

    def _call_off(self) -> None:
        if not self._unwanted:
            self._unwanted = True
            self._joining.cancel()

    async def _arrive(self) -> None:
        try:
            session = await self._start()
        except Exception as error:  # noqa: BLE001 - a waiter on `exited` must get a result
            _log.error("a session could not be started", exc_info=error)
            self.failure = SandboxUnavailable(f"It cannot be started: {error}.")
            if isinstance(error, MograderError):
                self.failure = error
            self._on_output(f"{self.failure}\n".encode())
            self.exited.set_result(_UNKNOWN)
            return
        finally:
            close_all(self._descriptors)
        if session is None:
            self.exited.set_result(_UNKNOWN)
            return
        self._session = session
        session.exited.add_done_callback(lambda done: self.exited.set_result(done.result()))
        if self._unwanted:
            session.end()

    async def _start(self) -> Sandboxed | None:
        await asyncio.wait({self._joining})
        if self._joining.cancelled():
            return None
        error = self._joining.exception()
        if error is None:
            return self._joining.result()
        if self._unwanted:
            return None
        if isinstance(error, NotJoinedError):
            return self._start_cold(str(error))
        _log.error("a warm start failed unexpectedly", exc_info=error)
        return self._start_cold("unexpected")


def close_all(descriptors: Collection[int]) -> None:
    """Close our copies of descriptors that a process inherits."""
    for descriptor in descriptors:
        os.close(descriptor)
