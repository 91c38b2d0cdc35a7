"""The units that are shipped: B12-B18, and what is ours beside them."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from mograder.operations.deploy_files import shipped_file
from tests.support.course import REPOSITORY

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


def test_b12_the_hub_is_a_unit_of_that_name_and_description() -> None:
    """B12."""
    assert unit(HUB)["Description"] == ["mograder hub server"]


@pytest.mark.parametrize("name", [HUB, SESSIONS])
def test_b13_b14_it_starts_after_the_network_as_the_service_user_in_the_course(name: str) -> None:
    """B13, B14; Type=notify in the shipped ones, so that systemd knows when they answer."""
    found = unit(name)
    assert "network.target" in found["After"][0].split()
    assert (found["User"], found["Group"]) == (["mograder"], ["mograder"])
    assert found["WorkingDirectory"] == ["/srv/mograder/course"]
    assert found["Type"] == ["notify"]


@pytest.mark.parametrize("name", [HUB, SESSIONS])
def test_b16_the_course_is_named_in_the_environment(name: str) -> None:
    """B16."""
    assert "MOGRADER_COURSE_DIR=/srv/mograder/course" in unit(name)["Environment"]


def test_b15_the_hub_has_the_secret_and_the_supervisor_has_none() -> None:
    """B15: as a credential, so that neither `ps` nor `systemctl show` tells it."""
    assert unit(HUB)["LoadCredential"] == ["hub-secret:/etc/mograder/hub-secret"]
    assert "LoadCredential" not in unit(SESSIONS)
    assert unit(SESSIONS)["EnvironmentFile"] == ["-/etc/mograder/build.env"]
    for name in (HUB, SESSIONS):
        assert "SECRET" not in " ".join(unit(name)["Environment"])


def test_b17_the_commands_are_the_ones_that_mograder_has() -> None:
    """B17: no -C, since the course is the working directory."""
    assert unit(HUB)["ExecStart"] == ["/opt/mograder/current/bin/mograder hub --headless"]
    supervisor = ["/opt/mograder/current/bin/mograder hub supervisor"]
    assert unit(SESSIONS)["ExecStart"] == supervisor


@pytest.mark.parametrize("name", [HUB, SESSIONS])
def test_b18_it_comes_back_after_a_failure_and_starts_with_the_machine(name: str) -> None:
    """B18."""
    found = unit(name)
    assert (found["Restart"], found["RestartSec"]) == (["on-failure"], ["5"])
    assert found["WantedBy"] == ["multi-user.target"]


def test_the_hub_starts_by_itself_as_soon_as_it_can() -> None:
    """As operate.md says of a full disk: nobody has to start it once there is room."""
    assert unit(HUB)["StartLimitIntervalSec"] == ["0"]


def test_b18_enabling_the_hub_enables_what_it_needs() -> None:
    """B18: `systemctl enable --now mograder-hub`."""
    assert set(unit(HUB)["Also"][0].split()) == {SOCKET, SESSIONS}
    assert SOCKET in unit(HUB)["Wants"][0].split()


def test_the_sessions_are_delegated_their_cgroup_and_outlive_the_hub() -> None:
    hub, sessions = unit(HUB), unit(SESSIONS)
    assert sessions["Delegate"] == ["yes"]
    assert sessions["RuntimeDirectoryPreserve"] == ["yes"]
    assert hub["RuntimeDirectory"] != sessions["RuntimeDirectory"], "systemd removes the hub's own"
    assert SESSIONS in hub["Wants"][0].split(), "and not Requires=, BindsTo= or PartOf="
    assert not {"Requires", "PartOf", "BindsTo"} & (hub.keys() | sessions.keys())


def test_a_hub_that_cannot_start_closes_its_port_and_one_that_restarts_does_not() -> None:
    """What connects is then refused, and the front shows its page; see test_front_without_hub."""
    hub = unit(HUB)
    (after,) = hub["ExecStopPost"]
    assert '"$$SERVICE_RESULT" = success' in after
    assert hub["ExecStartPost"] == [f"/bin/touch /run/{hub['RuntimeDirectory'][0]}/started"]


@pytest.mark.parametrize("name", [HUB, SOCKET, SESSIONS, BACKUP])
def test_b21_without_a_volume_of_the_data_none_starts(name: str) -> None:
    """B21: students' work may be on a volume of its own."""
    assert unit(name)["RequiresMountsFor"] == ["/srv/mograder /srv/mograder/hub-notebooks"]


@pytest.mark.parametrize("name", [HUB, SESSIONS])
def test_one_that_hangs_is_restarted(name: str) -> None:
    assert unit(name)["WatchdogSec"]
    assert unit(name)["NotifyAccess"] == ["main"]


@pytest.mark.parametrize("name", [SESSIONS, NODE])
def test_what_breaks_bubblewrap_is_not_among_the_hardening_of_sandboxes(name: str) -> None:
    found = unit(name)
    assert not BREAKS_BUBBLEWRAP & found.keys()
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["CapabilityBoundingSet"] == [""]


def test_a_node_gets_no_secret_of_the_hub_and_has_time_to_drain() -> None:
    found = unit(NODE)
    assert found["LoadCredential"] == ["node-token:/etc/mograder/node-token"]
    assert found["EnvironmentFile"] == ["-/etc/mograder/build.env", "/etc/mograder/node.env"]
    assert found["ExecStart"] == ["/opt/mograder/current/bin/mograder node run"]
    assert found["Delegate"] == ["yes"]
    variables = dict(each.split("=", 1) for each in found["Environment"])
    assert found["TimeoutStopSec"] == ["150s"]
    assert int(variables["MOGRADER_NODE_DRAIN_SECONDS"]) <= 120


def test_the_hub_listens_on_loopback_through_a_socket_of_systemds() -> None:
    """B17's port and host; connections wait there while the hub restarts."""
    found = unit(SOCKET)
    assert found["ListenStream"] == ["127.0.0.1:8080"]
    assert found["WantedBy"] == ["multi-user.target"]
    assert found["DefaultDependencies"] == ["no"], "the machine's start must not wait for a volume"


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


def test_a_backup_that_failed_starts_the_alarm() -> None:
    assert unit(BACKUP)["OnFailure"] == ["mograder-alarm@%n.service"]
    assert unit(BACKUP)["ExecStart"][0].endswith("mograder hub backup --scheduled")
    assert unit(TIMER)["Persistent"] == ["true"]


@pytest.mark.parametrize("name", [*ALL, "deploy-hub-aws.sh", "mograder-hub"])
def test_what_an_administrator_needs_comes_with_the_program(name: str) -> None:
    assert shipped_file(name).is_file()
