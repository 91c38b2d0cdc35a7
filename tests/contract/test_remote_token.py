"""``mograder.remote`` with a token, against the real server: fetch, submit, status.

Through a socket, and through the stand-in of the browser's XMLHttpRequest that Pyodide has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from mograder.grading.author.scaffold import assignment_text
from mograder.notebook.source.release import with_submit_cells
from mograder.remote import RemoteError, fetch, status, submit
from tests.support.assignment_server import Course as OldCourse
from tests.support.assignment_server import pretend_to_be_in_a_browser, reply, serving
from tests.support.clock import ManualClock
from tests.support.served_course import HOMEWORK, Course, make_course, serving_course, token_of


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    with serving_course(make_course(tmp_path_factory.mktemp("course") / "course")) as course:
        yield course


@pytest.fixture(autouse=True, params=["socket", "browser"])
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Nothing is there, and nothing may be sent there: the server is on this machine.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.chdir(tmp_path)
    if request.param == "browser":
        pretend_to_be_in_a_browser(monkeypatch)
    return tmp_path


def test_a_notebook_elsewhere_fetches_submits_and_asks(
    served: Course, fresh_name: Callable[[str], str]
) -> None:
    """One call of each kind, as in a notebook."""
    alice = fresh_name("alice")
    token = token_of(alice)
    assert fetch(served.url, "hw1", token=token) == [Path("data.csv"), Path("homework.py")]
    assert Path("homework.py").read_bytes() == HOMEWORK
    assert status(served.url, "hw1", alice, token)["status"] == "new"
    assert submit(served.url, "hw1", "homework.py", alice, token) == "ok"
    assert status(served.url, "hw1", alice, token)["status"] == "submitted"
    assert (served.root / "submitted" / "hw1" / f"{alice}.py").read_bytes() == HOMEWORK


def test_a_late_file_replaces_one_on_time_only_when_told(tmp_path: Path) -> None:
    clock, token = ManualClock(), token_of("alice")
    root = make_course(tmp_path / "dated")
    due = (clock.now() + timedelta(days=1)).isoformat()
    (root / "assignments.json").write_text(json.dumps([{"name": "hw1", "id": 1, "due": due}]))
    work, handed = Path("homework.py"), root / "submitted" / "hw1" / "alice.py"
    with serving_course(root, clock=clock) as served:
        work.write_text("on_time = True\n")
        submit(served.url, "hw1", work, "alice", token)
        clock.advance(timedelta(days=2).total_seconds())
        work.write_text("on_time = False\n")
        with pytest.raises(RemoteError, match=r"instructor picks it\. submit\(…, late=True\)"):
            submit(served.url, "hw1", work, "alice", token)
        assert handed.read_text() == "on_time = True\n"
        assert submit(served.url, "hw1", work, "alice", token, late=True) == "ok"
        assert handed.read_text() == "on_time = False\n"


@pytest.mark.parametrize("token", ["", "alice:00", token_of("bob")])
def test_without_the_right_token_nothing_is_handed_in(
    served: Course, token: str, fresh_name: Callable[[str], str]
) -> None:
    alice = fresh_name("alice")
    Path("homework.py").write_bytes(HOMEWORK)
    with pytest.raises(RemoteError) as failure:
        submit(served.url, "hw1", "homework.py", alice, token)
    assert failure.value.code in (401, 403)
    assert not (served.root / "submitted" / "hw1" / f"{alice}.py").exists()


@pytest.mark.parametrize(
    "url", ["http://server.example.org", "http://localhost.example.org", "HTTP://10.0.0.1"]
)
def test_a_token_does_not_travel_in_the_clear(url: str) -> None:
    with pytest.raises(ValueError, match="not encrypted"):
        fetch(url, "hw1", token="alice:00")


def test_a_token_that_would_break_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="characters"):
        status("https://server.example.org", "hw1", "alice", "alice:00\r\nHost: evil")


def test_a_redirect_takes_no_token_along(request: pytest.FixtureRequest) -> None:
    """A browser strips it by itself when it follows to another origin."""
    if "browser" in request.node.name:
        return
    target, course = OldCourse(files={"hw1": {}}), OldCourse()
    with serving(target) as elsewhere, serving(course) as url:

        def away(handler: BaseHTTPRequestHandler) -> None:
            reply(handler, 302, b"", location=f"{elsewhere}/assignments")

        course.rude = away
        assert fetch(url, "hw1", token="alice:00") == []
    ((_, _, headers),) = target.requests
    assert "Authorization" not in headers


def test_the_form_of_a_released_notebook_asks_for_a_token() -> None:
    """0.3.16's form sends none, so that it works against --no-auth servers only."""
    released = with_submit_cells(
        assignment_text("A1", marimo="0.25.2"), url="https://x.org", assignment="A1"
    )
    assert 'label="Your token", kind="password"' in released
    assert "_user, token if _colon else" in released
