"""The shipped nginx and Caddy before the real session proxy.

The same tests for both: what the hub's proxy promises holds whatever is in front of it
(security.md; B19, B20). Those of ``test_proxy`` are run through each once more.
"""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from websockets.asyncio.client import connect

from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.core.session_header_policy import FROM_SESSION_NEVER
from tests.contract.test_proxy import (
    POLICY,
    test_a_browser_gets_nothing_but_the_document_by_its_login,
    test_a_file_in_a_tab_is_a_download,
    test_a_form_of_a_hostile_page_runs_no_code,
    test_a_frames_page_has_storage_and_tells_its_height,
    test_a_pdf_has_a_tab_of_its_own_and_a_link_to_it_in_frames,
    test_a_tab_is_sent_from_a_capability_to_the_documents_own_address,
    test_an_unknown_capability_is_gone_and_a_browser_may_read_that,
    test_redirects_stay_within_the_hub_and_name_no_inner_host,
    test_signing_out_and_stopping_end_a_capability,
    test_the_capability_alone_is_the_authority,
    test_the_frame_gets_the_sessions_page_by_its_capability,
    test_the_hub_answers_preflights_and_the_probe_itself,
    test_the_session_sees_none_of_the_hubs_credentials,
)
from tests.support.proxy_front import Standing, proxied, raw, standing
from tests.support.proxy_session import A1, RunningProxy
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import DOCUMENT, bearer, cookie, served_on_unix

pytestmark = pytest.mark.full

__all__ = [
    "proxied",
    "standing",
    "test_a_browser_gets_nothing_but_the_document_by_its_login",
    "test_a_file_in_a_tab_is_a_download",
    "test_a_form_of_a_hostile_page_runs_no_code",
    "test_a_frames_page_has_storage_and_tells_its_height",
    "test_a_pdf_has_a_tab_of_its_own_and_a_link_to_it_in_frames",
    "test_a_tab_is_sent_from_a_capability_to_the_documents_own_address",
    "test_an_unknown_capability_is_gone_and_a_browser_may_read_that",
    "test_redirects_stay_within_the_hub_and_name_no_inner_host",
    "test_signing_out_and_stopping_end_a_capability",
    "test_the_capability_alone_is_the_authority",
    "test_the_frame_gets_the_sessions_page_by_its_capability",
    "test_the_hub_answers_preflights_and_the_probe_itself",
    "test_the_session_sees_none_of_the_hubs_credentials",
]


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


async def test_a_program_with_a_token_passes(proxied: RunningProxy) -> None:
    """B19, B20."""
    answer = await proxied.http.get(A1 + "/x?y=1", headers=bearer("alice"))
    assert (answer.status_code, answer.json()["query"]) == (200, "y=1")


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
        proxied.rig.session(path, user="bob")
        page = await proxied.http.get("/edit/user/bob/A1/", headers={**cookie("bob"), **DOCUMENT})
        bobs = page.text.partition("<iframe ")[2].partition(' src="')[2].partition('"')[0]
        assert bobs.startswith("/s/")
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
        page = await proxied.http.get("/edit/user/bob/B1/", headers={**cookie("bob"), **DOCUMENT})
        bobs = page.text.partition("<iframe ")[2].partition(' src="')[2].partition('"')[0]
        own = await proxied.capability()
        for _ in range(10):
            assert (await proxied.http.get(own + "x")).json()["path"] == A1 + "/x"
            assert (await proxied.http.get(bobs + "x")).json()["path"] == bob.base_url + "/x"


# ---- what crosses the border --------------------------------------------------------------------


async def test_a_session_sees_of_a_pages_request_what_it_needs_and_no_more(
    proxied: RunningProxy,
) -> None:
    headers = {
        **cookie("alice"),
        **bearer("alice"),
        "X-Remote-User": "alice",
        "X-Remote-Groups": "staff",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "uni.example",
        "Forwarded": "for=10.0.0.1",
        "Referer": proxied.rig.url + "/",
        "Origin": "null",
        "Proxy-Authorization": "Basic eA==",
        "OIDC_CLAIM_email": "a@b.c",
        "Sec-Fetch-Dest": "empty",
        "Sec-CH-UA": "x",
        "Marimo-Session-Id": "s_1",
        "Marimo-Server-Token": "t",
        "Range": "bytes=0-1",
    }
    cap = await proxied.capability()
    for extra in ({}, {"X-Whatever": "1"}, {"Whatever": "1"}):
        answer = await proxied.http.get(cap + "x?a=%2F&b=c+d", headers={**headers, **extra})
        said = answer.json()
        names = {name for name, _ in said["headers"]}
        expected = {"marimo-session-id", "marimo-server-token", "range", "host"}
        assert expected <= names
        # A connection of its own says how long it lasts.
        assert names - expected <= {"accept", "accept-encoding", "user-agent", "connection"}
        assert ["host", "session.invalid"] in said["headers"]
        assert (said["path"], said["query"]) == (A1 + "/x", "a=%2F&b=c+d")


async def test_a_browser_sees_of_a_sessions_answer_nothing_that_acts(proxied: RunningProxy) -> None:
    """X-Accel-Redirect and the like, which nginx obeys, too."""
    cap = await proxied.capability()
    answer = await proxied.http.get(cap + "hostile")
    assert (answer.status_code, answer.text) == (200, "boo")
    headers = answer.headers
    assert headers.get_list("content-security-policy") == [POLICY]
    assert headers.get_list("access-control-allow-origin") == ["*"]
    assert headers.get_list("x-content-type-options") == ["nosniff"]
    assert headers.get_list("referrer-policy") == ["no-referrer"]
    assert headers["x-harmless"] == "kept"
    own = {"content-security-policy", "x-content-type-options", "referrer-policy", "server"}
    own |= {"date", "transfer-encoding", "connection", "content-length", "x-request-id"}
    assert not {name.lower() for name in headers} & (FROM_SESSION_NEVER - own)
    for never in ("access-control-allow-credentials", "cross-origin-opener-policy"):
        assert never not in headers
    assert "x-mograder-session" not in headers
    assert "x-mograder-socket" not in headers


async def test_errors_of_a_session_are_fenced_too(proxied: RunningProxy) -> None:
    path = proxied.rig.directory / "none.sock"
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
