"""``mograder https fetch`` and ``submit`` when the student has worked elsewhere too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.test_https_commands import (
    Keyboard,
    alice,
    home,
    served,
)
from tests.support.command_line import cli
from tests.support.served_course import HOMEWORK, Course, token_of
from tests.support.work_elsewhere import draft_of, save_in_browser, submit_without_draft

__all__ = ["alice", "home", "served"]

THERE = "# from the browser\n"


def test_work_in_a_browser_is_told_taken_and_gone_on_with(
    here: Path, served: Course, alice: str
) -> None:
    fetch = ("fetch", "hw1", "-o", "hw1/", "--url", served.url)
    assert cli("https", *fetch, "--json").json["newer_elsewhere"] is None
    assert "no draft of yours" in cli("https", *fetch, "--draft", status=3).err
    save_in_browser(served.url, token_of(alice), "hw1", THERE)
    printed = cli("https", *fetch)
    assert "Newer work of yours is on the server" in printed.out
    assert "--draft takes it" in printed.out
    assert (here / "hw1" / "homework.py").read_bytes() == HOMEWORK
    printed = cli("https", *fetch, "--draft")
    work = here / "hw1" / "homework.py"
    assert (work.read_text(), work.name in printed.out) == (THERE, True)
    assert list(work.parent.glob("*.bak.*")) == []
    work.write_text(THERE + "# and here\n")
    assert "Draft: another text, saved " in cli("https feedback hw1 --url", served.url).out
    answer = cli("https submit hw1 --json", str(work), "--url", served.url).json
    assert (answer["submitted"], answer["kept"]) == (True, None)
    assert "Draft:" not in cli("https feedback hw1 --url", served.url).out


def test_a_submission_over_newer_work_in_a_browser_is_asked_about(
    here: Path, served: Course, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = here / "hw1.py"
    work.write_bytes(b"# here\n")
    words = ("submit", "hw1", "hw1.py", "--url", served.url)
    stored = served.root / "submitted" / "hw1" / f"{alice}.py"
    save_in_browser(served.url, token_of(alice), "hw1", THERE)
    printed = cli("https", *words, status=5)
    assert "this folder has not seen was saved elsewhere on" in printed.err
    assert "fetch --draft" in printed.err
    assert "--yes" in printed.err
    monkeypatch.setattr("sys.stdin", Keyboard("n\n"))
    cli("https", *words, status=5)
    assert not stored.exists()
    assert list(here.glob("*.bak.*")) == []
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    printed = cli("https", *words)
    assert stored.read_bytes() == b"# here\n"
    (kept,) = here.glob("hw1.bak.*.py")
    assert kept.read_text() == THERE
    assert f"What was saved elsewhere is kept as {kept.name}" in printed.out
    save_in_browser(served.url, token_of(alice), "hw1", THERE + "# again\n")
    assert cli("https", *words, "--yes", "--json").json["kept"].startswith("hw1.bak.")
    assert draft_of(served.url, token_of(alice), "hw1") == "# here\n"


def test_a_submission_with_the_line_ends_of_windows_is_no_other_text_than_its_draft(
    here: Path, served: Course, alice: str
) -> None:
    (here / "hw1.py").write_bytes(b"# here\r\n")
    cli("https submit hw1 hw1.py --url", served.url)
    assert draft_of(served.url, token_of(alice), "hw1") == "# here\n"
    assert "Draft:" not in cli("https feedback hw1 --url", served.url).out


def test_a_submission_that_is_no_draft_is_asked_about_too(
    here: Path, served: Course, alice: str, tmp_path: Path
) -> None:
    """As by `mograder.runtime`, or a client of 0.3.16."""
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(THERE)
    submit_without_draft(served.url, token_of(alice), "hw1", elsewhere)
    assert "What you submitted elsewhere on " in cli("https fetch hw1 --url", served.url).out
    words = ("submit", "hw1", "homework.py", "--url", served.url)
    printed = cli("https", *words, status=5)
    assert "was submitted elsewhere on" in printed.err
    assert "--draft" not in printed.err
    cli("https", *words, "--yes")
    (here / "homework.py").write_bytes(b"# more\n")
    cli("https", *words)


def test_what_cannot_be_a_draft_is_submitted_all_the_same(
    here: Path, served: Course, alice: str
) -> None:
    (here / "hw1.py").write_bytes(b"# \xff\n")
    printed = cli("https submit hw1 hw1.py --url", served.url)
    assert "Browsers do not begin with it: The draft is not UTF-8." in printed.out
