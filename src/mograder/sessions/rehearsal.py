"""A rehearsal: throw-away users open an item as students would, one after the other.

Their sessions are real: the same queue, the same sandboxes, the same cells. They are preferred to
nothing (:mod:`~mograder.sessions.admission`), stay open until the last of them has run all
cells, so that their memory counts together, and are then removed with everything of theirs.
The outcome has figures over all students: times, memory, failures.

Each has one page of its session, without a browser, which has marimo run all cells, as a student's
does. The page has a token, the WebSocket brings the kernel's messages, a POST request starts the
cells. What the session's server sends was perhaps written by the notebook's code: it is bounded,
and only the kinds of its messages are read.
"""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from statistics import median

import aiohttp

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, MograderError, RemoteFailed
from mograder.core.log import get_logger
from mograder.core.names import Username, is_rehearsal, rehearsal_user
from mograder.core.tasks import Progress, completed, to_its_end
from mograder.sandbox.protocol import Endpoint, Mode
from mograder.sessions.admission import Kind, Obstacle
from mograder.sessions.capacity import weight
from mograder.sessions.connections import PAGE_BYTES, Connections, beginning, client_of, token_in
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import LiveSession, SessionKey, ended
from mograder.store.copies.workspaces import Workspaces
from mograder.store.releases.published_release import Release

STALLED_SECONDS = 25.0
"""How long the last students of a rehearsal wait for memory. A session counts with what is expected
of it for 20 seconds, and with what it uses after that, so memory may still become free."""

_AFTER_SECONDS = 10.0
"""About how long it takes to measure the sessions together, and to end them."""

_MOST_MESSAGE = 32 << 20
"""Bytes; marimo cuts an output at 8 MB."""

_CLOSE_SECONDS = 0.5
_OPERATION = re.compile(r'\{"op":\s?"([a-z-]{1,40})"')
_OUTPUT = re.compile(r'"output":\s?\{')
_ERROR = "application/vnd.marimo+error"
_STOPPED = '"ancestor-stopped"'
"""The type of the error of a cell that did not run, since ``mo.stop`` ended one above it."""
_RUNS_BY_ITSELF = re.compile(r'"auto_instantiated":\s?true')


class State(StrEnum):
    """How far the session of one student is."""

    COMING = "coming"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    NO_ROOM = "no room"
    """No memory was left: a student would wait in line."""
    GAVE_WAY = "gave way"
    """Its place was needed by a student, or it was kept waiting by students."""


OVER = frozenset({State.FINISHED, State.FAILED, State.NO_ROOM, State.GAVE_WAY})


@dataclass(slots=True)
class Trial:
    """One student of a rehearsal; the times are steady, in seconds, ``memory`` is in bytes.

    ``memory`` is the most that was measured. ``failure`` says why it failed.
    """

    key: SessionKey
    state: State = State.COMING
    asked: float = 0.0
    started: float | None = None
    first_output: float | None = None
    all_cells: float | None = None
    memory: int = 0
    warm: bool | None = None
    errors: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Times in seconds from the request to open the notebook, over all students."""

    median: float
    p95: float
    worst: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a rehearsal; memory is in bytes.

    ``memory_each`` is the median of the largest use of each session, ``memory_together`` the
    largest sum. ``holds`` is how many such sessions the machine can hold if nothing else runs,
    ``holds_now`` beside what runs already. ``errors`` is the median number of cells that ended with
    an error. Times are None if no student came so far.
    """

    students: int
    states: Counter[State]
    failures: Counter[str]
    warm: int
    started: Seconds | None
    first_output: Seconds | None
    all_cells: Seconds | None
    memory_each: int
    memory_largest: int
    memory_together: int
    memory_total: int
    holds: int
    holds_now: int
    errors: int
    seconds: float


def summary(
    trials: Sequence[Trial], *, together: int, total: int, used: int, seconds: float
) -> Outcome:
    """Return the result of a rehearsal that took ``seconds``.

    ``together`` is the largest sum of its sessions' memory, ``total`` the memory for all sessions,
    ``used`` what others used of it at the end; all in bytes.
    """
    sizes = [each.memory for each in trials if each.memory]
    each = round(median(sizes)) if sizes else 0
    states = Counter(trial.state for trial in trials)
    errors = [trial.errors for trial in trials if trial.all_cells is not None]
    return Outcome(
        students=len(trials),
        states=states,
        failures=Counter(trial.failure for trial in trials if trial.failure),
        warm=sum(trial.warm is True for trial in trials),
        started=_seconds((trial.asked, trial.started) for trial in trials),
        first_output=_seconds((trial.asked, trial.first_output) for trial in trials),
        all_cells=_seconds((trial.asked, trial.all_cells) for trial in trials),
        memory_each=each,
        memory_largest=max(sizes, default=0),
        memory_together=together,
        memory_total=total,
        holds=total // each if each else 0,
        holds_now=max(0, total - used) // each if each else 0,
        errors=round(median(errors)) if errors else 0,
        seconds=seconds,
    )


def _seconds(spans: Iterable[tuple[float, float | None]]) -> Seconds | None:
    found = sorted(end - begin for begin, end in spans if end is not None)
    if not found:
        return None
    return Seconds(median(found), found[math.ceil(0.95 * len(found)) - 1], found[-1])


@dataclass(frozen=True, slots=True)
class Plan:
    """The estimate before a rehearsal; memory is in bytes.

    ``memory_each`` is what a session will probably use, ``fits`` how many of ``students`` there is
    memory for, ``seconds`` about how long it takes.
    """

    students: int
    memory_each: int
    memory_total: int
    memory_used: int
    fits: int
    seconds: float


def plan(
    students: int, within: float, *, each: int, total: int, used: int, start: float, places: int
) -> Plan:
    """Return the estimate; ``start`` is how long a start takes, of which ``places`` go on at once.

    ``within`` are the seconds over which the students come; ``each``, ``total`` and ``used`` are
    the memory of a session, of all and in use, in bytes.
    """
    fits = min(students, max(0, total - used) // max(1, each))
    waits = 0.0 if fits == students else STALLED_SECONDS
    seconds = max(within, fits * start / max(1, places)) + waits + _AFTER_SECONDS
    return Plan(students, each, total, used, fits, seconds)


class CellRun:
    """The messages of one page, whose times are those of ``now``, in seconds.

    ``first_output`` and ``all_cells`` are None until that has happened; ``errors`` counts the cells
    that ended with an error, as far as the messages tell.
    """

    def __init__(
        self, http: aiohttp.ClientSession, base_url: str, now: Callable[[], float]
    ) -> None:
        self.first_output: float | None = None
        self.all_cells: float | None = None
        self.errors = 0
        self._http = http
        self._url = f"http://session{base_url}"
        self._now = now
        self._session = f"s_{secrets.token_hex(3)}"
        self._ready = ""
        self._news = asyncio.Event()
        self._closed = False
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None

    async def run_all(self) -> None:
        """Load the page, connect, and wait until all cells have run; RemoteFailed if that fails."""
        try:
            async with self._http.get(f"{self._url}/", allow_redirects=False) as answer:
                _expect(answer, "its page")
                token = token_in(await beginning(answer, PAGE_BYTES))
            await self._connect()
            await self._until(lambda: bool(self._ready))
            if not _RUNS_BY_ITSELF.search(self._ready):
                await self._instantiate(token)
        except (aiohttp.ClientError, OSError) as error:
            raise RemoteFailed(f"The notebook's server did not answer: {error}") from error
        await self._until(lambda: self.all_cells is not None)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    async def _connect(self) -> None:
        url = f"{self._url}/ws?session_id={self._session}"
        timeout = aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS)
        self._socket = await self._http.ws_connect(url, max_msg_size=_MOST_MESSAGE, timeout=timeout)
        self._reader = asyncio.create_task(self._read(self._socket))

    async def _instantiate(self, token: dict[str, str]) -> None:
        headers = {"Marimo-Session-Id": self._session, **token}
        body = {"objectIds": [], "values": [], "autoRun": True}
        url = f"{self._url}/api/kernel/instantiate"
        async with self._http.post(url, json=body, headers=headers) as answer:
            _expect(answer, "the request to run all cells")

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(message.data)
        finally:
            self._closed = True
            self._news.set()

    def _take(self, message: str) -> None:
        found = _OPERATION.match(message)
        operation = found[1] if found else ""
        if operation == "kernel-ready":
            self._ready = message
        elif operation == "cell-op":
            if self.first_output is None and _OUTPUT.search(message):
                self.first_output = self._now()
            self.errors += _ERROR in message and _STOPPED not in message
        elif operation == "completed-run" and self.all_cells is None:
            self.all_cells = self._now()
        self._news.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if self._closed:
                raise RemoteFailed("The notebook's server closed the connection.")
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def opened(
    via: Connections, endpoint: Endpoint, base_url: str, now: Callable[[], float]
) -> AsyncIterator[CellRun]:
    """Yield a page of a session that is not loaded yet; it is closed at the end of the block."""
    async with client_of(via, endpoint, None) as http:
        page = CellRun(http, base_url, now)
        try:
            yield page
        finally:
            await page.close()


def _expect(answer: aiohttp.ClientResponse, what: str) -> None:
    if answer.status != 200:
        raise RemoteFailed(f"The notebook's server answered {what} with {answer.status}.")


MOST_STUDENTS = 1000
"""Most students of a rehearsal: each has a number in the database, from which a uid is made."""

_AT_ONCE = 8
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """A rehearsal to run: ``students`` open an item, spread over ``within`` seconds."""

    release: Release
    mode: Mode
    students: int
    within: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between two looks at how far it is; of measuring once all cells have run; until the
    last students no longer wait (:data:`STALLED_SECONDS`); that the cells of one may take; until
    the reason why a session has ended is known."""

    look: float = 1.0
    settle: float = 3.0
    stalled: float = STALLED_SECONDS
    patience: float = 600.0
    news: float = 2.0


class Rehearsal:
    def __init__(
        self,
        pool: SessionManager,
        connections: Connections,
        copies: Workspaces,
        clock: Clock,
        wish: Wish,
        pace: Pace = Pace(),
    ) -> None:
        self._pool = pool
        self._via = connections
        self._copies = copies
        self._clock = clock
        self._wish = wish
        self._pace = pace
        numbers = range(1, wish.students + 1)
        keys = (SessionKey(rehearsal_user(n), wish.release.name, wish.mode) for n in numbers)
        self.trials = [Trial(key) for key in keys]
        self._live: dict[SessionKey, LiveSession] = {}
        self._together = 0
        self._stopped = False

    def counts(self) -> Mapping[str, int]:
        states = Counter(each.state for each in self.trials)
        return {
            "students": len(self.trials),
            "over": sum(states[state] for state in OVER),
            "finished": states[State.FINISHED],
            "running": states[State.RUNNING],
            "waiting": states[State.WAITING] + states[State.STARTING],
        }

    async def run(self, tell: Progress) -> Outcome:
        """Run it to its end and remove all of it; raises Conflict when it was ended elsewhere."""
        began = self._clock.steady()
        visits = [asyncio.create_task(self._visit(*each)) for each in enumerate(self.trials)]
        try:
            await self._follow(tell)
            tell("Measuring the sessions")
            await self._measure_for(self._pace.settle)
            self._demand_going_on()
            return self._outcome(began)
        finally:
            tell("Removing the sessions")
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)
            await clear(self._pool, (each.key for each in self.trials), self._copies)

    async def _follow(self, tell: Progress) -> None:
        before: object = None
        still = 0.0
        while not all(each.state in OVER for each in self.trials):
            self._demand_going_on()
            await self._measure_for(self._pace.look)
            states = [each.state for each in self.trials]
            changed = states != before or not self._only_waiting(states)
            before, still = states, 0.0 if changed else still + self._pace.look
            if still >= self._pace.stalled:
                self._give_up()
            counts = self.counts()
            tell(
                f"{counts['over']} of {counts['students']} are done, {counts['running']} run their "
                f"cells, {counts['waiting']} wait for their start"
            )

    def _demand_going_on(self) -> None:
        if self._stopped:
            raise Conflict("The rehearsal was ended.", hint="Start it again when you like.")

    def _only_waiting(self, states: Iterable[State]) -> bool:
        """Return whether all that are not over wait in line, and none has yet to come."""
        lined_up = {ticket.key for ticket in self._pool.admission.waiting(Kind.REHEARSAL)}
        waiting = {each.key for each in self.trials if each.state is State.WAITING}
        return set(states) <= OVER | {State.WAITING} and waiting <= lined_up

    def _give_up(self) -> None:
        """End the waiting of those for whom there is no memory, or no time because of students."""
        queue = self._pool.admission
        for ticket in queue.waiting(Kind.REHEARSAL):
            for_students = queue.obstacle(ticket) is Obstacle.STUDENTS
            for each in self.trials:
                if each.key == ticket.key:
                    each.state = State.GAVE_WAY if for_students else State.NO_ROOM

    async def _visit(self, number: int, trial: Trial) -> None:
        """Be one student, whose page stays open until this is cancelled; failures are noted."""
        await asyncio.sleep(self._wish.within * number / len(self.trials))
        trial.asked, trial.state = self._clock.steady(), State.WAITING
        try:
            live = await self._open(trial)
            trial.started, trial.state = self._clock.steady(), State.RUNNING
            self._live[trial.key] = live
            live.on_stop.append(partial(self._ended, trial, live))
            opening = opened(self._via, live.endpoint, live.base_url, self._clock.steady)
            async with opening as page:
                await self._run_cells(trial, page)
                await asyncio.Event().wait()
        except TimeoutError:
            self._fail(trial, f"the cells ran for more than {self._pace.patience:.0f} seconds")
        except MograderError as error:
            if (broken := self._live.get(trial.key)) is not None:
                await ended(broken, self._pace.news)  # the reason of its end says more
            self._fail(trial, error.message)
        except Exception as error:  # noqa: BLE001 - one student's fault must not end the others
            _log.exception("one student of a rehearsal failed")
            self._fail(trial, f"{type(error).__name__}: {error}"[:300])

    async def _run_cells(self, trial: Trial, page: CellRun) -> None:
        try:
            async with asyncio.timeout(self._pace.patience):
                await page.run_all()
        finally:
            trial.first_output, trial.all_cells = page.first_output, page.all_cells
            trial.errors = page.errors
        if trial.state is State.RUNNING:
            trial.state = State.FINISHED

    async def _open(self, trial: Trial) -> LiveSession:
        if self._wish.mode is Mode.EDIT:
            user = Username(trial.key.user)
            await to_its_end(self._copies.ensure, user, self._wish.release)
        return await self._pool.get_or_start(trial.key, lambda _: None)

    def _fail(self, trial: Trial, why: str) -> None:
        if trial.state not in OVER:
            trial.state, trial.failure = State.FAILED, why

    def _ended(self, trial: Trial, live: LiveSession) -> None:
        self._live.pop(trial.key, None)
        ending = self._pool.history.of_session(live.id)
        assert ending is not None, "an ending is recorded before it is told"
        self._stopped = self._stopped or ending.reason is EndReason.STOPPED
        if ending.reason is EndReason.PRESSURE:
            trial.state = State.GAVE_WAY
        else:
            trial.state = State.FAILED
            trial.failure = f"the session ended by itself ({ending.reason.value})"

    async def _measure_for(self, seconds: float) -> None:
        left = seconds
        while left > 0:
            await asyncio.sleep(min(left, self._pace.look))
            left -= self._pace.look
            for trial in self.trials:
                live = self._live.get(trial.key)
                if live is not None:
                    trial.warm = live.usage.warm
                    trial.memory = max(trial.memory, live.usage.memory)
                    self._pool.touch(live)  # it is in use until the last of them is through
            together = sum(live.usage.memory for live in self._live.values())
            self._together = max(self._together, together)

    def _outcome(self, began: float) -> Outcome:
        queue, now = self._pool.admission, self._clock.steady()
        ours = sum(weight(live.usage, now) for live in self._live.values())
        return summary(
            self.trials,
            together=self._together,
            total=queue.memory,
            used=max(0, queue.used() - ours),
            seconds=self._clock.steady() - began,
        )


async def clear(pool: SessionManager, keys: Iterable[SessionKey], copies: Workspaces) -> None:
    """End sessions of a rehearsal, and remove their copies; also if the caller is cancelled."""
    await completed(_clear(pool, tuple(keys), copies))


def left_over(pool: SessionManager) -> tuple[SessionKey, ...]:
    """Return the keys of the sessions of rehearsals that run."""
    return tuple(live.key for live in pool.all() if is_rehearsal(live.key.user))


async def _clear(pool: SessionManager, keys: tuple[SessionKey, ...], copies: Workspaces) -> None:
    few = asyncio.Semaphore(_AT_ONCE)

    async def end(key: SessionKey) -> None:
        async with few:
            try:
                async with pool.without_session(key):  # waits for a start that cannot be cancelled
                    await pool.history.forget(key)
            except MograderError as error:
                _log.warning("the session %s of a rehearsal was not ended: %s", key.url, error)

    await asyncio.gather(*map(end, keys))
    try:
        await asyncio.to_thread(copies.remove_rehearsals)
    except (MograderError, OSError) as error:
        _log.warning("the copies of a rehearsal could not be removed: %s", error)
