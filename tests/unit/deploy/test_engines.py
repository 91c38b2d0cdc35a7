"""What ``deploy`` has for Kubernetes, Swarm, Slurm and the image: rights, shares, times that fit.

For Kubernetes the published schemas, too, and rules between fields that no schema has.
"""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from scripts.gen_seccomp_profile import NEEDED, PROFILE
from tests.support.course import REPOSITORY

pytestmark = pytest.mark.full

DEPLOY = REPOSITORY / "deploy"
TOP = DEPLOY / "kubernetes"
VERSIONS = ("1.33", "1.37")
"""The oldest with user namespaces and an unmasked /proc by default, and a new one."""

ROOTS_RIGHTS = ["SYS_ADMIN", "SETUID", "SETGID", "SETPCAP"]
"""What the image's entry point needs, and gives up."""

COURSE, SHARE = "/srv/mograder/course", "/srv/mograder/share"
IN_THE_SHARE = {
    "MOGRADER_HUB_NOTEBOOKS_DIR": f"{SHARE}/hub-notebooks",
    "MOGRADER_HUB_RELEASE_DIR": f"{SHARE}/hub-release",
    "MOGRADER_NODES_RUNS_DIR": f"{SHARE}/hub-runs",
}
"""What nodes need of a hub's files, and nothing else."""

Resource = dict[str, Any]


def built(name: str) -> list[Resource]:
    """The resources of a directory with its patches, as ``kubectl kustomize`` writes them."""
    kustomization = yaml.safe_load((TOP / name / "kustomization.yaml").read_text())
    resources = [
        resource
        for entry in kustomization["resources"]
        for resource in (
            built((TOP / name / entry).resolve().name)
            if (TOP / name / entry).is_dir()
            else documents(TOP / name / entry)
        )
    ]
    for patch in kustomization.get("patches", ()):
        operations = yaml.safe_load((TOP / name / patch["path"]).read_text())
        for resource in resources:
            if re.fullmatch(patch["target"]["kind"], resource["kind"]):
                apply(operations, resource)
    return resources


def documents(path: Path) -> list[Resource]:
    """The resources of one file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def apply(operations: list[dict[str, Any]], resource: Resource) -> None:
    """Change a resource as a JSON patch says; what it names must be there."""
    for operation in operations:
        *way, last = operation["path"].strip("/").split("/")
        place: Any = resource
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        assert (last in place) != (operation["op"] == "add"), operation
        if operation["op"] == "remove":
            del place[last]
        else:
            assert operation["op"] in ("replace", "add")
            place[last] = copy.deepcopy(operation["value"])


def pods(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods' specifications by the kind of what makes them."""
    for resource in built(name):
        if resource["kind"] in ("StatefulSet", "DaemonSet"):
            yield resource["kind"], resource["spec"]["template"]["spec"]


def faults(pod: dict[str, Any]) -> list[str]:
    """What an API server refuses, or a sandbox or the site's safety lacks, in words."""
    found = []
    (container,) = pod["containers"]
    rights = container["securityContext"]
    apart = pod.get("hostUsers") is False
    if rights.get("procMount") == "Unmasked" and not apart:
        found.append("procMount Unmasked requires hostUsers false")
    if apart and any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("hostUsers false excludes the machine's namespaces")
    added = set(rights["capabilities"].get("add", ()))
    if added and (pod["securityContext"]["runAsUser"] != 0 or added != set(ROOTS_RIGHTS)):
        found.append("rights that the entry point does not give up")
    if "SYS_ADMIN" in added and not rights["allowPrivilegeEscalation"]:
        found.append("SYS_ADMIN requires allowPrivilegeEscalation")
    if not added and rights["allowPrivilegeEscalation"]:
        found.append("allowPrivilegeEscalation without need")
    if not added and rights.get("procMount") != "Unmasked":
        found.append("no sandbox gets a /proc")
    if rights["capabilities"].get("drop") != ["ALL"] or rights.get("privileged"):
        found.append("rights that nothing needs")
    mounted = {each["name"] for each in container["volumeMounts"]}
    if mounted != {each["name"] for each in pod["volumes"]}:
        found.append("volumes that are not mounted, or mounts without a volume")
    return found


def test_the_page_tells_how_a_command_becomes_the_user_in_a_pod_that_starts_as_root() -> None:
    """``kubectl exec`` starts a command as the pod's user, beside the entry point."""
    assert {pod["securityContext"]["runAsUser"] for _, pod in pods("nfs")} == {0}
    words = "setpriv --reuid 1000 --regid 1000 --clear-groups"
    page = REPOSITORY / "docs" / "how-to" / "nodes-with-kubernetes.md"
    for file in (DEPLOY / "image" / "entrypoint", page):
        assert words in file.read_text("utf-8")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["base", "nfs"])
def test_every_resource_has_the_fields_of_the_published_schemas(name: str, version: str) -> None:
    resources = built(name)
    assert len(resources) > 8
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["base", "nfs"])
def test_the_profiles_of_the_page_fit_the_pods(name: str, version: str) -> None:
    """The runtime's own AppArmor profile forbids mounts; without AppArmor a profile is refused."""
    page = (REPOSITORY / "docs/how-to/nodes-with-kubernetes.md").read_text("utf-8")
    (patch,) = re.findall(r"(?m)^ *(- \{op: add, path: .*appArmorProfile.*\})$", page)
    (other,) = re.findall(r"`value: (\{type: Localhost.*?\})`", page)
    (operation,) = yaml.safe_load(patch)
    profile = (DEPLOY / "apparmor-mograder").read_text("utf-8")
    assert f"profile {yaml.safe_load(other)['localhostProfile']} flags=(unconfined)" in profile
    for value in (operation["value"], yaml.safe_load(other)):
        for resource in built(name):
            if resource["kind"] in ("StatefulSet", "DaemonSet"):
                apply([operation | {"value": value}], resource)
                kubernetes_validate.validate(resource, version, strict=True)


def test_the_entry_point_says_why_a_container_cannot_start(tmp_path: Path) -> None:
    """It has nothing else to show: the engine starts it again and again."""
    for name, text in (("id", "echo 0"), ("mount", "exit 32")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["sh", str(DEPLOY / "image/entrypoint"), "true"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "AppArmor" in done.stderr


def test_a_misspelt_field_is_found() -> None:
    resource = next(each for each in built("base") if each["kind"] == "DaemonSet")
    resource["spec"]["template"]["spec"]["hostUser"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", ["base", "nfs"])
def test_the_fields_of_each_pod_fit_one_another(name: str) -> None:
    checked = dict(pods(name))
    assert set(checked) == {"StatefulSet", "DaemonSet"}
    assert {kind: faults(pod) for kind, pod in checked.items()} == {
        "StatefulSet": [],
        "DaemonSet": [],
    }


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("/hostUsers", True, "procMount Unmasked requires hostUsers false"),
        ("/containers/0/securityContext/procMount", "Default", "no sandbox gets a /proc"),
        ("/containers/0/securityContext/capabilities", {"drop": []}, "rights that nothing needs"),
        (
            "/containers/0/securityContext/capabilities",
            {"drop": ["ALL"], "add": ["SYS_ADMIN"]},
            "rights that the entry point does not give up",
        ),
        ("/volumes", [], "volumes that are not mounted, or mounts without a volume"),
    ],
)
def test_fields_that_do_not_fit_are_found(path: str, value: object, fault: str) -> None:
    pod = next(pod for kind, pod in pods("base") if kind == "DaemonSet")
    apply([{"op": "replace", "path": path, "value": value}], pod)
    assert fault in faults(pod)


@pytest.mark.parametrize("name", ["base", "nfs"])
def test_hubs_and_nodes_have_the_same_share_and_the_course_is_the_hubs(name: str) -> None:
    places = {
        kind: [
            (volume["persistentVolumeClaim"]["claimName"], mount["mountPath"])
            for volume in pod["volumes"]
            for mount in pod["containers"][0]["volumeMounts"]
            if mount["name"] == volume["name"] and "persistentVolumeClaim" in volume
        ]
        for kind, pod in pods(name)
    }
    assert places == {
        "StatefulSet": [("course", COURSE), ("share", SHARE)],
        "DaemonSet": [("share", SHARE)],
    }
    claims = [each for each in built(name) if each["kind"] == "PersistentVolumeClaim"]
    assert {each["metadata"]["name"] for each in claims} == {"course", "share"}
    assert all(each["spec"]["accessModes"] == ["ReadWriteMany"] for each in claims)


def variables(pod: dict[str, Any]) -> dict[str, Any]:
    """The variables of a pod's container that have a value."""
    return {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}


def test_what_nodes_need_of_a_hubs_files_is_in_the_share() -> None:
    found = {kind: variables(pod) for kind, pod in pods("base")}
    hub = found["StatefulSet"]
    assert found["DaemonSet"]["MOGRADER_NODE_SHARE"] == SHARE
    assert hub["MOGRADER_COURSE_DIR"] == COURSE
    assert {name: hub[name] for name in IN_THE_SHARE} == IN_THE_SHARE


@pytest.mark.parametrize("name", ["base", "nfs"])
@pytest.mark.parametrize(
    ("kind", "variable"),
    [("StatefulSet", "MOGRADER_HUB_RUNTIME_DIR"), ("DaemonSet", "RUNTIME_DIRECTORY")],
)
def test_a_runtime_directory_is_below_a_mount(name: str, kind: str, variable: str) -> None:
    """A supervisor refuses one of another user, and the root of an ``emptyDir`` is root's."""
    pod = dict(pods(name))[kind]
    place = Path(variables(pod)[variable])
    mounts = {Path(each["mountPath"]) for each in pod["containers"][0]["volumeMounts"]}
    assert place not in mounts
    assert mounts & set(place.parents)


def test_a_node_gets_no_secret_of_the_hub() -> None:
    """It runs students' code: neither the hub's secret nor the database's password is there."""
    node = dict(pods("base"))["DaemonSet"]
    text = json.dumps(node)
    assert "mograder-hub" not in text
    assert "DATABASE" not in text
    assert [each["secret"]["secretName"] for each in node["volumes"] if "secret" in each] == [
        "mograder-nodes"
    ]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_no_pod_may_ask_the_clusters_api(kind: str) -> None:
    pod = dict(pods("base"))[kind]
    assert pod["automountServiceAccountToken"] is False
    account = next(each for each in built("base") if each["kind"] == "ServiceAccount")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False


def test_each_selection_of_pods_finds_some() -> None:
    """Services, policies and budgets find pods by labels, and a typing error finds none."""
    resources = built("base")
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in resources
        if each["kind"] in ("StatefulSet", "DaemonSet")
    ]
    selectors = [found for each in resources for found in _selectors(each.get("spec", {}))]
    assert len(selectors) >= 7
    for selector in selectors:
        assert any(selector.items() <= each.items() for each in labels), selector


def _selectors(value: object) -> Iterator[dict[str, str]]:
    """Every selection of pods below a value, as labels."""
    if isinstance(value, list):
        for each in value:
            yield from _selectors(each)
    if not isinstance(value, dict):
        return
    for key, below in value.items():
        if key in ("podSelector", "selector", "labelSelector"):
            yield below.get("matchLabels", {} if "matchLabels" in below or not below else below)
        elif key != "namespaceSelector":
            yield from _selectors(below)


def test_only_the_hubs_port_is_open() -> None:
    """Nothing else is let in: an empty selection denies, and nodes are let in nowhere."""
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in built("base")
        if each["kind"] == "NetworkPolicy"
    }
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert "ingress" not in policies["node"]
    ports = [port["port"] for rule in policies["hub"]["ingress"] for port in rule["ports"]]
    assert ports == [8080]
    assert all("from" in rule for rule in policies["hub"]["ingress"])


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
    pod = dict(pods("base"))["DaemonSet"]
    given = variables(pod)
    assert pod["terminationGracePeriodSeconds"] > int(given["MOGRADER_NODE_DRAIN_SECONDS"])
    memory = int(pod["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi"))
    assert int(given["MOGRADER_NODE_MEMORY_MB"]) < memory * 1024


def test_slurms_signals_reach_the_node_and_come_before_the_end_of_its_time() -> None:
    script = (DEPLOY / "slurm" / "mograder-node.sbatch").read_text()
    assert re.search(r"(?m)^#SBATCH --signal=B:USR1@900$", script)
    assert re.search(r"(?m)^#SBATCH --requeue$", script)
    assert script.rstrip().endswith('exec "$program" node run --token-file "$MOGRADER_NODE_TOKENS"')


def node_of_a_job(tmp_path: Path, variable: str, **more: str) -> str:
    """Run the batch script; return the value of a variable in the node's environment, "-" if unset.

    ``more`` are variables of the job.
    """
    program = tmp_path / "mograder"
    program.write_text(f'#!/bin/sh\nprintf %s "${{{variable}--}}"\n')
    program.chmod(0o755)
    environ = {
        "PATH": os.environ["PATH"],
        "MOGRADER_PROGRAM": str(program),
        "MOGRADER_NODE_HUB": "https://hub.example.edu",
        "MOGRADER_NODE_SHARE": SHARE,
        "MOGRADER_NODE_TOKENS": "tokens",
    }
    run = ["bash", str(DEPLOY / "slurm" / "mograder-node.sbatch")]
    return subprocess.check_output(run, env=environ | more, text=True)


def test_no_other_user_of_a_cluster_owns_what_holds_a_jobs_environments(tmp_path: Path) -> None:
    """Anybody may make directories in /var/tmp, and rename what is in those that are theirs."""
    machine = f"c{secrets.token_hex(8)}"

    def state(**more: str) -> Path:
        return Path(node_of_a_job(tmp_path, "MOGRADER_NODE_STATE", SLURMD_NODENAME=machine, **more))

    own = state()
    try:
        assert own.parent == Path("/var/tmp")
        assert own.stat().st_mode & 0o777 == 0o700
    finally:
        own.rmdir()
    chosen = state(MOGRADER_NODE_STATE=str(tmp_path / "chosen"))
    assert chosen == tmp_path / "chosen" / machine


def test_a_job_has_no_runtime_directory_of_the_login_node(tmp_path: Path) -> None:
    """``sbatch`` copies the variable from the login node; the compute node lacks that directory."""
    given = {"MOGRADER_NODE_STATE": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/12345"}
    assert node_of_a_job(tmp_path, "XDG_RUNTIME_DIR", **given) == "-"
