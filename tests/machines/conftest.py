"""The image that ``scripts/test-machines`` built, and one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.machines.docker_machine import Image, Machine, machines
from tests.support.course import REPOSITORY
from tests.support.fixtures import browser, people, work_directory

__all__ = ["browser", "image", "machine", "people", "work_directory"]


@pytest.fixture(scope="session")
def image() -> Image:
    """The image as ``scripts/build-image --debootstrap --rootfs`` made and described it."""
    options = os.environ["MOGRADER_TEST_MACHINES"].splitlines()
    return Image(REPOSITORY / ".vm" / "image" / "rootfs.tar", tuple(options))


@pytest.fixture(scope="module")
def machine(image: Image) -> Iterator[Machine]:
    """One machine with a Docker engine that has the image."""
    with machines(1) as (made,):
        made.start()
        made.import_image(image)
        yield made
