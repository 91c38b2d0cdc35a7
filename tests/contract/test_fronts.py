"""The shipped nginx and Caddy before the real session proxy.

The same tests for both: what the hub's proxy promises holds whatever is in front of it
(security.md; B19, B20). Those of ``test_proxy*`` are run through each once more.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity, Method
from tests.contract import test_proxy, test_proxy_streaming, test_proxy_websocket
from tests.support.proxy_front import Standing, no_answer_is_lost, proxied, raw, standing
from tests.support.proxy_session import A1, RunningProxy
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import DOCUMENT, POLICY, bearer, cookie, served_on_unix
from tests.support.slow_body import refused_body

pytestmark = pytest.mark.full

__all__ = ["proxied", "standing"]

AGAIN = {
    test_proxy: (
        "test_a_browser_gets_nothing_but_the_document_by_its_login",
        "test_a_file_in_a_tab_is_a_download",
        "test_a_form_of_a_hostile_page_runs_no_code",
        "test_a_frames_page_has_storage_and_tells_its_height",
        "test_a_pdf_has_a_tab_of_its_own_and_a_link_to_it_in_frames",
        "test_a_tab_is_sent_from_a_capability_to_the_documents_own_address",
        "test_an_unknown_capability_is_gone_and_a_browser_may_read_that",
        "test_redirects_stay_within_the_hub_and_name_no_inner_host",
        "test_signing_out_and_stopping_end_a_capability",
        "test_the_browser_sees_none_of_what_acts_on_the_hub",
        "test_the_capability_alone_is_the_authority",
        "test_the_frame_gets_the_sessions_page_by_its_capability",
        "test_the_hub_answers_preflights_and_the_probe_itself",
        "test_the_session_sees_none_of_the_hubs_credentials",
    ),
    test_proxy_streaming: (
        "test_a_slow_reader_slows_the_server_down",
        "test_an_answer_that_breaks_off_does_not_look_complete",
    ),
    test_proxy_websocket: (
        "test_a_capability_in_another_sites_hands_opens_no_socket",
        "test_a_capability_opens_a_socket_from_the_opaque_page",
        "test_a_socket_to_nothing_is_refused",
        "test_a_strangers_or_a_browsers_socket_is_refused_by_login",
        "test_the_servers_close_is_told_to_the_client",
    ),
}
"""The tests of the proxy itself that are run through each front, too."""

for _module, _names in AGAIN.items():
    globals().update({name: vars(_module)[name] for name in _names})


# ---- identity ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Remote-User": "alice"},
        {"x-remote-user": "prof"},
        {"X_Remote_User": "alice"},
        {"X-Remote-User": "", "X-Forwarded-User": "alice"},
    ],
)
async def test_what_a_client_says_about_itself_is_not_believed(
    proxied: RunningProxy, headers: dict[str, str]
) -> None:
    """B20, B130: the front sets or deletes the trusted header on each request."""
    for path in (A1 + "/health", A1 + "/"):
        answer = await proxied.http.get(path, headers=headers)
        assert answer.status_code == 403, path
        assert "set-cookie" not in answer.headers
    assert not proxied.upstream.seen


async def test_what_a_client_says_of_its_address_is_not_in_the_log(proxied: RunningProxy) -> None:
    """A front sets one of the two headers, and must not pass on the other."""
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"}
    for told in ({}, forged, {"X-Real-IP": "203.0.113.9"}):
        headers = {**cookie("prof", role=Role.INSTRUCTOR), **DOCUMENT, **told}
        assert (await proxied.http.get(A1 + "/", headers=headers)).status_code == 200
    assert {visit.where for visit in proxied.rig.visits} == {"127.0.0.1"}


async def test_sockets_of_programs_and_pages_end_with_the_token_and_the_login(
    proxied: RunningProxy,
) -> None:
    capabilities = proxied.rig.services.capabilities
    url = str(proxied.http.base_url).replace("http", "ws", 1).rstrip("/")
    for path, headers in (
        (f"{A1}/ws", bearer("prof", Role.INSTRUCTOR)),
        (f"{A1}/ws_sync", cookie("prof", role=Role.INSTRUCTOR)),
        ("", {"Origin": "null"}),
    ):
        where = path or f"{await proxied.capability('prof')}ws"
        async with connect(url + where, additional_headers=headers, proxy=None) as line:
            await line.send("typed")
            assert await line.recv() == "typed"
            await asyncio.to_thread(capabilities.revoke_user, "prof")
            async with asyncio.timeout(40):
                await line.wait_closed()


# ---- whose session ------------------------------------------------------------------------------


def _confusing(own: str, other: str) -> list[str]:
    """Addresses that two programs may read differently; ``/s/…/`` of two sessions."""
    prefix, cap = own.strip("/").split("/")
    bare = other.rstrip("/")
    ups = ("..", "%2e%2e", ".%2e", "%2E.", "..;", "..%2f", "%252e%252e", "..%5c", "..\\")
    paths = [f"{own}{up}/{bare.split('/')[-1]}/x" for up in ups]
    paths += [f"{own}{up}{bare}/x" for up in ups]
    paths += [f"{own}x%2f..%2f..%2f{bare.split('/')[-1]}/x", f"{own}a/../../../edit/user/bob/A1/x"]
    paths += [f"//{prefix}/{cap}/x", f"/{prefix}//{cap}/x", f"/{prefix}/{cap}//x", f"{own}./x"]
    paths += [f"/S/{cap}/x", f"/%73/{cap}/x", f"/x/../s/{cap}/x", f"/s/{cap}", f"/s/{cap}%2fx"]
    paths += [f"{own}x%00y", f"{own}x%0d%0aX-Evil:1", f"{own}%c0%ae%c0%ae/x", f"{own}a|b"]
    paths += [f"{own}x?y={bare}/../..//%2f", f"{own}x#y", f"{own}x;{bare}", f"{own}é"]
    paths += [f"http://other.example{own}x", f"{own}:80/x", f"{own}@127.0.0.1/x"]
    return paths


async def test_no_address_leads_from_one_session_to_another(
    proxied: RunningProxy, standing: Standing
) -> None:
    """Encoded and doubled slashes, dot segments: hub and front must not read them differently."""
    other = Upstream()
    async with served_on_unix(other) as path:
        bob = proxied.rig.session(path, user="bob")
        bobs = await proxied.capability("bob", bob.base_url)
        own = await proxied.capability()
        other.seen.clear()
        for address in _confusing(own, bobs):
            status, body = await asyncio.to_thread(raw, standing.place.port, address)
            assert not other.seen, (address, status)
            if status == 200 and body.startswith("{"):
                assert json.loads(body)["path"].startswith(A1 + "/"), address


async def test_sessions_on_one_connection_are_not_mixed_up(proxied: RunningProxy) -> None:
    """A front keeps connections to sessions only if it never takes one for another's."""
    other = Upstream()
    async with served_on_unix(other) as path:
        bob = proxied.rig.session(path, user="bob", item="B1")
        bobs = await proxied.capability("bob", bob.base_url)
        own = await proxied.capability()
        for _ in range(10):
            assert (await proxied.http.get(own + "x")).json()["path"] == A1 + "/x"
            assert (await proxied.http.get(bobs + "x")).json()["path"] == bob.base_url + "/x"


# ---- what crosses the border --------------------------------------------------------------------


async def test_errors_of_a_session_are_fenced_too(proxied: RunningProxy) -> None:
    path = proxied.rig.hub.course / "none.sock"
    with socket.socket(socket.AF_UNIX) as bound:  # and closed: no process listens
        bound.bind(str(path))
    gone = proxied.rig.session(path, item="A3")
    alice = Identity("alice", Role.STUDENT, Method.COOKIE, "a-login-of-hers-1234", None)
    cap = proxied.rig.services.capabilities.issue(
        proxied.rig.services.capabilities.visit(gone.id, "alice", alice)
    )
    for asked in (f"/s/{cap}/x/y", f"/s/{cap}/x%2fy"):
        answer = await proxied.http.get(asked)
        assert (answer.status_code, answer.text) == (502, "Session unavailable")
        assert answer.headers.get_list("content-security-policy") == [POLICY]
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["x-content-type-options"] == "nosniff"


# ---- bodies and times ---------------------------------------------------------------------------


async def test_no_answer_to_a_post_is_lost(proxied: RunningProxy) -> None:
    """B19, B20."""
    await no_answer_is_lost(proxied)


async def test_a_body_over_the_bound_is_refused(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    large = await proxied.http.post(cap + "api/x", content=b"x" * 4 * 2**20)
    assert large.status_code == 413
    fits = await proxied.http.post(cap + "api/x", content=b"x" * 3 * 2**20)
    assert fits.json()["length"] == 3 * 2**20

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 1000

    streamed = await proxied.http.post(cap + "api/x", content=chunks())
    assert streamed.json()["length"] == 3000


async def test_a_refusal_of_a_slow_body_arrives_and_ends_the_connection(
    proxied: RunningProxy, standing: Standing
) -> None:
    """Both what the hub refuses and what the front refuses by itself."""
    headers = {**cookie("alice"), "Sec-Fetch-Site": "same-origin"}
    path = A1 + "/api/kernel/execute"
    within = await refused_body(
        "127.0.0.1", standing.place.port, path, headers, announced=3 * 2**20, piece=2**13
    )
    assert within.status == 403
    assert within.answer.endswith(b"Open this address in a tab of its own.")
    beyond = await refused_body("127.0.0.1", standing.place.port, path, headers)
    assert beyond.status in (403, 413), "nginx sees the length, Caddy passes some of it on"


async def test_large_answers_arrive_whole(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    answer = await proxied.http.get(cap + "big")
    assert len(answer.content) == 10485760


# ---- WebSockets ---------------------------------------------------------------------------------


async def test_b19_b20_messages_pass_both_ways(proxied: RunningProxy) -> None:
    """B19, B20: WebSockets pass, by capability from the opaque page and by token."""
    cap = await proxied.capability()
    for path, headers in ((cap + "ws?session_id=s_1", {}), (A1 + "/ws", bearer("alice"))):
        async with proxied.connect_websocket(path, additional_headers=headers) as line:
            for message in ("hé", b"\x00\xff", "x" * 2_000_000, "", b""):
                await line.send(message)
                assert await line.recv() == message
    names = {name for name, _ in proxied.upstream.seen[-2]["headers"]}
    assert not names & {b"cookie", b"origin", b"authorization", b"x-forwarded-for"}


async def test_another_protocol_than_websocket_is_not_switched_to(
    proxied: RunningProxy, standing: Standing
) -> None:
    cap = await proxied.capability()
    asked = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk")
    status, _ = await asyncio.to_thread(raw, standing.place.port, f"{cap}x", *asked)
    assert status != 101
