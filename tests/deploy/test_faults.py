"""Faults of a hub's machine, and the findings of `mograder-hub check` for each.

The faults are made one after the other on one machine; each is repaired before the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.deploy.machine import Machine
from tests.deploy.test_deployment import (
    URL,
    deployed,
    machine,
    place,
    wheel,
)

pytestmark = pytest.mark.full

__all__ = ["deployed", "machine", "place", "wheel"]

COURSE = "/srv/mograder/course"
_ALL = "mograder-sessions mograder-hub.socket mograder-hub"


def tried(machine: Machine, command: str) -> tuple[int, str]:
    """Run a command there; return its exit status and output."""
    said = machine.run(f"({command}) 2>&1; echo status=$?")
    text, _, status = said.rstrip().rpartition("status=")
    print(command, text, status, sep="\n")
    return int(status), text


def check(machine: Machine, *options: str) -> tuple[int, str]:
    return tried(machine, " ".join(("mograder-hub check", *options)))


@contextmanager
def harmed(machine: Machine, harm: str, mend: str) -> Iterator[None]:
    """Do harm, and mend it afterwards; the hub runs again then."""
    machine.run(harm)
    try:
        yield
    finally:
        machine.run(f"{mend}; systemctl daemon-reload; systemctl reset-failed")
        machine.run(
            f"systemctl start {_ALL}; curl -fsS --retry 120 --retry-delay 1 "
            "--retry-all-errors -o /dev/null http://127.0.0.1:8080/ready"
        )


@pytest.fixture(autouse=True)
def _hub(deployed: str) -> None:
    """All of them want a hub."""


def test_d7_through_its_own_wrapper_it_knows_caddys_internal_authority(machine: Machine) -> None:
    status, said = check(machine, f"--url {URL}")
    assert "[ok] the address is encrypted, and its certificate is accepted until" in said
    assert "[ok] services: mograder-hub.service, mograder-hub.socket and" in said
    assert status == 0


def test_d1_the_volume_is_missing(machine: Machine) -> None:
    harm = (
        f"cp /etc/fstab /etc/fstab.before; systemctl stop {_ALL}; umount /srv/mograder; "
        "sed -i 's|^UUID=[^ ]* /srv/mograder .*|UUID=11111111-2222-3333-4444-555555555555 "
        "/srv/mograder ext4 defaults,nofail,x-systemd.device-timeout=3s 0 2|' /etc/fstab; "
        "systemctl daemon-reload"
    )
    mend = "mv /etc/fstab.before /etc/fstab; systemctl daemon-reload; mount /srv/mograder"
    with harmed(machine, harm, mend):
        status, said = check(machine)
        assert status == 69
        assert "The volume of /srv/mograder is not mounted" in said
        status, said = tried(machine, "mograder-hub backup - >/tmp/empty")
        assert status == 69
        assert "systemctl start srv-mograder.mount" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hub", "mograder.toml:"),
        ('[limits]\\nmemory_mb = "much"', "limits.memory_mb"),
        ("[limits]\\nmemori_mb = 1", "memori_mb"),
    ],
)
def test_the_settings_have_a_mistake(machine: Machine, text: str, said: str) -> None:
    toml = f"{COURSE}/mograder.toml"
    harm = f"cp -p {toml} /tmp/toml; printf '\\n{text}\\n' >> {toml}"
    with harmed(machine, harm, f"cp -p /tmp/toml {toml}"):
        status, found = check(machine)
        assert status == 2
        assert said in found


@pytest.mark.parametrize("first", [0, 3], ids=["header", "pages"])
def test_d5_the_database_is_damaged(machine: Machine, first: int) -> None:
    file = f"{COURSE}/.mograder/hub.db"
    harm = (
        "systemctl stop mograder-hub.socket mograder-hub; "
        f"cp -p {file} /tmp/hub.db; rm -f {file}-wal {file}-shm; "
        f"tr '\\0' '\\245' </dev/zero | dd of={file} bs=4096 seek={first} count=6 "
        "conv=notrunc iflag=fullblock status=none; systemctl start mograder-hub.socket; "
        "systemctl start mograder-hub || true; "
        'until [ "$(systemctl show -P NRestarts mograder-hub)" -gt 0 ]; do sleep 0.2; done'
    )
    mend = (
        f"systemctl stop mograder-hub.socket mograder-hub; rm -f {file}*; cp -p /tmp/hub.db {file}"
    )
    with harmed(machine, harm, mend):
        status, said = check(machine)
        assert status == 1
        assert "[!!] database: " in said
        assert "damaged" in said
        assert "[!!] services: mograder-hub.service " in said
        assert "[!!] port" not in said


def test_d3_uvs_cache_is_deleted(machine: Machine) -> None:
    machine.run("rm -rf /home/mograder/.cache/uv; systemctl restart mograder-hub")
    assert machine.run("stat -c %U /home/mograder/.cache/uv").strip() == "mograder"
    assert check(machine)[0] == 0


def test_d3_the_environments_are_deleted(machine: Machine) -> None:
    machine.run("rm -rf /srv/mograder/environments")
    status, said = check(machine)
    assert status == 1
    assert "[!!] /srv/mograder/environments is missing, and this user cannot make it" in said
    assert "install -d -o mograder -m 755 /srv/mograder/environments" in said
    machine.run("systemctl restart mograder-hub")
    assert machine.run("stat -c '%U %a' /srv/mograder/environments").split() == ["mograder", "755"]
    assert check(machine, "--session")[0] == 0


def test_d11_the_disk_is_full(machine: Machine) -> None:
    filler = "/srv/mograder/course/filler"
    fill = f"runuser -u mograder -- dd if=/dev/zero of={filler} bs=1M status=none || true; "
    # A hub that stops removes files beside its database, and would find that room again.
    harm = (
        f"systemctl stop mograder-hub.socket mograder-hub; {fill} sync; "
        f"{fill.replace('bs=1M', 'bs=4k oflag=append conv=notrunc')} "
        "systemctl start mograder-hub.socket; systemctl start mograder-hub || true"
    )
    with harmed(machine, harm, f"rm -f {filler}"):
        status, said = check(machine)
        assert status == 1
        assert re.search(r"\d MB free for hub-notebooks, \.mograder.*: sessions leave ", said)
        log = machine.run("journalctl -u mograder-hub -n 40 --no-pager -o cat")
        assert "disk is full" in log or "No space left" in log


def test_d7_the_certificate_has_expired(machine: Machine) -> None:
    make = (
        "openssl req -newkey rsa:2048 -nodes -subj /CN=hub.test -keyout /tmp/old.key "
        "-addext subjectAltName=DNS:hub.test -out /tmp/old.csr 2>/dev/null; "
        "openssl x509 -req -in /tmp/old.csr -signkey /tmp/old.key -days -1 "
        "-copy_extensions copy -out /tmp/old.crt 2>/dev/null"
    )
    serve = "openssl s_server -quiet -www -accept 443 -cert /tmp/old.crt -key /tmp/old.key"
    harm = (
        f"systemctl stop caddy; {make}; systemd-run --quiet --unit=expired {serve}; "
        "until ss -Hltn 'sport = :443' | grep -q .; do sleep 0.1; done"
    )
    with harmed(machine, harm, "systemctl stop expired; systemctl start caddy"):
        status, said = tried(machine, f"SSL_CERT_FILE=/tmp/old.crt mograder-hub check --url {URL}")
        assert status == 1
        assert "[!!] the certificate of hub.test has expired" in said
        assert "Renew it" in said


def test_d5_a_unit_has_failed(machine: Machine) -> None:
    place = "/etc/systemd/system/mograder-hub.service.d"
    text = "[Service]\\nExecStartPre=\\nExecStart=\\nExecStart=/bin/false\\nRestart=no\\n"
    harm = (
        f"mkdir {place}; printf '{text}' > {place}/false.conf; systemctl daemon-reload; "
        "systemctl restart mograder-hub || true"
    )
    with harmed(machine, harm, f"rm -r {place}"):
        status, said = check(machine)
        assert status == 1
        assert "[!!] services: mograder-hub.service has failed (" in said
        # systemd closes the socket of a hub that cannot start, at once or a moment later.
        assert re.search(r"check: [12] issue\(s\) found", said)


def test_d4_a_unit_is_an_empty_file(machine: Machine) -> None:
    unit = "/etc/systemd/system/mograder-sessions.service"
    harm = f"cp {unit} /tmp/unit; : > {unit}; systemctl daemon-reload"
    with harmed(machine, harm, f"cp /tmp/unit {unit}"):
        status, said = check(machine)
        assert status == 1
        assert "mograder-sessions.service is masked, or its file is empty" in said


def test_a_stranger_has_the_port(machine: Machine) -> None:
    harm = (
        "systemctl stop mograder-hub.socket mograder-hub; "
        "systemd-run --quiet --unit=stranger python3 -m http.server 8080 --bind 127.0.0.1; "
        "until ss -Hltn 'sport = :8080' | grep -q .; do sleep 0.1; done"
    )
    with harmed(machine, harm, "systemctl stop stranger"):
        status, said = check(machine)
        assert status == 1
        assert "[!!] port 8080 is in use" in said
        assert "A program of the user root listens there." in said


def test_the_supervisor_is_dead(machine: Machine) -> None:
    with harmed(machine, "systemctl stop mograder-sessions", "true"):
        status, said = check(machine)
        assert status == 1
        assert "[!!] supervisor: No session supervisor answers at /run/mograder" in said
        assert "[!!] services: mograder-sessions.service is inactive" in said


def test_d2_the_nightly_backup_alarms_when_something_is_not_in_it(machine: Machine) -> None:
    closed = "/srv/mograder/hub-notebooks/closed"
    prepare = (
        "install -d -o mograder -g mograder -m 700 /var/backups/mograder; "
        "printf '\\n[backup]\\ndirectory = \"/var/backups/mograder\"\\n' "
        f">> {COURSE}/mograder.toml; "
        "printf '#!/bin/sh\\necho \"$1\" > /tmp/alarm\\n' > /etc/mograder/alarm; "
        "chmod 755 /etc/mograder/alarm; systemctl start mograder-backup"
    )
    machine.run(prepare)
    status, said = check(machine)
    assert "[ok] backups: 1, the newest of " in said
    assert "read back without a fault" in said
    assert status == 0
    harm = (
        f"install -d -o mograder {closed}; chmod 0 {closed}; "
        "systemctl start mograder-backup && exit 1; "
        "until test -s /tmp/alarm; do sleep 0.1; done"
    )
    with harmed(machine, harm, f"rmdir {closed}"):
        assert machine.run("cat /tmp/alarm").strip() == "mograder-backup.service"
        log = machine.run("journalctl -u mograder-backup -n 20 --no-pager -o cat")
        assert "closed: Permission denied" in log
        assert "[!!] services: the last mograder-backup.service failed" in check(machine)[1]


def test_prune_runs_through_the_wrapper(machine: Machine) -> None:
    status, said = tried(machine, "mograder-hub prune --dry-run")
    assert status == 0
    assert "Would free" in said
