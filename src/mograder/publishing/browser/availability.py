"""Which requirements of a notebook run in the browser alone, told before a page is made."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from marimo import __version__
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict

from mograder.core.errors import InvalidInput, TimedOut
from mograder.notebook.findings import Finding
from mograder.notebook.pep723 import read_script
from mograder.publishing.browser.packages import is_wanted, select_wheels
from mograder.publishing.browser.pyodide import Pyodide

TABLE = "pyodide_packages.json"
_SECONDS = 20.0
_HINT = "Students need a hub or an editor of their own for this notebook."


class Distribution(BaseModel):
    """Pyodide's full distribution, of the ``version`` that marimo uses.

    ``python`` is its version of Python, ``platform`` that of its wheels; ``packages`` are the
    versions by the normalised names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    python: str
    platform: str
    packages: dict[str, str]


@cache
def distribution() -> Distribution:
    """Return Pyodide's distribution as the table that comes with mograder lists it."""
    table = files("mograder.publishing.browser").joinpath(TABLE)
    return Distribution.model_validate_json(table.read_bytes())


def advise_browser(text: str, filename: str) -> tuple[Finding, ...]:
    """Return what the author should know of a notebook's packages if it is to run in the browser.

    Packages that Pyodide does not have are resolved with uv, which asks the index; if that fails
    or takes too long, nothing is said of them. An unreadable header has other findings.
    """
    try:
        dependencies = read_script(text).dependencies
    except InvalidInput:
        return ()
    version = distribution().version
    others = _other_versions(dependencies)
    told = [
        Finding(
            filename, _line_of(text, name), f"{wanted}, but Pyodide {version} has {has}.", _HINT
        )
        for name, wanted, has in others
    ]
    if not others and (missing := _missing(dependencies)):
        names = ", ".join(missing)
        message = f"neither Pyodide {version} nor the index has for the browser: {names}."
        told.append(Finding(filename, _line_of(text, ""), message, _HINT))
    return tuple(sorted(told))


def _other_versions(dependencies: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Return the name, the requirement and Pyodide's version where these do not agree."""
    python, found = _pyodide(), []
    for text in dependencies:
        requirement = Requirement(text)
        has = python.packages.get(canonicalize_name(requirement.name))
        if has is None or not is_wanted(text, python.environment()):
            continue
        if not requirement.specifier.contains(has, prereleases=True):
            found.append((requirement.name, text, has))
    return found


def _missing(dependencies: tuple[str, ...]) -> tuple[str, ...]:
    python = _pyodide()
    wanted = [text for text in dependencies if is_wanted(text, python.environment())]
    if all(canonicalize_name(Requirement(text).name) in python.packages for text in wanted):
        return ()
    try:
        return select_wheels(wanted, __version__, python, seconds=_SECONDS).missing
    except (InvalidInput, TimedOut):
        return ()


def _pyodide() -> Pyodide:
    """Return the full distribution, whose wheels are not here."""
    known = distribution()
    packages = {canonicalize_name(name): version for name, version in known.packages.items()}
    wheels = {name: (version, Path(name)) for name, version in packages.items()}
    return Pyodide({}, {}, known.python, known.platform, packages, wheels)


def _line_of(text: str, name: str) -> int:
    """Return the first line, from 1, of the header that has a name, or that lists the packages."""
    header = text.partition("\nimport ")[0].splitlines()
    for wanted in (name, "dependencies"):
        for number, line in enumerate(header, start=1):
            if wanted and wanted in line:
                return number
    return 1
