"""The session proxy over real HTTP: access, headers in both directions, features, a path prefix.

compatibility-0.3.16.md 2.1-2.3; security.md, "The session's server is theirs too", "The page is
theirs as well"; sessions.md, "What is switched off".
"""

from __future__ import annotations

import re

import aiohttp
import httpx
import pytest
from yarl import URL

from mograder.auth.credentials import Role
from mograder.sandbox.protocol import Mode
from mograder.web.hub.core.audit import Event
from tests.support.proxy_session import A1, RunningProxy
from tests.support.proxy_upstream import Upstream
from tests.support.releases import publish
from tests.support.session_proxy import (
    DOCUMENT,
    FRAME,
    POLICY,
    bearer,
    cookie,
    running_rig,
    served_on_unix,
)

# ---- who passes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({}, 403, "403 Forbidden"),
        (cookie("bob"), 403, "403 Forbidden"),
        (bearer("bob"), 403, "403 Forbidden"),
        ({"X-Remote-User": "bob"}, 403, "403 Forbidden"),
        (cookie("alice"), 200, ""),
        (bearer("alice"), 200, ""),
        ({"X-Remote-User": "alice"}, 200, ""),
        (cookie("prof", role=Role.INSTRUCTOR), 200, ""),
        (bearer("prof", Role.INSTRUCTOR), 200, ""),
    ],
)
async def test_only_the_owner_and_instructors_pass(
    proxied: RunningProxy, headers: dict[str, str], status: int, text: str
) -> None:
    answer = await proxied.http.get(A1 + "/health", headers=headers)
    assert answer.status_code == status
    assert text in answer.text
    assert answer.headers["content-security-policy"] == POLICY


async def test_who_looks_into_another_persons_session_is_told(proxied: RunningProxy) -> None:
    """Whether by a page or by a program; the owner's own visits are nobody's business."""
    await proxied.capability("alice")
    await proxied.http.get(A1 + "/health", headers=bearer("alice"))
    assert proxied.rig.visits == []
    await proxied.capability("prof")
    await proxied.http.get(A1 + "/health", headers=bearer("bob"))
    told = Event("prof", "open session", "alice/A1 (edit)", "127.0.0.1")
    assert proxied.rig.visits == [told]


async def test_a_session_that_ends_while_a_request_is_admitted_is_not_asked(
    proxied: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the hub would keep clients of it for ever."""

    async def end_it(*_: object) -> bool:
        proxied.rig.stop(proxied.session)
        return True

    monkeypatch.setattr(type(proxied.rig.services.allowances), "allows", end_it)
    answer = await proxied.http.get(A1 + "/terminal", headers=bearer("alice"))
    assert (answer.status_code, answer.headers["x-mograder-session"]) == (404, "gone")
    assert proxied.upstream.seen == []


async def test_a_browser_that_is_not_signed_in_is_sent_to_the_login_page(
    proxied: RunningProxy,
) -> None:
    answer = await proxied.http.get(A1 + "/?x=1&y=2", headers=DOCUMENT)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/edit/user/alice/A1/%3Fx%3D1%26y%3D2"


async def test_who_is_not_enrolled_reads_so(proxied: RunningProxy) -> None:
    (proxied.rig.hub.course / "allowed_users.txt").write_text("bob\n")
    answer = await proxied.http.get(A1 + "/", headers=cookie("alice"))
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert "Access Restricted" in answer.text
    assert "You are signed in as <strong>alice</strong>" in answer.text


async def test_a_login_by_header_takes_its_cookie_home_on_errors_too(proxied: RunningProxy) -> None:
    good = await proxied.http.get(A1 + "/health", headers={"X-Remote-User": "alice"})
    proxied.http.cookies.clear()
    bad = await proxied.http.get("/edit/user/alice/A9/", headers={"X-Remote-User": "alice"})
    proxied.http.cookies.clear()
    assert (good.status_code, bad.status_code) == (200, 404)
    for answer in (good, bad):
        assert answer.headers["set-cookie"].startswith("mograder_session=")
        assert "HttpOnly; SameSite=Lax" in answer.headers["set-cookie"]
    token = await proxied.http.get(A1 + "/health", headers=bearer("alice"))
    assert "set-cookie" not in token.headers


@pytest.mark.parametrize("destination", ["iframe", "empty", "script", "embed", "worker", "image"])
async def test_a_browser_gets_nothing_but_the_document_by_its_login(
    proxied: RunningProxy, destination: str
) -> None:
    headers = {**cookie("alice"), "Sec-Fetch-Dest": destination, "Sec-Fetch-Site": "same-origin"}
    assert (await proxied.http.get(A1 + "/", headers=headers)).status_code == 403
    assert not proxied.upstream.seen


@pytest.mark.parametrize(
    "marks",
    [
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Dest": "document", "Origin": "null"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_a_form_of_a_hostile_page_runs_no_code(
    proxied: RunningProxy, marks: dict[str, str]
) -> None:
    headers = {**cookie("alice"), **marks}
    answer = await proxied.http.post(A1 + "/api/kernel/execute", headers=headers, content="x")
    assert answer.status_code == 403
    assert not proxied.upstream.seen


async def test_a_session_that_does_not_run_is_named_or_started_again(proxied: RunningProxy) -> None:
    edit, run = "/edit/user/alice/A2/", "/run/user/alice/L%201/"
    plain = cookie("alice")
    assert (await proxied.http.get(edit, headers=plain)).text == "No active session"
    assert (await proxied.http.get(run, headers=plain)).text == "No active lecture session"
    tab = await proxied.http.get(edit, headers={**plain, **DOCUMENT})
    assert (tab.status_code, tab.headers["location"]) == (303, "/edit/A2")
    tab = await proxied.http.get(run, headers={**plain, **DOCUMENT})
    assert (tab.status_code, tab.headers["location"]) == (303, "/run/L%201")
    prof = cookie("prof", role=Role.INSTRUCTOR)
    other = await proxied.http.get(edit, headers=prof)
    assert (other.status_code, other.text) == (404, "No active session")
    tab = await proxied.http.get(edit, headers={**prof, **DOCUMENT})
    led = "/course/students/alice?done=not-open&item=A2"
    assert (tab.status_code, tab.headers["location"]) == (303, led)


async def test_a_session_whose_server_is_gone_answers_502(proxied: RunningProxy) -> None:
    proxied.rig.session(proxied.rig.hub.course / "none.sock", item="A3")
    proxied.rig.session(proxied.rig.hub.course / "none.sock", item="L1", mode=Mode.RUN)
    edit = await proxied.http.get("/edit/user/alice/A3/", headers=bearer("alice"))
    run = await proxied.http.get("/run/user/alice/L1/", headers=bearer("alice"))
    assert (edit.status_code, edit.text) == (502, "Session unavailable")
    assert (run.status_code, run.text) == (502, "Lecture session unavailable")


async def test_a_path_without_its_slash_is_sent_to_the_one_with(proxied: RunningProxy) -> None:
    answer = await proxied.http.get(A1 + "?file=a", headers=bearer("alice"))
    assert (answer.status_code, answer.headers["location"]) == (307, A1 + "/?file=a")


@pytest.mark.parametrize(
    "path",
    [
        "/edit/user/alice%2fA1/x/",
        "/edit/user/alice\\x/A1/",
        "/edit/user/alice/A1%5c..%5cA2/",
        "/edit/user/alice/A1%00/",
        "/edit/user/%2e%2e/A1/",
        "/edit/user/alice/..%2fA1/x",
        "/edit/user/%ff/A1/",
        "/edit/user/alice/A1/x/%2e%2e/%2e%2e/y",
        "/edit/user/alice/A1/../../bob/A1/",
        "/edit/user/__somebody__/A1/",
        "/edit/user/alice/user/",
        f"/s/{'a' * 32}/./x",
    ],
)
async def test_a_malformed_path_is_refused(proxied: RunningProxy, path: str) -> None:
    async with aiohttp.ClientSession() as client:
        url = URL(proxied.rig.url + path, encoded=True)
        async with client.get(url, headers=bearer("prof", Role.INSTRUCTOR)) as answer:
            assert answer.status == 400, await answer.text()
    assert not proxied.upstream.seen


# ---- what crosses the border ------------------------------------------------------------------


async def test_the_session_sees_none_of_the_hubs_credentials(proxied: RunningProxy) -> None:
    headers = {
        **cookie("alice"),
        **bearer("alice"),
        "X-Remote-User": "alice",
        "X-Remote-Groups": "staff",
        "X-Forwarded-For": "10.0.0.1",
        "Forwarded": "for=10.0.0.1",
        "Referer": proxied.rig.url + "/",
        "Proxy-Authorization": "Basic eA==",
        "X-Notebook-Id": "/etc/passwd",
        "X-Runtime-Url": proxied.rig.url + "/s/abc/",
        "OIDC_CLAIM_email": "a@b.c",
        "Marimo-Session-Id": "s_1",
        "Marimo-Server-Token": "t",
        "Range": "bytes=0-1",
    }
    cap = await proxied.capability()
    for path in (f"{A1}/x", f"{A1}/public/a.png", f"{cap}x"):
        said = (await proxied.http.get(path, headers=headers)).json()
        names = {name for name, _ in said["headers"]}
        assert names <= {
            "host",
            "accept",
            "accept-encoding",
            "user-agent",
            "marimo-session-id",
            "marimo-server-token",
            "range",
            "x-notebook-id",
        }
        assert {"marimo-session-id", "marimo-server-token", "range"} <= names
        assert ["host", "session.invalid"] in said["headers"]
        notebooks = [value for name, value in said["headers"] if name == "x-notebook-id"]
        assert notebooks == (["A1.py"] if "/public/" in path else [])


async def test_the_browser_sees_none_of_what_acts_on_the_hub(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    for url, headers in ((A1 + "/hostile", bearer("alice")), (cap + "hostile", {})):
        answer = await proxied.http.get(url, headers=headers)
        assert answer.text == "boo"
        passed = {name.lower() for name in answer.headers}
        own = {"content-security-policy", "x-content-type-options", "referrer-policy"}
        own |= {"access-control-allow-origin", "access-control-expose-headers", "x-request-id"}
        own |= {"date", "server", "content-length", "transfer-encoding", "connection"}
        if "Caddy" in answer.headers["server"]:
            own.add("content-type")  # where the answer has none, if its body comes with its head
        assert passed - own == {"x-harmless"}
        assert answer.headers.get_list("content-security-policy") == [POLICY]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        shared = "*" if url.startswith("/s/") else None
        assert answer.headers.get("access-control-allow-origin") == shared


@pytest.mark.parametrize(
    ("destination", "kind"),
    [("", "text/plain"), ("document", "text/plain"), ("image", "Multipart/X-Mixed-Replace")],
)
async def test_no_tab_shows_an_answer_of_parts_that_have_headers_of_their_own(
    proxied: RunningProxy, destination: str, kind: str
) -> None:
    headers = {"Sec-Fetch-Dest": destination} if destination else {}
    where = A1 + "/parts" if destination != "image" else await proxied.capability() + "parts"
    answer = await proxied.http.get(where, headers={**cookie("alice"), **headers})
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert answer.headers["content-security-policy"] == POLICY


async def test_redirects_stay_within_the_hub_and_name_no_inner_host(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    by_login = await proxied.http.get(A1 + "/redirect", headers=bearer("alice"))
    by_capability = await proxied.http.get(cap + "redirect")
    assert by_login.headers["location"] == A1 + "/next?x=1"
    assert by_capability.headers["location"] == cap + "next?x=1"


async def test_path_and_query_arrive_as_they_were_sent(proxied: RunningProxy) -> None:
    path = "/a%20b/c%2Fd;e//f%C3%A9?q=%2520&r=a+b&s"
    async with aiohttp.ClientSession() as client:
        url = URL(proxied.rig.url + A1 + path, encoded=True)
        async with client.get(url, headers=bearer("alice")) as answer:
            said = await answer.json()
    assert f"{said['path']}?{said['query']}" == A1 + path


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_every_method_of_marimos_passes(proxied: RunningProxy, method: str) -> None:
    """B123."""
    answer = await proxied.http.request(method, A1 + "/x", headers=bearer("alice"))
    assert answer.status_code == 200
    assert proxied.upstream.seen[-1]["method"] == method


# ---- the document -----------------------------------------------------------------------------


async def test_a_signed_in_browser_gets_the_hubs_page_with_the_session_in_a_frame(
    proxied: RunningProxy,
) -> None:
    answer = await proxied.http.get(A1 + "/?x=1&y=%22", headers={**cookie("alice"), **DOCUMENT})
    assert answer.status_code == 200
    cap = re.search(r' src="(/s/[\w-]{32}/)\?x=1&amp;y=%22" sandbox="([^"]+)"', answer.text)
    assert cap
    assert f"sandbox {cap[2]}" == POLICY
    assert "allow-same-origin" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src ")
    assert "frame-ancestors 'none'" in policy
    assert policy.endswith(f"; frame-src {proxied.rig.url}{cap[1]}")
    assert answer.headers["cache-control"] == "no-store"
    assert not proxied.upstream.seen


@pytest.mark.parametrize(
    "marks",
    [
        {"Accept": "text/html,application/xhtml+xml"},
        {"Accept": "text/html", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_a_tab_is_known_by_its_marks_or_over_plain_http_by_what_it_accepts(
    proxied: RunningProxy, marks: dict[str, str]
) -> None:
    tab = await proxied.http.get(A1 + "/", headers={**cookie("alice"), **marks})
    assert "<iframe" in tab.text
    program = await proxied.http.get(A1 + "/", headers=cookie("alice"))
    assert "<title>marimo</title>" in program.text
    deeper = await proxied.http.get(A1 + "/deep/er/page", headers={**cookie("alice"), **marks})
    assert "<title>marimo</title>" in deeper.text


async def test_another_persons_notebook_is_labelled_and_gets_fewer_features(
    proxied: RunningProxy,
) -> None:
    own = await proxied.http.get(A1 + "/", headers={**cookie("alice"), **DOCUMENT})
    role = Role.INSTRUCTOR
    foreign = await proxied.http.get(A1 + "/", headers={**cookie("prof", role=role), **DOCUMENT})
    assert "microphone" in own.text
    assert "clipboard-read" in own.text
    assert "alice’s notebook" in foreign.text
    assert "/course/students/alice" in foreign.text
    assert 'allow="clipboard-write; fullscreen"' in foreign.text


@pytest.mark.parametrize("marks", [FRAME, {"Accept": "text/html"}])
async def test_the_frame_gets_the_sessions_page_by_its_capability(
    proxied: RunningProxy, marks: dict[str, str]
) -> None:
    cap = await proxied.capability()
    answer = await proxied.http.get(cap, headers=marks)
    assert answer.status_code == 200
    start = f'<!doctype html><html><head><base href="{cap}"><script>// Stand-ins for storage'
    assert answer.text.startswith(start)
    assert answer.text.count(f'<script data-page="{A1}/">') == 1
    only_by_the_hub = f"frame-ancestors {proxied.rig.url}"
    assert answer.headers.get_list("content-security-policy") == [POLICY, only_by_the_hub]
    assert answer.text.endswith("</script><title>marimo</title></head><body>café</body></html>")
    assert "cache-control" in answer.headers
    assert "etag" not in answer.headers
    sent = dict(proxied.upstream.seen[-1]["headers"])
    assert sent[b"accept-encoding"] == b"identity"


async def test_the_same_viewer_keeps_a_capability_and_another_has_another(
    proxied: RunningProxy,
) -> None:
    alice = {await proxied.capability() for _ in range(3)}
    prof = await proxied.capability("prof")
    assert len(alice) == 1
    assert prof not in alice
    assert len(proxied.rig.services.state.capabilities()) == 2
    assert all(
        cap.split("/")[2] not in repr(proxied.rig.services.state.capabilities())
        for cap in (*alice, prof)
    )


async def test_a_deeper_page_keeps_its_own_directory(proxied: RunningProxy) -> None:
    answer = await proxied.http.get(A1 + "/deep/er/page", headers={**cookie("alice"), **DOCUMENT})
    cap = re.search(r'<base href="(/s/[\w-]+/)deep/er/">', answer.text)
    assert cap
    assert f'data-root="{cap[1]}"' in answer.text


async def test_a_bearer_client_gets_the_document_untouched(proxied: RunningProxy) -> None:
    answer = await proxied.http.get(A1 + "/", headers=bearer("alice"))
    assert "<base" not in answer.text
    assert answer.headers["etag"] == '"1"'
    assert not proxied.rig.services.state.capabilities()


async def test_a_client_that_brings_only_a_header_leaves_no_trail_of_capabilities(
    proxied: RunningProxy,
) -> None:
    for _ in range(5):
        await proxied.http.get(A1 + "/health", headers={"X-Remote-User": "alice"})
        proxied.http.cookies.clear()
    assert not proxied.rig.services.state.capabilities()


# ---- by capability ----------------------------------------------------------------------------


async def test_the_capability_alone_is_the_authority(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    for headers in ({}, cookie("bob"), {"X-Remote-User": "bob"}, {"Origin": "null"}):
        answer = await proxied.http.post(cap + "api/x", headers=headers, content=b"12345")
        assert answer.json()["length"] == 5
        assert answer.json()["path"] == A1 + "/api/x"
        assert "set-cookie" not in answer.headers
    assert (await proxied.http.get("/s/" + "a" * 32 + "/x", headers=cookie("alice"))).is_error


async def test_an_unknown_capability_is_gone_and_a_browser_may_read_that(
    proxied: RunningProxy,
) -> None:
    answer = await proxied.http.get("/s/" + "a" * 32 + "/x")
    assert answer.status_code == 404
    assert answer.headers["x-mograder-session"] == "gone"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["content-security-policy"] == POLICY


async def test_a_tab_is_sent_from_a_capability_to_the_documents_own_address(
    proxied: RunningProxy,
) -> None:
    cap = await proxied.capability()
    before = len(proxied.upstream.seen)
    for method in ("GET", "POST"):
        answer = await proxied.http.request(method, cap + "x?y=1", headers=DOCUMENT)
        assert (answer.status_code, answer.headers["location"]) == (303, A1 + "/x?y=1")
    assert len(proxied.upstream.seen) == before


async def test_a_file_in_a_tab_is_a_download(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    answer = await proxied.http.get(cap + "@file/1-data.html", headers=DOCUMENT)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("name", ["@file/1-paper.pdf", "paper.pdf"])
async def test_a_pdf_has_a_tab_of_its_own_and_a_link_to_it_in_frames(
    proxied: RunningProxy, name: str
) -> None:
    cap = await proxied.capability()
    tab = await proxied.http.get(cap + name, headers=DOCUMENT)
    assert tab.content == b"%PDF-1.7"
    assert tab.headers.get_list("content-type") == ["application/pdf"]
    assert tab.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in tab.headers
    frame = await proxied.http.get(cap + name, headers={"Sec-Fetch-Dest": "iframe"})
    assert f'target="_blank" rel="noopener" href="{cap}{name}"' in frame.text
    assert frame.headers["content-security-policy"] == POLICY


async def test_a_frames_page_has_storage_and_tells_its_height(proxied: RunningProxy) -> None:
    cap = await proxied.capability()
    answer = await proxied.http.get(cap + "deep/er/page", headers={"Sec-Fetch-Dest": "iframe"})
    assert answer.text.startswith("<!doctype html><script>// Stand-ins for storage")
    assert "<html><head><title>" in answer.text
    assert "mograderFrameHeight" in answer.text
    assert len(answer.content) == int(answer.headers["content-length"])


async def test_the_hub_answers_preflights_and_the_probe_itself(proxied: RunningProxy) -> None:
    asks = {"Origin": "null", "Access-Control-Request-Method": "POST"}
    cap = await proxied.capability()
    before = len(proxied.upstream.seen)
    preflight = await proxied.http.options(cap + "api/x", headers=asks)
    probe = await proxied.http.get("/s/probe", headers={"Origin": "null"})
    assert (preflight.status_code, probe.status_code) == (204, 204)
    assert preflight.headers["access-control-allow-headers"] == "*"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert probe.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in preflight.headers
    assert len(proxied.upstream.seen) == before


async def test_signing_out_and_stopping_end_a_capability(proxied: RunningProxy) -> None:
    cap, prof = await proxied.capability(), await proxied.capability("prof")
    capabilities = proxied.rig.services.capabilities
    capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
    assert (await proxied.http.get(cap + "x")).status_code == 404
    assert (await proxied.http.get(prof + "x")).status_code == 200
    assert {row.username for row in proxied.rig.services.state.capabilities()} == {"prof"}
    proxied.rig.stop(proxied.session)
    assert capabilities.resolve(prof.split("/")[2]) is None
    assert (await proxied.http.get(prof + "x")).status_code == 404


# ---- features that are switched off -----------------------------------------------------------


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


# ---- below a path -----------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["/live/hub", ""])
async def test_all_addresses_carry_the_prefix_whether_or_not_the_front_strips_it(sent: str) -> None:
    async with served_on_unix(Upstream()) as path, running_rig(base_url="/live/hub") as rig:
        rig.session(path)
        async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=60) as http:
            page = await http.get(sent + A1 + "/", headers={**cookie("alice"), **DOCUMENT})
            found = re.search(r' src="/live/hub(/s/[^/]+/)"', page.text)
            assert found
            cap = found.group(1)
            framed = await http.get(sent + cap, headers=FRAME)
            assert f'<base href="/live/hub{cap}">' in framed.text
            assert f'data-page="/live/hub{A1}/"' in framed.text
            assert (await http.get(sent + cap + "x")).json()["path"] == A1 + "/x"
            moved = await http.get(sent + cap + "redirect")
            assert moved.headers["location"] == "/live/hub" + cap + "next?x=1"
            tab = await http.get(sent + cap + "x", headers=DOCUMENT)
            assert tab.headers["location"] == "/live/hub" + A1 + "/x"
            stranger = await http.get(sent + A1 + "/", headers=DOCUMENT)
            assert stranger.headers["location"] == "/live/hub/login?next=/live/hub" + A1 + "/"
            slash = await http.get(sent + A1)
            assert slash.headers["location"] == "/live/hub" + A1 + "/"
            gone = await http.get(sent + A1 + "9/", headers={**cookie("alice"), **DOCUMENT})
            assert gone.headers["location"] == "/live/hub/edit/A19"
            assert (await http.get(sent + "/s/probe")).status_code == 204
