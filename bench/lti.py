"""LTI: the hub's processor time for a launch, and 300 of them within a minute beside a lecture.

A launch is what the browser does: the form that begins it, the platform's form with the signed
token, and the page. The platform is in this process; each person has cookies of their own and comes
for the first time.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from bench.options import Options
from bench.processes import own_cpu_seconds
from bench.progress import say
from bench.report import Budget, Row
from bench.stage import CACHE, ITEM, WARM_ENVIRONMENTS, Stage, arrive, notebook_text
from bench.tab import Tab
from tests.support.course import put_release
from tests.support.hub import HubConfig, HubProcess
from tests.support.hub_browser import LaunchingPlatform, hub_browser, launching_platform

_ONE_BY_ONE = 100
_LAUNCHES = 300
_WITHIN_SECONDS = 60.0
_LECTURE = 10
_MOST_MS = 30.0


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Launch one after another, then many within a minute while others run cells."""
    with launching_platform() as platform, _launched_hub(stage, platform) as hub:
        people = [f"launched{number}" for number in range(_ONE_BY_ONE + _LAUNCHES + 1)]
        await asyncio.to_thread(_launch, platform, hub, people.pop())
        spent = []
        for each in people[:_ONE_BY_ONE]:
            before = own_cpu_seconds(hub.pid)
            await asyncio.to_thread(_launch, platform, hub, each)
            spent.append(1000 * (own_cpu_seconds(hub.pid) - before))
        say(f"  {_LAUNCHES} launches within {_WITHIN_SECONDS:.0f} s")
        async with _lecture(hub) as runs:
            failures = await _crowd(platform, hub, people[_ONE_BY_ONE:])
    mean = sum(spent) / len(spent)
    return [
        Row(
            "a launch by LTI: processor time of the hub",
            "ms of CPU",
            "",
            (mean,),
            (),
            Budget(_MOST_MS, unit="ms of CPU"),
            f"mean of {_ONE_BY_ONE}, each with two forms and a page",
        ),
        Row(
            f"{_LAUNCHES} launches within a minute beside a lecture: failures",
            "launches",
            "",
            (len(failures),),
            (),
            Budget(0, unit="launches"),
            f"{len(runs)} cells of {_LECTURE} students ran meanwhile" + _why(failures),
        ),
    ]


@contextmanager
def _launched_hub(stage: Stage, platform: LaunchingPlatform) -> Iterator[HubProcess]:
    """Run a hub that the platform launches, with the stage's environments."""
    with ExitStack() as stack:
        runtime = Path(tempfile.mkdtemp(prefix="mgl-", dir="/tmp"))
        stack.callback(shutil.rmtree, runtime, ignore_errors=True)
        place = Path(tempfile.mkdtemp(dir=stage.directory))
        course = place / "course"
        course.mkdir()
        put_release(course, ITEM, notebook_text())
        settings: dict[str, object] = {
            "hub.public_url": "http://127.0.0.1:{port}",
            "hub.uv_cache_dir": str(CACHE),
            "hub.runtime_dir": str(runtime),
            "hub.environments_dir": str(stage.hub.course / ".mograder" / "environments"),
            "limits.warm_environments": WARM_ENVIRONMENTS,
            "lti.platform": [platform.settings()],
        }
        config = HubConfig(settings=settings)
        hub = stack.enter_context(HubProcess(course, place / "hub.log", config))
        yield hub


def _launch(platform: LaunchingPlatform, hub: HubProcess, name: str) -> None:
    """Launch in a browser of its own, up to the page of the notebook.

    Raises: RuntimeError for anything but that page.
    """
    with hub_browser() as browser:
        answer = platform.launch(browser, hub.url, name, ITEM)
        where = answer.headers.get("location", "")
        if answer.status_code != httpx.codes.SEE_OTHER or not where.endswith(ITEM):
            raise RuntimeError(f"{answer.status_code} {where}")
        page = browser.get(f"{hub.url}{where}", headers={"Accept": "text/html"})
        if page.status_code != httpx.codes.OK or name not in page.text:
            raise RuntimeError(f"{page.status_code} for the page")


async def _crowd(platform: LaunchingPlatform, hub: HubProcess, people: list[str]) -> list[str]:
    """Let people launch at even distances; return what failed."""
    failures: list[str] = []
    begun = time.monotonic()

    async def come(number: int, name: str) -> None:
        await asyncio.sleep(begun + number * _WITHIN_SECONDS / len(people) - time.monotonic())
        try:
            await asyncio.to_thread(_launch, platform, hub, name)
        except (RuntimeError, httpx.HTTPError, AssertionError) as error:
            failures.append(f"{type(error).__name__}: {error}")

    await asyncio.gather(*(come(number, name) for number, name in enumerate(people)))
    return failures


@asynccontextmanager
async def _lecture(hub: HubProcess) -> AsyncIterator[list[int]]:
    """Let students run a cell each second; give the list that grows with each run."""
    tabs = [await (await arrive(hub.port, f"listener{n}")).open() for n in range(_LECTURE)]
    runs: list[int] = []
    working = [asyncio.ensure_future(_work(tab, runs)) for tab in tabs]
    try:
        yield runs
    finally:
        for each in working:
            each.cancel()
        ends = await asyncio.gather(*working, return_exceptions=True)
        for tab in tabs:
            tab.close()
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def _work(tab: Tab, runs: list[int]) -> None:
    number = 0
    while True:
        number += 1
        await tab.run(0, f"v0 = {number}\nv0", "")
        runs.append(number)
        await asyncio.sleep(1)


def _why(failures: list[str]) -> str:
    return f"; the first: {failures[0]}" if failures else ""
