"""A class on a Swarm of three machines: nodes and a hub die, are cut off, and get a new version.

No work is lost, no copy ever has two sessions, and all are at work again soon after they open their
notebooks again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.browser_students import BrowserStudent, prefer_browsers
from tests.machines.docker_machine import Image, Machine
from tests.machines.site import Site, signed_in, site
from tests.machines.students import Student, StudentClass, at_work, described
from tests.support.browser import People

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(5400),
]
STUDENTS = int(os.environ.get("MOGRADER_MACHINES_STUDENTS", "150"))
CUT_SECONDS = int(os.environ.get("MOGRADER_MACHINES_CUT_SECONDS", "300"))
AGAIN_SECONDS = float(os.environ.get("MOGRADER_MACHINES_AGAIN_SECONDS", "15"))
"""Within how long all are at work after they opened their notebooks again."""

BROWSERS = 3
"""How many of them work in Chromium."""

TOGETHER = 15
"""How many students come at the same time."""

PATIENCE_SECONDS = 180.0


@pytest.fixture
def running_site(image: Image, work_directory: Path) -> Iterator[Site]:
    with site(image, work_directory) as made:
        made.publish(work_directory)
        yield made


async def test_a_class_goes_on_whatever_happens_to_its_machines(
    running_site: Site, image: Image, people: People
) -> None:
    names = [f"student{number:03}" for number in range(STUDENTS)]
    _, second, third = running_site.swarm.machines
    everyone = [
        Student(running_site.hub, name, moves=number % 2 == 0)
        for number, name in enumerate(names[BROWSERS:])
    ]
    for number, name in enumerate(names[:BROWSERS], 1):  # not all first, on the first warm node
        person = await people.person(name, headers=signed_in(name))
        place = number * len(everyone) // (BROWSERS + 1)
        everyone.insert(place, BrowserStudent(running_site.hub, name, person=person))
    prefer_browsers()
    async with at_work(everyone, TOGETHER) as students:
        await _is_spread_over_all_nodes(running_site, students)
        await _power_is_cut(running_site, students, third)
        await _cut_off(running_site, students, second, 30)  # it has a hub, too
        await _cut_off(running_site, students, third, CUT_SECONDS)  # where those of second are now
        await _hub_is_killed(running_site, students)
        await _version_is_rolled(running_site, students, image)
        await students.all_step(PATIENCE_SECONDS)
    students.no_work_is_lost()
    students.no_copy_had_two_sessions()


async def _is_spread_over_all_nodes(site: Site, students: StudentClass) -> None:
    await students.all_step(PATIENCE_SECONDS)
    spread = await asyncio.to_thread(site.sessions)
    opened = [seconds for each in students.students for seconds in each.reopened]
    print("sessions:", spread, "opened:", described(opened))
    assert sum(spread.values()) == STUDENTS
    assert len(spread) == 3
    assert min(spread.values()) >= STUDENTS // 6


async def _power_is_cut(site: Site, students: StudentClass, machine: Machine) -> None:
    mark, began = students.mark(), time.monotonic()
    await asyncio.to_thread(machine.kill)
    await _all_back(students, mark, "power cut", began)
    await asyncio.to_thread(machine.start, *site.swarm.options)
    await asyncio.to_thread(site.wait_for_nodes, _names(site))


async def _hub_is_killed(site: Site, students: StudentClass) -> None:
    """Connections through it break; no session ends."""
    before = {each.name: list(each.sandboxes) for each in students.students}
    mark, began = students.mark(), time.monotonic()
    await asyncio.to_thread(site.swarm.kill, site.swarm.machines[0], "hub")
    await _all_back(students, mark, "hub killed", began)
    assert {each.name: each.sandboxes for each in students.students} == before
    await asyncio.to_thread(site.swarm.wait_for, "hub", 2)


async def _version_is_rolled(site: Site, students: StudentClass, image: Image) -> None:
    """The same program under another name: Swarm replaces the hubs one by one, then the nodes."""
    following = f"{image.tag}-next"
    for machine in site.swarm.machines:
        await asyncio.to_thread(machine.docker, "tag", image.tag, following)
    mark, began = students.mark(), time.monotonic()
    for service in ("hub", "node"):
        await asyncio.to_thread(site.roll, service, following)
        while await asyncio.to_thread(site.images, service) != {following}:
            students.fail_if_one_broke()
            assert time.monotonic() - began < 900, site.swarm.told()
            await asyncio.sleep(1)
    try:
        await _all_back(students, mark, "new version", began)
    finally:
        print(await asyncio.to_thread(site.starts))
    await asyncio.to_thread(site.wait_for_nodes, _names(site))


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
    outages = described(students.outages_since(mark))
    said = f"{cut} cut, reopened: {described(took)}; from the cut: {outages}"
    said += f"; all at work {passed:.0f} s later"
    print(f"{fault}: {said}")
    students.no_work_is_lost()
    assert took, f"{fault}: no student was there"
    print(*students.slow_since(mark, AGAIN_SECONDS / 2)[:10], sep="\n")
    assert max(took) <= AGAIN_SECONDS, said


def _names(site: Site) -> set[str]:
    return {machine.name for machine in site.swarm.machines}
