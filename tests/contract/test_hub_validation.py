"""``POST /validate`` as 0.3.16's clients know it, on workspaces that may hold anything (B119)."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import httpx
import pytest

from mograder.core.names import Username
from mograder.grading.validation_report import ValidationReport, render_html
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    ExecutionResult,
    Outcome,
)
from tests.support import hub_copies
from tests.support.hub_app import Hub
from tests.support.notebooks import notebook
from tests.support.releases import publish

NOTEBOOK = notebook(
    "from mograder.runtime import check",
    """
    # YOUR CODE HERE
    x = ...
    """,
    'check("Q1: one", [(x == 1, "not one")])',
)
RAN = ExecutionResult(
    Outcome.FINISHED,
    tuple(CellResult(index, "_", CellStatus.OK) for index in range(3)),
    (CheckResult("Q1: one", "success", (), 1.0, 1.0, 2),),
)


async def ask(hub: Hub, user: str = "alice", path: str = "/validate/alice/B1") -> httpx.Response:
    return await hub_copies.ask(hub, "POST", path, user)


@pytest.fixture
def workspace(hub: Hub) -> Path:
    """Alice's copy of B1, which passes as in :data:`RAN`."""
    release = publish(hub.services.releases, {"B1.py": NOTEBOOK.encode()}, "B1")
    hub.runs.result = RAN
    return hub.services.workspaces.ensure(Username("alice"), release)


async def test_the_answer_has_the_shape_that_clients_know(hub: Hub, workspace: Path) -> None:
    """B119."""
    text = NOTEBOOK.replace("x = ...", "x = 1").replace("[(x == 1,", "[(True,")
    (workspace / "B1.py").write_text(text)
    response = await ask(hub)
    assert response.status_code == 200
    answer = response.json()
    assert answer["checks"][0]["label"] == "Q1: one"
    assert answer["checks"][0]["status"] == "success"
    assert (answer["cell_errors"], answer["export_ok"], answer["export_error"]) == (0, True, "")
    assert (answer["html_available"], answer["integrity_level"]) == (True, "source")
    assert "<title>B1.py passes</title>" in (workspace / "B1.html").read_text()
    (warning,) = answer["integrity_warnings"]
    assert "B1.py:19" in warning
    (asked,) = hub.runs.asked
    assert "x == 1" in asked.text
    assert (asked.folder, asked.name) == (workspace, "B1.py")
    assert asked.uid_slot == hub.services.state.slot_of("alice")
    assert (workspace / "B1.py").read_text() == text


async def test_a_long_report_is_written_while_others_are_served(
    hub: Hub, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """800 errors of 5 000 characters took the event loop 0.7 s."""
    where: list[threading.Thread] = []

    def writing(report: ValidationReport) -> str:
        where.append(threading.current_thread())
        return render_html(report)

    monkeypatch.setattr("mograder.web.hub.copies.validation.render_html", writing)
    assert (await ask(hub)).json()["html_available"]
    (thread,) = where
    assert thread is not threading.current_thread()


async def test_an_instructor_may_validate_for_a_student_and_that_is_recorded(
    hub: Hub, workspace: Path
) -> None:
    assert (workspace.parent.name, workspace.name) == ("alice", "B1")
    assert (await ask(hub, "prof")).status_code == 200
    assert ("prof", "validate", "alice/B1", "ok") in hub.audit()
    assert hub.runs.asked[0].uid_slot == hub.services.state.slot_of("alice")


@pytest.mark.parametrize("trap", ["link", "directory", "pipe"])
async def test_a_trap_in_the_reports_place_is_left_alone(
    hub: Hub, workspace: Path, trap: str
) -> None:
    outside = hub.course / "outside"
    outside.write_text("safe")
    make = {"link": lambda page: page.symlink_to(outside), "directory": Path.mkdir}
    make.get(trap, os.mkfifo)(workspace / "B1.html")
    assert (await ask(hub)).status_code == 200
    assert outside.read_text() == "safe"


async def test_what_is_no_text_is_refused(hub: Hub, workspace: Path) -> None:
    (workspace / "B1.py").write_bytes(b"\xff\xfe")
    assert (await ask(hub)).status_code == 400
    assert not hub.runs.asked


async def test_a_text_that_is_no_notebook_is_a_report(hub: Hub, workspace: Path) -> None:
    (workspace / "B1.py").write_text("x = (")
    answer = (await ask(hub)).json()
    assert not answer["export_ok"]
    assert "B1.py:1" in answer["export_error"]
    assert [each["status"] for each in answer["checks"]] == ["warn"]


async def test_one_student_takes_one_turn_at_a_time(hub: Hub, workspace: Path) -> None:
    hub.runs.hold = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(ask(hub))
        await hub.runs.reached.wait()
        (workspace / "B1.py").write_text(NOTEBOOK + "# changed\n")
        other = await ask(hub)
        assert (other.status_code, other.headers["retry-after"]) == (503, "5")
        hub.runs.hold.set()
    assert first.result().json()["checks"][0]["status"] == "success"
    assert (await ask(hub)).status_code == 200


async def test_what_is_saved_while_it_runs_counts_as_not_validated(
    hub: Hub, workspace: Path
) -> None:
    def saved_now(*names: str) -> None:
        at = int(hub.clock.now().timestamp() * 1e9)
        for name in names:
            os.utime(workspace / name, ns=(at, at))

    async def missing() -> list[str]:
        answer = await hub_copies.ask(hub, "POST", "/hand-in/alice/B1")
        return list(answer.json().get("words", []))

    saved_now("B1.py", ".uploaded")
    assert (await ask(hub)).json()["ok"]
    told = "It was not validated as it is now."
    assert told not in await missing()
    hub.runs.hold = asyncio.Event()
    hub.runs.reached.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask(hub))
        await hub.runs.reached.wait()
        hub.clock.advance(30)
        (workspace / "B1.py").write_text(NOTEBOOK + "# changed\n")
        saved_now("B1.py")
        hub.clock.advance(30)
        hub.runs.hold.set()
    assert told in await missing()
