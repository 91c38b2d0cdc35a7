"""The fixtures of the supervisor's suites; conftest imports them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support.supervisors import (
    Sessions,
    make_config,
    real_config,
    short_directory,
    supervised,
)

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def runtime() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
def config(runtime: Path, tmp_path: Path) -> SupervisorConfig:
    return make_config(runtime, tmp_path)


@pytest.fixture(params=[0, 1], ids=["cold", "warm"])
def cold_or_warm(
    request: pytest.FixtureRequest, runtime: Path, tmp_path: Path, uv_cache: Path
) -> SupervisorConfig:
    """Settings for real builds, whose sandboxes start cold or from zygotes."""
    config = real_config(runtime, tmp_path, uv_cache)
    return config.model_copy(update={"warm_environments": request.param})


@pytest.fixture
async def client(config: SupervisorConfig) -> AsyncIterator[SupervisorClient]:
    async with supervised(config) as client:
        yield client


@pytest.fixture
def sessions(client: SupervisorClient, tmp_path: Path) -> Sessions:
    return Sessions(client, tmp_path)


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    directory = tmp_path / "workshop"
    directory.mkdir()
    return directory
