"""A class of forty on nodes that are Slurm's jobs, which come and go while it works.

The hub runs on this machine, as at a site that has a cluster; the jobs run the shipped script.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.machines.commands import until
from tests.machines.site import HEADER, SESSION_MB, nodes_of
from tests.machines.slurm import NODES, Cluster, cluster
from tests.machines.students import ITEM, Student, StudentClass, at_work, described
from tests.support.course import REPOSITORY, put_release
from tests.support.fake_node_processes import node_tokens
from tests.support.hub import MOGRADER, HubConfig, HubProcess, run_mograder
from tests.support.shared_hub import notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]
SCRIPT = REPOSITORY / "deploy" / "slurm" / "mograder-node.sbatch"
STUDENTS = int(os.environ.get("MOGRADER_MACHINES_STUDENTS", "40"))
TOGETHER = 8
PATIENCE_SECONDS = 180.0
AGAIN_SECONDS = float(os.environ.get("MOGRADER_MACHINES_AGAIN_SECONDS", "15"))


@dataclass
class SlurmSite:
    """A hub on this machine, and a cluster whose jobs share its directories."""

    cluster: Cluster
    hub: HubProcess
    place: Path
    uv_cache: Path
    tokens: Path

    def submit(self, node: str, *options: str) -> int:
        """Submit the shipped script for one node; return the job's number."""
        environment = {
            "MOGRADER_PROGRAM": str(MOGRADER),
            "MOGRADER_NODE_SHARE": str(self.hub.course.parent / "share"),
            "MOGRADER_NODE_STATE": str(self.place / "nodes"),
            "MOGRADER_NODE_UV_CACHE": str(self.uv_cache),
            "MOGRADER_NODE_HUB": self.hub.url,
            "MOGRADER_NODE_TOKENS": str(self.tokens),
            "MOGRADER_NODE_DRAIN_SECONDS": "3",
            **{name: value for name, value in os.environ.items() if name.startswith("UV_")},
        }
        log = f"--output={self.place}/job-%j.log"
        options = (f"--nodelist={node}", "--cpus-per-task=1", "--mem=9000", log, *options)
        return self.cluster.submit(SCRIPT, *options, environment=environment)

    def wait_for_nodes(self, names: set[str], seconds: float = 120) -> None:
        """Wait until exactly these nodes take sessions."""
        until(lambda: self._ready() == names, seconds, self.told)

    def say(self, order: str, node: str) -> None:
        """Drain or undrain a node by the hub, as an administrator does."""
        done = run_mograder("hub", "nodes", order, node, cwd=self.hub.course)
        assert done.status == 0, done

    def sessions(self) -> dict[str, int]:
        """How many sessions each node runs that is connected."""
        known = self._nodes().items()
        return {
            name: int(str(each["sessions"]))
            for name, each in known
            if each["state"] in {"ready", "draining"}
        }

    def told(self) -> str:
        """What nodes, jobs and daemons say."""
        logs = [log.read_text("utf-8", "replace")[-3000:] for log in self.place.glob("job-*.log")]
        listed = self.cluster.command("squeue", "--states=all")
        return "\n".join([str(self._nodes()), listed, *logs, self.hub.tail()])

    def _nodes(self) -> dict[str, dict[str, object]]:
        asked = run_mograder("hub", "nodes", "--json", cwd=self.hub.course)
        return nodes_of(asked.output)

    def _ready(self) -> set[str]:
        return {name for name, each in self._nodes().items() if each["state"] == "ready"}


@pytest.fixture
def slurm_site(work_directory: Path, uv_cache: Path) -> Iterator[SlurmSite]:
    course, share = work_directory / "course", work_directory / "share"
    course.mkdir()
    put_release(share, ITEM, notebook(header=HEADER))
    settings = {
        "nodes.enabled": True,
        "nodes.runs_dir": str(share / "hub-runs"),
        "hub.notebooks_dir": str(share / "hub-notebooks"),
        "hub.release_dir": str(share / "hub-release"),
        "hub.uv_cache_dir": str(uv_cache),
        "limits.memory_mb": SESSION_MB,
    }
    hub = HubProcess(course, work_directory / "hub.log", HubConfig(settings=settings))
    with cluster() as jobs, hub:
        tokens = work_directory / "node-tokens"
        tokens.touch(mode=0o600)
        tokens.write_text("\n".join(node_tokens(hub, *NODES)))
        site = SlurmSite(jobs, hub, work_directory, uv_cache, tokens)
        try:
            yield site
        finally:
            jobs.stop_jobs()


async def test_nodes_come_and_go_during_a_class(slurm_site: SlurmSite) -> None:
    site, (first, second) = slurm_site, NODES
    morning = site.submit(first, "--signal=B:USR1@30", "--time=00:04:00")
    await asyncio.to_thread(site.wait_for_nodes, {first})
    everyone = [Student(site.hub, f"student{number:02}") for number in range(STUDENTS)]
    async with at_work(everyone, TOGETHER) as students:
        site.submit(second, "--requeue")
        await asyncio.to_thread(site.wait_for_nodes, {first, second}, 300)
        await _time_is_over(site, students, morning)
        afternoon = site.submit(first)
        await asyncio.to_thread(site.wait_for_nodes, {first, second})
        await _node_is_drained(site, students, second, first)
        await _job_is_cancelled(site, students, afternoon)
        site.submit(first)
        await asyncio.to_thread(site.wait_for_nodes, {first, second})
        await _daemon_fails(site, students, second)
        students.no_work_is_lost()
        students.no_copy_had_two_sessions()


async def _time_is_over(site: SlurmSite, students: StudentClass, job: int) -> None:
    """Slurm sends USR1, and TERM when the time is over: all students end up on the other node."""
    mark, began = students.mark(), time.monotonic()
    while await asyncio.to_thread(site.cluster.state, job) == "RUNNING":
        students.fail_if_one_broke()
        assert time.monotonic() - began < 420, site.told()
        await asyncio.sleep(1)
    await _all_at_work(students, mark, "end of the job's time")


async def _node_is_drained(site: SlurmSite, students: StudentClass, node: str, other: str) -> None:
    """All students are asked to move, and do; the node can be used again."""
    mark, began = students.mark(), time.monotonic()
    await asyncio.to_thread(site.say, "drain", node)
    while await asyncio.to_thread(site.sessions) != {node: 0, other: STUDENTS}:
        students.fail_if_one_broke()
        assert time.monotonic() - began < PATIENCE_SECONDS, site.told()
        await asyncio.sleep(1)
    await asyncio.to_thread(site.say, "undrain", node)
    await asyncio.to_thread(site.wait_for_nodes, {node, other})
    await _all_at_work(students, mark, "drained")


async def _job_is_cancelled(site: SlurmSite, students: StudentClass, job: int) -> None:
    """The class is on the job's node, and goes on on the other one."""
    mark = students.mark()
    await asyncio.to_thread(site.cluster.command, "scancel", str(job))
    await _all_at_work(students, mark, "scancel")
    assert len(students.reopened_since(mark)) >= STUDENTS


async def _daemon_fails(site: SlurmSite, students: StudentClass, node: str) -> None:
    """The job's processes run on without Slurm's daemon, and so do the sessions."""
    mark = students.mark()
    site.cluster.kill_compute(node)
    await _all_at_work(students, mark, "slurmd killed")
    assert students.reopened_since(mark) == []
    await asyncio.to_thread(site.cluster.start_compute, node)


async def _all_at_work(
    students: StudentClass, mark: dict[str, tuple[int, int]], fault: str
) -> None:
    await students.all_step(PATIENCE_SECONDS)
    took = students.reopened_since(mark)
    print(f"{fault}: reopened: {described(took)}")
    print(*students.slow_since(mark, AGAIN_SECONDS / 2), sep="\n")
    students.no_work_is_lost()
    assert max(took, default=0.0) <= AGAIN_SECONDS
