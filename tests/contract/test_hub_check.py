"""``mograder hub check`` with a real supervisor and a real sandbox (B46, B81-B85, security.md)."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from mograder.core.errors import RemoteFailed
from mograder.core.settings import load_settings, read_environ
from mograder.core.systemd import Service
from mograder.operations.live_checks import examine_front
from mograder.operations.preflight import CHECKS, Examined, run_check
from mograder.operations.report import Level
from mograder.operations.service_checks import ask_units
from mograder.sandbox.client.bootstrap import momentary_supervisor, supervisor_config
from mograder.sandbox.client.selftest import look_from_inside, read_report
from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.gradebook.gradebook import Gradebook, SentGrade
from mograder.web.hub.server import standing_by
from tests.support.command_line import cli
from tests.support.fake_hub import FakeHub, Reply, hub
from tests.support.other_system import OtherSystem, System
from tests.support.other_system.marks import SYSTEMS
from tests.support.process import free_port

__all__ = ["hub"]

SECRET = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course that nothing is wrong with, on a port that is free."""
    directory = tmp_path / "course"
    directory.mkdir()
    port = free_port()
    (directory / "mograder.toml").write_text(f"[hub]\nhost = '127.0.0.1'\nport = {port}\n")
    (directory / "allowed_users.txt").write_text("alice\nbob\n")
    monkeypatch.setenv("MOGRADER_HUB_SECRET", SECRET)
    monkeypatch.delenv("MOGRADER_COURSE_DIR", raising=False)
    return directory


def settings(course: Path, text: str) -> None:
    """Write further lines into the course's settings."""
    with (course / "mograder.toml").open("a") as file:
        file.write(text)


@pytest.mark.full
def test_b46_a_sound_course_is_all_good(course: Path) -> None:
    """These lines in this order, and then our own.

    B81, B82, B84, B85; compatibility-0.3.16.md 10.
    """
    port = load_settings(course).settings.hub.port
    before = sorted(path.name for path in course.iterdir())
    out = cli("hub check", str(course)).out
    assert out.startswith(
        "  [ok] MOGRADER_HUB_SECRET is set\n"
        "  [ok] marimo available\n"
        "  [ok] bubblewrap available\n"
        f"  notebooks_dir: {course / 'hub-notebooks'}\n"
        f"  release_dir: {course / 'hub-release'}\n"
        f"  [ok] port {port} is free\n"
    )
    assert "  [ok] sandbox: a session sees no network, none of the course's files" in out
    assert "works in a sandbox" in out
    assert "  [ok] allowed_users.txt: 2 users\n" in out
    notes = out.count("  [--] ")
    marked = "1 line marked" if notes == 1 else f"{notes} lines marked"
    said = f"no problems; look at the {marked} [--]" if notes else "all good"
    assert out.endswith(f"\n\nHub check: {said}\n")
    assert sorted(path.name for path in course.iterdir()) == before, "it leaves nothing behind"


@pytest.mark.full
def test_problems_are_counted_and_end_with_1(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B81, B84, B85, and a file that the hub could not read."""
    monkeypatch.delenv("MOGRADER_HUB_SECRET")
    (course / "hub-notebooks").write_text("no directory")
    (course / "allowed_users.txt").unlink()
    (course / "allowed_users.txt").mkdir()
    port = load_settings(course).settings.hub.port
    with socket.create_server(("127.0.0.1", port)):
        out = cli("hub check", str(course), status=1).out
    assert "  [!!] MOGRADER_HUB_SECRET not set (use --dev or set env var)\n" in out
    assert f"  [!!] {course / 'hub-notebooks'} is not a directory\n" in out
    assert f"  [!!] port {port} is in use\n" in out
    assert "  [!!] allowed_users.txt cannot be read (Is a directory): no student may enter" in out
    assert out.endswith("\nHub check: 4 issue(s) found\n")


@pytest.mark.parametrize(
    ("url", "level"),
    [("postgresql://hub@127.0.0.1/hub", Level.OK), ("", Level.PROBLEM)],
    ids=["postgresql", "sqlite"],
)
async def test_a_hub_that_waits_has_the_port_rightly(course: Path, url: str, level: Level) -> None:
    """Of two hubs in containers, where no unit of systemd explains the port.

    A course on an SQLite file has one hub, so the one that waits is another course's.
    """
    with (course / "mograder.toml").open("a") as settings:
        settings.write(f'\n[database]\nurl = "{url}"\n')
    loaded = load_settings(course)
    port = loaded.settings.hub.port
    examined = Examined(loaded, read_environ(), ask_units(loaded))
    with socket.create_server(("127.0.0.1", port)) as listener:
        async with standing_by(listener, Service()):
            (line,) = await asyncio.to_thread(
                lambda: list(run_check("port", dict(CHECKS)["port"], examined))
            )
    assert line.level is level
    if level is Level.OK:
        assert line.text == f"port {port}: a hub waits there, since another one is at work"


@pytest.mark.full
def test_json_is_for_programs(course: Path) -> None:
    answer = cli("hub check -C", str(course), "--json").json
    assert (answer["ok"], answer["problems"]) == (True, 0)
    levels = {each["check"]: each["level"] for each in answer["checks"]}
    assert levels["sandbox"] == levels["uv"] == levels["database"] == "ok"


@pytest.mark.full
def test_b83_without_bubblewrap_there_is_a_note_and_the_sandbox_is_the_problem(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = cli("hub check", str(course), status=1).out
    assert "  [--] bubblewrap not found (optional, recommended)\n" in out
    assert "  [!!] sandbox: bubblewrap (bwrap) is not installed" in out


@pytest.mark.full
def test_an_old_bubblewrap_is_told_with_the_version_that_is_needed(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of Ubuntu 22.04 refuses an option of each sandbox."""
    (tmp_path / "old").mkdir()
    program = tmp_path / "old" / "bwrap"
    program.write_text("#!/bin/sh\necho bubblewrap 0.6.1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "old"))
    out = cli("hub check", str(course), status=1).out
    said = f"bubblewrap 0.8.0 or newer is needed, and {program} is 0.6.1."
    assert f"  [--] {said}\n" in out
    assert f"  [!!] sandbox: {said}\n" in out


def test_a_course_that_is_not_there_is_told_by_the_name_of_its_argument(tmp_path: Path) -> None:
    told = cli("hub check", str(tmp_path / "nodir"), status=2).err
    assert "'[DIRECTORY]'" in told
    assert "nodir' does not exist." in told
    assert "--course-dir" not in told


@pytest.mark.full
def test_a_sandbox_that_is_switched_off_is_a_problem(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """security.md: a warning at start, in `hub check` and on the instructors' page."""
    monkeypatch.setenv("MOGRADER_HUB_SECRET", "short-but-varied")
    settings(course, "trusted_proxies = ['127.0.0.1']\n[security]\nuse_bubblewrap = false\n")
    out = cli("hub check", str(course), status=1).out
    assert "  [!!] sandbox: [security] use_bubblewrap is false" in out
    assert "  [!!] trusted_proxies: without a sandbox student code" in out
    assert "  [!!] MOGRADER_HUB_SECRET can be guessed" in out


@pytest.mark.full
def test_what_lets_anybody_in_and_what_does_not_answer_are_problems(
    course: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_SECRET", "a" * 64)
    wide = "trusted_proxies = ['0.0.0.0/0', '::/0', '8.0.0.0/8']\n"
    settings(course, f"supervisor_socket = 'none.sock'\n{wide}")
    out = cli("hub check", str(course), "--url", hub.url, status=1).out
    assert "  [!!] MOGRADER_HUB_SECRET can be guessed" in out
    assert "  [!!] trusted_proxies: 0.0.0.0/0, ::/0, 8.0.0.0/8 may name any user" in out
    assert f"  [!!] supervisor: No session supervisor answers at {course / 'none.sock'}" in out
    assert f"  [!!] There is no hub at {hub.url}" in out
    assert "  [ok] sandbox: " in out


@pytest.mark.full
async def test_the_proof_sees_what_is_not_hidden(course: Path) -> None:
    """A proof that could not fail would prove nothing: without a sandbox it finds all of it."""
    config = supervisor_config(load_settings(course), read_environ())
    exposed = config.model_copy(update={"sandbox": "none"})
    async with momentary_supervisor(exposed, own_cache=True) as moment:
        socket = moment.place / "supervisor.sock"
        found = await look_from_inside(moment.client, moment.place / "proof", [socket])
    assert {"file", "process"} <= {each.what for each in found}
    assert str(socket) in {each.which for each in found}


@pytest.mark.full
async def test_the_supervisor_of_a_moment_is_gone_after_it(course: Path) -> None:
    config = supervisor_config(load_settings(course), read_environ())
    async with momentary_supervisor(config, own_cache=True) as moment:
        assert moment.client.child is not None
        pid = moment.client.child.pid
    assert not psutil.pid_exists(pid)
    assert not moment.place.exists()


def test_a_session_that_says_nothing_proves_nothing() -> None:
    with pytest.raises(RemoteFailed, match="no such file"):
        read_report("PROOF file /x\nsh: no such file\n")


@pytest.mark.full
def test_a_database_that_opens_is_fine_and_one_of_a_newer_mograder_is_not(course: Path) -> None:
    file = course / ".mograder" / "hub.db"
    engine = open_engine(f"sqlite:///{file}")
    upgrade(engine)
    engine.dispose()
    assert "  [ok] database: opens\n" in cli("hub check", str(course)).out
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    out = cli("hub check", str(course), status=1).out
    assert "  [!!] database: The database was written by a newer mograder" in out


@pytest.mark.full
def test_d5_damaged_pages_of_the_database_and_the_marks_are_a_problem(course: Path) -> None:
    """The file opens, and the hub would not start on it."""
    file = course / ".mograder" / "hub.db"
    engine = open_engine(f"sqlite:///{file}")
    upgrade(engine)
    engine.dispose()
    with Gradebook(course / "gradebook.db") as book:
        rows = [SentGrade(number, "1.00", comment="x" * 50) for number in range(3000)]
        book.record_sent("https://moodle.test", 1, rows, datetime(2026, 9, 1, tzinfo=UTC))
    cli("hub check", str(course))
    for path, table in ((file, "audit"), (course / "gradebook.db", "uploads")):
        with closing(sqlite3.connect(path)) as database:
            wanted = "SELECT rootpage FROM sqlite_master WHERE name = ?"
            (page,) = database.execute(wanted, (table,)).fetchone()
        data = bytearray(path.read_bytes())
        data[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
        path.write_bytes(data)
    out = cli("hub check", str(course), status=1).out
    assert f"  [!!] database: {file} is damaged: " in out
    assert f"  [!!] gradebook: {course / 'gradebook.db'} is damaged: " in out


def test_the_forged_header_is_tried_through_the_public_address(course: Path, hub: FakeHub) -> None:
    """security.md: `hub check --url`."""
    hub.answers("/live/health", status="ok")
    hub.replies["/live/assignments"] = Reply(403, b"403 Forbidden", "text/plain")
    loaded = load_settings(course)
    line = examine_front(loaded.settings.hub, f"{hub.url}/live/")
    assert line.level is Level.OK
    assert [each.headers.get("x-remote-user") for each in hub.asked][1:] == [
        None,
        "mograder-check",
    ]
    hub.replies["/live/assignments"] = Reply(200, b"[]")
    assert examine_front(loaded.settings.hub, f"{hub.url}/live").level is Level.PROBLEM


def believing(hub: FakeHub, header: str) -> None:
    """Admit the people that the header names, and no others."""

    class Replies(dict[str, Reply]):
        def get(self, path: str, default: Reply | None = None) -> Reply | None:  # type: ignore[override]
            if path != "/assignments":
                return super().get(path, default)
            named = header in hub.asked[-1].headers
            return Reply(200, b"[]") if named else Reply(403, b"403 Forbidden", "text/plain")

    hub.replies = Replies(hub.replies)
    hub.answers("/health", status="ok")


def test_a_hub_that_trusts_no_header_is_tried_by_the_usual_one(
    course: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    believing(hub, "remote-user")
    settings(course, "trusted_header = ''\n")
    monkeypatch.chdir(course)
    printed = cli("hub check --url", hub.url, status=1)
    assert "does not believe a client's own X-Remote-User" in printed.out
    odd = cli("hub check --url", hub.url, "--trusted-header", "Ü", status=2)
    assert "must be the name of an HTTP header" in odd.err


@pytest.mark.parametrize("told", ["by its settings", "by an option"])
def test_n2_the_header_of_a_course_is_the_one_that_is_forged(
    course: Path, hub: FakeHub, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory is the course, if it has settings; elsewhere an option names it."""
    believing(hub, "remote-user")
    settings(course, "trusted_header = 'Remote-User'\n")
    monkeypatch.chdir(course if told == "by its settings" else tmp_path)
    option = [] if told == "by its settings" else ["--trusted-header", "Remote-User"]
    printed = cli("hub check --url", hub.url, *option, status=1)
    assert "passes on a client's own Remote-User: anybody can come in" in printed.out


@pytest.mark.full
@SYSTEMS
def test_from_another_system_the_public_address_is_checked_and_no_course(
    hub: FakeHub, system: System, tmp_path: Path
) -> None:
    hub.answers("/health", status="ok")
    other = OtherSystem(system)
    seen = other.ran("hub", "check", "--url", hub.url, cwd=tmp_path, status=1)
    assert "does not believe a client's own X-Remote-User" in seen.stdout
    refused = other.ran("hub", "check", cwd=tmp_path, status=78)
    assert "Error: mograder hub check of a course runs on Linux only" in refused.stderr
