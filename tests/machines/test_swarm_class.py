"""A class on a Swarm of three machines: nodes and a hub die, are cut off, and get a new version.

No work is lost, no copy ever has two sessions, and all are at work again soon after they open their
notebooks again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.machines.docker_machine import Image, Machine
from tests.machines.site import Site, site
from tests.machines.students import Student, StudentClass, at_work, described

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(5400),
    pytest.mark.asyncio(loop_scope="module"),
]
STUDENTS = int(os.environ.get("MOGRADER_MACHINES_STUDENTS", "150"))
CUT_SECONDS = int(os.environ.get("MOGRADER_MACHINES_CUT_SECONDS", "300"))
AGAIN_SECONDS = float(os.environ.get("MOGRADER_MACHINES_AGAIN_SECONDS", "15"))
"""Within how long all are at work after they opened their notebooks again."""

TOGETHER = 15
"""How many students come at the same time."""

PATIENCE_SECONDS = 180.0


@pytest.fixture(scope="module")
def running_site(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("site")
    with site(image, place) as made:
        made.publish(place)
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def students(running_site: Site) -> AsyncIterator[StudentClass]:
    """The class, which works through all tests of this module."""
    names = [f"student{number:03}" for number in range(STUDENTS)]
    everyone = [Student(running_site.hub, name) for name in names]
    async with at_work(everyone, TOGETHER) as made:
        yield made


async def test_the_class_is_spread_over_all_nodes(
    running_site: Site, students: StudentClass
) -> None:
    await students.all_step(PATIENCE_SECONDS)
    spread = await asyncio.to_thread(running_site.sessions)
    print("sessions:", spread, "opened:", described(students.reopened_since(_start(students))))
    assert sum(spread.values()) == STUDENTS
    assert len(spread) == 3
    assert min(spread.values()) >= STUDENTS / 3 / 2


async def test_a_node_loses_its_power(running_site: Site, students: StudentClass) -> None:
    machine = running_site.swarm.machines[2]
    mark, began = students.mark(), time.monotonic()
    await asyncio.to_thread(machine.kill)
    await _all_back(students, mark, "power cut", began)
    await asyncio.to_thread(machine.start, *running_site.swarm.options)
    await asyncio.to_thread(running_site.wait_for_nodes, _names(running_site))


async def test_a_node_is_cut_off_for_half_a_minute(
    running_site: Site, students: StudentClass
) -> None:
    await _cut_off(running_site, students, running_site.swarm.machines[2], 30)


async def test_a_machine_with_hub_and_node_is_cut_off_for_minutes(
    running_site: Site, students: StudentClass
) -> None:
    await _cut_off(running_site, students, running_site.swarm.machines[1], CUT_SECONDS)


async def test_a_hub_of_two_is_killed(running_site: Site, students: StudentClass) -> None:
    """Connections through it break; no session ends."""
    before = {each.name: list(each.sandboxes) for each in students.students}
    mark, began = students.mark(), time.monotonic()
    await asyncio.to_thread(running_site.swarm.kill, running_site.swarm.machines[0], "hub")
    await _all_back(students, mark, "hub killed", began)
    assert {each.name: each.sandboxes for each in students.students} == before
    await asyncio.to_thread(running_site.swarm.wait_for, "hub", 2)


async def test_a_new_version_is_rolled_over_all_machines(
    running_site: Site, students: StudentClass, image: Image
) -> None:
    """The same program under another name: Swarm replaces every container, one by one."""
    following = f"{image.tag}-next"
    for machine in running_site.swarm.machines:
        await asyncio.to_thread(machine.docker, "tag", image.tag, following)
    mark, began = students.mark(), time.monotonic()
    await asyncio.to_thread(running_site.roll, following)
    while await asyncio.to_thread(_images, running_site) != {following}:
        students.fail_if_one_broke()
        assert time.monotonic() - began < 900, running_site.swarm.told()
        await asyncio.sleep(1)
    await _all_back(students, mark, "new version", began)
    await asyncio.to_thread(running_site.wait_for_nodes, _names(running_site))


async def test_nothing_was_lost_and_no_copy_had_two_sessions(students: StudentClass) -> None:
    await students.all_step(PATIENCE_SECONDS)
    students.no_work_is_lost()
    students.no_copy_had_two_sessions()


async def _cut_off(site: Site, students: StudentClass, machine: Machine, seconds: float) -> None:
    """Take a machine's cable out for some seconds; its students go on elsewhere meanwhile."""
    mark, began = students.mark(), time.monotonic()
    await asyncio.to_thread(machine.cut_off)
    await _all_back(students, mark, f"cut off for {seconds} s", began)
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    await asyncio.to_thread(machine.connect)
    await asyncio.to_thread(site.wait_for_nodes, _names(site))
    await students.all_step(PATIENCE_SECONDS)
    students.no_copy_had_two_sessions()


async def _all_back(
    students: StudentClass, mark: dict[str, tuple[int, int]], fault: str, began: float
) -> None:
    """Wait until all have computed again, and look at how long that took after reopening."""
    await students.all_step(PATIENCE_SECONDS)
    took = students.reopened_since(mark)
    cut = sum(each.cuts > mark[each.name][0] for each in students.students)
    passed = time.monotonic() - began
    said = f"{cut} cut, reopened: {described(took)}; all at work {passed:.0f} s later"
    print(f"{fault}: {said}")
    students.no_work_is_lost()
    assert max(took, default=0.0) <= AGAIN_SECONDS, said


def _start(students: StudentClass) -> dict[str, tuple[int, int]]:
    return {each.name: (0, 0) for each in students.students}


def _names(site: Site) -> set[str]:
    return {machine.name for machine in site.swarm.machines}


def _images(site: Site) -> set[str]:
    return site.images("hub") | site.images("node")
