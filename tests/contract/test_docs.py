"""Docs and code agree: commands, settings, routes, libraries, names of modules, links."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mograder.web.hub.routes import ROUTES

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


def _page(path: str) -> str:
    return (DOCS / path).read_text("utf-8")


@pytest.mark.parametrize("page", ["cli", "settings"])
def test_a_generated_page_is_what_the_code_says(page: str) -> None:
    """In a fresh interpreter: click keeps a command's help option from its first use on."""
    command = [sys.executable, "-m", f"scripts.gen_{page}_reference", "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_route_is_on_the_map_of_the_api_and_the_map_has_no_other() -> None:
    page = _page("reference/http-api.md")
    mapped = {
        (method, path)
        for cell in re.findall(r"^\| (`[A-Z]+ [^|]*) \|", page, re.MULTILINE)
        for method, path in re.findall(r"`([A-Z]+) ([^`]+)`", cell)
    }
    # "/edit/{a}/" is "/edit/{a}" with the slash that 0.3.16 also answered.
    routes = {(door.method, door.path.replace(":path}", "}").rstrip("/") or "/") for door in ROUTES}
    assert mapped == routes


def test_every_library_was_chosen_in_a_decision() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    wanted = [*project["project"]["dependencies"]]
    wanted += [text for group in (*extras, *groups) for text in group]
    table = re.findall(r"^\| ([\w, -]+) \| \[", _page("decisions/index.md"), re.MULTILINE)
    chosen = {name.strip() for cell in table for name in cell.split(",")}
    assert {Requirement(text).name for text in wanted} == chosen


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_a_page_names_only_modules_and_files_that_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:[a-z_-]+/)+(?:[\w.-]+\.(?:py|js|sh|toml))?)`", text)
    rooms = REPOSITORY / "src" / "mograder"
    known = (REPOSITORY, rooms, rooms / "web" / "hub")
    missing = [
        name
        for name in named
        if not name.startswith(_NOT_OURS) and not any((base / name).exists() for base in known)
    ]
    assert not missing, f"{page.name} names what is not there: {missing}"


_NOT_OURS = ("hub-", "source/", "release/", "public/", "workspace", "examples/", "edit/", "run/")
"""Beginnings of paths in a course, or of a URL."""
