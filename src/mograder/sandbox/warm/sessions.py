"""The supervisor's end of the socket to one zygote, and the sessions that it forked or will fork.

The protocol: see ``zygote.py``. A zygote runs packages that an instructor chose: its messages are
untrusted input, and a zygote that sends invalid ones is killed.
"""

from __future__ import annotations

import array
import asyncio
import base64
import contextlib
import fcntl
import itertools
import json
import logging
import os
import signal
import socket
import termios
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.sandbox.isolation.bwrap import Sandboxed
from mograder.sandbox.isolation.bwrap_process import Child, Held, NotJoinedError, ZygoteGoneError
from mograder.sandbox.isolation.namespaces import Launch, pid_behind
from mograder.sandbox.isolation.policy import Plan
from mograder.sandbox.isolation.seccomp import filter_program
from mograder.sandbox.limits.procfs import share_of

_log = logging.getLogger("mograder.supervisor")

_WORDS_BYTES = 4096
_HEED_SECONDS = 1.0
"""Timeout for a request to be read; a stopped or stuck zygote does not read it."""

_FORK_SECONDS = 5.0
"""Timeout for the answer to a request that was read, on a busy machine."""

_LOG_BYTES = 4096
_TITLE_BYTES = 2048
"""Bytes reserved in the zygote's arguments, where a session writes its own for ``ps``."""


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    ready: bool = False
    threads: int = 0
    problem: str = ""
    no_warmup: str = ""
    id: int = 0
    ended: int = 0
    status: int = 0


@dataclass(frozen=True, slots=True)
class Forked:
    """A session's first process: a pidfd, and its status once it has ended and was reaped."""

    pidfd: int
    ended: asyncio.Future[int]

    @property
    def pid(self) -> int:
        """The host pid. Raises: :class:`ProcessLookupError` when it has ended already."""
        pid = pid_behind(self.pidfd)
        if pid <= 0:
            raise ProcessLookupError("it has ended already")
        return pid

    def forget(self) -> None:
        os.close(self.pidfd)


class ZygoteClient:
    """One zygote, from start to end. ``ready`` resolves to why it cannot serve, "" if it can."""

    def __init__(self, launch: Launch, caches: str, *, heavy: bool, template: str = "") -> None:
        """Start the zygote; ``template`` is the path of a plan inside, for judges only.

        Raises: :class:`OSError` when that fails."""
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[str] = loop.create_future()
        self.no_warmup = ""
        """Why no warm-up run preceded the forks, "" if one did."""
        self._killed = False
        self._tail = b""
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._turn = asyncio.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            told = {"fd": theirs.fileno(), "caches": caches, "heavy": heavy, "template": template}
            argv = (*launch.argv, json.dumps(told).ljust(_TITLE_BYTES))
            whole = replace(launch, argv=argv, descriptors=(theirs.fileno(),))
            try:
                self._child = Child(whole, self._keep_tail)
            except BaseException:
                self._control.close()
                raise
        self._control.setblocking(False)
        loop.add_reader(self._control, self._hear)
        self.exited = self._child.exited
        self.exited.add_done_callback(lambda _: self._gone())

    @property
    def said(self) -> str:
        return self._tail.decode("utf-8", "replace").strip()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the zygote can be asked to fork."""
        return self.served and not self.exited.done() and not self._killed

    @property
    def served(self) -> bool:
        """Whether the zygote became ready at some time."""
        return self.ready.done() and not self.ready.result()

    def memory(self) -> int:
        """Return its bytes, including a share of pages shared with sessions; 0 when it ended."""
        if not self.exited.done():
            with contextlib.suppress(OSError, ValueError):
                return share_of(self._child.pid).total
        return 0

    def kill(self) -> None:
        """Kill the zygote; its sessions continue."""
        self._killed = True
        self._child.signal(signal.SIGKILL)

    async def fork(self, plan: Plan, uid: int, descriptors: Sequence[int]) -> Forked:
        """Fork a session into a sandbox, as ``uid`` inside. Raises: :class:`NotJoinedError`.

        The ``descriptors`` are in the order of ``zygote.py``: those of the plan, the output, a
        pidfd in the sandbox, a pipe on which the fork waits for a ``g``, and ``cgroup.procs``.
        One request at a time, so that each has its full timeout; a queued one can still start
        cold, or, on :class:`ZygoteGoneError`, from the next zygote.
        """
        async with self._turn:
            if not self.alive:
                raise ZygoteGoneError(asked=False)
            number = next(self._ids)
            loop = asyncio.get_running_loop()
            answer = self._answers[number] = loop.create_future()
            end = self._ends[number] = loop.create_future()
            try:
                socket.send_fds(self._control, [_request(number, plan, uid)], descriptors)
                await asyncio.wait({answer}, timeout=_HEED_SECONDS)
                if not answer.done() and not _unread(self._control):
                    await asyncio.wait({answer}, timeout=_FORK_SECONDS)
                if not answer.done():
                    raise TimeoutError
                return Forked(answer.result(), end)
            except (OSError, TimeoutError) as error:
                self._ends.pop(number, None)
                self.kill()  # a half-done fork must not continue
                raise NotJoinedError("zygote silent") from error
            except NotJoinedError:  # nothing was forked, so no end will be reported
                self._ends.pop(number, None)
                raise
            except asyncio.CancelledError:
                if answer.done() and answer.exception() is None:
                    os.close(answer.result())  # its process exits when `go` is closed
                elif answer.done():
                    self._ends.pop(number, None)
                raise
            finally:
                answer.cancel()
                del self._answers[number]

    def _hear(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, _WORDS_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        try:
            if not data:
                asyncio.get_running_loop().remove_reader(self._control)
                self.kill()
            else:
                self._heed(_Words.model_validate_json(data), descriptors)
        except ValidationError:
            _log.error("a zygote sent an invalid message and is killed")
            self.kill()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _heed(self, words: _Words, descriptors: list[int]) -> None:
        if words.ready and not self.ready.done():
            several = f"threads: {words.threads}" if words.threads != 1 else ""
            self.no_warmup = words.no_warmup
            self.ready.set_result(words.problem or several)
        elif words.ended:
            end = self._ends.pop(words.ended, None)
            if end is not None and not end.done():
                end.set_result(words.status)
        elif (answer := self._answers.get(words.id)) is not None and not answer.done():
            if words.problem or not descriptors:
                _log.warning("a zygote could not fork a session: %s", words.problem[:500])
                answer.set_exception(NotJoinedError("join failed"))
            else:
                answer.set_result(descriptors.pop())

    def _gone(self) -> None:
        with contextlib.suppress(ValueError):  # closed before
            asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        if not self.ready.done():
            self.ready.set_result("boot: it ended before it was ready")
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ZygoteGoneError(asked=True))
        for end in self._ends.values():
            end.cancel()

    def _keep_tail(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_LOG_BYTES:]


def _unread(control: socket.socket) -> bool:
    """Return whether the other side has not yet read all that we sent."""
    count = array.array("i", [0])
    fcntl.ioctl(control, termios.TIOCOUTQ, count)  # SIOCOUTQ, of a socket
    return count[0] > 0


def _request(number: int, plan: Plan, uid: int) -> bytes:
    """Return a fork request: the plan's arguments without the python and the script."""
    options, _, *arguments = plan.argv[2:]
    return json.dumps(
        {
            "id": number,
            "program": PurePosixPath(plan.argv[1]).stem,
            "uid": uid,
            "arguments": [options, "--", *arguments],
            "descriptors": plan.descriptors,
            "variables": dict(plan.variables),
            "directory": str(plan.directory),
            "filter": base64.b64encode(filter_program()).decode(),
        }
    ).encode()


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
        held.exited.add_done_callback(self._sandbox_gone)

    @property
    def first_pid(self) -> int:
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

    def _sandbox_gone(self, _: object) -> None:
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
            self.end()
        else:
            self._session.end_gently()

    def end(self) -> None:
        if self._session is not None:
            self._session.end()
        elif not self._unwanted:
            self._unwanted = True
            self._joining.cancel()

    async def arrived(self) -> None:
        """Wait until the session is in its sandbox, or ended; raises the start's ``failure``."""
        await asyncio.wait({self._arriving})
        if self.failure is not None:
            raise self.failure

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
