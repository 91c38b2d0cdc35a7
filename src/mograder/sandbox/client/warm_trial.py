"""A trial of warm starts: a session that is forked from a zygote, in an environment made for it.

Warm starts need more of the kernel than cold ones, which a container may forbid alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import sysconfig
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.client.trial_session import trial_session
from mograder.sandbox.environments.interpreters import roots_of
from mograder.sandbox.protocol import Arrived, Limits, News, StartSession

_LIMITS = Limits(processes=128, open_files=512, file_size_mb=16, tmp_mb=64)
_SECONDS = 60.0
_ATTEMPTS = 2


async def refusal_of_warm_starts(client: SupervisorClient, place: Path) -> str:
    """Start a session warm and end it; return why that is not possible, or "".

    ``place`` is a directory for its files; the supervisor must keep zygotes. The client's callbacks
    are replaced. It takes some seconds: marimo is imported.

    Raises: :class:`~mograder.core.errors.MograderError` if no session can be started at all.
    """
    arrived: asyncio.Future[Arrived] = asyncio.get_running_loop().create_future()
    request = await asyncio.to_thread(_prepare, place)

    def hear(news: News) -> None:
        if isinstance(news, Arrived) and not arrived.done():
            arrived.set_result(news)

    client.watch(lambda _: None, lambda: None, hear)
    for _ in range(_ATTEMPTS):  # on a busy machine the first one may end before the import does
        if await client.warm(request.environment):
            break
    else:
        return "no process can be kept from which sessions are forked"
    try:
        await client.start(request)
        async with asyncio.timeout(_SECONDS):
            news = await arrived
    except TimeoutError:
        return "the start was not reported"
    finally:
        with contextlib.suppress(MograderError):
            await client.stop(request.session_id)
    return "" if news.warm else news.fallback or "the start was cold"


def _prepare(place: Path) -> StartSession:
    """Make a workspace, and an environment with the packages of our own Python."""
    text = "import marimo\n\napp = marimo.App()\n"
    own = sysconfig.get_path("purelib")
    roots = roots_of(sys.base_prefix, sys.base_exec_prefix, own)
    request = trial_session("trial", place, text, roots, _LIMITS)
    env = request.environment / "env"
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    (env / "bin" / "python").symlink_to(base)
    (env / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    packages = env / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages.mkdir(parents=True)
    (packages / "site-packages").symlink_to(own)
    return request
