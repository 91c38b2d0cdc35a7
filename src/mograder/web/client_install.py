"""The program that students install from their server: its wheel, and the line to paste.

The hub and the assignment server hand both out, to anybody: who installs has no login yet, and the
program is no secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import tomlkit
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from mograder.core.sections.settings_model import Settings
from mograder.core.wheel import PROGRAM
from mograder.store.client_wheel import ClientWheel, ClientWheels

UV_LINES: Mapping[str, str] = {
    "Windows": 'powershell -ExecutionPolicy ByPass -c "irm https://astral.sh/uv/install.ps1 | iex"',
    "macOS": "curl -LsSf https://astral.sh/uv/install.sh | sh",
    "Linux": "curl -LsSf https://astral.sh/uv/install.sh | sh",
}
"""System → the line that installs uv there, as uv's documentation has it."""

_FOR_EVER = "public, max-age=31536000, immutable"
_LONGEST_FOLDER = 40


@dataclass(frozen=True, slots=True)
class ClientInstall:
    """The lines for one course.

    ``requirement`` names the wheel as pip and uv take it, ``line`` starts the student's commands.
    ``server`` is the address of the assignment server, "" for none; ``settings`` is the content of
    a ``mograder.toml`` that students of a Moodle course need, "" for others. ``folder`` is a name
    for the folder of the work: the course's title, or its address, since a folder has one course.
    """

    requirement: str
    line: str
    server: str
    settings: str
    folder: str


def client_install(wheel: ClientWheel, here: str, settings: Settings, server: str) -> ClientInstall:
    """Return the lines for a course.

    ``here`` is the public address of what hands out the wheel; ``server`` is the assignment
    server's, "" for none.
    """
    address = f"{here.rstrip('/')}/client/{quote(wheel.address)}"
    requirement = f"{PROGRAM} @ {address}#sha256={wheel.sha256}"
    moodle, site = "", settings.moodle
    if not server and site.url and site.course_id > 0:
        course = {"url": site.url, "course_id": site.course_id}
        moodle = tomlkit.dumps({"transport": "moodle", "moodle": course})
    command = "student" if server or moodle else "validate NOTEBOOK.py"
    return ClientInstall(
        requirement,
        " ".join(filter(None, (f'uvx --from "{requirement}" mograder {command}', server))),
        server,
        moodle,
        _folder(settings.title or "") or _folder((server or here).partition("://")[2]),
    )


async def send_wheel(request: Request, wheels: ClientWheels, digest: str, name: str) -> Response:
    """Return a wheel, which programs may keep: its address contains a digest of its content."""
    path = await to_thread.run_sync(wheels.find, digest, name)
    about = {
        "Cache-Control": _FOR_EVER,
        "ETag": f'"{digest}"',
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if request.headers.get("if-none-match", "") == about["ETag"]:
        return Response(b"", 304, about)
    facts = await to_thread.run_sync(path.stat)
    kind = "application/octet-stream"
    return FileResponse(path, 200, about, media_type=kind, filename=name, stat_result=facts)


def _folder(title: str) -> str:
    """Return a name for a folder that every system and shell takes as it is; "" for none."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_LONGEST_FOLDER].strip("-")
