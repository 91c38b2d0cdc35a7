"""A student, a copy and a client, for the tests of the routes that change copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from mograder.auth.credentials import Role
from mograder.core.names import INSTRUCTOR
from tests.support.hub_app import NOTEBOOK, ORIGIN, Hub

WORK = NOTEBOOK.replace("1 + 1", "2 + 2")
OTHER = NOTEBOOK.replace("1 + 1", "3 + 3")
FORM = {"Accept": "text/html", "Origin": ORIGIN}


async def ask(hub: Hub, method: str, path: str, user: str = "alice", **more: Any) -> httpx.Response:
    """One request of a program with a token."""
    role = Role.INSTRUCTOR if user in ("prof", INSTRUCTOR) else Role.STUDENT
    async with hub.client(user, role=role) as client:
        return await client.request(method, path, **more)


async def see(hub: Hub, path: str, user: str = "alice") -> httpx.Response:
    """Look at a page with a browser."""
    return await ask(hub, "GET", path, user, headers={"Accept": "text/html"})


async def read(hub: Hub, path: str, user: str = "alice", status: int = httpx.codes.OK) -> str:
    """The text of a page, as a browser gets it."""
    answer = await see(hub, path, user)
    assert answer.status_code == status, answer.text
    return answer.text


async def press(hub: Hub, path: str, user: str = "alice", **more: Any) -> httpx.Response:
    """Send a form as a browser does."""
    return await ask(hub, "POST", path, user, headers=FORM, **more)


async def send(
    hub: Hub, content: bytes | str, path: str = "/upload/alice/A1", user: str = "alice"
) -> httpx.Response:
    """Upload a notebook."""
    data = content.encode() if isinstance(content, str) else content
    return await ask(hub, "POST", path, user, files={"file": ("A1.py", data)})


def folder(hub: Hub, user: str = "alice", item: str = "A1") -> Path:
    """A student's workspace."""
    return hub.course / "hub-notebooks" / user / item


async def begin(hub: Hub, work: str = WORK) -> Path:
    """Alice has a copy and worked on it; returns her notebook."""
    await ask(hub, "POST", "/download/A1")
    notebook = folder(hub) / "A1.py"
    notebook.write_text(work)
    return notebook


def kept(hub: Hub) -> list[str]:
    """The texts of all earlier versions."""
    return [path.read_text() for path in sorted(folder(hub).glob("A1.bak.*.py"))]
