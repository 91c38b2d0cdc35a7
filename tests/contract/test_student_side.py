"""The modules of students' and teachers' commands: every system can import and read them.

`make lint` checks their types as on Windows and on macOS, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.light_install import SERVER_PACKAGES
from tests.support.other_system import OtherSystem, System
from tests.support.student_side import (
    ANYWHERE,
    LIGHT,
    PLATFORMS,
    chain,
    closure,
    entries,
    imports,
    path_of,
    tree_of,
)

LINUX_ONLY = {
    "mograder.cli.hub.run",
    "mograder.cli.hub.tokens",
    "mograder.cli.hub.warm_cache",
    "mograder.cli.serve",
    "mograder.cli.grader",
    "mograder.cli.autograde.command",
    "mograder.operations.preflight",
    "mograder.sandbox.isolation.bwrap",
    "mograder.store.filesystem.group_commit",
    "mograder.web.hub.server",
}
TEACHERS = {
    *("mograder.cli.https.instructor", "mograder.cli.moodle.collect", "mograder.cli.moodle.course"),
    *("mograder.cli.moodle.marks", "mograder.cli.gradebook.mark"),
    "mograder.store.gradebook.gradebook",
}
OPTIONAL = {"brotli"}
"""Packages that a module goes on without."""
MISSING = {
    "win32": {"fcntl", "resource", "pwd", "grp", "termios", "tty", "syslog", "readline", "uvloop"},
    "darwin": {"uvloop"},
}


def test_the_commands_for_every_system_are_the_entries() -> None:
    assert {
        *("mograder.cli.main", "mograder.cli.student", "mograder.cli.validate", "mograder.cli.new"),
        *("mograder.cli.generate", "mograder.cli.config", "mograder.cli.https.student"),
        *("mograder.cli.moodle.student", "mograder.cli.moodle.site"),
        *("mograder.cli.hub.course", "mograder.cli.hub.check"),
        *("mograder.cli.hub.publish", "mograder.cli.hub.items"),
    } < set(entries())
    assert set(entries()).isdisjoint(LINUX_ONLY | TEACHERS)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_teachers_commands_are_kept_apart_from_those_of_the_light_install(platform: str) -> None:
    assert set(closure(platform, ANYWHERE)) >= TEACHERS | set(closure(platform, LIGHT))
    assert set(closure(platform, LIGHT)).isdisjoint(TEACHERS)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_nothing_of_linux_alone_is_imported_on_the_way(platform: str) -> None:
    found = closure(platform, ANYWHERE)
    assert [chain(each, found) for each in sorted(found) if each in LINUX_ONLY] == []
    missing = MISSING[platform]
    assert [
        f"{chain(each, found)} imports {name}"
        for each in sorted(found)
        for name in imports(each, platform)
        if name.partition(".")[0] in missing
    ] == []


def test_no_package_of_the_server_is_imported_on_the_way() -> None:
    """Authors and students run these commands from the light install, on Linux, too."""
    packages = {each.replace("-", "_") for each in SERVER_PACKAGES - OPTIONAL}
    found = closure("linux")
    assert {
        f"{chain(each, found)} imports {package}"
        for each in found
        for package in packages & {name.partition(".")[0] for name in imports(each, "linux")}
    } == set()


@pytest.mark.full
@pytest.mark.parametrize(("platform", "system"), [("win32", "windows"), ("darwin", "macos")])
def test_every_module_is_imported_there(platform: str, system: System) -> None:
    """In one process; what runs inside of a notebook's environment is no part of ours."""
    inside = ("mograder.sandbox.inside", "mograder.__main__")
    found = closure(platform, ANYWHERE)
    modules = [each for each in sorted(found) if not each.startswith(inside)]
    code = (
        f"import importlib\nfor each in {modules!r}: importlib.import_module(each)\nprint('done')"
    )
    assert OtherSystem(system).printed(code) == ["done"]


def test_text_files_name_their_encoding() -> None:
    """The default of Windows is a code page."""
    told = []
    for module in sorted(closure("win32", ANYWHERE)):
        path = path_of(module)
        assert path is not None
        for line, problem in _unclear(tree_of(path)):
            told.append(f"{module}:{line}: {problem}")
    assert told == []


def _unclear(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        given = {each.arg for each in node.keywords}
        if name == "read_text" and not node.args and "encoding" not in given:
            yield node.lineno, "read_text without an encoding"
        if (
            name == "write_text"
            and len(node.args) < 2
            and "encoding" not in given
            and _is_of_a_path(node)
        ):
            yield node.lineno, "write_text without an encoding"


def _is_of_a_path(node: ast.Call) -> bool:
    """Whether it is a path's ``write_text``: click's formatters have one, too."""
    return not ast.unparse(node.func).startswith("formatter.")
