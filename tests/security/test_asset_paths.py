"""The address of marimo's static files serves these and nothing else, through the whole hub.

A corpus of raw request paths that no client has normalised.
"""

from __future__ import annotations

from itertools import product

import pytest
from starlette.types import Message

from mograder.sandbox.environments.static_assets import ASSETS, keep_assets
from tests.support.hub_app import Hub, hub

__all__ = ["hub"]

SECRET = b"only for the instructors"
SCRIPT = b"export const answer = 42;"
_UP = ("..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..%2f..", "..%5c..", "..\\..", "%c0%ae%c0%ae")
_ODD = (
    *("index.js.br", "INDEX.JS", "index%2ejs", "index.js%00", "index.js\x00.png", "index.js;x=1"),
    *("index.js/", "./index.js", "files%2findex.js", "..%252f..%252flock.txt", ""),
)
_TARGETS = ("lock.txt", "environment.json", "manifest.json", "../mograder.toml", "etc/passwd")


@pytest.fixture
def name(hub: Hub) -> str:
    """A set of static files in the hub's own directory, beside files that must not be served."""
    environments = hub.services.loaded.path(hub.services.loaded.settings.hub.environments_dir)
    static = environments / "k/env/lib/python3.12/site-packages/marimo/_static"
    static.mkdir(parents=True)
    (static / "index.js").write_bytes(SCRIPT)
    (static / "index.html").write_bytes(SECRET)
    (environments / ASSETS).mkdir()
    for path in (environments, environments / ASSETS, environments / "k"):
        for file in ("lock.txt", "environment.json"):
            (path / file).write_bytes(SECRET)
    return keep_assets(environments / "k/env", "3.12.1", "0.25.2", environments / ASSETS)


async def ask(hub: Hub, path: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> list[Message]:
    """Return the hub's answer to one GET with exactly these bytes."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": b"",
        "headers": [(b"host", b"hub.test"), *headers],
        "client": ("192.0.2.7", 5000),
    }
    await hub.app(scope, receive, send)
    return sent


def body_of(sent: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize("start", ["/s/_marimo", "/edit/user/alice/_marimo", "/_marimo"])
async def test_no_path_leads_out_of_a_set(hub: Hub, name: str, start: str) -> None:
    served = []
    bases = (f"{start}/{name}", f"{start}/{name}/files", start)
    ups = ("", *_UP, *("/".join([each] * 3) for each in _UP))
    targets = (*_TARGETS, *_ODD, "index.html", "index.js")
    for base, up, target in product(bases, ups, targets):
        sent = await ask(hub, f"{base}/{up}/{target}".replace("//", "/"))
        assert SECRET not in body_of(sent)
        if sent[0]["status"] == 200:
            served.append(f"{base}/{target}")
            assert body_of(sent) == SCRIPT
    expected = [] if start == "/_marimo" else [f"{start}/{name}/index.js"]
    assert served == expected


async def test_they_need_no_sign_in_and_leave_no_cookie(hub: Hub, name: str) -> None:
    """A cached answer with somebody's cookie would be everybody's."""
    for who in ((), ((b"x-remote-user", b"alice"),), ((b"cookie", b"mograder_session=x"),) * 2):
        sent = await ask(hub, f"/s/_marimo/{name}/index.js", who)
        assert (sent[0]["status"], body_of(sent)) == (200, SCRIPT)
        assert b"set-cookie" not in dict(sent[0]["headers"])
