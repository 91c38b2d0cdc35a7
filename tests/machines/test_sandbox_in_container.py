"""Sandboxes in the image, with the rights that ``deploy`` gives to containers and with fewer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.gen_seccomp_profile import NEEDED, PROFILE
from tests.machines.commands import attempt
from tests.machines.docker_machine import Image, Machine
from tests.support.course import REPOSITORY

pytestmark = pytest.mark.full
UNMASKED = ("--security-opt", "systempaths=unconfined")
NO_RIGHTS = ("--cap-drop=ALL", "--security-opt", "no-new-privileges")
AS_ROOT = (
    "--user=root",
    "--cap-drop=ALL",
    *(f"--cap-add={name}" for name in ("SYS_ADMIN", "SETUID", "SETGID", "SETPCAP")),
)
"""What the Swarm stack gives; the entry point gives it up again."""

CHECK = "mkdir /tmp/course && cd /tmp/course && mograder hub check 2>&1"
GOOD = "[ok] sandbox: a session sees no network"
SECRET = "0123456789abcdef" * 4
WARM_STARTS_ONLY = {"keyctl", "setns"}
"""Calls of the profile that a start without a zygote makes none of."""


def seccomp(profile: Path = PROFILE) -> tuple[str, str]:
    """The option that applies a profile."""
    return ("--security-opt", f"seccomp={profile}")


def in_container(machine: Machine, image: Image, options: tuple[str, ...], script: str) -> str:
    """Run a shell script in a fresh container and return what it said."""
    fixed = ("--rm", "--network=host", f"--env=MOGRADER_HUB_SECRET={SECRET}")
    command = ("docker", "-H", machine.socket, "run", *fixed, *options, image.tag)
    return attempt(*command, "sh", "-c", script, seconds=120).stdout


def test_the_image_starts_as_an_ordinary_user_with_no_right(machine: Machine, image: Image) -> None:
    said = in_container(machine, image, NO_RIGHTS, "id -u; id -g; grep CapBnd /proc/self/status")
    assert said.split() == ["1000", "1000", "CapBnd:", "0000000000000000"]


def test_the_entry_point_gives_up_roots_rights(machine: Machine, image: Image) -> None:
    script = "id -u; id -G; grep -E 'Cap|NoNewPrivs' /proc/self/status"
    said = in_container(machine, image, (*AS_ROOT, *seccomp()), script).split()
    assert said[:2] == ["1000", "1000"]
    rights = dict(zip(said[2::2], said[3::2], strict=True))
    assert rights.pop("NoNewPrivs:") == "1"
    assert set(rights.values()) == {"0000000000000000"}


def test_no_file_of_the_image_gives_rights_to_its_user(machine: Machine, image: Image) -> None:
    script = "find / -xdev \\( -writable -o -user 1000 \\) -not -type l 2>/dev/null"
    writable = in_container(machine, image, NO_RIGHTS, script).splitlines()
    places = ("/tmp", "/var/tmp", "/var/lib/mograder", "/srv/mograder", "/run/lock", "/dev")
    assert [each for each in writable if not each.startswith(places)] == []


def test_the_user_of_the_image_needs_the_profile_and_an_unmasked_proc(
    machine: Machine, image: Image
) -> None:
    """The row of Kubernetes and of plain Docker."""
    assert GOOD in in_container(machine, image, (*seccomp(), *UNMASKED, *NO_RIGHTS), CHECK)
    masked = in_container(machine, image, (*seccomp(), *NO_RIGHTS), CHECK)
    assert "Can't mount proc" in masked
    default = in_container(machine, image, (*UNMASKED, *NO_RIGHTS), CHECK)
    assert "No permissions to create new namespace" in default


def test_root_that_steps_down_needs_no_unmasked_proc(machine: Machine, image: Image) -> None:
    """The row of Swarm, whose services cannot unmask /proc."""
    assert GOOD in in_container(machine, image, (*AS_ROOT, *seccomp()), CHECK)


@pytest.mark.parametrize("call", sorted(set(NEEDED) - WARM_STARTS_ONLY))
def test_each_call_of_the_profile_is_needed(
    machine: Machine, image: Image, tmp_path: Path, call: str
) -> None:
    profile = json.loads(PROFILE.read_text())
    profile["syscalls"][-1]["names"].remove(call)
    without = tmp_path / "without.json"
    without.write_text(json.dumps(profile))
    said = in_container(machine, image, (*seccomp(without), *UNMASKED, *NO_RIGHTS), CHECK)
    assert "[!!] sandbox:" in said
    assert GOOD not in said


def test_the_profile_is_written_from_debians_default() -> None:
    told = attempt(
        REPOSITORY / ".venv/bin/python", "-m", "scripts.gen_seccomp_profile", "--check", seconds=120
    )
    assert told.returncode == 0, told.stdout + told.stderr
