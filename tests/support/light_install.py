"""A virtual environment with what students install: the wheel that a course hands out, no extra.

Versions are those of ``uv.lock``, so nothing is resolved anew.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from uv import find_uv_bin

from mograder.store.client_wheel import ClientWheels
from tests.support.course import REPOSITORY
from tests.support.hub import outside

SERVER_PACKAGES = frozenset(
    {
        *("aiohttp", "alembic", "brotli", "fastapi", "fastapi-offline", "joserfc"),
        *("latex2mathml", "mdit-py-plugins", "nh3", "prometheus-client", "sqlalchemy", "uvloop"),
    }
)
"""Packages of the extra ``server`` that no other package of a student's install needs."""


@dataclass(frozen=True, slots=True)
class LightInstall:
    """The environment, and the wheel that is installed there."""

    directory: Path
    wheel: Path

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def mograder(self) -> Path:
        return self.directory / "bin" / "mograder"

    def run(
        self, *arguments: str | Path, cwd: Path | None = None, home: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end."""
        environ = {**outside(), **({"HOME": str(home)} if home else {})}
        return subprocess.run(
            [str(each) for each in arguments],
            cwd=cwd or self.directory,
            env=environ,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def packages(self) -> dict[str, str]:
        """Return name and version of all packages that are installed."""
        listed = uv("pip", "list", "--format", "json", "--python", str(self.python))
        return {canonicalize_name(each["name"]): each["version"] for each in json.loads(listed)}


def install_light(place: Path) -> LightInstall:
    """Pack the wheel of this checkout and install it without an extra."""
    wheel = ClientWheels(place / "course").current().path
    made = LightInstall(place / "light", wheel)
    uv("venv", "--quiet", "--python", str(REPOSITORY / ".venv/bin/python"), str(made.directory))
    constraints = place / "constraints.txt"
    constraints.write_text(locked_versions())
    into = ("--python", str(made.python), "--constraints", str(constraints))
    uv("pip", "install", "--quiet", "--no-build", *into, f"mograder-hub @ {wheel.as_uri()}")
    return made


def locked_versions() -> str:
    """Return the versions of ``uv.lock``, without mograder, as pip's constraints."""
    exported = ("--frozen", "--no-hashes", "--no-annotate", "--no-emit-project", "--all-groups")
    return uv("export", "--quiet", *exported)


def closure_of(name: str, needed: dict[str, Sequence[str]]) -> set[str]:
    """Return the names of a package and of all that it needs, from requirements by package."""
    found: set[str] = set()
    waiting = [canonicalize_name(name)]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        for text in needed.get(package, ()):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


def uv(*arguments: str, stdin: str = "") -> str:
    """Run uv in the repository and return what it printed."""
    done = subprocess.run(
        [find_uv_bin(), *arguments],
        cwd=REPOSITORY,
        env=outside(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
