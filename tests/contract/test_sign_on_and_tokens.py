"""A front that requires passwords, and our own programs with tokens behind it.

B20, B130; security.md, "Who is asking". The written configurations of nginx and Caddy with basic
authentication, before a hub; ``hub publish`` and ``hub check --url`` go through them.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from mograder.auth.roles import Role
from mograder.auth.tokens import make_token
from mograder.clients.file_upload import Upload
from mograder.clients.front_probe import look_at_front
from mograder.clients.hub import HubClient
from mograder.core.settings import load_settings
from mograder.operations.front_checks import examine_front, front_lines
from mograder.operations.fronts.front import caddy_config, nginx_config
from mograder.operations.report import Level
from tests.support.fronts import Place, running
from tests.support.hub_app import NOTEBOOK, SECRET, Hub, make_hub
from tests.support.hub_app import running as running_app
from tests.support.process import free_port
from tests.support.session_proxy import served

pytestmark = pytest.mark.full

PASSWORD = httpx.BasicAuth("alice", "secret")


@dataclass(frozen=True)
class Behind:
    """A hub, and where its front is."""

    hub: Hub
    url: str


def nginx_site(place: Place, directory: Path) -> str:
    """As written, with a file of passwords."""
    (directory / "people").write_text("alice:{PLAIN}secret\n")
    site = nginx_config(place.front())
    return site.replace("/etc/nginx/mograder-people", str(directory / "people"))


def caddy_site(place: Place, directory: Path) -> str:
    """Return the written configuration with the administrator's lines in the documented places."""
    command = [shutil.which("caddy") or "caddy", "hash-password", "--plaintext", "secret"]
    digest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (directory / "route-sign-on.caddy").write_text(f"basicauth {{\n\talice {digest}\n}}\n")
    return caddy_config(place.front()).replace("/etc/caddy/mograder.d", str(directory))


SITES = {
    "nginx": (nginx_site, "$remote_user"),
    "caddy": (caddy_site, "{http.auth.user.id}"),
}


@pytest.fixture(params=["nginx", "caddy"])
async def behind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Behind]:
    write, user = SITES[request.param]
    listening = socket.create_server(("127.0.0.1", 0))
    hub_port, port = listening.getsockname()[1], free_port()
    place = Place(port=port, hub_port=hub_port, user=user, request_mb=20)
    own = tmp_path / "own"
    own.mkdir()
    hub = make_hub(tmp_path / "course", '[hub]\ninstructors = ["prof"]\n')
    with running(request.param, write(place, own), port, tmp_path / "front"):
        async with running_app(hub.app), served(hub.app, listening):
            yield Behind(hub, place.url)
    hub.close()


async def test_publish_and_check_go_through_it(behind: Behind, tmp_path: Path) -> None:
    """With the token alone: programs know no password of the front's."""
    notebook = tmp_path / "B1.py"
    notebook.write_text(NOTEBOOK)

    def publish() -> None:
        token = make_token(SECRET, "prof", Role.INSTRUCTOR)
        with HubClient(behind.url, token, insecure=True) as client:
            client.publish("B1", "assignment", [Upload(notebook.name, notebook)], lambda _: None)

    await asyncio.to_thread(publish)
    assert (behind.hub.course / "hub-release" / "B1" / "B1.py").read_text() == NOTEBOOK
    loaded = load_settings(behind.hub.course, environ={})
    lines = [
        await asyncio.to_thread(examine_front, loaded.settings.hub, behind.url),
        *front_lines(await asyncio.to_thread(look_at_front, behind.url)),
    ]
    assert [line.text for line in lines if line.level is Level.PROBLEM] == []


async def test_a_request_without_a_token_is_asked_for_the_password(behind: Behind) -> None:
    """And nobody is named by a header of their own, beside a token or without."""
    async with httpx.AsyncClient(base_url=behind.url, trust_env=False, timeout=60) as http:
        for headers in ({}, {"X-Remote-User": "prof"}, {"Authorization": "Basic cHJvZjp4"}):
            answer = await http.get("/assignments", headers=headers)
            assert answer.status_code == 401, headers
            assert answer.headers["www-authenticate"].startswith("Basic")
        named = await http.get("/assignments", auth=PASSWORD)
        assert named.status_code == 200
        assert named.headers["set-cookie"].startswith("mograder_session=")
    for token in ("x", "prof:0", make_token(SECRET, "mallory") + "0"):
        async with httpx.AsyncClient(base_url=behind.url, trust_env=False, timeout=60) as http:
            headers = {"Authorization": f"Bearer {token}", "X-Remote-User": "prof"}
            answer = await http.get("/assignments", headers=headers)
            assert answer.status_code in (401, 403), token
            assert "set-cookie" not in answer.headers


async def test_a_token_is_its_owner_whatever_else_a_request_says(behind: Behind) -> None:
    headers = {
        "Authorization": f"Bearer {make_token(SECRET, 'alice')}",
        "X-Remote-User": "prof",
    }
    async with httpx.AsyncClient(base_url=behind.url, trust_env=False, timeout=60) as http:
        assert (await http.get("/assignments", headers=headers)).status_code == 200
        assert (await http.get("/audit", headers=headers)).status_code == 403
