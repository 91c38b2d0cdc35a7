"""The student's dashboard over a real assignment server: what it keeps, asks and never mixes up."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from mograder.clients.assignment_server.client import register
from mograder.clients.token_store import HTTPS, TokenStore
from tests.support.dashboard_app import Dashboard, dashboard
from tests.support.progress import quiet
from tests.support.shared_hub import SharedCaches
from tests.support.student_dashboard import (
    CODE,
    COFFEE,
    PI,
    RELEASED,
    DashboardSetup,
    served_course,
)
from tests.support.work_elsewhere import save_in_browser

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def scene(uv_cache: Path, run_directory: Path) -> Iterator[DashboardSetup]:
    with served_course("student-contract", SharedCaches(uv_cache, run_directory)) as scene:
        yield scene


async def begin(shown: Dashboard, user: str) -> None:
    """Register, and download the first assignment."""
    answer = await shown.press("/sign-in/register", user=user, code=CODE)
    assert answer.url.path == "/", answer.text
    assert PI in answer.text
    answer = await shown.press(f"/fetch/{PI}")
    assert f"{PI} is yours now." in answer.text


def save(folder: Path, estimate: str, item: str = PI) -> str:
    """Save another version of the notebook."""
    text = RELEASED.replace("estimate = 0", f"estimate = {estimate}")
    (folder / item / f"{item}.py").write_text(text)
    return text


def submissions(scene: DashboardSetup, item: str, user: str) -> list[str]:
    """The texts of everything that a student handed in, the earliest first."""
    found = sorted((scene.server.root).rglob(f"{user}_2*.py"))
    return [path.read_text() for path in found if item in path.parts]


async def test_b150_what_cannot_be_submitted_waits_over_a_restart_and_goes_when_asked(
    tmp_path: Path, uv_cache: Path, run_directory: Path
) -> None:
    """What was pressed offline is what is sent, not what was typed after it."""
    folder = tmp_path / "offline"
    with served_course("student-offline", SharedCaches(uv_cache, run_directory)) as scene:
        async with dashboard(folder, scene.server.url) as shown:
            await begin(shown, "offline")
            text = save(folder, "3")
            scene.server.stop()
            answer = await shown.press(f"/submit/{PI}")
            assert f"{PI} is not submitted yet." in answer.text
        save(folder, "3.5")
        async with dashboard(folder, scene.server.url) as shown:
            page = (await shown.client.get("/")).text
            assert "Not submitted yet." in page
            page = (await shown.press("/sync")).text
            assert "The server cannot be asked at the moment." in page
            assert "Not submitted yet." in page
            assert submissions(scene, PI, "offline") == []
            scene.server.start()
            page = (await shown.press("/sync")).text
            assert "Not submitted yet." not in page
            assert submissions(scene, PI, "offline") == [text]
            receipt = await shown.client.get(f"/receipt/{PI}/file")
            assert receipt.json()["user"] == "offline"


async def test_a_server_that_refuses_what_waits_is_not_told_as_away(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    async with dashboard(tmp_path / "closed", scene.server.url) as shown:
        await begin(shown, "closed")
        shown.app.course.submit(None, PI, quiet)
        with dated(scene, "cutoff", datetime.now(UTC) - timedelta(hours=1)):
            page = (await shown.press(f"/send/{PI}")).text
        assert "Not submitted yet." in page
        assert f"Submissions to {PI} closed" in page
        assert "The server cannot be asked" not in page


async def test_what_waits_can_be_given_up_and_is_set_aside(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    folder = tmp_path / "undecided"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "undecided")
        await shown.press("/logout")
        text = save(folder, "3")
        answer = await shown.press(f"/submit/{PI}")
        assert "not submitted yet" in answer.text
        answer = await shown.press(f"/give-up/{PI}")
        assert f"{PI} waits no longer." in answer.text
        [aside] = (folder / ".mograder" / "set-aside").iterdir()
        assert aside.read_text() == text
        assert submissions(scene, PI, "undecided") == []


@pytest.mark.parametrize("known", [True, False], ids=["known-here", "known-there"])
async def test_a_late_submission_replaces_one_on_time_only_when_told(
    scene: DashboardSetup, tmp_path: Path, known: bool
) -> None:
    """Whether we know the due date or only the server does."""
    folder, user = tmp_path / "late", f"late-{known}"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, user)
        save(folder, "3")
        assert "is submitted" in (await shown.press(f"/submit/{PI}")).text
        receipt = (await shown.client.get(f"/receipt/{PI}/file")).json()
        await asyncio.sleep(1)  # work of the second in which it is due is on time
        with due(scene, datetime.fromisoformat(receipt["received"])):
            if known:
                await shown.press("/sync")
            late = save(folder, "3.2")
            answer = await shown.press(f"/submit/{PI}")
            assert answer.url.path == f"/late/{PI}"
            assert "Replace what was on time?" in answer.text
            again = (await shown.client.get(f"/receipt/{PI}/file")).json()
            assert again == receipt, "the one that was on time still counts"
            page = (await shown.client.get("/")).text
            assert "There is newer work of yours." not in page, "this folder saved both"
            answer = await shown.press(f"/submit/{PI}", late="yes")
            assert "It counts as late." in answer.text
            with scene.server.instructor() as teacher:
                said = teacher.verify_receipt((await shown.client.get(f"/receipt/{PI}/file")).text)
            assert (said.valid, said.counts) == (True, True)
            assert late in submissions(scene, PI, user)


async def test_keeping_the_one_on_time_takes_back_the_late_one_that_waits(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    """It went on waiting, beside a notice that the server could not be asked."""
    folder, user = tmp_path / "keeps", "keeps-on-time"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, user)
        save(folder, "3")
        await shown.press(f"/submit/{PI}")
        receipt = (await shown.client.get(f"/receipt/{PI}/file")).json()
        await asyncio.sleep(1)
        late = save(folder, "3.2")
        shown.app.course.submit(None, PI, quiet)
        shown.app.connection.trouble = "Connection refused"
        with due(scene, datetime.fromisoformat(receipt["received"])):
            answer = await shown.press(f"/send/{PI}")
            assert answer.url.path == f"/late/{PI}"
            [keep] = re.findall(r'action="(/give-up/[^"]+)"', answer.text)
            page = (await shown.press(keep)).text
        assert "Not submitted yet." not in page
        assert "The server cannot be asked" not in page
        assert (await shown.client.get(f"/receipt/{PI}/file")).json() == receipt
        [aside] = (folder / ".mograder" / "set-aside").iterdir()
        assert aside.read_text() == late


async def test_work_is_not_late_any_more_once_the_due_date_was_moved(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "moved")
        with due(scene, datetime.now(UTC) - timedelta(hours=1)):
            await shown.press("/sync")
            save(folder, "3")
            await shown.press(f"/submit/{PI}")
            assert '<span class="late">late</span>' in (await shown.client.get("/")).text
        page = (await shown.press("/sync")).text
        assert "<strong>Handed in</strong>" in page
        assert '<span class="late">late</span>' not in page


def due(scene: DashboardSetup, moment: datetime) -> AbstractContextManager[None]:
    """The first assignment has a due date for a while."""
    return dated(scene, "due", moment)


@contextmanager
def dated(scene: DashboardSetup, key: str, moment: datetime) -> Iterator[None]:
    """The first assignment has a date for a while, as a teacher writes it into the manifest."""
    manifest = scene.server.root / "assignments.json"
    files = [{"filename": f"{PI}.py", "url": f"/assignments/{PI}/files/{PI}.py"}]
    manifest.write_text(
        json.dumps([{"name": PI, "id": 1, "files": files, key: moment.isoformat()}])
    )
    try:
        yield
    finally:
        manifest.unlink()


async def test_nobodys_work_is_sent_as_another_persons(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "first")
        [cache] = (tmp_path / "home-of-shared" / ".config" / "mograder").glob("https_tokens.json")
        token = cache.read_text()
        answer = await shown.press("/sign-in/register", user="second", code=CODE)
        assert answer.status_code == httpx.codes.CONFLICT
        assert "holds the work of first" in answer.text
        assert cache.read_text() == token, "the first one's own way in is not lost"
        await shown.press("/logout")
        answer = await shown.press("/sign-in/token", token="second:" + "0" * 64)
        assert "holds the work of first" in answer.text
        save(folder, "3")
        await shown.press(f"/submit/{PI}")
        assert submissions(scene, PI, "second") == []


async def test_b148_the_token_is_kept_for_the_next_time_and_for_nobody_else(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "kept")
    [cache] = (tmp_path / "home-of-kept" / ".config" / "mograder").glob("https_tokens.json")
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    async with dashboard(folder, scene.server.url) as shown:
        assert "<strong>kept</strong>" in (await shown.client.get("/")).text
        await shown.press("/logout")
    async with dashboard(folder, scene.server.url) as shown:
        page = (await shown.client.get("/")).text
        assert "You are not signed in." in page
        assert PI in page, "the course can be looked at all the same"


async def test_the_token_is_shown_to_its_student_who_is_asked_before_it_is_deleted(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    """Who joined by the code was given it nowhere else, and gets it only once."""
    async with dashboard(tmp_path / "shows", scene.server.url) as shown:
        await begin(shown, "shows")
        [token] = set(re.findall("shows:[0-9a-f]+", (await shown.client.get("/")).text))
        home = (await shown.client.get("/")).text
        assert 'href="/sign-out">Sign out' in home
        assert 'action="/logout"' not in home
        asked = (await shown.client.get("/sign-out")).text
        assert token in asked
        assert 'action="/logout"' in asked
        await shown.press("/logout")
        assert token not in (await shown.client.get("/")).text
        answer = await shown.press("/sign-in/token", token=token)
        assert answer.url.path == "/", answer.text


async def test_the_token_is_shown_on_no_page_that_everybody_on_the_machine_can_open(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    async with dashboard(tmp_path / "open", scene.server.url, everybody=True) as shown:
        await begin(shown, "everybody")
        for path in ("/", "/sign-out"):
            assert "everybody:" not in (await shown.client.get(path)).text
        assert "https_tokens.json" in (await shown.client.get("/sign-out")).text


async def test_b141_a_name_whose_answer_was_lost_is_registered_by_the_next_try(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    async with dashboard(tmp_path / "lost", scene.server.url) as shown:
        key = TokenStore(tmp_path / "home-of-lost", HTTPS).retry_key(scene.server.url, "lost")
        register(scene.server.url, "lost", CODE, retry_key=key)
        await begin(shown, "lost")


async def test_with_a_void_token_work_waits_and_a_page_leads_to_signing_in_again(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    folder, gone = tmp_path / "void", "Your sign-in is no longer valid."
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "void")
        with scene.server.instructor() as teacher:
            teacher.reset_registration("void")
        text = save(folder, "3")
        for press in ("submit", "send"):
            page = (await shown.press(f"/{press}/{PI}")).text
            assert f"{PI} is not submitted yet." in page
            assert gone in page
            assert "mograder https" not in page
            assert "The server cannot be asked" not in page
            assert "Sign in to send it" in page
            page = (await shown.press("/sync")).text
            assert gone in page
            assert "mograder https" not in page
        assert submissions(scene, PI, "void") == []
        page = (await shown.press("/sign-in/token", token="void:" + "0" * 64)).text
        assert "The server does not take this token." in page
        assert "mograder https" not in page
        page = (await shown.press("/sign-in/register", user="void", code=CODE)).text
        assert gone not in page
        await shown.press(f"/send/{PI}")
        assert submissions(scene, PI, "void") == [text]


@pytest.mark.parametrize(
    ("way", "fields", "told"),
    [
        ("register", {"user": "mallory", "code": "guessed-code"}, "Invalid enrollment code"),
        ("register", {"user": "", "code": CODE}, "Both a user name"),
        ("token", {"token": "mallory:" + "0" * 64}, "The server does not take this token."),
        ("token", {"token": "guessed-token"}, "That is no token"),
    ],
)
async def test_b141_a_wrong_code_or_token_is_told_and_never_shown_again(
    scene: DashboardSetup, tmp_path: Path, way: str, fields: Mapping[str, str], told: str
) -> None:
    async with dashboard(tmp_path / "wrong", scene.server.url) as shown:
        answer = await shown.press(f"/sign-in/{way}", **fields)
        assert answer.status_code in (400, 401, 403)
        assert told in answer.text
        secret = fields.get("code") or fields["token"]
        assert secret not in answer.text
        assert not list((tmp_path / "home-of-wrong").rglob("https_token*.json"))


async def test_an_update_is_offered_and_what_was_edited_is_kept(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    folder = tmp_path / "updated"
    served = scene.server.root / COFFEE / "files" / f"{COFFEE}.py"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "updated")
        await shown.press(f"/fetch/{COFFEE}")
        mine = save(folder, "1", COFFEE)
        newer = RELEASED.replace("between 3 and 4", "between 3 and 4, you know")
        served.write_text(newer)
        try:
            assert "update available" in (await shown.press("/sync")).text
            answer = await shown.press(f"/fetch/{COFFEE}")
            assert "is the newest release now." in answer.text
            assert "update available" not in answer.text
            assert (folder / COFFEE / f"{COFFEE}.py").read_text() == newer
            [kept] = (folder / COFFEE).glob("*.bak.*.py")
            assert kept.read_text() == mine
        finally:
            served.write_text(RELEASED)


async def test_newer_work_from_a_browser_is_shown_taken_and_never_replaced_in_silence(
    scene: DashboardSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, there = tmp_path / "continued", RELEASED + "# from the browser\n"
    token = scene.server.token("continued")
    notebook = folder / PI / f"{PI}.py"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "continued")
        assert (await shown.client.get(f"/newer/{PI}")).headers["location"] == "/"
        mine = save(folder, "3")
        assert "is submitted" in (await shown.press(f"/submit/{PI}")).text
        save_in_browser(scene.server.url, token, PI, there)
        mine = save(folder, "3.1")
        answer = await shown.press(f"/submit/{PI}")
        assert answer.url.path == f"/newer/{PI}"
        assert "Take the newer one" in answer.text
        assert len(submissions(scene, PI, "continued")) == 1
        assert "There is newer work of yours." in (await shown.client.get("/")).text
        stop, stopped = shown.app.runner.editors.stop, list[str]()

        async def stopping(name: str) -> bool:
            assert notebook.read_text() == mine
            stopped.append(name)
            return await stop(name)

        monkeypatch.setattr(shown.app.runner.editors, "stop", stopping)
        answer = await shown.press(f"/take/{PI}")
        assert stopped == [PI], "an open editor would save its text over what is taken"
        assert "What was here is kept" in answer.text
        assert "There is newer work of yours." not in answer.text
        assert notebook.read_text() == there
        [kept] = notebook.parent.glob("*.bak.*.py")
        assert kept.read_text() == mine
        mine = save(folder, "3.2")
        assert "is submitted" in (await shown.press(f"/submit/{PI}")).text


async def test_newer_work_from_a_browser_is_replaced_when_told_and_asked_about_again_if_it_changed(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    folder, there = tmp_path / "replaced", RELEASED + "# from the browser\n"
    token = scene.server.token("replaced")
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "replaced")
        mine = save(folder, "3")
        save_in_browser(scene.server.url, token, PI, there)
        page = (await shown.press(f"/submit/{PI}")).text
        [over] = re.findall(r'name="over" value="([^"]+)"', page)
        save_in_browser(scene.server.url, token, PI, there + "# newer\n")
        answer = await shown.press(f"/submit/{PI}", over=over)
        assert answer.url.path == f"/newer/{PI}"
        assert submissions(scene, PI, "replaced") == []
        [over] = re.findall(r'name="over" value="([^"]+)"', answer.text)
        answer = await shown.press(f"/submit/{PI}", over=over)
        assert "is submitted" in answer.text
        assert submissions(scene, PI, "replaced") == [mine]
        [kept] = (folder / PI).glob("*.bak.*.py")
        assert kept.read_text() == there + "# newer\n"


async def test_b151_feedback_is_shown_in_a_page_that_may_do_nothing(
    scene: DashboardSetup, tmp_path: Path
) -> None:
    folder = tmp_path / "graded"
    async with dashboard(folder, scene.server.url) as shown:
        await begin(shown, "graded")
        await shown.press(f"/submit/{PI}")
        scene.server.grade(PI, "graded", tmp_path)
        assert re.search(r"Grade\s+9\.5<", (await shown.press("/sync")).text)
        page = await shown.client.get(f"/feedback/{PI}")
        assert 'sandbox=""' in page.text
        assert "frame-src 'self'" in page.headers["content-security-policy"]
        document = await shown.client.get(f"/feedback/{PI}/0")
        assert "Well estimated, graded" not in page.text
        assert "Well estimated, alice." in document.text
        policy = document.headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'")
        assert "allow-same-origin" not in policy
        told = await shown.client.get(f"/feedback/{PI}/0?scripts")
        policy = told.headers["content-security-policy"]
        assert policy.startswith("sandbox allow-scripts;")
        assert "allow-same-origin" not in policy
        assert "frame-ancestors 'self'" in policy
