"""marimo's static files over HTTP: cached for ever, compressed, harmless, and nothing else.

sessions.md, "The editor's files"; security.md.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import httpx
import pytest

from mograder.sandbox.environments.static_assets import keep_assets
from mograder.web.context import ContextMiddleware
from mograder.web.hub.proxy.static_assets import AssetServer, is_asset_path

SCRIPT = b"export const answer = 42;\n" * 50


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one set, beside a file that must not be served."""
    static = tmp_path / "env/lib/python3.12/site-packages/marimo/_static/assets"
    static.mkdir(parents=True)
    (static / "index.js").write_bytes(SCRIPT)
    (static / "pixel.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "assets").mkdir()
    (tmp_path / "lock.txt").write_text("secret")
    keep_assets(tmp_path / "env", "3.12.1", "0.25.2", tmp_path / "assets")
    return tmp_path / "assets"


@pytest.fixture
def base(root: Path) -> str:
    (name,) = (each.name for each in root.iterdir())
    return f"/s/_marimo/{name}"


def client_of(server: AssetServer) -> httpx.AsyncClient:
    app = ContextMiddleware(server, base_url="/hub", public_url="", trusts=lambda _: False)
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://hub.test/hub")


@pytest.fixture
def client(root: Path) -> httpx.AsyncClient:
    return client_of(AssetServer(root))


async def test_a_file_is_kept_for_ever_and_cannot_act_as_a_page(
    client: httpx.AsyncClient, base: str
) -> None:
    answer = await client.get(f"{base}/assets/index.js", headers={"Cookie": "a=b"})
    assert (answer.status_code, answer.content) == (200, SCRIPT)
    headers = answer.headers
    assert headers["content-type"] == "text/javascript; charset=utf-8"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert headers["vary"] == "accept-encoding"
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    ("accepts", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip;q=1.0, br;q=0", "gzip"),
        ("gzip", "gzip"),
        ("identity", ""),
        ("", ""),
    ],
)
async def test_everybody_gets_the_smallest_form_they_can_read(
    client: httpx.AsyncClient, base: str, accepts: str, encoding: str
) -> None:
    request = client.build_request("GET", f"{base}/assets/index.js")
    request.headers["Accept-Encoding"] = accepts
    answer = await client.send(request, stream=True)
    raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding", "") == encoding
    assert int(answer.headers["content-length"]) == len(raw)
    read = {"br": brotli.decompress, "gzip": gzip.decompress, "": bytes}[encoding]
    assert read(raw) == SCRIPT


async def test_a_head_and_an_unchanged_file_have_no_body(
    client: httpx.AsyncClient, base: str
) -> None:
    head = await client.head(f"{base}/assets/index.js")
    assert (head.status_code, head.content) == (200, b"")
    again = await client.get(
        f"{base}/assets/index.js", headers={"If-None-Match": head.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    other = {"If-None-Match": '"other"', "Accept-Encoding": "identity"}
    changed = await client.get(f"{base}/assets/index.js", headers=other)
    assert (changed.status_code, changed.headers["etag"] != head.headers["etag"]) == (200, True)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_nothing_but_reading_is_allowed(
    client: httpx.AsyncClient, base: str, method: str
) -> None:
    assert (await client.request(method, f"{base}/assets/index.js")).status_code == 405


async def test_a_preflight_lets_a_foreign_header_through(
    client: httpx.AsyncClient, base: str
) -> None:
    asks = {"Origin": "null", "Access-Control-Request-Headers": "x-of-an-extension"}
    answer = await client.options(f"{base}/assets/index.js", headers=asks)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("where", ["/edit/user/alice", "/run/user/al%20ice"])
async def test_a_page_that_the_hub_left_alone_finds_them_too(
    client: httpx.AsyncClient, base: str, where: str
) -> None:
    """``../_marimo`` from ``/edit/user/<user>/<item>/``: bearer clients."""
    path = base.replace("/s/", f"{where}/", 1) + "/assets/index.js"
    assert is_asset_path(path.encode())
    assert (await client.get(path)).content == SCRIPT


async def test_a_set_that_vanished_is_not_found_and_found_when_it_is_back(
    client: httpx.AsyncClient, root: Path, base: str
) -> None:
    path = root / base.rpartition("/")[2]
    assert (await client.get(f"{base}/assets/pixel.svg")).status_code == 200
    path.rename(root / "gone")
    assert (await client.get(f"{base}/assets/index.js")).status_code == 404
    (root / "gone").rename(path)
    assert (await client.get(f"{base}/assets/index.js")).status_code == 200


async def test_the_memory_for_bodies_is_bounded(root: Path, base: str) -> None:
    server = AssetServer(root, held_bytes=60)
    async with client_of(server) as client:
        for accepts in ("br", "gzip", "identity", "br"):
            for name in ("index.js", "pixel.svg"):
                headers = {"Accept-Encoding": accepts}
                answer = await client.get(f"{base}/assets/{name}", headers=headers)
                assert answer.status_code == 200
    assert 0 < sum(map(len, server._held.values())) <= 60
