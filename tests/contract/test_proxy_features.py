"""Features that a session's page may not use are refused at the proxy, on both paths.

sessions.md, "What is switched off".
"""

from __future__ import annotations

import aiohttp
import pytest

from mograder.auth.roles import Role
from tests.support.proxy_session import A1, RunningProxy, proxied
from tests.support.releases import publish
from tests.support.session_proxy import bearer, cookie

__all__ = ["proxied"]


@pytest.mark.parametrize(
    "path",
    ["api/packages/add", "api/ai/chat", "api/secrets/keys", "api/kernel/execute", "lsp/copilot"],
)
async def test_it_is_refused_with_a_sentence_whoever_asks(proxied: RunningProxy, path: str) -> None:
    cap = await proxied.capability()
    before = len(proxied.upstream.seen)
    everybody: list[tuple[str, dict[str, str]]] = [
        (f"{A1}/", bearer("alice")),
        (f"{A1}/", cookie("alice")),
        (f"{A1}/", bearer("prof", Role.INSTRUCTOR)),
        (cap, {"Origin": "null"}),
    ]
    for base, headers in everybody:
        answer = await proxied.http.post(base + path, headers=headers)
        assert answer.status_code == 403
        assert "is switched off for this notebook" in answer.text
        shared = "*" if base == cap else None
        assert answer.headers.get("access-control-allow-origin") == shared
    assert len(proxied.upstream.seen) == before


async def test_the_terminals_socket_is_refused_on_both_ways(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    async with aiohttp.ClientSession() as client:
        for path, headers in ((f"{A1}/", bearer("alice")), (cap, {"Origin": "null"})):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(f"{proxied.rig.url}{path}terminal/ws", headers=headers)
            assert refused.value.status == 403


async def test_what_the_instructor_allows_passes(proxied: RunningProxy) -> None:
    allowing = b'# /// script\n# [tool.mograder]\n# allow = ["packages"]\n# ///\n'
    publish(proxied.rig.services.releases, {"A1.py": allowing})
    allowed = await proxied.http.post(A1 + "/api/packages/add", headers=bearer("alice"))
    refused = await proxied.http.post(A1 + "/api/ai/chat", headers=bearer("alice"))
    assert (allowed.status_code, refused.status_code) == (200, 403)


async def test_a_student_keeps_settings_of_their_own(proxied: RunningProxy) -> None:
    """They are in the workspace, so code could write them anyway."""
    answer = await proxied.http.post(A1 + "/api/kernel/save_user_config", headers=bearer("alice"))
    assert answer.status_code == 200
