"""``deploy/image``, ``deploy/swarm`` and ``deploy/slurm``: rights, shares and times that fit."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from scripts.gen_seccomp_profile import NEEDED, PROFILE
from tests.support.course import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
ROOTS_RIGHTS = ["SYS_ADMIN", "SETUID", "SETGID", "SETPCAP"]
COURSE, SHARE = "/srv/mograder/course", "/srv/mograder/share"
IN_THE_SHARE = {
    "MOGRADER_HUB_NOTEBOOKS_DIR": f"{SHARE}/hub-notebooks",
    "MOGRADER_HUB_RELEASE_DIR": f"{SHARE}/hub-release",
    "MOGRADER_NODES_RUNS_DIR": f"{SHARE}/hub-runs",
}
"""What nodes need of a hub's files, and nothing else."""


def service(file: str, name: str) -> dict[str, Any]:
    """A service of the Swarm stack."""
    text = (DEPLOY / "swarm" / file).read_text()
    found: dict[str, Any] = yaml.safe_load(text)["services"][name]
    return found


def test_the_profile_refuses_by_default_and_adds_only_what_is_needed() -> None:
    profile = json.loads(PROFILE.read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    *_, added = profile["syscalls"]
    assert (added["names"], added["action"]) == (sorted(NEEDED), "SCMP_ACT_ALLOW")
    for rule in profile["syscalls"][:-1]:
        by_everybody = not (rule.get("includes") or rule.get("args") or rule.get("excludes"))
        assert rule["action"] != "SCMP_ACT_ALLOW" or not (
            by_everybody and {"mount", "setns", "unshare"} & set(rule["names"])
        )


def test_services_of_the_stack_have_the_rights_that_the_entry_point_gives_up() -> None:
    for each in (service("hub.yml", "hub"), service("nodes.yml", "node")):
        assert (each["user"], each["cap_drop"]) == ("root", ["ALL"])
        assert each["cap_add"] == ROOTS_RIGHTS
    entry = (DEPLOY / "image" / "entrypoint").read_text()
    for option in ("--reuid 1000", "--bounding-set -all", "--inh-caps -all", "--no-new-privs"):
        assert option in entry


def test_hubs_and_nodes_of_the_stack_share_one_directory_and_the_course_is_the_hubs() -> None:
    hub, node = service("hub.yml", "hub"), service("nodes.yml", "node")
    mounts = [
        [(mount["source"], mount["target"]) for mount in each["volumes"] if mount["type"] == "bind"]
        for each in (hub, node)
    ]
    assert mounts == [[(COURSE, COURSE), (SHARE, SHARE)], [(SHARE, SHARE)]]
    assert hub["environment"]["MOGRADER_COURSE_DIR"] == COURSE
    assert {name: hub["environment"][name] for name in IN_THE_SHARE} == IN_THE_SHARE
    assert node["environment"]["MOGRADER_NODE_SHARE"] == SHARE


def test_a_node_of_the_stack_gets_its_token_and_no_other_secret() -> None:
    node = service("nodes.yml", "node")
    assert [each["target"] for each in node["secrets"]] == ["node-token"]
    assert "DATABASE" not in json.dumps(node)
    assert "hub-secret" not in json.dumps(node)


def test_each_engine_waits_longer_than_a_node_drains() -> None:
    swarm = service("nodes.yml", "node")
    drain = swarm["environment"]["MOGRADER_NODE_DRAIN_SECONDS"]
    assert (drain, swarm["stop_grace_period"]) == ("${MOGRADER_NODE_DRAIN_SECONDS:-120}", "150s")
    node = (DEPLOY / "kubernetes" / "base" / "node.yaml").read_text()
    pod = yaml.safe_load(node)["spec"]["template"]["spec"]
    variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert pod["terminationGracePeriodSeconds"] > int(variables["MOGRADER_NODE_DRAIN_SECONDS"])
    memory = int(pod["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi"))
    assert int(variables["MOGRADER_NODE_MEMORY_MB"]) < memory * 1024


def test_slurms_signals_reach_the_node_and_come_before_the_end_of_its_time() -> None:
    script = (DEPLOY / "slurm" / "mograder-node.sbatch").read_text()
    assert re.search(r"(?m)^#SBATCH --signal=B:USR1@900$", script)
    assert re.search(r"(?m)^#SBATCH --requeue$", script)
    assert script.rstrip().endswith('exec "$program" node run --token-file "$MOGRADER_NODE_TOKENS"')


def test_no_other_user_of_a_cluster_owns_what_holds_a_jobs_environments(tmp_path: Path) -> None:
    """Anybody may make directories in /var/tmp, and rename what is in those that are theirs."""
    program = tmp_path / "mograder"
    program.write_text('#!/bin/sh\nprintf %s "$MOGRADER_NODE_STATE"\n')
    program.chmod(0o755)
    environ = {
        "PATH": os.environ["PATH"],
        "SLURMD_NODENAME": f"c{secrets.token_hex(8)}",
        "MOGRADER_PROGRAM": str(program),
        "MOGRADER_NODE_HUB": "https://hub.example.edu",
        "MOGRADER_NODE_SHARE": SHARE,
        "MOGRADER_NODE_TOKENS": "tokens",
    }
    script = DEPLOY / "slurm" / "mograder-node.sbatch"

    def state(**more: str) -> Path:
        run = ["bash", str(script)]
        return Path(subprocess.check_output(run, env=environ | more, text=True))

    own = state()
    try:
        assert own.parent == Path("/var/tmp")
        assert own.stat().st_mode & 0o777 == 0o700
    finally:
        own.rmdir()
    chosen = state(MOGRADER_NODE_STATE=str(tmp_path / "chosen"))
    assert chosen == tmp_path / "chosen" / environ["SLURMD_NODENAME"]
