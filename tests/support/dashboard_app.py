"""A dashboard in one process for tests: the real app over a real folder, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from mograder.core.settings import load_settings, read_environ
from mograder.web.student.connector import connector_of
from mograder.web.student.server import StudentOptions, create_app, open_app
from mograder.web.student.student_app import StudentApp

PORT = 4711
URL = f"http://127.0.0.1:{PORT}"
PAGE = {"accept": "text/html"}


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A running app, and a browser of its student that came by the link."""

    app: StudentApp
    client: httpx.AsyncClient
    stranger: Callable[[], httpx.AsyncClient]

    async def press(self, path: str, **fields: str) -> httpx.Response:
        """Post a form as a browser without scripts does, and return the page that it leads to."""
        return await self.client.post(path, data=fields, follow_redirects=True)


@asynccontextmanager
async def dashboard(
    folder: Path, server: str = "", *, everybody: bool = False
) -> AsyncIterator[Dashboard]:
    """Run a dashboard on a folder; its home lies beside that."""
    app = open_app(_options(folder, server, everybody=everybody), PORT)
    served = create_app(app)

    def stranger() -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(served), base_url=URL, headers=PAGE, trust_env=False
        )

    await app.connection.resume()
    try:
        async with stranger() as client:
            if not everybody:
                answer = await client.get(app.access.new_link())
                assert answer.status_code == httpx.codes.SEE_OTHER
            yield Dashboard(app, client, stranger)
    finally:
        await app.work.close()
        await app.runner.close()
        await app.connection.close()


def _options(folder: Path, server: str, *, everybody: bool) -> StudentOptions:
    home = folder.with_name(f"home-of-{folder.name}")
    home.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    overrides = {"https.url": server, "transport": "https"} if server else {}
    loaded = load_settings(folder, overrides=overrides, environ={})
    environ = read_environ({"HOME": str(home), "PATH": "/usr/bin:/bin"})
    return StudentOptions(loaded, environ, connector_of(loaded, environ), everybody=everybody)
