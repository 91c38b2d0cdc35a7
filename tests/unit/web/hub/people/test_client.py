"""The hub's page with the line that installs the student's commands, and its wheel."""

from __future__ import annotations

import hashlib
import html
import re

import pytest

from mograder.core.errors import NotFound
from mograder.store.client_wheel import ClientWheels
from tests.support.hub_app import ORIGIN, Hub, HubOf
from tests.support.hub_copies import read

LINE = re.compile(
    r'uvx --from "mograder-hub @ (\S+?)(/client/[0-9a-f]{16}/mograder_hub-[^"/]+\.whl)'
    r'#sha256=([0-9a-f]{64})" mograder ([^<]+)<'
)


async def seen(hub: Hub, path: str, user: str = "") -> str:
    return html.unescape(await read(hub, path, user))


async def test_anybody_gets_the_page_and_the_wheel(hub: Hub) -> None:
    origin, path, digest, command = LINE.findall(await seen(hub, "/client"))[0]
    assert origin == ORIGIN
    assert command == "validate NOTEBOOK.py"
    async with hub.client() as client:
        answer = await client.get(path)
        other = await client.get(path.replace("mograder_hub-", "mograder_hub-9"))
    assert hashlib.sha256(answer.content).hexdigest() == digest
    assert other.status_code == 404


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ('[https]\nurl = "https://work.example.org"\n', "student https://work.example.org"),
        ('[moodle]\nurl = "https://moodle.example.org"\ncourse_id = 7\n', "student"),
        ('[moodle]\nurl = "https://moodle.example.org"\n', "validate NOTEBOOK.py"),
    ],
)
async def test_an_instructor_sees_the_exact_line_of_the_course(
    settings: str, command: str, hub_of: HubOf
) -> None:
    hub = hub_of(settings)
    text = await seen(hub, "/course/students", "prof")
    public = await seen(hub, "/client")
    assert {found[3] for found in LINE.findall(text)} == {command}
    assert 'href="/client"' in text
    assert len(LINE.findall(public)) == 3
    written = 'transport = "moodle"\n\n[moodle]\nurl = "https://moodle.example.org"\ncourse_id = 7'
    assert (written in public) == (command == "student")


async def test_a_hub_that_has_no_wheel_shows_the_students_all_the_same(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: ClientWheels) -> None:
        raise NotFound("This mograder is not installed, so there is no wheel of it.")

    monkeypatch.setattr(ClientWheels, "current", none)
    text = await seen(hub, "/course/students", "prof")
    assert "On their own computers" not in text
    assert "there is no wheel of it" in await read(hub, "/client", "", 404)
