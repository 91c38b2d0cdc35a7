"""The units that are shipped, what is ours beside them, and what a hub needs (B9-B18)."""

from __future__ import annotations

import re
import secrets
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from mograder.auth.credentials import make_token
from mograder.core.settings import read_environ
from mograder.operations.deploy_files import shipped_file
from mograder.operations.install.data import ensure_secret
from mograder.operations.preflight import secret_of
from mograder.operations.report import Level
from mograder.sandbox.nodes.node_config import node_config
from tests.support.course import REPOSITORY
from tests.unit.deploy.machine import FakeHost

HUB, SESSIONS, SOCKET = "mograder-hub.service", "mograder-sessions.service", "mograder-hub.socket"
BACKUP, TIMER = "mograder-backup.service", "mograder-backup.timer"
ALARM = "mograder-alarm@.service"
NODE = "mograder-node.service"
ALL = (HUB, SESSIONS, SOCKET, BACKUP, TIMER, ALARM, NODE)
BREAKS_BUBBLEWRAP = {
    "ProtectKernelTunables",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "ProtectProc",
    "ProcSubset",
    "PrivateUsers",
    "RestrictNamespaces",
    "SystemCallFilter",
    "MountAPIVFS",
    "MemoryDenyWriteExecute",
}
"""With any of these a sandbox gets no /proc, no namespaces, or no compiled code."""


def unit(name: str) -> dict[str, list[str]]:
    """The values of each key, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in (REPOSITORY / "deploy" / name).read_text("utf-8").splitlines():
        key, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found[key].append(value)
    return found


_MOUNTS = "/srv/mograder /srv/mograder/hub-notebooks"
"""Without a volume of the data none starts: students' work may be on a volume of its own."""

_SERVICE = {
    "User": "mograder",
    "Group": "mograder",
    "WorkingDirectory": "/srv/mograder/course",
    "Type": "notify",  # so that systemd knows when it answers
    "NotifyAccess": "main",
    "Restart": "on-failure",
    "RestartSec": "5",
    "WantedBy": "multi-user.target",
    "RequiresMountsFor": _MOUNTS,
}
_SANDBOXES = {
    "Delegate": "yes",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "CapabilityBoundingSet": "",
}
SAYS = {
    HUB: {
        **_SERVICE,
        "Description": "mograder hub server",
        "ExecStart": "/opt/mograder/current/bin/mograder hub --headless",
        # A credential, so that neither `ps` nor `systemctl show` tells it.
        "LoadCredential": "hub-secret:/etc/mograder/hub-secret",
        # The only hub, ended by a restart of PostgreSQL, is back before the nodes' leases are over.
        "RestartSec": "1",
        # As operate.md says of a full disk: nobody has to start it once there is room.
        "StartLimitIntervalSec": "0",
        "NoNewPrivileges": "yes",
    },
    SESSIONS: {
        **_SERVICE,
        **_SANDBOXES,
        "ExecStart": "/opt/mograder/current/bin/mograder hub supervisor",
        "EnvironmentFile": "-/etc/mograder/build.env",
        "RuntimeDirectoryPreserve": "yes",
    },
    SOCKET: {
        "ListenStream": "127.0.0.1:8080",  # connections wait there while the hub restarts
        "WantedBy": "multi-user.target",
        "DefaultDependencies": "no",  # the machine's start must not wait for a volume
        "RequiresMountsFor": _MOUNTS,
    },
    BACKUP: {"RequiresMountsFor": _MOUNTS, "OnFailure": "mograder-alarm@%n.service"},
    TIMER: {"Persistent": "true"},
    NODE: {
        **_SANDBOXES,
        "ExecStart": "/opt/mograder/current/bin/mograder node run",
        "LoadCredential": "node-token:/etc/mograder/node-token",
        "Restart": "on-failure",  # a node that was drained has ended well, and stays ended
        "TimeoutStopSec": "150s",
    },
}
"""What each unit says once, by key."""


@pytest.mark.parametrize("name", SAYS)
def test_each_unit_says_what_is_promised(name: str) -> None:
    """B12, B13, B14, B15, B17, B18, B21; no -C, since the course is the working directory."""
    found = unit(name)
    assert {key: found[key] for key in SAYS[name]} == {
        key: [value] for key, value in SAYS[name].items()
    }


@pytest.mark.parametrize("name", [HUB, SESSIONS])
def test_b16_the_course_is_named_in_the_environment_and_no_secret(name: str) -> None:
    """B13, B15, B16; one that hangs is restarted."""
    found = unit(name)
    assert "MOGRADER_COURSE_DIR=/srv/mograder/course" in found["Environment"]
    assert "SECRET" not in " ".join(found["Environment"])
    assert "network.target" in found["After"][0].split()
    assert found["WatchdogSec"]


def test_the_hub_trusts_the_authorities_that_its_check_trusts() -> None:
    """Else `mograder-hub check` finds a provider well whose certificate the hub refuses."""
    wrapper = (REPOSITORY / "deploy" / "mograder-hub").read_text("utf-8")
    files = re.findall(r"-p EnvironmentFile=(\S+)", wrapper)
    assert (
        unit(HUB)["EnvironmentFile"] == files == ["-/etc/mograder/build.env", "-/etc/mograder/env"]
    )


@pytest.mark.full
def test_it_is_told_which_services_read_the_hubs_variables(tmp_path: Path) -> None:
    """Limits that stood there were shown as set, and the supervisor did not use them."""
    place = "-/etc/mograder/env"
    readers = {name for name in (HUB, SESSIONS, BACKUP) if place in unit(name)["EnvironmentFile"]}
    assert readers == {HUB, BACKUP}, "sessions run beside student code"
    ensure_secret(FakeHost(tmp_path))
    page = (REPOSITORY / "docs/how-to/deploy.md").read_text("utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith("| `/etc/mograder/env` |"))
    for told in ((tmp_path / "etc/mograder/env").read_text(), row):
        assert "mograder-sessions" in told
        assert "[limits]" in told


def test_b18_enabling_the_hub_enables_what_it_needs() -> None:
    """B18: `systemctl enable --now mograder-hub`."""
    assert set(unit(HUB)["Also"][0].split()) == {SOCKET, SESSIONS}
    assert SOCKET in unit(HUB)["Wants"][0].split()


def test_the_sessions_outlive_the_hub_and_have_no_secret_of_it() -> None:
    hub, sessions = unit(HUB), unit(SESSIONS)
    assert "LoadCredential" not in sessions
    assert hub["RuntimeDirectory"] != sessions["RuntimeDirectory"], "systemd removes the hub's own"
    assert SESSIONS in hub["Wants"][0].split(), "and not Requires=, BindsTo= or PartOf="
    assert not {"Requires", "PartOf", "BindsTo"} & (hub.keys() | sessions.keys())


def test_the_unit_by_hand_finds_the_program_that_the_page_installs() -> None:
    """``uv run`` takes the first ``.venv`` in the working directory and those above it."""
    page = (
        (REPOSITORY / "docs" / "how-to" / "deploy.md").read_text("utf-8").partition("## By hand")[2]
    )
    (course,) = re.findall(r"^WorkingDirectory=(.+)$", page, re.MULTILINE)
    (uv,) = re.findall(r"^ExecStart=(\S+) run mograder hub ", page, re.MULTILINE)
    (home,) = re.findall(r"python3 -m venv (\S+)$", page, re.MULTILINE)
    assert Path(home) in {each / ".venv" for each in (Path(course), *Path(course).parents)}
    assert f"ln -s {home}/bin/uv {uv}\n" in page
    assert f"$ sudo -u mograder mkdir -p {course}\n" in page


def test_the_page_on_fronts_tells_how_the_socket_gets_another_address() -> None:
    """Its address counts and not ``[hub] host``; a hub uses the first of several, so ours goes."""
    page = (REPOSITORY / "docs" / "how-to" / "behind-a-proxy.md").read_text("utf-8")
    address = unit(SOCKET)["ListenStream"][0].replace("127.0.0.1", "0.0.0.0")
    assert f"[Socket]\nListenStream=\nListenStream={address}\n" in page


def test_a_hub_that_cannot_start_closes_its_port_and_one_that_restarts_does_not() -> None:
    """What connects is then refused, and the front shows its page; see test_front_without_hub."""
    hub = unit(HUB)
    (after,) = hub["ExecStopPost"]
    assert '"$$SERVICE_RESULT" = success' in after
    assert hub["ExecStartPost"] == [f"/bin/touch /run/{hub['RuntimeDirectory'][0]}/started"]


@pytest.mark.parametrize("name", [SESSIONS, NODE])
def test_what_breaks_bubblewrap_is_not_among_the_hardening_of_sandboxes(name: str) -> None:
    assert not BREAKS_BUBBLEWRAP & unit(name).keys()


def test_a_node_has_its_own_variables_and_time_to_drain() -> None:
    found = unit(NODE)
    assert found["EnvironmentFile"] == ["-/etc/mograder/build.env", "/etc/mograder/node.env"]
    variables = dict(each.split("=", 1) for each in found["Environment"])
    assert int(variables["MOGRADER_NODE_DRAIN_SECONDS"]) <= 120


def test_a_node_writes_only_where_its_unit_lets_it() -> None:
    """``ProtectSystem=strict``: its user's home, which is elsewhere, is read-only."""
    found = unit(NODE)
    (state,), (runtime,) = found["StateDirectory"], found["RuntimeDirectory"]
    variables = dict(each.split("=", 1) for each in found["Environment"])
    given = {"STATE_DIRECTORY": f"/var/lib/{state}", "RUNTIME_DIRECTORY": f"/run/{runtime}"}
    config = node_config(read_environ({**variables, **given, "HOME": "/home/mograder"}))
    open_ = [*map(Path, given.values()), *map(Path, found["ReadWritePaths"][0].split())]
    used = (config.state, config.supervisor.uv_cache, config.supervisor.runtime, *config.shares)
    assert [place for place in used if not any(map(place.is_relative_to, open_))] == []


@pytest.mark.full
def test_systemd_finds_nothing_to_say_about_them(tmp_path: Path) -> None:
    for name in ALL:
        text = (REPOSITORY / "deploy" / name).read_text("utf-8")
        # Only whether the program is there differs between this machine and a hub's.
        (tmp_path / name).write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / n for n in ALL)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        check=False,
    )
    about_us = [line for line in done.stderr.splitlines() if "mograder" in line]
    assert (done.returncode, about_us) == (0, [])


def test_the_backup_is_the_scheduled_one_and_copies_nothing_into_memory() -> None:
    """On Debian 13 /tmp is a file system in memory."""
    assert unit(BACKUP)["ExecStart"][0].endswith("mograder hub backup --scheduled")
    assert "TMPDIR=/var/tmp" in unit(BACKUP)["Environment"]


@pytest.mark.parametrize("name", [*ALL, "deploy-hub-aws.sh", "mograder-hub"])
def test_what_an_administrator_needs_comes_with_the_program(name: str) -> None:
    assert shipped_file(name).is_file()


def test_b9_python_3_11_is_enough_and_uv_and_marimo_come_along() -> None:
    """B9; bubblewrap is a system package, and recommended: see B83."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
    names = {re.split(r"[^a-z0-9_-]", text)[0] for text in project["dependencies"]}
    assert {"uv", "marimo"} <= names


def test_b10_b11_the_secret_of_the_guide_is_a_good_one(tmp_path: Path) -> None:
    """B10, B11: `python -c "import secrets; print(secrets.token_hex(32))" > hub-secret`."""
    text = secrets.token_hex(32)
    (tmp_path / "hub-secret").write_text(f"{text}\n")
    for environ in ({"CREDENTIALS_DIRECTORY": str(tmp_path)}, {"MOGRADER_HUB_SECRET": text}):
        found = read_environ(environ)
        assert [line.level for line in secret_of(found)] == [Level.OK]
        assert found.hub_secret is not None
        assert make_token(found.hub_secret.get_secret_value(), "alice") == make_token(text, "alice")
