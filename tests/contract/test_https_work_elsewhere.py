"""``mograder https fetch`` and ``submit`` when the student has worked elsewhere too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.test_https_commands import (
    CommandLine,
    Keyboard,
    alice,
    command_line,
    served,
)
from tests.support.served_course import HOMEWORK, Course, token_of
from tests.support.work_elsewhere import draft_of, save_in_browser, submit_without_draft

__all__ = ["alice", "command_line", "served"]

THERE = "# from the browser\n"


def test_work_in_a_browser_is_told_taken_and_gone_on_with(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    fetch = ("fetch", "hw1", "-o", "hw1/", "--url", served.url)
    assert command_line.json(*fetch)["newer_elsewhere"] is None
    assert command_line.https(*fetch, "--draft") == 3
    assert "no draft of yours" in command_line.err
    save_in_browser(served.url, token_of(alice), "hw1", THERE)
    assert command_line.https(*fetch) == 0
    assert "Newer work of yours is on the server" in command_line.out
    assert "--draft takes it" in command_line.out
    assert (command_line.here / "hw1" / "homework.py").read_bytes() == HOMEWORK
    assert command_line.https(*fetch, "--draft") == 0
    work = command_line.here / "hw1" / "homework.py"
    assert (work.read_text(), work.name in command_line.out) == (THERE, True)
    assert list(work.parent.glob("*.bak.*")) == []
    work.write_text(THERE + "# and here\n")
    assert command_line.https("feedback", "hw1", "--url", served.url) == 0
    assert "Draft: another text, saved " in command_line.out
    answer = command_line.json("submit", "hw1", str(work), "--url", served.url)
    assert (answer["submitted"], answer["kept"]) == (True, None)
    assert command_line.https("feedback", "hw1", "--url", served.url) == 0
    assert "Draft:" not in command_line.out


def test_a_submission_over_newer_work_in_a_browser_is_asked_about(
    command_line: CommandLine, served: Course, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = command_line.here / "hw1.py"
    work.write_bytes(b"# here\n")
    words = ("submit", "hw1", "hw1.py", "--url", served.url)
    stored = served.root / "submitted" / "hw1" / f"{alice}.py"
    save_in_browser(served.url, token_of(alice), "hw1", THERE)
    assert command_line.https(*words) == 5
    assert "this folder has not seen was saved elsewhere on" in command_line.err
    assert "fetch --draft" in command_line.err
    assert "--yes" in command_line.err
    monkeypatch.setattr("sys.stdin", Keyboard("n\n"))
    assert command_line.https(*words) == 5
    assert not stored.exists()
    assert list(command_line.here.glob("*.bak.*")) == []
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    assert command_line.https(*words) == 0
    assert stored.read_bytes() == b"# here\n"
    (kept,) = command_line.here.glob("hw1.bak.*.py")
    assert kept.read_text() == THERE
    assert f"What was saved elsewhere is kept as {kept.name}" in command_line.out
    save_in_browser(served.url, token_of(alice), "hw1", THERE + "# again\n")
    assert command_line.json(*words, "--yes")["kept"].startswith("hw1.bak.")
    assert draft_of(served.url, token_of(alice), "hw1") == "# here\n"


def test_a_submission_that_is_no_draft_is_asked_about_too(
    command_line: CommandLine, served: Course, alice: str, tmp_path: Path
) -> None:
    """As by `mograder.runtime`, or a client of 0.3.16."""
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(THERE)
    submit_without_draft(served.url, token_of(alice), "hw1", elsewhere)
    assert command_line.https("fetch", "hw1", "--url", served.url) == 0
    assert "What you submitted elsewhere on " in command_line.out
    words = ("submit", "hw1", "homework.py", "--url", served.url)
    assert command_line.https(*words) == 5
    assert "was submitted elsewhere on" in command_line.err
    assert "--draft" not in command_line.err
    assert command_line.https(*words, "--yes") == 0
    (command_line.here / "homework.py").write_bytes(b"# more\n")
    assert command_line.https(*words) == 0


def test_what_cannot_be_a_draft_is_submitted_all_the_same(
    command_line: CommandLine, served: Course, alice: str
) -> None:
    (command_line.here / "hw1.py").write_bytes(b"# \xff\n")
    assert command_line.https("submit", "hw1", "hw1.py", "--url", served.url) == 0
    assert "Browsers do not begin with it: The draft is not UTF-8." in command_line.out
