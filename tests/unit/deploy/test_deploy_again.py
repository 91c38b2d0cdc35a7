"""A second run of the deployment, and its removal: services restarted, messages, files removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.course import REPOSITORY
from tests.unit.deploy.test_deploy_script import step, version

pytestmark = pytest.mark.full

_MACHINE = """\
changed_program="" units={place}/units wrapper={place}/mograder-hub
mkdir -p $units $settings
systemctl() {{ echo "systemctl $*" >>{place}/log; }}
shipped() {{ echo {repository}/deploy/$1; }}
"""
_LINKS = 'as_account() { :; }; run() { case "$*" in */usr/local*) ;; *) "$@" ;; esac; }\n'


def machine(place: Path) -> str:
    """Functions for a machine on which all services are active, and where its files go."""
    return _MACHINE.format(place=place, repository=REPOSITORY)


@pytest.mark.parametrize(
    ("port", "restarted"), [("8080", None), ("8123", "mograder-hub.socket mograder-hub.service")]
)
def test_n7_another_port_starts_the_socket_anew(
    tmp_path: Path, port: str, restarted: str | None
) -> None:
    assert step(tmp_path, f"{machine(tmp_path)} ensure_services").returncode == 0
    (tmp_path / "log").unlink()
    done = step(tmp_path, f"{machine(tmp_path)} port={port} ensure_services")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "log").read_text().splitlines()
    wanted = [] if restarted is None else [f"systemctl restart {restarted}"]
    assert [line for line in lines if " restart " in line] == wanted
    assert f"127.0.0.1:{port}" in (tmp_path / "units/mograder-hub.socket").read_text()


def test_a_program_that_was_replaced_in_its_place_is_restarted_and_told(tmp_path: Path) -> None:
    home = version(tmp_path, "1.0.0")
    (tmp_path / "top" / "current").symlink_to(home)
    point = f'{_LINKS} point_at {home}; echo "changed=$changed_program"'
    assert step(tmp_path, point).stdout.endswith("changed=\n")
    (info,) = home.glob("lib/python3*/site-packages/mograder_hub-*.dist-info")
    later = info.stat().st_mtime + 60
    os.utime(info, (later, later))
    done = step(tmp_path, point)
    assert done.stdout.endswith("changed=yes\n")
    assert "was replaced while it was the current one" in done.stderr
    os.utime(info, (later - 120, later - 120))
    assert step(tmp_path, point).stdout.endswith("changed=\n"), "and only once"
    assert (tmp_path / "top" / "current").resolve() == home


def test_a_dry_run_says_of_each_thing_that_it_is_not_done(tmp_path: Path) -> None:
    """Beside the restart: somebody's own unit, and the site's authority."""
    certificate = tmp_path / "site.crt"
    certificate.write_text("-----BEGIN CERTIFICATE-----")
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "mograder-hub.service").write_text("[Service]\n")
    (tmp_path / "top" / "current").mkdir(parents=True)
    steps = "keep_foreign_unit; trust_site_authority; ensure_services"
    words = f"dry=yes ca_file={certificate} site_authority={tmp_path}/none"
    done = step(tmp_path, f"{machine(tmp_path)} {words}\n{steps}")
    assert done.returncode == 0, done.stderr
    for text in ("a unit of your own", "trusting the certificates", "restarting the hub"):
        assert f"(a dry run, so not done:) {text}" in done.stdout
    assert "restart" not in (tmp_path / "log").read_text()


def test_the_sites_authority_is_taken_back(tmp_path: Path) -> None:
    certificate = tmp_path / "site.crt"
    certificate.touch()
    remove = f"site_authority={certificate} dry=yes; ensure_removed"
    said = step(tmp_path, f"{machine(tmp_path)} {remove}").stdout
    assert f"would run: rm -f {certificate}" in said
