"""The board of a class over HTTP: what notebooks report, requests for help, and messages."""

from __future__ import annotations

import asyncio
import html
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from mograder.core.names import rehearsal_user
from mograder.sandbox.execution.report import CheckResult, ExecutionResult, Outcome
from mograder.sandbox.protocol import Mode
from mograder.sessions.check_reports import CheckReport, Status
from mograder.sessions.session import SessionKey
from mograder.store.hub.board import MOST_MESSAGES, Board, CheckRow
from mograder.web.hub.board import board as board_routes
from mograder.web.hub.board import board_tables
from mograder.web.hub.board.board import MOST_MESSAGE
from tests.support import notebooks
from tests.support.event_stream import listening
from tests.support.hub_app import Hub, open_hub
from tests.support.hub_copies import ask, folder, read, see
from tests.support.page_reader import barred_buttons
from tests.support.supervisors import until

pytestmark = pytest.mark.usefixtures("no_pauses")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a changed board read again in a moment."""
    monkeypatch.setattr(board_tables, "_LEAST_SECONDS", 0.02)


CHECKED = notebooks.notebook(
    """
    # === MOGRADER: MARKS ===
    from mograder.runtime import Grader

    _marks = {"Q1": 10}
    check = Grader(_marks).check
    return (check,)
    """,
    """
    check("Q1: the sign", [(True, "sign")])
    check("Q2: the <b>size</b>", [(True, "size")])
    """,
)


@pytest.fixture
def checked(hub: Hub) -> Hub:
    """A hub with checks in A1, and no student at work."""
    (hub.course / "hub-release" / "A1" / "A1.py").write_text(CHECKED)
    return hub


@pytest.fixture
def taught(checked: Hub) -> Hub:
    """A hub with checks in A1, and three students at work."""
    for user in ("alice", "bob", "carol"):
        checked.start(user, "A1")
    return checked


def say(hub: Hub, user: str, *said: CheckReport, item: str = "A1") -> None:
    """Have a notebook's checks report."""
    key = SessionKey(user, item, Mode.EDIT)
    hub.pool.checks.listener(key, said, hub.clock.now())


def check(label: str, status: Status, earned: float = 0.0) -> CheckReport:
    return CheckReport(label, status, earned, 1.0)


SIGN, SIZE = "Q1: the sign", "Q2: the <b>size</b>"


async def page(hub: Hub, query: str = "", user: str = "prof") -> str:
    """Return the board's page, once what was reported is written."""
    return await read(hub, f"/board/A1{query}", user)


async def written(hub: Hub, before: Sequence[CheckRow] | None = None) -> None:
    """Wait until the hub has written what was reported.

    ``before`` is what the board had before that, by default what it has now.
    """
    board = Board(hub.engine)
    before = board.checks("A1") if before is None else before
    await until(lambda: board.checks("A1") != before)


async def test_a_red_cell_leads_instructors_to_the_cells_of_the_student(taught: Hub) -> None:
    await ask(taught, "POST", "/download/A1")
    notebook = folder(taught) / "A1.py"
    answer = '@app.cell\ndef _():\n    answer = "<b>mine</b>"\n    return (answer,)\n\n\n'
    asked = '@app.cell\ndef _(answer, check):\n    check("Q1: the sign", [(answer, "sign")])\n'
    head, _, last = CHECKED.rpartition("@app.cell")
    end = last[last.index("    return") :]
    notebook.write_text(f"{head}{answer}{asked}{end}")
    say(taught, "alice", check(SIGN, "danger"), check(SIZE, "success", 1.0))
    await written(taught)
    link = re.search(r'href="\.\./(look/alice/A1\?check=[^"]+)"', await page(taught))
    assert link is not None
    assert "?check=" not in await page(taught, "?names=no")
    assert '>Students <span class="count" id="students"' in await page(taught)
    taught.pool.running.clear()
    text = await read(taught, f"/{link[1]}", "prof")
    about = text.split('id="about-title"')[1].split("</section>", maxsplit=1)[0]
    assert SIGN in about
    assert "&lt;b&gt;mine&lt;/b&gt;" in about
    assert "Without outputs: the notebook is not open now" in about


async def test_the_cells_of_an_open_notebook_are_shown_in_an_inert_frame(taught: Hub) -> None:
    await ask(taught, "POST", "/download/A1")
    taught.start("alice", "A1")
    shown = await see(taught, "/look/alice/A1?check=Q1%3A+the+sign", "prof")
    found = re.search(r'<iframe [^>]*src="([^"]+)" sandbox ', shown.text)
    assert found is not None
    assert "frame-src 'self'" in shown.headers["Content-Security-Policy"]
    address = html.unescape(found[1])
    inside = await see(taught, address, "prof")
    assert "The editor shows no output of this cell" in inside.text
    assert "sandbox;" in inside.headers["Content-Security-Policy"]


async def test_one_person_has_the_outputs_of_one_notebook_in_memory(taught: Hub) -> None:
    """A session's server, which its notebook may change, may send 16 MB to each request."""
    begun: list[asyncio.StreamWriter] = []
    may_end, begins, path = asyncio.Event(), asyncio.Event(), taught.course / "s"

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(writer)
        begins.set()
        await may_end.wait()
        writer.close()

    await ask(taught, "POST", "/download/A1")
    async with await asyncio.start_unix_server(serve, path), asyncio.timeout(30):
        taught.start("alice", "A1", server=path)
        address = "/look/alice/A1/-/outputs?check=Q1%3A+the+sign"
        waiting = {asyncio.create_task(see(taught, address, "prof")) for _ in range(12)}
        refused: set[asyncio.Task[httpx.Response]] = set()
        while len(refused) < 4:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        assert {each.result().status_code for each in refused} == {503}
        await begins.wait()
        assert len(begun) == 1
        may_end.set()
        assert {each.status_code for each in await asyncio.gather(*waiting)} == {200}
    taught.pool.running.clear()
    await read(taught, address, "prof", 404)


async def test_the_board_shows_what_notebooks_report_and_escapes_it(taught: Hub) -> None:
    say(taught, "alice", check(SIGN, "danger"), check(SIGN, "partial"), check(SIZE, "warn"))
    say(taught, "bob", check(SIGN, "success", 1.0))
    await written(taught)
    shown = await page(taught)
    assert '<td class="partial" title="partial, 2 attempts"><a href="../look/alice/A1' in shown
    assert "◐</a><small>2</small></td>" in shown
    assert 'title="passed, 1 attempt">✓</td>' in shown
    assert "1 of 3 passed" in shown
    assert "<b>size</b>" not in shown
    assert "Q2: the &lt;b&gt;size&lt;/b&gt;" in shown
    assert shown.count("no marks") == 1
    assert shown.index(">alice</a>") < shown.index(">carol</a>")


async def test_the_board_says_that_nobody_has_opened_the_item(checked: Hub) -> None:
    empty = re.compile(r'<p class="empty" id="nobody" data-live( hidden)?>(.*?)</p>')
    for opened in (False, True):
        if opened:
            checked.start("alice", "A1")
        found = empty.search(await page(checked))
        assert found is not None
        assert "<strong>Nobody has opened A1 yet.</strong>" in found[2]
        assert bool(found[1]) is opened


async def test_the_users_of_a_rehearsal_are_not_among_the_students(taught: Hub) -> None:
    for number in range(1, 3):
        taught.start(rehearsal_user(number), "A1")
    shown = await page(taught)
    assert "__rehearsal" not in shown
    assert "0 of 3 passed" in shown
    assert "3 open now" in await read(taught, "/board", "prof")


async def test_a_label_that_the_release_does_not_have_is_shown_to_nobody(taught: Hub) -> None:
    forged = [check(f"forged {n}", "success", 1.0) for n in range(500)]
    say(taught, "alice", *forged, check(SIGN, "danger"))
    say(taught, "bob", check(SIGN, "danger"))
    await written(taught)
    assert "forged" not in await page(taught)
    assert {(row.username, row.label) for row in Board(taught.engine).checks("A1")} <= {
        ("alice", SIGN),
        ("bob", SIGN),
    }


async def test_without_names_the_page_holds_no_name(taught: Hub) -> None:
    say(taught, "alice", check(SIGN, "danger"))
    await written(taught)
    await asks(taught)
    shown = await page(taught, "?names=no")
    for name in ("alice", "bob", "carol", "I am lost"):
        assert name not in shown
    assert "<strong>1</strong> student asks for help" in shown


@pytest.mark.parametrize("user", ["prof", "marta"])
async def test_an_open_board_hears_that_its_item_has_changed_and_shows_it(
    taught: Hub, user: str
) -> None:
    async with listening(taught, user, "board=A1") as board:
        assert "0 of 3 passed" in await page(taught, user=user)
        say(taught, "bob", check(SIGN, "success", 1.0))
        assert await board.news() == ["board"]
        assert "1 of 3 passed" in await page(taught, user=user)
        await asks(taught)
        assert await board.news() == ["board"]
        assert "I am lost." in await page(taught, user=user)


async def test_the_board_of_another_item_hears_nothing_of_it(taught: Hub) -> None:
    async with listening(taught, "prof", "board=A2") as board:
        say(taught, "bob", check(SIGN, "success", 1.0))
        await written(taught)
        assert (
            await ask(taught, "POST", "/visibility", "prof", json={"items": {}})
        ).status_code == 200
        assert await board.news() == ["course"]


async def test_a_student_does_not_hear_of_a_board(taught: Hub) -> None:
    headers = {"Accept": "text/event-stream"}
    assert (await ask(taught, "GET", "/events?board=A1", headers=headers)).status_code == 403


async def test_many_viewers_of_a_busy_class_cost_one_reading_a_second(
    taught: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_tables, "_LEAST_SECONDS", 0.5)
    readings, read = list[float](), Board.checks

    def timed(board: Board, item: str) -> tuple[CheckRow, ...]:
        readings.append(time.monotonic())
        return read(board, item)

    monkeypatch.setattr(Board, "checks", timed)
    await page(taught)
    await asks(taught)
    shown = await asyncio.gather(*(page(taught, query) for query in ("", "?names=no", "") * 5))
    assert all("student asks for help" in each or "I am lost." in each for each in shown)
    first, second = readings
    assert second - first >= 0.5


async def test_a_class_whose_board_takes_long_to_read_is_read_less_often(
    taught: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_tables, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(board_tables, "_LONGEST_REST", 60.0)  # also where the reading is slow
    readings, read = list[tuple[float, float]](), Board.checks
    begins, may_end = threading.Event(), threading.Event()

    def slow(board: Board, item: str) -> tuple[CheckRow, ...]:
        begun = time.monotonic()
        begins.set()
        may_end.wait(30)
        time.sleep(0.1)
        readings.append((begun, time.monotonic()))
        return read(board, item)

    monkeypatch.setattr(Board, "checks", slow)
    first_page = asyncio.create_task(page(taught))
    await until(begins.is_set)
    await asks(taught)
    may_end.set()
    await first_page
    assert "I am lost." in await page(taught)
    (begun, ended), (again, _) = readings
    assert again - ended >= 4 * (ended - begun)


async def test_a_validation_on_the_hub_counts_as_well(taught: Hub) -> None:
    result = CheckResult(SIGN, "success", (), 1.0, 1.0, 1)
    taught.runs.result = ExecutionResult(Outcome.FINISHED, checks=(result,))
    before = Board(taught.engine).checks("A1")
    await ask(taught, "POST", "/download/A1")
    assert (await ask(taught, "POST", "/validate/alice/A1")).status_code == 200
    await written(taught, before)
    assert "1 of 3 passed" in await page(taught)


# Help --------------------------------------------------------------------------------------


async def asks(hub: Hub, user: str = "alice", **more: str) -> httpx.Response:
    """Have a student ask for help."""
    body = {"label": SIGN, "text": "I am lost.", **more}
    return await ask(hub, "POST", f"/help/{user}/A1", user, json=body)


async def act(hub: Hub, what: str, helper: str = "prof", user: str = "alice") -> httpx.Response:
    """Have a helper do something with a student's request."""
    return await ask(hub, "POST", f"/board/A1/help/{user}/{what}", helper)


async def standing(hub: Hub, user: str = "alice", query: str = "") -> dict[str, Any]:
    """What the page around a notebook is told."""
    answer = await ask(hub, "GET", f"/standing/alice/A1?session=alice-A1{query}", user)
    found: dict[str, Any] = answer.json()
    return found


async def test_a_request_is_shown_taken_and_closed(taught: Hub) -> None:
    answer = await asks(taught, text="<i>I</i> am\u202e lost.\x07")
    assert answer.json()["asked"] == {
        "state": "waiting",
        "label": SIGN,
        "helper": "",
        "shared": False,
    }
    shown = await page(taught)
    assert "&lt;i&gt;I&lt;/i&gt; am lost." in shown
    assert "asks for help" in shown
    assert (await standing(taught))["help"]["state"] == "waiting"
    assert (await act(taught, "take", "marta")).status_code == 303
    assert (await act(taught, "take", "prof")).status_code == 409
    assert (await standing(taught))["help"] == {
        "state": "taken",
        "label": SIGN,
        "helper": "marta",
        "shared": False,
    }
    assert "marta helps" in await page(taught)
    assert (await act(taught, "close", "marta")).status_code == 303
    assert "help" not in await standing(taught)
    assert (await act(taught, "close", "marta")).status_code == 409
    actions = [(who, what) for who, what, *_ in taught.audit() if "help" in what]
    assert actions == [
        ("alice", "ask for help"),
        ("marta", "take help request"),
        ("marta", "close help request"),
    ]


async def test_an_open_list_of_boards_hears_of_requests_for_markers_too(taught: Hub) -> None:
    async with listening(taught, "marta") as marta:
        await asks(taught)
        assert await marta.news() == ["help"]
        assert "1 asks for help" in await read(taught, "/board", "marta")


async def test_a_student_withdraws_and_asks_again_but_not_twice(taught: Hub) -> None:
    await asks(taught)
    assert (await asks(taught, label="", text="again")).json()["asked"]["label"] == SIGN
    assert (await ask(taught, "DELETE", "/help/alice/A1")).json()["asked"] is None
    found = (await ask(taught, "GET", "/help/alice/A1")).json()
    assert found == {"asked": None, "labels": [SIGN, SIZE], "most": 300}
    assert (await asks(taught, label="", text="x" * 1999)).status_code == 200
    assert len(Board(taught.engine).requests(taught.clock.now())[0].text) == 300


@pytest.mark.parametrize(
    ("more", "status"),
    [({"label": "Q9: forged"}, 400), ({"text": "x" * 2001}, 400), ({"helper": "alice"}, 400)],
)
async def test_a_request_is_about_a_question_of_the_release(
    taught: Hub, more: dict[str, str], status: int
) -> None:
    assert (await asks(taught, **more)).status_code == status
    assert Board(taught.engine).requests(taught.clock.now()) == ()


async def test_nobody_asks_for_help_with_a_notebook_that_is_not_open(taught: Hub) -> None:
    assert (await asks(taught, "dave")).status_code == 404


async def test_a_marker_reads_the_copy_of_a_taken_request_and_no_other(taught: Hub) -> None:
    await ask(taught, "POST", "/download/A1")
    await asks(taught)
    await read(taught, "/look/alice/A1", "marta", 403)
    await act(taught, "take", "marta")
    await read(taught, "/look/alice/A1", "marta")
    for path in ("/look/alice/A2", "/export/alice/A1"):
        await read(taught, path, "marta", 403)
    await act(taught, "close", "marta")
    await read(taught, "/look/alice/A1", "marta", 403)


async def test_a_request_gives_no_right_after_twelve_hours_though_nobody_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_routes, "_LOOK_SECONDS", 0.05)
    async with open_hub(tmp_path / "course") as hub:
        hub.start("alice", "A1")
        await ask(hub, "POST", "/download/A1")
        await asks(hub, label="")
        await act(hub, "take", "marta")
        hub.clock.advance(11.9 * 3600)
        await read(hub, "/look/alice/A1", "marta")
        async with listening(hub, "marta") as marta:
            hub.clock.advance(0.2 * 3600)
            assert await marta.news() == ["help"]
        await read(hub, "/look/alice/A1", "marta", 403)
        assert "help" not in await standing(hub)


async def test_a_helper_reads_beforehand_that_the_notebook_is_not_open(taught: Hub) -> None:
    await asks(taught)
    await act(taught, "take", "marta")
    assert barred_buttons(await page(taught, user="marta")) == {}
    await taught.pool.stop(SessionKey("alice", "A1", Mode.EDIT))
    shown, why = await page(taught, user="marta"), "alice does not have the notebook open: read the"
    assert barred_buttons(shown) == {"Work in it together with alice": f"{why} copy, or wait."}
    assert "/help/alice/together" not in shown
    assert (await act(taught, "together", "marta")).status_code == 409


async def test_a_helper_enters_the_session_only_of_a_request_that_is_taken(taught: Hub) -> None:
    await asks(taught)
    assert (await act(taught, "together", "marta")).status_code == 404
    desk = Board(taught.engine)
    assert not desk.requests(taught.clock.now())[0].together
    await act(taught, "take", "marta")
    answer = await act(taught, "together", "marta")
    assert answer.headers["location"] == "/board/A1?done=not-shared&item=alice"
    assert desk.requests(taught.clock.now())[0].together
    asked = (await standing(taught))["help"]
    assert (asked["state"], asked["shared"]) == ("together", False), "its page would load for ever"
    helper = await standing(taught, "marta", "&together=yes")
    assert helper["state"] == "running"
    await ask(taught, "DELETE", "/help/alice/A1")
    for who in ("marta", "prof"):
        left = await standing(taught, who, "&together=yes")
        assert (left["state"], left["title"]) == ("ended", "You are not in this notebook any more.")
        assert not left["saved"]
    for query in ("", "&together=no", "&together=yes&together=no", "&together=true"):
        await read(taught, f"/standing/alice/A1?session=alice-A1{query}", "marta", 403)


async def test_a_page_is_told_to_load_again_only_while_its_own_session_is_shared(
    taught: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def share_editing(*session: object) -> bool:
        return True

    monkeypatch.setattr(board_routes, "share_editing", share_editing)

    async def shared() -> bool:
        found: dict[str, Any] = (await ask(taught, "GET", "/help/alice/A1", "alice")).json()
        return bool(found["asked"]["shared"])

    await asks(taught)
    await act(taught, "take", "marta")
    assert not await shared()
    await act(taught, "together", "marta")
    assert await shared()
    taught.start(
        "alice", "A1", number=2
    )  # its student has stopped the session, and opened the notebook again
    assert not await shared()
    await act(taught, "together", "marta")
    assert await shared()


# Messages ----------------------------------------------------------------------------------


async def send(hub: Hub, text: str, minutes: str = "5", to: str = "") -> httpx.Response:
    """Have the instructor send a message to the notebooks of A1, or to one student's."""
    data = {"text": text, "minutes": minutes, "to": to}
    return await ask(hub, "POST", "/board/A1/messages", "prof", data=data)


async def test_a_message_reaches_open_notebooks_until_its_end(taught: Hub) -> None:
    assert (await send(taught, "Read <b>this</b>.\r\nNow.\x00")).status_code == 303
    [message] = (await standing(taught))["messages"]
    assert message["text"] == "Read <b>this</b>.\nNow."
    assert (message["sender"], message["seconds"]) == ("prof", 300)
    assert message["sent"] == taught.clock.now().timestamp()
    assert "Read &lt;b&gt;this&lt;/b&gt;." in await page(taught)
    sent = [what for _, action, what, _ in taught.audit() if action == "send message"]
    assert sent == ["A1: Read <b>this</b>. Now."], "one line"
    taught.clock.advance(301)
    assert "messages" not in await standing(taught)


async def test_a_message_to_one_student_is_above_that_notebook_only(taught: Hub) -> None:
    for number in range(MOST_MESSAGES):
        await send(taught, f"Everybody {number}.")
    assert (await send(taught, "Alice, look at line 3.", to="alice")).status_code == 303
    assert (await send(taught, "Bob, well done.", to="bob")).status_code == 303
    shown = (await standing(taught))["messages"]
    assert [each["text"] for each in shown if each["alone"]] == ["Alice, look at line 3."]
    assert len(shown) == MOST_MESSAGES + 1
    assert "<option>alice</option>" in await page(taught)
    assert "prof to bob, " in await page(taught)
    projected = await page(taught, "?names=no")
    assert "Everybody 0." in projected
    assert "well done" not in projected
    assert [row[2] for row in taught.audit() if "bob" in row[2]] == ["A1 of bob: Bob, well done."]
    assert (await send(taught, "x", to="../x")).status_code == 400


async def test_a_message_is_taken_back(taught: Hub) -> None:
    await send(taught, "Wrong.")
    [message] = (await standing(taught))["messages"]
    beyond = await ask(taught, "POST", f"/board/A1/messages/{2**64}", "prof")
    assert beyond.status_code == 400
    await ask(taught, "POST", f"/board/A1/messages/{message['number']}", "prof")
    assert "messages" not in await standing(taught)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [(" \n\x00 ", "5"), ("x", "0"), ("x", "721"), ("x", "9" * 5000), ("x", "²")],
)
async def test_a_message_is_plain_and_bounded(taught: Hub, text: str, minutes: str) -> None:
    assert (await send(taught, text, minutes)).status_code == 400
    await send(taught, "y" * 4000)
    assert len((await standing(taught))["messages"][0]["text"]) == MOST_MESSAGE
