"""The fixtures of the end-to-end and security suites; their conftest files import them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.conftest import FAILED
from tests.support.browser import People, chromium
from tests.support.course import copy_example_course, work_place
from tests.support.hub import HubConfig, HubProcess
from tests.support.prefix_proxy import FrontConfig, PrefixProxy
from tests.support.shared_hub import SharedCaches, module_hub


@pytest.fixture
def work_directory() -> Iterator[Path]:
    """The directory of :func:`work_place`."""
    with work_place() as directory:
        yield directory


@pytest.fixture(scope="session")
def caches(uv_cache: Path, run_directory: Path) -> SharedCaches:
    """What all hubs of this run share: packages, and environments that are built once."""
    return SharedCaches(uv_cache, run_directory)


@pytest.fixture
def start_hub(
    work_directory: Path, artifacts: Path, caches: SharedCaches
) -> Iterator[Callable[..., HubProcess]]:
    """Start real hubs: ``start_hub(dev=True, settings={…})``; all are stopped after the test.

    Takes the fields of :class:`HubConfig`, and ``course`` for a course directory of one's own;
    without it the hub gets a fresh copy of the example course. The hub's log is an artefact.
    """
    with ExitStack() as hubs:

        def start(course: Path | None = None, **choices: object) -> HubProcess:
            place = course or copy_example_course(Path(tempfile.mkdtemp(dir=work_directory)) / "c")
            chosen = HubConfig(**choices)  # type: ignore[arg-type]
            config = replace(chosen, settings={**caches.settings(), **chosen.settings})
            number = len(list(artifacts.glob("hub-*.log")))
            return hubs.enter_context(HubProcess(place, artifacts / f"hub-{number}.log", config))

        yield start


@pytest.fixture
def start_front(work_directory: Path) -> Iterator[Callable[..., PrefixProxy]]:
    """Start nginx in front of a hub: ``start_front(hub, prefix="/live/hub", strips=True)``."""
    with ExitStack() as fronts:

        def start(hub: HubProcess, **choices: object) -> PrefixProxy:
            config = FrontConfig(hub_port=hub.port, **choices)  # type: ignore[arg-type]
            return fronts.enter_context(PrefixProxy(work_directory, config))

        yield start


@pytest.fixture(scope="session")
def shared_hub(caches: SharedCaches) -> Iterator[HubProcess]:
    """One hub for all tests of a worker that do not care about its settings and add their items.

    It stays as it is: no test kills it, changes its list of users, or changes an item of another.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "w")
    with module_hub(f"shared-{worker}", caches) as hub:
        yield hub


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests of a worker. It belongs to one event loop, and so do its tests.

    ``tests/conftest.py`` gives each test that uses it that loop; an asynchronous fixture of such a
    test sets ``loop_scope``.
    """
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def people(
    browser: Browser, request: pytest.FixtureRequest, artifacts: Path
) -> AsyncIterator[People]:
    """People with a fresh profile each; screenshots are left when a test fails."""
    people = People(browser)
    yield people
    if request.node.stash.get(FAILED, False):
        await people.leave_evidence(artifacts)
    await people.close()
