"""A whole class submits at once, and the server may be killed meanwhile.

Nothing is refused, nothing is lost, every receipt verifies. Speed is for ``bench/intake.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.course_server import CourseServer, make_served_course, notebook

pytestmark = pytest.mark.full

FILE = "/assignments/hw1/files/homework.py"
_PATIENCE_SECONDS = 60.0
_TRIES = 1000


@dataclass
class Class:
    """The students' submissions and the answers to them; each student has a connection."""

    server: CourseServer
    client: httpx.AsyncClient
    receipts: list[dict[str, object]] = field(default_factory=list)
    sent: dict[str, list[bytes]] = field(default_factory=dict)
    fetched: int = 0
    on_receipt: Callable[[], None] = lambda: None

    async def submit(self, user: str, data: bytes, after: float = 0.0) -> None:
        """Submit after a delay, and repeat until the server answers."""
        await asyncio.sleep(after)
        self.sent.setdefault(user, []).append(data)
        for _ in range(_TRIES):
            if await self._try(user, data):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"nobody answered {user}")

    async def fetch(self, user: str, after: float) -> None:
        """Arrive after a while, list, and download."""
        await asyncio.sleep(after)
        headers = self.server.headers(user)
        listed = await self.client.get(f"{self.server.url}/assignments", headers=headers)
        assert listed.status_code == 200, listed.text
        answer = await self.client.get(f"{self.server.url}{FILE}", headers=headers)
        assert answer.status_code == 200, answer.text
        assert hashlib.sha256(answer.content).digest() == _RELEASED
        self.fetched += 1

    async def _try(self, user: str, data: bytes) -> bool:
        """Return whether the server answered, which must be with a receipt."""
        path = f"/assignments/hw1/submit?user={user}"
        try:
            answer = await self.client.post(
                f"{self.server.url}{path}",
                files={"file": ("homework.py", data)},
                headers=self.server.headers(user),
            )
        except (httpx.TransportError, AssertionError):
            return False  # Killed, and not yet back.
        assert answer.status_code == 200, answer.text
        receipt = answer.json()["receipt"]
        assert receipt["sha256"] == hashlib.sha256(data).hexdigest()
        self.receipts.append(receipt)
        self.on_receipt()
        return True

    def check(self) -> None:
        """Everything that was acknowledged is on the disk, intact, and its receipt verifies."""
        place = self.server.root / "submitted" / "hw1"
        for receipt in self.receipts:
            content = (place / str(receipt["filename"])).read_bytes()
            assert hashlib.sha256(content).hexdigest() == receipt["sha256"]
        for user, sent in self.sent.items():
            assert (place / f"{user}.py").read_bytes() in sent
        with self.server.client("prof") as client:
            for receipt in self.receipts:
                told = client.post("/receipts/verify", json=receipt).json()
                assert (told["valid"], told["stored"]) == (True, True), told
            listed = client.get("/assignments/hw1/submissions").json()
            assert {each["username"] for each in listed} == set(self.sent)


def _clients() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=_PATIENCE_SECONDS,
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    )


_RELEASED = hashlib.sha256(notebook("released")).digest()


async def _come(course: Class, submitting: int, fetching: int, seconds: float) -> None:
    chance = random.Random(7)
    async with asyncio.TaskGroup() as group:
        for number in range(submitting):
            user = f"student{number}"
            group.create_task(course.submit(user, notebook(user), chance.uniform(0, seconds)))
        for number in range(fetching):
            group.create_task(course.fetch(f"reader{number}", chance.uniform(0, seconds)))


async def _load(tmp_path: Path, submitting: int, fetching: int, seconds: float) -> None:
    root = make_served_course(tmp_path / "course")
    with CourseServer(root, tmp_path / "log") as server:
        async with _clients() as client:
            course = Class(server, client)
            await _come(course, submitting, fetching, seconds)
        assert (len(course.receipts), course.fetched) == (submitting, fetching)
        await asyncio.to_thread(course.check)


async def test_many_students_submit_while_others_fetch(tmp_path: Path) -> None:
    await _load(tmp_path, 60, 20, 0.5)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [10.0, 0.0])
async def test_300_students_submit_200_kb_within_10_seconds_while_100_fetch(
    tmp_path: Path, seconds: float
) -> None:
    """All of them in the same moment, too."""
    await _load(tmp_path, 300, 100, seconds)


async def _load_with_kills(
    tmp_path: Path, chance: random.Random, students: int, each: int, kills: int
) -> None:
    root = make_served_course(tmp_path / "course")
    client = _clients()
    with CourseServer(root, tmp_path / "log") as server:
        course = Class(server, client)
        total = students * each
        moments = sorted(chance.sample(range(1, total), kills))
        due: asyncio.Queue[int] = asyncio.Queue()

        def count() -> None:
            if moments and len(course.receipts) >= moments[0]:
                due.put_nowait(moments.pop(0))

        course.on_receipt = count

        async def student(number: int) -> None:
            for again in range(each):
                await course.submit(f"student{number}", notebook(f"{number}/{again}"))

        async def killer() -> None:
            for _ in range(kills):
                await due.get()
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)

        async with client, asyncio.timeout(_PATIENCE_SECONDS * 9), asyncio.TaskGroup() as group:
            group.create_task(killer())
            for number in range(students):
                group.create_task(student(number))
        assert len(course.receipts) == total
        await asyncio.to_thread(course.check)
        for user, sent in course.sent.items():
            assert (root / "submitted" / "hw1" / f"{user}.py").read_bytes() == sent[-1]
        left = (root / "submitted" / "hw1").glob(".*")
        assert all(path.name.endswith(".tmp") for path in left)


async def test_a_killed_server_loses_nothing_that_it_acknowledged(
    tmp_path: Path, chance: random.Random
) -> None:
    await _load_with_kills(tmp_path, chance, students=8, each=6, kills=2)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_server_that_is_killed_again_and_again_loses_nothing(
    tmp_path: Path, chance: random.Random
) -> None:
    await _load_with_kills(tmp_path, chance, students=40, each=15, kills=15)
