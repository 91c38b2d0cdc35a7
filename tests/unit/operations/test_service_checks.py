"""Findings of `hub check` about systemd's units, the volume and the port (D5 of the deployment)."""

from __future__ import annotations

import os
import pwd
import re
import socket
from pathlib import Path

import pytest

from mograder.core.settings import load_settings, read_environ
from mograder.operations.install.data import course_settings
from mograder.operations.install.options import InstallOptions
from mograder.operations.preflight import Examined
from mograder.operations.report import Level
from mograder.operations.service_checks import (
    HUB,
    SESSIONS,
    Units,
    confined_lines,
    listener_of,
    read_units,
    unit_lines,
    volume_lines,
)
from tests.support.course import REPOSITORY

COURSE = Path("/srv/mograder/course")
_AGAIN = "LoadState=loaded\nActiveState=activating\nSubState=auto-restart"


def answer(**states: str) -> str:
    """The output of ``systemctl show`` for the four units (systemd 252), with changes by unit."""
    sound = "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nNRestarts=0"
    unused = "LoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success"
    course = f"Environment=MOGRADER_COURSE_DIR={COURSE} PATH=/usr/bin"
    blocks = {
        "hub": f"Id=mograder-hub.service\n{course}\n{states.get('hub', sound)}",
        "socket": "Id=mograder-hub.socket\nListen=127.0.0.1:8080 (Stream)\n"
        f"{states.get('socket', sound)}",
        "sessions": f"Id=mograder-sessions.service\n{course}\n{states.get('sessions', sound)}",
        "backup": f"Id=mograder-backup.service\n{states.get('backup', unused)}",
    }
    return "\n\n".join(blocks.values()) + "\n"


def said(text: str, course: Path = COURSE) -> list[tuple[Level, str, str]]:
    return [(each.level, each.text, each.hint) for each in unit_lines(read_units(text, course))]


def test_units_that_run_are_one_line_and_those_of_another_course_none() -> None:
    ((level, _, _),) = said(answer())
    assert level is Level.OK
    assert said(answer(), Path("/elsewhere")) == []
    assert said("") == []
    assert said(answer().replace("PATH=/usr/bin", '"TWO=lines\nof it"')) == said(answer())
    assert read_units(answer(), COURSE).listens(8080)
    assert not read_units(answer(), COURSE).listens(80)


def test_the_units_of_a_course_behind_a_link_are_found(tmp_path: Path) -> None:
    """The settings have its real path."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "course").symlink_to(tmp_path / "disk")
    there = f'"MOGRADER_COURSE_DIR={tmp_path}/course"'  # as systemd prints one with a space
    text = answer().replace(f"MOGRADER_COURSE_DIR={COURSE}", there)
    assert len(said(text, tmp_path / "disk")) == 1
    assert said(text, tmp_path) == []


def test_d5_a_unit_that_is_still_starting_is_not_said_to_be_active() -> None:
    state = "LoadState=loaded\nActiveState=activating\nSubState=start\nNRestarts=0"
    ((level, text, _),) = said(answer(hub=state))
    assert level is Level.NOTE
    assert text == "services: mograder-hub.service is starting"


@pytest.mark.parametrize(
    ("unit", "state", "text", "hint"),
    [
        (
            "hub",
            "LoadState=loaded\nActiveState=failed\nResult=exit-code\nExecMainStatus=78",
            "mograder-hub.service has failed (exit-code, status 78)",
            "journalctl -u mograder-hub.service",
        ),
        (
            "hub",
            f"{_AGAIN}\nResult=exit-code\nExecMainStatus=2\nNRestarts=7",
            "is started again and again (exit-code, status 2, 7 restarts)",
            "journalctl",
        ),
        (
            "hub",
            "LoadState=loaded\nActiveState=activating\nSubState=start\nNRestarts=2",
            "is started again and again (no reason, 2 restarts)",
            "journalctl",
        ),
        (
            "sessions",
            "LoadState=masked\nActiveState=inactive",
            "mograder-sessions.service is masked, or its file is empty",
            "run the deployment again",
        ),
        (
            "socket",
            "LoadState=loaded\nActiveState=inactive\nSubState=dead",
            "mograder-hub.socket is inactive",
            "systemctl start mograder-hub.socket",
        ),
        (
            "backup",
            "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code",
            "the last mograder-backup.service failed",
            "journalctl -u mograder-backup.service",
        ),
    ],
)
def test_d5_a_unit_that_does_not_run_is_a_problem_with_its_reason(
    unit: str, state: str, text: str, hint: str
) -> None:
    (found,) = [each for each in said(answer(**{unit: state})) if each[0] is Level.PROBLEM]
    assert text in found[1]
    assert hint in found[2]


def test_a_directory_that_a_unit_mounts_read_only_is_a_problem(tmp_path: Path) -> None:
    """Else every check is good, and every start and hand-in is told that the disk is read-only."""
    inside, outside = tmp_path / "the 1% srv", tmp_path / "data"
    for each in (inside, outside):
        each.mkdir()
    (inside / "hub-notebooks").symlink_to(outside)
    strict = f'LoadState=loaded\nProtectSystem=strict\nReadWritePaths="{inside}" -/run/mograder'
    units = read_units(answer(hub=strict), COURSE)
    places = (inside / "course", inside / "hub-notebooks")
    (line,) = confined_lines(units, {HUB: places, SESSIONS: places})
    assert line.level is Level.PROBLEM
    assert line.text == f"services: {HUB} may not write to {outside}"
    assert line.hint.endswith(f"; then: systemctl restart {HUB}")
    opened = read_units(answer(hub=f'{strict} "{tmp_path}"'), COURSE)
    assert list(confined_lines(opened, {HUB: places})) == []
    (line,) = confined_lines(units, {HUB: [Path("/other"), Path("/my 1% data")]})
    assert 'ReadWritePaths="/my 1%% data" /other; then' in line.hint


def test_the_shipped_units_may_write_to_what_a_new_course_names(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text(course_settings(InstallOptions()))
    loaded = load_settings(tmp_path, environ={})
    written = Examined(loaded, read_environ({}), Units()).written
    for name in (HUB, SESSIONS):
        text = (REPOSITORY / "deploy" / name).read_text("utf-8")
        lines = "\n".join(re.findall(r"(?m)^(?:ProtectSystem|ReadWritePaths)=.*", text))
        units = read_units(f'Id={name}\nLoadState=loaded\n{lines} "{tmp_path}"', tmp_path)
        assert units.get(name, "ProtectSystem") == "strict"
        assert list(confined_lines(units, {name: written[name]})) == []


def test_d1_a_volume_that_is_not_mounted_is_a_problem(tmp_path: Path) -> None:
    fstab, mounts = tmp_path / "fstab", tmp_path / "mounts"
    fstab.write_text(
        "# /dev/x /srv/mograder/course ext4 defaults 0 2\n"
        "UUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n"
        "UUID=3 /srv/mograder ext4 defaults,nofail 0 2\n"
    )
    mounts.write_text("/dev/a / ext4 rw 0 0\n/dev/b /srv/mograder ext4 rw 0 0\n")
    assert list(volume_lines(COURSE, fstab=fstab, mounts=mounts)) == []
    mounts.write_text("/dev/a / ext4 rw 0 0\n")
    (line,) = volume_lines(COURSE, fstab=fstab, mounts=mounts)
    assert line.level is Level.PROBLEM
    assert "mount /srv/mograder" in line.hint
    assert list(volume_lines(Path("/home/course"), fstab=fstab, mounts=mounts)) == []


def test_b21_so_is_a_volume_of_students_work_alone(tmp_path: Path) -> None:
    """B21: as in the seed, beside the course's directory and not above it."""
    fstab, mounts = tmp_path / "fstab", tmp_path / "mounts"
    notebooks = Path("/srv/mograder/hub-notebooks")
    fstab.write_text(f"/dev/xvdf {notebooks} ext4 defaults 0 2\n")
    mounts.write_text("/dev/a / ext4 rw 0 0\n")
    (line,) = volume_lines(COURSE, notebooks, fstab=fstab, mounts=mounts)
    assert f"mount {notebooks}" in line.hint


def test_the_listener_on_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert listener_of(port) == pwd.getpwuid(os.geteuid()).pw_name
    assert listener_of(port) == ""
