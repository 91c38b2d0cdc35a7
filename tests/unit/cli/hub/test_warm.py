"""``mograder hub warm-cache`` without building anything (B100-B103, compatibility-0.3.16.md 10)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.command_line import cli
from tests.support.fake_hub import FakeHub

HEADER = '# /// script\n# dependencies = ["numpy>=2", "marimo"]\n# ///\nimport marimo\n'


@pytest.fixture(autouse=True)
def course(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course in which a notebook is published, one is being so, and two lie about."""
    for name in ("A1", ".staging"):
        directory = here / "hub-release" / name
        directory.mkdir(parents=True)
        (directory / "A1.py").write_text(HEADER)
    (here / "nb.py").write_text(HEADER)
    (here / "plain.py").write_text("import marimo\n")
    monkeypatch.setenv("MOGRADER_HUB_INSTRUCTOR_TOKEN", "ann:0")
    return here


def test_b102_a_dry_run_shows_the_dependencies_and_builds_nothing(course: Path) -> None:
    printed = cli("hub warm-cache --dry-run nb.py plain.py")
    assert printed.out == "  nb.py: numpy>=2, marimo\n  plain.py: no PEP 723 deps\n"
    assert not (course / ".mograder").exists()


def test_b101_all_means_what_is_published(course: Path) -> None:
    """Without what the hub is just staging."""
    printed = cli("hub warm-cache --all --dry-run")
    path = course / "hub-release" / "A1" / "A1.py"
    assert printed.out == f"  {path}: numpy>=2, marimo\n"


def test_without_notebooks_it_says_how_to_name_them() -> None:
    """compatibility-0.3.16.md 10."""
    printed = cli("hub warm-cache")
    expected = "No notebooks specified. Use --all or pass notebook paths.\n"
    assert printed.out == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"# /// script\n# dependencies = 3\n# ///\n", "dependencies"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_notebook_that_cannot_be_read_fails_and_the_others_do_not(
    course: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (course / "bad.py").write_bytes(content)
    out = cli("hub warm-cache --dry-run bad.py nb.py", status=1).out
    assert out.startswith("  bad.py\n    failed: ")
    assert words in out
    assert out.endswith("  nb.py: numpy>=2, marimo\n")


def test_b103_a_hub_is_asked_to_do_it(hub: FakeHub) -> None:
    hub.answers("/warm-cache", status="ok", warmed=["A1", "L1"])
    printed = cli("hub warm-cache --url", hub.url, "--token", "eve:1")
    assert printed.out == "Warmed 2 notebooks: A1, L1\n"
    assert hub.received[0].headers["authorization"] == "Bearer eve:1"


def test_b97_the_environment_names_the_hub_too(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_URL", hub.url)
    hub.answers("/warm-cache", status="ok", warmed=[])
    cli("hub warm-cache")
    assert len(hub.received) == 1
    cli("hub warm-cache --dry-run nb.py")
    assert len(hub.received) == 1, "named notebooks are prepared here"


def test_all_means_here_unless_the_command_line_names_a_hub(
    course: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_URL", hub.url)
    hub.answers("/warm-cache", status="ok", warmed=[])
    path = course / "hub-release" / "A1" / "A1.py"
    path.write_text("import marimo\n")
    assert cli("hub warm-cache --all").out == f"  {path}: no PEP 723 deps\n"
    assert hub.received == []
    cli("hub warm-cache --all --url", hub.url)
    assert len(hub.received) == 1


def test_what_the_hub_could_not_prepare_is_told_by_item_and_ends_with_1(hub: FakeHub) -> None:
    hub.streams(
        "/warm-cache",
        {"event": "progress", "message": "Preparing A2"},
        {"event": "done", "status": "ok", "warmed": ["A1"], "failed": {"A2": "no nunpy"}},
    )
    told = cli("hub warm-cache --url", hub.url, status=1)
    assert told.out == "Warmed 1 notebooks: A1\n  A2\n    failed: no nunpy\n"
    assert told.err == "  Preparing A2\n"
    printed = cli("hub warm-cache --url", hub.url, "--json", status=1)
    assert printed.json == {"warmed": ["A1"], "failed": {"A2": "no nunpy"}}


def test_the_time_of_a_lecture_is_in_this_computers_zone(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        with monkeypatch.context() as berlin:
            berlin.setenv("TZ", "Europe/Berlin")
            time.tzset()
            hub.answers("/warm", planned={"L03": ["2026-12-01T09:15:00+00:00"]})
            told = cli("hub warm --url", hub.url).lines
            other = cli("hub warm --timezone Europe/London --url", hub.url).lines
    finally:
        time.tzset()
    assert told == ["  L03: Tue 01 Dec 2026, 10:15 CET"]
    assert other == ["  L03: Tue 01 Dec 2026, 09:15 GMT"]


def test_notebooks_are_not_sent_to_a_hub(hub: FakeHub) -> None:
    cli("hub warm-cache nb.py --url", hub.url, status=2)
    assert hub.received == []
