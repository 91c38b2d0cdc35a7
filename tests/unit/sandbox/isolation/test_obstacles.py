"""The remedy for each thing that keeps sandboxes from being made, in the words of the failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.sandbox.isolation.obstacles import (
    Surroundings,
    refusal_of_namespaces,
    remedy_for,
)

NO_NAMESPACE = "bwrap: No permissions to create new namespace"
NO_PIVOT = "bwrap: pivot_root: Operation not permitted"
NO_ROOM = "bwrap: Creating new namespace failed: nesting depth exceeded (ENOSPC)"
NO_PROC = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"
NO_MOUNTS = "The supervisor cannot leave the mount namespace: Operation not permitted."


@pytest.mark.parametrize(
    ("reason", "here", "wanted"),
    [
        (NO_NAMESPACE, Surroundings(filtered=True, covered=True), "seccomp.json"),
        (NO_NAMESPACE, Surroundings(filtered=True, covered=True), "systempaths=unconfined"),
        (NO_PIVOT, Surroundings(is_root=True, filtered=True), "seccomp.json"),
        (NO_PROC, Surroundings(covered=True), "systempaths=unconfined"),
        (NO_PROC, Surroundings(filtered=True, covered=True), "procMount: Unmasked"),
        (NO_MOUNTS, Surroundings(is_root=True, sys_admin=False), "CAP_SYS_ADMIN"),
        (NO_NAMESPACE, Surroundings(sysctl="sysctl -w x=1"), "sysctl -w x=1"),
        (NO_NAMESPACE, Surroundings(profile="docker-default (enforce)"), "apparmor=unconfined"),
        (NO_NAMESPACE, Surroundings(), "AppArmor"),
        (NO_ROOM, Surroundings(filtered=True), "AppArmor"),
    ],
)
def test_the_remedy_is_that_of_the_obstacle(reason: str, here: Surroundings, wanted: str) -> None:
    assert wanted in remedy_for(reason, here)


def test_a_covered_proc_is_not_blamed_on_the_seccomp_profile() -> None:
    """With a profile of the site's own only /proc is in the way."""
    assert "seccomp" not in remedy_for(NO_PROC, Surroundings(filtered=True, covered=True))


def _proc(tmp_path: Path, status: str, mounts: str, **settings: int) -> Path:
    own = tmp_path / "self"
    (own / "attr").mkdir(parents=True)
    (own / "status").write_text(status)
    (tmp_path / "1").mkdir()
    (tmp_path / "1/status").write_text(status)
    (own / "mountinfo").write_text(mounts)
    (own / "attr/current").write_text("docker-default (enforce)\n")
    for name, value in settings.items():
        path = tmp_path / "sys" / name.replace("__", "/")
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    return tmp_path


def test_the_facts_of_a_default_container_are_found(tmp_path: Path) -> None:
    proc = _proc(
        tmp_path,
        "Name:\tsh\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n",
        "40 39 0:5 / /proc rw - proc proc rw\n41 40 0:6 / /proc/kcore rw - tmpfs tmpfs rw\n",
        user__max_user_namespaces=0,
    )
    here = Surroundings.found(proc)
    assert here.filtered
    assert here.covered
    assert not here.sys_admin
    assert here.profile.startswith("docker-default")
    assert "max_user_namespaces" in here.sysctl


def test_the_filters_that_systemd_sets_for_a_service_are_no_containers(tmp_path: Path) -> None:
    """Those of LockPersonality and RestrictRealtime, which forbid no namespaces."""
    proc = _proc(tmp_path, "Seccomp:\t2\n", "")
    assert Surroundings.found(proc).filtered
    (proc / "1/status").write_text("Seccomp:\t0\n")
    assert not Surroundings.found(proc).filtered


def test_an_ordinary_machine_has_nothing_in_the_way(tmp_path: Path) -> None:
    proc = _proc(
        tmp_path,
        "CapEff:\t000001ffffffffff\nSeccomp:\t0\n",
        "22 1 0:5 / /proc rw - proc proc rw\n"
        "23 22 0:9 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n",
    )
    (proc / "self/attr/current").write_text("unconfined\n")
    here = Surroundings.found(proc)
    assert not here.filtered
    assert not here.covered
    assert here.sys_admin
    assert here.profile == here.sysctl == ""


@pytest.mark.full
def test_namespaces_are_really_tried() -> None:
    assert refusal_of_namespaces() == ""


@pytest.mark.full
def test_the_words_of_the_refusal_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f'#!/bin/sh\necho "{NO_NAMESPACE}" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal_of_namespaces() == NO_NAMESPACE
