"""The steps of ``mograder hub install``, on a directory instead of a machine (B1-B8).

The machine's side as a whole runs in ``make test-deploy``.
"""

from __future__ import annotations

import ast
import inspect
import os
import pwd
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mograder.cli.hub import install as command
from mograder.core.errors import Conflict, MograderError, NotFound
from mograder.operations.install import options, steps
from mograder.operations.install.data import ensure_course, ensure_secret, ensure_volume
from mograder.operations.install.options import STEPS, InstallOptions
from mograder.operations.install.program import UNTRIED, ensure_program, examine, point_at
from mograder.operations.install.services import (
    SITE,
    UNIT_PLACE,
    demand_sign_on,
    ensure_services,
    front_text,
)
from mograder.operations.install.steps import next_steps, uninstall
from mograder.operations.install.system import ensure_account, ensure_network, ensure_sandbox, put
from mograder.processes.programs import Host
from tests.support.command_line import cli
from tests.support.course import REPOSITORY
from tests.support.supervisors import short_directory
from tests.unit.deploy.machine import FakeHost, make_current, version

_UNIT = f"{UNIT_PLACE}/mograder-hub.service"


@pytest.mark.parametrize(
    ("chosen", "way"),
    [
        (InstallOptions(domain="hub.example.org"), "--url https://hub.example.org"),
        # Its port is open on its own loopback only, and the course is written elsewhere.
        (InstallOptions(), "--ssh LOGIN@MACHINE"),
        (InstallOptions(port=9000), "--ssh LOGIN@MACHINE --ssh-port 9000"),
    ],
)
def test_the_next_step_after_an_install_reaches_the_hub_from_elsewhere(
    chosen: InstallOptions, way: str
) -> None:
    assert f"     mograder hub publish A1 {way} --token TOKEN\n" in next_steps(chosen)


@pytest.mark.full
def test_an_older_version_than_the_one_that_runs_is_refused(tmp_path: Path) -> None:
    """Going back is a decision: --downgrade, or --rollback."""
    newer, older = version(tmp_path, "1.10.0"), version(tmp_path, "1.9.0")
    make_current(tmp_path, newer)
    host = FakeHost(tmp_path)
    with pytest.raises(Conflict, match=r"mograder 1\.9\.0 is older than 1\.10\.0.*--rollback"):
        examine(host, older, older_too=False)
    examine(host, newer, older_too=False)
    examine(host, older, older_too=True)


@pytest.mark.full
def test_a_version_without_the_units_is_refused_before_anything_changes(tmp_path: Path) -> None:
    """As 0.3.16 is, which has no operations at all."""
    host = FakeHost(tmp_path)
    with pytest.raises(NotFound, match=r"lacks mograder-sessions\.service"):
        examine(host, version(tmp_path, "2.0", files=None), older_too=False)
    with pytest.raises(NotFound, match="holds no mograder"):
        examine(host, tmp_path, older_too=False)


@pytest.mark.full
def test_a_unit_that_systemd_does_not_accept_is_refused(tmp_path: Path) -> None:
    units = tmp_path / "units"
    shutil.copytree(REPOSITORY / "deploy", units)
    (units / "mograder-hub.service").write_text("[Service]\nType=nonsense\n")
    with pytest.raises(Conflict, match="does not accept the units"):
        examine(FakeHost(tmp_path), version(tmp_path, "2.0", files=units), older_too=False)


@pytest.mark.full
def test_the_version_before_is_remembered_and_kept(tmp_path: Path) -> None:
    homes = [version(tmp_path, f"1.{number}") for number in range(7)]
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    for home in (homes[0], homes[6]):
        assert point_at(FakeHost(tmp_path), home)
    top = tmp_path / "opt" / "mograder"
    assert (top / "previous").resolve() == homes[0]
    assert (top / "current").resolve() == homes[6]
    assert homes[0].exists()
    assert len(list((top / "versions").iterdir())) < 7


@pytest.mark.full
def test_a_version_whose_hub_never_started_is_no_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub of 1.1 did not start, and 1.2 is tried then: the way back leads to 1.0."""
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    homes = [version(tmp_path, f"1.{number}") for number in range(3)]
    down = {"systemctl is-active": (3, ""), "systemctl start": (1, "")}

    def deploy(home: Path, answers: dict[str, tuple[int, str]]) -> FakeHost:
        monkeypatch.setattr(sys, "prefix", str(home))
        (home / "bin/mograder").touch()
        host = FakeHost(tmp_path, answers)
        assert ensure_program(host, InstallOptions(downgrade=True))
        return host

    def fail_to_start(host: FakeHost) -> None:
        with pytest.raises(MograderError, match="did not start") as failure:
            ensure_services(host, 8080, program_changed=True)
        assert "mograder hub rollback" in failure.value.hint
        assert (tmp_path / "opt/mograder/previous").resolve() == homes[0]

    ensure_services(deploy(homes[0], {}), 8080, program_changed=True)
    deploy(homes[1], {})  # while the hub of 1.0 is at work
    fail_to_start(FakeHost(tmp_path, down))
    fail_to_start(deploy(homes[2], down))
    assert (tmp_path / "opt/mograder/current").resolve() == homes[2]
    ensure_services(FakeHost(tmp_path), 8080, program_changed=True)
    deploy(homes[0], {})
    assert (tmp_path / "opt/mograder/previous").resolve() == homes[2], "which has run meanwhile"


_SINCE = "systemctl show -P ActiveEnterTimestampMonotonic"


@pytest.mark.full
def test_a_hub_that_is_active_may_be_of_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that installed 1.1 broke off before it restarted the hub, which is 1.0's still."""
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    for number in range(3):
        home = version(tmp_path, f"1.{number}")
        (home / "bin/mograder").touch()
        monkeypatch.setattr(sys, "prefix", str(home))
        ensure_program(FakeHost(tmp_path, {_SINCE: (0, "1000")}), InstallOptions())
        if number == 0:
            (home / UNTRIED).unlink()
    assert (tmp_path / "opt/mograder/current").resolve().name == "1.2"
    assert (tmp_path / "opt/mograder/previous").resolve().name == "1.0"


@pytest.mark.full
@pytest.mark.parametrize(("by_itself", "way_back"), [(True, "1.1"), (False, "1.0")])
def test_a_rollback_remembers_a_version_whose_hub_started_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_itself: bool, way_back: str
) -> None:
    """Such as after a full disk was cleared: the file that says otherwise was never removed."""
    for number in ("1.0", "1.1"):
        home = tmp_path / "opt/mograder/versions" / number
        (home / "bin").mkdir(parents=True)
        (home / "bin/mograder").touch()
    (home / UNTRIED).touch()
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    make_current(tmp_path, home)
    (tmp_path / "opt/mograder/previous").symlink_to(home.with_name("1.0"))
    for step in ("ensure_system", "ensure_services", "verify", "examine"):
        monkeypatch.setattr(steps, step, lambda *_, **__: None)
    started = f"{time.monotonic() + 3600:.0f}000000" if by_itself else "1000"
    host = _StoppedHost(tmp_path, {_SINCE: (0, started)})
    steps.roll_back(host)
    assert (tmp_path / "opt/mograder/current").resolve().name == "1.0"
    assert (tmp_path / "opt/mograder/previous").resolve().name == way_back


class _StoppedHost(FakeHost):
    """One on which a unit that was stopped is not active."""

    def succeeds(self, *command: str) -> bool:
        """As there, until the hub is stopped."""
        stopped = any(line.startswith("systemctl stop") for line in self.ran)
        return not (stopped and "is-active" in command) and super().succeeds(*command)


def test_there_is_no_way_back_to_the_version_that_runs(tmp_path: Path) -> None:
    home = tmp_path / "opt/mograder/versions/1.0"
    (home / "bin").mkdir(parents=True)
    (home / "bin/mograder").touch()
    make_current(tmp_path, home)
    (tmp_path / "opt/mograder/previous").symlink_to(home)
    with pytest.raises(NotFound, match="no version before to go back to"):
        steps.roll_back(FakeHost(tmp_path, dry=True))


@pytest.mark.full
def test_a_program_that_was_replaced_in_its_place_is_restarted_and_told(tmp_path: Path) -> None:
    home = version(tmp_path, "1.0.0")
    make_current(tmp_path, home)
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    assert not point_at(FakeHost(tmp_path), home)
    (info,) = home.glob("lib/python3*/site-packages/mograder_hub-*.dist-info")
    later = info.stat().st_mtime + 60
    os.utime(info, (later, later))
    host = FakeHost(tmp_path)
    assert point_at(host, home)
    assert "was replaced while it was the current one" in host.text
    os.utime(info, (later - 120, later - 120))
    assert not point_at(FakeHost(tmp_path), home), "and only once"
    assert (tmp_path / "opt/mograder/current").resolve() == home


@pytest.mark.full
@pytest.mark.parametrize(
    ("port", "restarted"), [(8080, None), (8123, "mograder-hub.socket mograder-hub.service")]
)
def test_n7_another_port_starts_the_socket_anew(
    tmp_path: Path, port: int, restarted: str | None
) -> None:
    make_current(tmp_path, version(tmp_path, "1.0.0"))
    ensure_services(FakeHost(tmp_path), 8080, program_changed=False)
    host = FakeHost(tmp_path)
    ensure_services(host, port, program_changed=False)
    wanted = [] if restarted is None else [f"systemctl restart {restarted}"]
    assert [line for line in host.ran if " restart " in line] == wanted
    assert f"127.0.0.1:{port}" in (tmp_path / UNIT_PLACE[1:] / "mograder-hub.socket").read_text()


@pytest.mark.full
def test_a_version_that_lacks_a_newer_unit_for_upkeep_can_be_gone_back_to(tmp_path: Path) -> None:
    files = tmp_path / "files"
    shutil.copytree(REPOSITORY / "deploy", files)
    (files / "mograder-backup.timer").write_text("")
    make_current(tmp_path, version(tmp_path, "1.0.0", files=files))
    timer = tmp_path / UNIT_PLACE[1:] / "mograder-backup.timer"
    timer.parent.mkdir(parents=True)
    timer.write_text("[Timer]\n")
    host = FakeHost(tmp_path)
    ensure_services(host, 8080, program_changed=True)
    assert "this version has no mograder-backup.timer" in host.text
    assert timer.read_text() == "[Timer]\n"
    assert "systemctl restart mograder-hub.socket mograder-hub.service" in host.ran


@pytest.mark.full
def test_what_an_earlier_run_wrote_before_it_broke_off_is_taken(tmp_path: Path) -> None:
    """The connection broke between a file and the restart; then all is as it should be."""
    make_current(tmp_path, version(tmp_path, "1.0.0"))
    ensure_services(FakeHost(tmp_path), 8123, program_changed=True)
    before, after = "1000", f"{time.monotonic() + 3600:.0f}000000"
    hub = "mograder-hub.service"
    for since, restarted in (
        (before, [f"systemctl restart mograder-hub.socket {hub}"]),
        (after, []),
    ):
        host = FakeHost(tmp_path, {"systemctl show -P ActiveEnterTimestampMonotonic": (0, since)})
        ensure_services(host, 8123, program_changed=False)
        assert [line for line in host.ran if " restart " in line] == restarted
        assert "systemctl daemon-reload" in host.ran


@pytest.mark.full
def test_a_new_network_of_the_site_reaches_the_hub_and_its_builds(tmp_path: Path) -> None:
    """The services read these variables when they start; the supervisor's restart is told only."""
    make_current(tmp_path, version(tmp_path, "1.0.0"))
    ensure_services(FakeHost(tmp_path), 8080, program_changed=True)
    since = f"{time.monotonic() - 30:.0f}000000"
    for each in tmp_path.rglob("mograder*"):  # all that is there is older than the services
        os.utime(each, (1, 1), follow_symlinks=False)
    os.utime(tmp_path / "opt/mograder/current", (1, 1), follow_symlinks=False)
    for chosen, restarted in (
        (InstallOptions(), []),
        (InstallOptions(index_url="https://mirror.example.org/"), ["mograder-hub.service"]),
    ):
        host = FakeHost(tmp_path, {"systemctl show -P ActiveEnterTimestampMonotonic": (0, since)})
        ensure_network(host, chosen)
        ensure_services(host, 8080, program_changed=False)
        names = [line.rpartition(" ")[2] for line in host.ran if " restart " in line]
        assert names == restarted
        assert ("systemctl restart mograder-sessions" in host.text) == bool(restarted)


@pytest.mark.full
def test_a_dry_run_says_of_each_thing_that_it_is_not_done(tmp_path: Path) -> None:
    """Beside the restart: somebody's own unit, and the site's authority."""
    certificate = tmp_path / "site.crt"
    certificate.write_text("-----BEGIN CERTIFICATE-----")
    make_current(tmp_path, version(tmp_path, "1.0.0"))
    (tmp_path / UNIT_PLACE[1:]).mkdir(parents=True)
    (tmp_path / _UNIT[1:]).write_text("[Service]\n")
    host = FakeHost(tmp_path, dry=True)
    ensure_network(host, InstallOptions(ca_file=str(certificate)))
    ensure_services(host, 8080, program_changed=True)
    for text in ("a unit of your own", "trusting the certificates", "restarting the hub"):
        assert f"(a dry run, so not done:) {text}" in host.text
    assert not [line for line in host.ran if "restart" in line]
    assert (tmp_path / _UNIT[1:]).read_text() == "[Service]\n"


@pytest.mark.parametrize(
    ("status", "checked"), [("Waiting: another hub is at work", ""), ("Serving", " --session")]
)
def test_the_hub_that_waits_is_well_without_an_answer_of_its_own(
    tmp_path: Path, status: str, checked: str
) -> None:
    """Of two hubs it is upgraded first; it answers 503 to everything."""
    answers = {"systemctl show -P StatusText": (0, status), "curl": (22, "")}
    host = FakeHost(tmp_path, answers)
    steps.verify(host, InstallOptions(domain="hub.example.org"))
    assert host.ran[-1] == f"/usr/local/sbin/mograder-hub check{checked}"
    assert bool(host.problems) == bool(checked)


def test_b2_to_b5_the_steps_are_taken_in_the_order_in_which_they_need_each_other() -> None:
    """B2 dependencies, B3 the user, B4 the settings, B5 the service; and B8 at the end.

    A dry run from afar names the same.
    """
    taken = re.findall(r"\b(ensure_\w+|verify)\(", inspect.getsource(steps.install))
    assert taken == [name for name, _ in STEPS]
    order = ["ensure_packages", "ensure_account", "ensure_course", "ensure_services", "verify"]
    assert sorted(order, key=taken.index) == order


_DISK = "/dev/loop0"
_EMPTY = {
    "findmnt": (1, ""),
    "lsblk -nro NAME": (0, "loop0\n"),
    "lsblk -nro MOUNTPOINT": (0, "\n"),
    "blkid -p": (2, ""),
    "mountpoint": (1, ""),
}


@pytest.mark.parametrize(
    "found",
    [
        {"lsblk -nro NAME": (0, "loop0\nloop0p1\n")},
        {"wipefs": (0, "0x1fe dos\n")},
        {"blkid -p -o value -s TYPE": (0, "swap\n")},
        {"blkid -p /dev": (0, "/dev/loop0: PTTYPE=dos\n")},
    ],
    ids=["partitions", "signature", "swap", "table"],
)
def test_b6_what_is_not_empty_is_not_formatted(
    tmp_path: Path, found: dict[str, tuple[int, str]]
) -> None:
    """Every signature is asked for, of partitions too, before mkfs."""
    host = FakeHost(tmp_path, found | {key: _EMPTY[key] for key in _EMPTY if key not in found})
    with pytest.raises(Conflict, match="I format nothing that holds something"):
        ensure_volume(host, InstallOptions(volume=_DISK))
    assert not [line for line in host.ran if "mkfs" in line or line.startswith("mount ")]


def test_b6_b21_an_empty_disk_is_formatted_and_found_by_its_uuid(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    others = b"# f\xfcr /srv/mograder\n/dev/sda1 / ext4 defaults 0 1\n"
    (tmp_path / "etc/fstab").write_bytes(others)

    class Formatting(FakeHost):
        """Has a file system once it is made."""

        def ask(self, *command: str) -> str:
            made = any(line.startswith("mkfs.ext4") for line in self.ran)
            values = {"TYPE": "ext4", "UUID": "1234-5678"}
            return values[command[5]] if made and command[0] == "blkid" else super().ask(*command)

    host = Formatting(tmp_path, _EMPTY)
    ensure_volume(host, InstallOptions(volume=_DISK))
    assert f"mkfs.ext4 -q -L mograder {_DISK}" in host.ran
    written = (tmp_path / "etc/fstab").read_bytes()
    assert written.startswith(others), "whatever encoding an administrator uses"
    line = written.removeprefix(others).decode()
    assert line.split()[:3] == ["UUID=1234-5678", "/srv/mograder", "ext4"]
    assert "nofail" in line
    assert host.ran[-1] == "mount /srv/mograder"


@pytest.fixture
def devices() -> Iterator[Path]:
    """A place for disks: paths of devices have no spaces."""
    with short_directory() as place:
        yield place


def test_b6_a_disk_of_several_names_is_known_again(tmp_path: Path, devices: Path) -> None:
    """A logical volume is /dev/dm-0; the mount table and people call it /dev/mapper/…."""
    disk, name = devices / "dm-0", devices / "mapper-data"
    disk.touch()
    name.symlink_to(disk)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text(f"{name} /srv/mograder ext4 defaults 0 2\n")
    mounted = {
        "findmnt": (0, str(name)),
        "blkid -p -o value -s TYPE": (0, "ext4"),
        "lsblk -nro MOUNTPOINT": (0, "/srv/mograder"),
    }
    host = FakeHost(tmp_path, mounted)
    ensure_volume(host, InstallOptions(volume=str(name)))
    assert host.told[-1] == "[deploy] mounted"


@pytest.mark.parametrize(
    ("listed", "right"),
    [("UUID=1-2", False), ("LABEL=old", False), ("UUID=3-4", True), ("LABEL=new", True)],
)
def test_b6_a_new_disk_is_not_formatted_where_the_old_one_would_be_mounted(
    tmp_path: Path, listed: str, right: bool
) -> None:
    """Such as for a dead one, whose line is still in /etc/fstab."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text(f"{listed} /srv/mograder ext4 defaults 0 2\n")
    kinds = {"blkid -p -o value -s UUID": (0, "3-4"), "blkid -p -o value -s TYPE": (0, "ext4")}
    names = {"findfs LABEL=new": (0, _DISK), "findfs": (1, "")}
    host = FakeHost(tmp_path, {**kinds, **names, **_EMPTY})
    if right:
        ensure_volume(host, InstallOptions(volume=_DISK))
        return
    with pytest.raises(Conflict, match=rf"has {listed} for /srv/mograder, and that is not {_DISK}"):
        ensure_volume(host, InstallOptions(volume=_DISK))
    assert not [line for line in host.ran if line.startswith(("mkfs", "mount "))]


@pytest.mark.parametrize("volume", ["auto", "none"])
def test_b6_no_course_is_made_where_a_volume_is_missing(tmp_path: Path, volume: str) -> None:
    """Its disk is detached while the deployment is run again: what was made would be hidden."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text("UUID=1-2 /srv/mograder ext4 defaults,nofail 0 2\n")
    host = FakeHost(tmp_path, {**_EMPTY, "test -b": (1, "")})
    with pytest.raises(Conflict, match=r"is in /etc/fstab and not mounted.*mount /srv/mograder"):
        ensure_volume(host, InstallOptions(volume=volume))
    assert not (tmp_path / "srv").exists()


def test_b6_data_that_a_volume_would_hide_is_told(tmp_path: Path) -> None:
    (tmp_path / "srv/mograder/course").mkdir(parents=True)
    with pytest.raises(Conflict, match="would hide"):
        ensure_volume(FakeHost(tmp_path, _EMPTY), InstallOptions(volume=_DISK))
    missing = FakeHost(tmp_path, {**_EMPTY, "test -b /dev/none": (1, "")})
    with pytest.raises(NotFound, match="There is no disk /dev/none"):
        ensure_volume(missing, InstallOptions(volume="/dev/none"))


def test_a_course_on_a_share_that_distrusts_root_is_read_as_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upgrade of one of two hubs: its file is seen by its owner alone, and nothing is given."""
    course, away = tmp_path / "srv/mograder/course", tmp_path / "mograder.toml"
    course.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(course, 1000, 1000)
    owner = course.stat()
    account = SimpleNamespace(pw_uid=owner.st_uid, pw_gid=owner.st_gid)
    away.write_text("[hub]\nport = 8080\npublic_url = 'https://hub.example.org'\n")
    user = [0]

    def become(uid: int) -> None:
        source, target = (away, course) if uid else (course / away.name, tmp_path)
        source.rename(target / away.name)
        user[0] = uid

    monkeypatch.setattr(os, "geteuid", lambda: user[0])
    monkeypatch.setattr(os, "seteuid", become)
    monkeypatch.setattr(os, "setegid", lambda _: None)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: account)
    host, chosen = FakeHost(tmp_path), InstallOptions(domain="hub.example.org")
    ensure_course(host, chosen)
    assert host.told[-1] == "[deploy] mograder.toml: there, and kept"
    assert not [line for line in host.ran if line.endswith("/course")]
    assert "reverse_proxy 127.0.0.1:8080" in front_text(host, chosen)


def test_a_course_of_another_uid_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its volume is of another machine, where ``useradd`` gave another number."""
    course = tmp_path / "srv/mograder/course"
    course.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(course, 1000, 1000)
    uid = course.stat().st_uid
    account = SimpleNamespace(pw_uid=uid + 1, pw_gid=uid + 1)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: account)
    host = FakeHost(tmp_path)
    told = f"course belongs to uid {uid}, and mograder is uid {uid + 1} here"
    with pytest.raises(Conflict, match=told) as refusal:
        ensure_course(host, InstallOptions())
    assert f"chown -R --from={uid} mograder:mograder /srv/mograder," in refusal.value.hint
    assert host.ran == []


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (
            InstallOptions(domain="hub.example.org", sso_header="X-Uni-User", sso_proxy="10.0.3.7"),
            "--sso-header X-Uni-User --sso-proxy 10.0.3.7",
        ),
        (
            InstallOptions(domain="hub.example.org", remote_user="{http.auth.user.id}"),
            "--remote-user '{http.auth.user.id}'",
        ),
        (InstallOptions(domain="hub.example.org"), ""),
    ],
)
def test_an_upgrade_without_its_sign_on_is_refused(
    tmp_path: Path, before: InstallOptions, again: str
) -> None:
    """Caddy would go on without it, and people could not come in after their day of login."""
    host = FakeHost(tmp_path)
    (tmp_path / "srv/mograder/course").mkdir(parents=True)
    put(host, SITE, front_text(host, before))
    demand_sign_on(host, before)
    demand_sign_on(host, InstallOptions())  # without a domain, the file stays as it is
    without = InstallOptions(domain="hub.example.org")
    if not again:
        demand_sign_on(host, without)
        return
    with pytest.raises(Conflict, match="take the sign-on out of") as refusal:
        demand_sign_on(host, without)
    assert f"Give {again} again" in refusal.value.hint


def test_an_upgrade_with_another_header_than_its_sign_ons_is_refused(tmp_path: Path) -> None:
    """The sign-on passes on what a client sends in a header that it does not set itself."""
    host = FakeHost(tmp_path)
    (tmp_path / "srv/mograder/course").mkdir(parents=True)
    before = InstallOptions(domain="hub.example.org", sso_header="X-Uni-User", sso_proxy="10.0.3.7")
    put(host, SITE, front_text(host, before))
    with pytest.raises(
        Conflict, match=r"user from X-Remote-User, where .* from X-Uni-User"
    ) as refusal:
        demand_sign_on(host, InstallOptions(domain="hub.example.org", sso_proxy="10.0.3.7"))
    assert "Give --sso-header X-Uni-User --sso-proxy 10.0.3.7 again" in refusal.value.hint
    demand_sign_on(host, replace(before, sso_proxy="10.0.3.8"))


@pytest.mark.full
def test_a_program_that_is_not_installed_is_named() -> None:
    """Such as sysctl, on a Debian without procps; the settings count from the next start."""
    told: list[str] = []
    assert not Host(told.append).attempt("mograder-no-such-program", "-q")
    assert told == ["[deploy] !! mograder-no-such-program is not installed here"]


def test_a_user_without_a_home_gets_the_one_that_the_units_name(tmp_path: Path) -> None:
    """As ``useradd --system mograder`` leaves it: systemd starts no unit then."""
    host = FakeHost(tmp_path)
    ensure_account(host)
    made = "install -d -o mograder -g mograder -m 750 /home/mograder"
    assert host.ran == ["id mograder", made]
    (tmp_path / "home/mograder").mkdir(parents=True)
    again = FakeHost(tmp_path)
    ensure_account(again)
    assert made not in again.ran


@pytest.mark.parametrize(
    ("setting", "abi", "loaded"),
    [("1\n", True, True), ("0\n", True, True), ("0\n", False, False), (None, True, False)],
    ids=["24.04", "24.04-off", "newer-kernel", "debian"],
)
def test_the_profile_is_loaded_where_apparmor_can_read_it(
    tmp_path: Path, setting: str | None, abi: bool, loaded: bool
) -> None:
    """A newer kernel on an older system may have the setting, and an AppArmor without the ABI."""
    for name, text in (
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", setting),
        ("etc/apparmor.d/abi/4.0", "" if abi else None),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        if text is not None:
            (tmp_path / name).write_text(text)
    host = FakeHost(tmp_path)
    ensure_sandbox(host)
    assert any(line.startswith("apparmor_parser") for line in host.ran) == loaded
    assert (tmp_path / "etc/apparmor.d/mograder").exists() == loaded


_SECRET = "0123456789abcdef" * 4


@pytest.mark.full
@pytest.mark.parametrize(
    ("unit", "variables"),
    [
        (f"Environment=MOGRADER_HUB_SECRET={_SECRET}", ""),
        (f"Environment='MOGRADER_HUB_SECRET={_SECRET}'", ""),
        (f'Environment=A=b \\\n  "MOGRADER_HUB_SECRET={_SECRET}"', "MOGRADER_HUB_SECRET=other"),
        ("EnvironmentFile=/etc/mograder/env", f"MOGRADER_HUB_SECRET='{_SECRET}'"),
        (
            "Environment=MOGRADER_HUB_SECRET=other\nEnvironmentFile=-/etc/mograder/env",
            f"# it's ours\nMOGRADER_HUB_SECRET={_SECRET} \n",
        ),
    ],
)
def test_the_secret_of_the_deployment_before_is_found_as_systemd_reads_it(
    tmp_path: Path, unit: str, variables: str
) -> None:
    for name, text in ((_UNIT, f"[Service]\n{unit}\n"), ("/etc/mograder/env", variables)):
        (tmp_path / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name[1:]).write_text(text)
    ensure_secret(FakeHost(tmp_path))
    assert (tmp_path / "etc/mograder/hub-secret").read_text() == f"{_SECRET}\n"


@pytest.mark.full
def test_a_deployment_whose_secret_is_not_found_is_told(tmp_path: Path) -> None:
    (tmp_path / _UNIT[1:]).parent.mkdir(parents=True)
    (tmp_path / _UNIT[1:]).write_text("Environment=MOGRADER_HUB_SECRET=<your-secret-here>\n")
    host = FakeHost(tmp_path)
    ensure_secret(host)
    assert "earlier tokens are void" in host.text
    assert len((tmp_path / "etc/mograder/hub-secret").read_text()) == 65


def test_an_empty_file_is_never_written(tmp_path: Path) -> None:
    (tmp_path / "a.service").write_text("[Unit]\n")
    with pytest.raises(MograderError, match="nothing to write"):
        put(FakeHost(tmp_path), "/a.service", "")
    assert (tmp_path / "a.service").read_text() == "[Unit]\n"


def test_a_file_that_no_list_names_is_not_said_to_be_changed(tmp_path: Path) -> None:
    """At the first upgrade there is no list; what is as it should be joins it."""
    for name in ("same", "other"):
        (tmp_path / name).write_text("one\n")
    host = FakeHost(tmp_path)
    assert not put(host, "/same", "one\n")
    assert put(host, "/same", "two\n")
    assert put(host, "/other", "two\n")
    warnings = [line for line in host.told if "!!" in line]
    assert len(warnings) == 1
    assert "/other was not written by this script, as far as it knows" in warnings[0]


def test_a_file_that_somebody_changed_is_kept_and_told(tmp_path: Path) -> None:
    file, host = tmp_path / "mograder.caddy", FakeHost(tmp_path)
    put(host, "/mograder.caddy", "one\n")
    put(host, "/mograder.caddy", "two\n")
    assert "!!" not in host.text, "what we wrote ourselves is no one's"
    file.write_text("two\nand a line of mine\n")
    put(host, "/mograder.caddy", "three\n")
    assert file.read_text() == "three\n"
    assert "/mograder.caddy was changed by somebody" in host.text
    assert "that copy is kept" in host.text
    (copy,) = (tmp_path / "etc/mograder/kept").iterdir()
    assert copy.read_text() == "two\nand a line of mine\n"
    assert copy.stat().st_mode & 0o777 == 0o600
    written = tmp_path / "etc/mograder/written"
    assert written.stat().st_mode & 0o777 == 0o600, "checksums of secrets are in it"


def test_a_caddyfile_that_is_a_link_stays_one(tmp_path: Path) -> None:
    """Such as into a checkout of an administrator's."""
    kept, link = tmp_path / "checkout/Caddyfile", tmp_path / "etc/caddy/Caddyfile"
    for each in (kept, link):
        each.parent.mkdir(parents=True)
    kept.write_text("# mine\nimport mograder.caddy\n")
    link.symlink_to(kept)
    FakeHost(tmp_path).replace_text("/etc/caddy/Caddyfile", "# mine\n")
    assert kept.read_text() == "# mine\n"
    assert link.is_symlink()


def test_the_sites_authority_is_taken_back(tmp_path: Path) -> None:
    certificate = tmp_path / "usr/local/share/ca-certificates/mograder-site.crt"
    certificate.parent.mkdir(parents=True)
    certificate.touch()
    host = FakeHost(tmp_path, dry=True)
    uninstall(host)
    name = "/usr/local/share/ca-certificates/mograder-site.crt"
    assert f"[deploy] would run: rm -f {name}" in host.told


def test_a_node_on_the_machine_ends_with_its_program(tmp_path: Path) -> None:
    """Its unit would start a program that is gone every few seconds, without an end."""
    node = tmp_path / UNIT_PLACE.strip("/") / "mograder-node.service"
    node.parent.mkdir(parents=True)
    node.touch()
    host = FakeHost(tmp_path, dry=True)
    uninstall(host)
    assert "[deploy] would run: systemctl disable --quiet --now mograder-node.service" in host.told
    assert f"[deploy] would run: rm -f {UNIT_PLACE}/mograder-node.service" in host.told


@pytest.mark.full
def test_on_the_machine_itself_it_is_hub_install() -> None:
    """A dry run says what it would do and does none of it."""
    front = "--domain hub.example.org --internal-ca"
    out = cli(f"hub install --systemd --port 8123 {front} --dry-run").out
    assert "would" in out
    assert "A dry run: nothing was changed." in out
    assert not re.search(r"^\[deploy\] (installing|writing|making)", out, re.MULTILINE)


@pytest.mark.full
def test_hub_uninstall_leaves_the_data() -> None:
    out = cli("hub uninstall --dry-run").out
    assert "Left as they are: /srv/mograder, /etc/mograder" in out
    assert not re.search(r"would run: rm .*/(srv|etc)/mograder( |$)", out)


def test_an_installation_with_a_problem_does_not_say_that_the_hub_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find_one(host: Host, _: InstallOptions) -> None:
        host.verified(False, "", "the hub does not answer")

    monkeypatch.setattr(command, "install_hub", find_one)
    told = cli("hub install --systemd", status=1)
    assert "1 thing(s) are not as they should be" in told.err
    assert "The hub runs" not in told.out


def test_hub_install_says_that_it_knows_systemd_only() -> None:
    assert "--systemd" in cli("hub install", status=2).err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--port", "80"), ("--port", ""), ("--volume", ""), ("--sso-header", ""), ("--domain", "x{")],
)
def test_hub_install_checks_its_options_too(option: str, value: str) -> None:
    """An empty value is no value of an option that has a default."""
    assert f"{option} wants" in cli("hub install --systemd", option, value, status=2).err


def test_a_dry_run_too_says_that_the_sites_authority_is_not_there() -> None:
    told = cli("hub install --systemd --ca-file /nowhere --dry-run", status=2)
    assert "--ca-file /nowhere cannot be read" in told.err


def test_the_options_need_an_old_python_and_nothing_of_ours() -> None:
    """The script runs that file on an administrator's computer."""
    tree = ast.parse(Path(options.__file__).read_text("utf-8"), feature_version=(3, 8))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names if isinstance(node, ast.Import)}
    names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    assert names <= {"__future__", "dataclasses", "pathlib", "re", "sys", "textwrap"}
