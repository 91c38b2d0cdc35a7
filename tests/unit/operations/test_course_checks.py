"""Findings of `hub check` about a course's secrets, environments and sources."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.settings import load_settings, read_environ
from mograder.grading.submissions.grading_result import grading_key
from mograder.notebook.pep723 import read_script
from mograder.operations.course_checks import (
    environment_lines,
    folder_lines,
    release_lines,
    secret_lines,
    settings_lines,
    source_line,
    users_line,
    zone_line,
)
from mograder.operations.preflight import CHECKS, Examined, run_check
from mograder.operations.pruning import prune
from mograder.operations.report import Level, Line
from mograder.operations.service_checks import Units
from mograder.sandbox.environments.builder import REQUESTS, request_name
from mograder.sandbox.environments.record import EnvironmentRecord, find_interpreter
from mograder.store.database.database import open_engine, sqlite_url
from mograder.store.database.upgrades import upgrade
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.hub.hub_state import HubState, SessionRow, SessionState

NOTEBOOK = '# /// script\n# dependencies = ["marimo"]\n# ///\nimport marimo\n'


def test_b11_a_secret_that_others_can_read_is_a_problem(tmp_path: Path) -> None:
    """B11: chmod 600."""
    secret = tmp_path / "hub-secret"
    secret.write_text("x")
    secret.chmod(0o644)
    settings = load_settings(tmp_path, environ={})
    (line,) = secret_lines(settings, kept=(secret,))
    assert (line.level, line.hint) == (Level.PROBLEM, f"chmod 600 {secret}")
    secret.chmod(0o600)
    (line,) = secret_lines(settings, kept=(secret,))
    assert line.level is Level.OK


def test_the_key_of_marks_is_a_secret_too(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    grading_key(settings)
    (line,) = secret_lines(settings, kept=())
    assert line.level is Level.OK
    (key,) = settings.state_dir.iterdir()
    key.chmod(0o644)
    (line,) = secret_lines(settings, kept=())
    assert (line.level, line.hint) == (Level.PROBLEM, f"chmod 600 {key}")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("[database]\nurl = 'postgresql://u:p@db/hub'\n", Level.PROBLEM),
        ("[https]\ntoken = 'alice:00'\n", Level.PROBLEM),
        ("title = 'Spring'\n", Level.OK),
    ],
)
def test_settings_with_a_password_in_them_are_a_secret_too(
    tmp_path: Path, text: str, level: Level
) -> None:
    (tmp_path / "mograder.toml").write_text(text)
    (tmp_path / "mograder.toml").chmod(0o644)
    (line,) = secret_lines(load_settings(tmp_path, environ={}), kept=())
    assert line.level is level


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("# names\nalice\nZo\u00eb\n".encode(), "2 users"),
        ("\u212aate\n".encode(), r"'\u212aate' lets nobody in"),
        ("alice\nm\u00fcller\n".encode("latin-1"), r"'m\ufffdller' lets nobody in"),
        ("alice\n".encode("utf-16"), "lets nobody in"),
    ],
)
def test_b46_names_that_let_nobody_in_are_a_problem(
    tmp_path: Path, content: bytes, text: str
) -> None:
    """B46: such as those of a list that a program on Windows has saved."""
    (tmp_path / "allowed_users.txt").write_bytes(content)
    line = users_line(load_settings(tmp_path, environ={}))
    assert text in line.text
    assert (line.level is Level.PROBLEM) == ("nobody" in text)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no allowed_users.txt: only the members of a learning platform's course may enter"),
        ("", "allowed_users.txt is empty: only the members of a learning platform's course may"),
        ("alice\nbob\n", "2 users may enter besides the members of a learning platform's course"),
    ],
)
def test_where_a_platforms_members_may_enter_the_list_is_told_beside_them(
    tmp_path: Path, content: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "allowed_users.txt").write_text(content)
    line = users_line(load_settings(tmp_path, environ={}), members=True)
    assert told in line.text
    assert line.level is Level.NOTE


@pytest.mark.parametrize("key", ["oidc]\nclient_secret_file", "mail]\npassword_file"])
def test_a_file_with_a_secret_that_the_settings_name_is_looked_at_too(
    tmp_path: Path, key: str
) -> None:
    (tmp_path / "mograder.toml").write_text(f"[{key} = 'word'\n")
    word = tmp_path / "word"
    word.touch()
    for mode, level in ((0o644, Level.PROBLEM), (0o640, Level.OK)):
        word.chmod(mode)
        (line,) = secret_lines(load_settings(tmp_path, environ={}), kept=())
        assert (line.level, line.hint) == (level, f"chmod o= {word}" if mode == 0o644 else "")


def environment(root: Path, key: str) -> Path:
    """A finished environment, as far as the doctor looks."""
    python = root / key / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    record = EnvironmentRecord(key=key, python="3.11", marimo="", interpreter_roots=())
    (root / key / "environment.json").write_text(record.model_dump_json())
    return root / key


async def test_environments_that_nobody_needs_or_that_cannot_run_are_told(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    root = tmp_path / ".mograder" / "environments"
    assert [each.text for each in await environment_lines(settings)] == ["environments: none yet"]
    (tmp_path / ".mograder" / "wheels").mkdir(parents=True)
    (tmp_path / ".mograder" / "wheels" / "w.whl").write_text("")
    release = tmp_path / "hub-release" / "A1" / "A1.py"
    release.parent.mkdir(parents=True)
    release.write_text(NOTEBOOK)
    interpreter = await find_interpreter("")
    wanted = request_name(read_script(NOTEBOOK), interpreter.version, "w.whl")
    (root / REQUESTS).mkdir(parents=True)
    (root / REQUESTS / wanted).write_text("used")
    environment(root, "used")
    (line,) = await environment_lines(settings)
    assert (line.level, line.text) == (Level.OK, "environments: 1, all in use")
    environment(root, "old")
    (line,) = await environment_lines(settings)
    assert line.level is Level.NOTE
    assert "1 of 2 belong to no published item" in line.text
    assert "mograder hub prune (up to " in line.hint
    (environment(root, "dead") / "env" / "bin" / "python").unlink()
    broken, stale = await environment_lines(settings)
    assert (broken.level, stale.level) == (Level.NOTE, Level.NOTE)
    assert "dead" in broken.text
    assert "2 of 3" in stale.text


def test_b85_what_hand_ins_and_marks_are_written_to_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B85: what another user's command has made there."""
    with Gradebook(tmp_path / "gradebook.db"):
        (tmp_path / "submitted").mkdir()
    loaded = load_settings(tmp_path, environ={}, overrides={"hub.collect": True})
    hub, wrong = Examined(loaded, read_environ(), Units()), list[str]()
    monkeypatch.setattr(
        os, "access", lambda path, _: path.name not in ("submitted", "gradebook.db")
    )
    for name in ("directories", "gradebook"):
        found = run_check(name, dict(CHECKS)[name], hub)
        wrong += [each.text for each in found if each.level is Level.PROBLEM]
    assert wrong == [
        f"{tmp_path}/submitted cannot be written by this user",
        f"gradebook: {tmp_path}/gradebook.db cannot be written by this user",
    ]


async def test_the_environment_of_a_session_on_a_node_is_not_removed(tmp_path: Path) -> None:
    """Nothing holds a lock on it here."""
    settings = load_settings(tmp_path, environ={})
    put(tmp_path, ".mograder/wheels/w.whl")
    for key in ("open", "old"):
        environment(tmp_path / ".mograder" / "environments", key)
    engine = open_engine(sqlite_url(tmp_path / ".mograder" / "hub.db"))
    upgrade(engine)
    now = datetime.now(UTC)
    running = SessionState.RUNNING
    row = SessionRow("one", "alice", "A1", "edit", running, "", "v1", "open", now, node="n1")
    HubState(engine).add_session(row)
    engine.dispose()
    pruned = await prune(settings, dry_run=True)
    assert [each.path.name for each in pruned.removed] == ["old"]
    assert pruned.in_use == ("open",)


def put(course: Path, *names: str) -> None:
    """Write empty files into a course."""
    for name in names:
        path = course / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_course_without_submissions_lacks_no_source(tmp_path: Path) -> None:
    put(tmp_path, "source/A1/A1.py")
    assert source_line(load_settings(tmp_path, environ={})).level is Level.OK


@pytest.mark.parametrize("place", ["source/A1/A1.py", ".mograder/sources/A1/A1.py"])
def test_a_source_is_found_in_the_course_or_as_it_was_sent(tmp_path: Path, place: str) -> None:
    put(tmp_path, "submitted/A1/alice.py", place)
    line = source_line(load_settings(tmp_path, environ={}))
    assert (line.level, line.text) == (Level.OK, "sources: there for 1 item with submissions")


def test_settings_of_an_item_by_a_part_of_its_name_are_told(tmp_path: Path) -> None:
    put(tmp_path, "source/A1-Pi/A1-Pi.py", "hub-release/A2/A2.py")
    text = '[items."A1"]\nweight = 2\n[items."A2"]\nweight = 2\n[items."A9"]\nweight = 2\n'
    (tmp_path / "mograder.toml").write_text(text)
    (line,) = settings_lines(load_settings(tmp_path, environ={}))
    assert (line.level, line.hint) == (Level.NOTE, 'Write [items."A1-Pi"].')


@pytest.mark.parametrize(
    ("text", "machine", "is_told"),
    [
        ("[penalties]\nenabled = true\n", "Europe/Berlin", True),
        ("[items.A1.penalties]\nenabled = true\n", "Europe/Berlin", True),
        ("[items.A1]\nweight = 2\n", "Europe/Berlin", False),
        ("[penalties]\nenabled = true\n", "UTC", False),
        ('timezone = "Europe/Berlin"\n[penalties]\nenabled = true\n', "Europe/Berlin", False),
    ],
)
def test_a_course_with_deductions_is_advised_to_name_its_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, machine: str, is_told: bool
) -> None:
    (tmp_path / "mograder.toml").write_text(text)
    try:
        with monkeypatch.context() as there:
            there.setenv("TZ", machine)
            time.tzset()
            line = zone_line(load_settings(tmp_path, environ={}))
    finally:
        time.tzset()
    assert (line is not None and line.level is Level.NOTE) == is_told


def test_students_folders_that_nobody_can_open_are_told(tmp_path: Path) -> None:
    """0.3.16 takes any name, such as those of Windows' domains."""
    place = tmp_path / "hub-notebooks"
    loaded = load_settings(tmp_path, environ={})
    assert not tuple(folder_lines(loaded))
    for name in ("alice", ".staging", "__instructor__", "lost+found"):
        (place / name).mkdir(parents=True)
    (place / "notes of mine.txt").touch()
    assert not tuple(folder_lines(loaded))
    for name in ("Jane Doe", "DOM\\bob"):
        (place / name).mkdir()
    (line,) = folder_lines(loaded)
    assert line.level is Level.NOTE
    assert "nobody can sign in as 'DOM\\\\bob', 'Jane Doe'" in line.text
    assert "Rename the folder" in line.hint


def test_published_names_that_keep_something_from_students_are_told(tmp_path: Path) -> None:
    item = tmp_path / "hub-release" / "A1"
    item.mkdir(parents=True)
    for name in ("A1.py", "data.csv", "1%.txt", "2%.txt", "3%.txt", "4%.txt", "5%.txt"):
        (item / name).write_text("x")
    lines = tuple(release_lines(load_settings(tmp_path, environ={})))
    assert [line.level for line in lines] == [Level.NOTE] * 4
    assert "A1: Invalid file name '1%.txt'" in lines[0].text
    assert lines[3].text == "hub-release: 2 more names that keep something from students"
    for name in ("1%.txt", "2%.txt", "3%.txt", "4%.txt", "5%.txt"):
        (item / name).unlink()
    assert not tuple(release_lines(load_settings(tmp_path, environ={})))


def test_items_with_submissions_and_no_source_are_named_with_the_remedy(tmp_path: Path) -> None:
    put(tmp_path, *(f"submitted/A{number}/alice.py" for number in range(5)), "source/A1/A1.py")
    line = source_line(load_settings(tmp_path, environ={}))
    assert line.level is Level.NOTE
    assert line.text == "sources: none for A0, A2, A3 and 1 more, which have submissions"
    assert "mograder hub publish" in line.hint


@pytest.mark.parametrize(
    ("error", "text", "hint"),
    [
        (InvalidInput("It is odd.", hint="Mend it."), "thing: It is odd.", "Mend it."),
        (PermissionError(13, "Permission denied"), "thing: [Errno 13] Permission denied", ""),
    ],
)
def test_a_check_that_fails_is_a_problem_after_what_it_had_found(
    tmp_path: Path, error: Exception, text: str, hint: str
) -> None:
    def check(_: Examined) -> Iterator[Line]:
        yield Line("thing", Level.OK, "thing: begins well")
        raise error

    hub = Examined(load_settings(tmp_path, environ={}), read_environ(), Units())
    first, second = run_check("thing", check, hub)
    assert first.level is Level.OK
    assert (second.level, second.text, second.hint) == (Level.PROBLEM, text, hint)
    assert len({name for name, _ in CHECKS}) == len(CHECKS)
