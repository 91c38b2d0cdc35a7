"""The hub's HTTP interface as 0.3.16's clients know it.

See compatibility-0.3.16.md 2; B114-B116, B124-B128.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from mograder.core.errors import Busy, SandboxUnavailable, TimedOut
from mograder.sandbox.protocol import Mode
from mograder.web.hub.app import ROUTES
from tests.support.hub_app import NOTEBOOK, Hub, events
from tests.support.hub_copies import ask, press
from tests.support.supervisors import until

NDJSON = {"Accept": "application/x-ndjson"}


def hide(hub: Hub, name: str, **rule: object) -> None:
    """Write a visibility rule the way 0.3.16 keeps it."""
    path = hub.course / "hub-release" / ".visibility.json"
    path.write_text(json.dumps({name: rule}))


async def test_health_answers_without_a_login(hub: Hub) -> None:
    response = await ask(hub, "GET", "/health", user="")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert (await ask(hub, "HEAD", "/health", user="")).status_code == 200


async def test_an_unknown_path_is_not_found(hub: Hub) -> None:
    response = await ask(hub, "GET", "/no/such/path")
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


async def test_a_program_without_a_login_reads_403_as_plain_text(hub: Hub) -> None:
    response = await ask(hub, "GET", "/assignments", user="")
    assert (response.status_code, response.text) == (403, "403 Forbidden")
    assert response.headers["content-type"].startswith("text/plain")


async def test_b126_items_are_listed_with_their_type_and_state(hub: Hub) -> None:
    response = await ask(hub, "GET", "/assignments")
    assert response.json() == [
        {
            "name": name,
            "type": "assignment",
            "file_status": "not_started",
            "has_release": True,
            "session_active": False,
            "updated": False,
            "visible": True,
            "visible_from": None,
        }
        for name in ("A1", "A2")
    ] + [
        {
            "name": "L01",
            "type": "lecture",
            "file_status": "n/a",
            "has_copy": False,
            "updated": False,
            "has_release": True,
            "session_active": False,
            "visible": True,
            "visible_from": None,
        }
    ]


async def test_b114_a_deep_link_copies_the_release_and_starts_the_editor(hub: Hub) -> None:
    response = await ask(hub, "POST", "/start-edit-deep/A1")
    assert response.json() == {"status": "ok", "url": "edit/user/alice/A1/", "port": 0}
    workspace = hub.course / "hub-notebooks" / "alice" / "A1"
    assert (workspace / "A1.py").read_text() == NOTEBOOK
    assert (workspace / "data.csv").is_file()
    assert hub.pool.started[0].user == "alice"


async def test_b69_a_copy_that_exists_is_never_overwritten(hub: Hub) -> None:
    await ask(hub, "POST", "/start-edit-deep/A1")
    notebook = hub.course / "hub-notebooks" / "alice" / "A1" / "A1.py"
    notebook.write_text(NOTEBOOK + "# mine\n")
    await ask(hub, "POST", "/start-edit-deep/A1")
    assert notebook.read_text().endswith("# mine\n")


async def test_names_in_answers_are_percent_encoded(hub: Hub) -> None:
    hub.publish("A3 Größe")
    response = await ask(hub, "POST", "/start-edit-deep/A3 Größe")
    assert response.json()["url"] == "edit/user/alice/A3%20Gr%C3%B6%C3%9Fe/"


@pytest.mark.parametrize(
    ("status", "detail", "asked"),
    [
        (404, "Assignment not found", "POST /start-edit-deep/zz /start-edit-deep/.hidden"),
        (404, "Assignment not found", "POST /download-release/alice/zz /reset/alice/zz"),
        (400, "Demos can only be run", "POST /start-edit-deep/D1 /download-release/alice/D1"),
        (400, "Demos can only be run", "GET /release/D1/D1.py /release/D1/data.csv"),
        (404, "Notebook not found", "POST /start-edit/alice/A1 /start-edit/alice/.x"),
        (404, "Notebook not found", "GET /export/alice/A1 /export/alice/zz /export/alice/.x"),
        (404, "Notebook not found", "POST /submit/alice/A1 /submit/alice/zz /submit/alice/.x"),
        (
            404,
            "Notebook not found",
            "POST /validate/alice/A1 /validate/alice/zz /validate/alice/.x",
        ),
        (404, "No validation report", "GET /validate-report/alice/A1 /validate-report/alice/.x"),
        (400, "Not a lecture", "POST /start-run/A1 /start-run/zz"),
    ],
)
async def test_refusals_read_as_clients_know_them(
    hub: Hub, status: int, detail: str, asked: str
) -> None:
    """B115, B117, B118, B119, B120: of what is not there or not published."""
    method, *paths = asked.split()
    for path in paths:
        response = await ask(hub, method, path)
        assert (response.status_code, response.json()) == (status, {"detail": detail}), path
    assert not (hub.course / "submitted").exists()


async def test_an_instructor_who_names_nonsense_is_told_so(hub: Hub) -> None:
    """0.3.16 answered 500 to a user name that leaves the directory.

    See compatibility-0.3.16.md 2.3.
    """
    response = await ask(hub, "POST", "/start-edit/..%5C..%5Cetc/A1", user="prof")
    assert (response.status_code, response.json()["detail"]) == (404, "Notebook not found")
    response = await ask(hub, "POST", "/stop-edit/.bob/A1", user="prof")
    assert response.status_code == 400


async def test_b116_stop_tells_whether_there_was_a_session(hub: Hub) -> None:
    hub.start("alice", "A1")
    first = await ask(hub, "POST", "/stop-edit/alice/A1")
    second = await ask(hub, "POST", "/stop-edit/alice/A1")
    assert first.json() == {"status": "ok", "terminated": True}
    assert second.json() == {"status": "ok", "terminated": False}


async def test_b116_stop_with_mode_run_ends_the_lecture_only(hub: Hub) -> None:
    hub.start("alice", "L01", Mode.RUN)
    assert (await ask(hub, "POST", "/stop-edit/alice/L01")).json()["terminated"] is False
    assert (await ask(hub, "POST", "/stop-edit/alice/L01?mode=run")).json()["terminated"] is True
    assert (await ask(hub, "POST", "/stop-edit/alice/L01?mode=zz")).status_code == 400


async def test_b124_a_lecture_runs_in_a_session_of_the_callers_own(hub: Hub) -> None:
    alice = await ask(hub, "POST", "/start-run/L01")
    bob = await ask(hub, "POST", "/start-run/L01", user="bob")
    assert alice.json() == {"status": "ok", "url": "run/user/alice/L01/", "port": 0}
    assert bob.json()["url"] == "run/user/bob/L01/"
    assert not (hub.course / "hub-notebooks" / "alice" / "L01").exists()


async def test_a_demo_can_be_run(hub: Hub) -> None:
    assert (await ask(hub, "POST", "/start-run/D1")).json()["url"] == "run/user/alice/D1/"


async def test_an_instructor_may_download_a_demo(hub: Hub) -> None:
    assert (await ask(hub, "GET", "/release/D1/D1.py", user="prof")).text == NOTEBOOK


async def test_b126_sessions_are_listed_own_only_and_all_for_instructors(hub: Hub) -> None:
    hub.start("alice", "A1")
    hub.start("bob", "L01", Mode.RUN)
    own = (await ask(hub, "GET", "/sessions")).json()
    assert own == [
        {
            "username": "alice",
            "assignment": "A1",
            "port": 0,
            "url": "edit/user/alice/A1/",
            "type": "assignment",
            "mode": "edit",
            "last_seen": hub.clock.now().timestamp(),
        }
    ]
    everyone = (await ask(hub, "GET", "/sessions", user="prof")).json()
    assert [(s["username"], s["type"], s["mode"]) for s in everyone] == [
        ("alice", "assignment", "edit"),
        ("bob", "lecture", "run"),
    ]


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Busy("The hub is full.", retry_after=30), 503),
        (SandboxUnavailable("No sandbox can be made."), 503),
        (TimedOut("The session did not start within 120 s."), 504),
    ],
)
async def test_a_session_that_cannot_start_says_why(
    hub: Hub, failure: Busy | SandboxUnavailable | TimedOut, status: int
) -> None:
    hub.pool.failure = failure
    response = await ask(hub, "POST", "/start-run/L01")
    assert (response.status_code, response.json()) == (status, {"detail": failure.message})
    assert ("retry-after" in response.headers) == isinstance(failure, Busy)
    told = {"event": "error", "status": status, "detail": str(failure)}
    later = {"retry_after": 30} if isinstance(failure, Busy) else {}
    streamed = await ask(hub, "POST", "/start-run/L01", headers=NDJSON)
    assert events(streamed)[-1] == told | later


async def test_progress_comes_as_json_lines_and_ends_with_the_plain_answer(hub: Hub) -> None:
    response = await ask(hub, "POST", "/start-edit-deep/A1", headers=NDJSON)
    assert response.headers["content-type"] == "application/x-ndjson"
    told = events(response)
    assert {each["event"] for each in told[:-1]} == {"progress"}
    assert told[-1] == {"event": "done", "status": "ok", "url": "edit/user/alice/A1/", "port": 0}


async def test_progress_ends_with_the_error_that_the_plain_answer_would_be(hub: Hub) -> None:
    response = await ask(hub, "POST", "/start-edit-deep/zz", headers=NDJSON)
    assert response.status_code == 200
    assert events(response)[-1] == {
        "event": "error",
        "status": 404,
        "detail": "Assignment not found",
    }


async def test_a_client_that_goes_away_does_not_stop_the_start(hub: Hub) -> None:
    hub.pool.hold = asyncio.Event()
    async with hub.client("alice") as client:
        gone = asyncio.create_task(client.post("/start-run/L01"))
        await hub.pool.reached.wait()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        hub.pool.hold.set()
        await until(lambda: bool(hub.pool.running))
        again = await client.post("/start-run/L01")
    assert again.status_code == 200
    assert len(hub.pool.started) == 1


async def test_a_form_without_scripts_is_led_to_the_session(hub: Hub) -> None:
    response = await press(hub, "/start-edit-deep/A1")
    assert (response.status_code, response.headers["location"]) == (303, "/edit/user/alice/A1/")


async def test_b127_release_files_are_those_of_the_manifest(hub: Hub) -> None:
    response = await ask(hub, "GET", "/release/A1/data.csv")
    assert response.text == "x,y\n1,2\n"
    assert "etag" in response.headers
    assert response.headers["content-disposition"] == 'attachment; filename="data.csv"'


@pytest.mark.parametrize(
    ("name", "status", "detail"),
    [
        ("files.json", 404, "File not found"),
        ("keys_all.json", 404, "File not found"),
        (".venv/bin/python", 404, "File not found"),
        ("nope.csv", 404, "File not found"),
        ("a..b", 400, "Invalid filename"),
        ("%2e%2e%2fA2%2fA2.py", 400, "Invalid filename"),
    ],
)
async def test_b127_no_other_file_leaves_the_release_directory(
    hub: Hub, name: str, status: int, detail: str
) -> None:
    """0.3.16 served these too (compatibility-0.3.16.md 2.3)."""
    directory = hub.course / "hub-release" / "A1"
    (directory / "keys_all.json").write_text("{}")
    (directory / ".venv" / "bin").mkdir(parents=True)
    (directory / ".venv" / "bin" / "python").write_text("")
    response = await ask(hub, "GET", f"/release/A1/{name}")
    assert (response.status_code, response.json()) == (status, {"detail": detail})


async def test_hidden_items_are_kept_from_students_and_shown_to_instructors(hub: Hub) -> None:
    hide(hub, "A1", hidden=True)
    listed = [item["name"] for item in (await ask(hub, "GET", "/assignments")).json()]
    assert listed == ["A2", "L01"]
    seen = (await ask(hub, "GET", "/assignments", user="prof")).json()
    assert [(item["name"], item["visible"]) for item in seen[:2]] == [("A1", False), ("A2", True)]
    for method, path in [("POST", "/start-edit-deep/A1"), ("GET", "/release/A1/A1.py")]:
        response = await ask(hub, method, path)
        assert (response.status_code, response.json()) == (404, {"detail": "Not available"})


async def test_an_item_that_opens_later_says_when(hub: Hub) -> None:
    hide(hub, "L01", visible_from="2030-01-01T09:00:00+00:00")
    response = await ask(hub, "POST", "/start-run/L01")
    detail = "Not available until Tue 01 Jan 2030, 09:00"
    assert (response.status_code, response.json()) == (404, {"detail": detail})
    hub.clock.advance(timedelta(days=2000).total_seconds())
    assert (await ask(hub, "POST", "/start-run/L01")).status_code == 200


async def test_a_student_keeps_an_assignment_that_was_hidden_later(hub: Hub) -> None:
    await ask(hub, "POST", "/download/A1")
    hide(hub, "A1", hidden=True)
    listed = (await ask(hub, "GET", "/assignments")).json()
    assert (listed[0]["name"], listed[0]["visible"]) == ("A1", False)
    assert (await ask(hub, "POST", "/start-edit-deep/A1")).status_code == 200


@pytest.mark.parametrize("path", ["/edit/zz", "/edit/zz/", "/run/zz", "/run/zz/"])
async def test_spinner_pages_answer_for_unknown_names_too(hub: Hub, path: str) -> None:
    response = await ask(hub, "GET", path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "<title>Starting zz...</title>" in response.text


async def test_the_states_of_a_copy_are_told(hub: Hub) -> None:
    await ask(hub, "POST", "/download/A1")
    hub.start("alice", "A1")
    item = (await ask(hub, "GET", "/assignments")).json()[0]
    assert (item["file_status"], item["session_active"]) == ("uploaded", True)


async def test_openapi_describes_every_route_that_programs_use(hub: Hub) -> None:
    schema = (await ask(hub, "GET", "/api/openapi.json")).json()
    described = {route.path.replace(":path}", "}") for route in ROUTES if route.chapter}
    assert set(schema["paths"]) == described
    assert {"/assignments", "/upload/{user}/{a}", "/export/{user}/{a}"} <= described
    answers = schema["paths"]["/start-run/{lecture}"]["post"]["responses"]
    assert sorted(answers) == ["200", "default"]
