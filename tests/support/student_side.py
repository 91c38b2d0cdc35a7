"""The modules of ours that the commands for every system import (decision 51).

They are the student's side, which the light install has the packages for, and with it the teacher's
side: commands that need the packages of the extra ``server``, too.

    python -m tests.support.student_side            # the modules, as `SYSTEM: module`
    python -m tests.support.student_side --mypy     # mypy over them, as on Windows and on macOS

Imports inside of functions count, since the commands call them; what stands below a condition on
`sys.platform` or `SYSTEM` counts for the systems that it holds for.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import click

from mograder.cli.main import root
from mograder.cli.shared.lazy import LazyGroup, Needs
from mograder.core.operating_system import system_of

REPOSITORY = Path(__file__).parents[2]
PLATFORMS = ("win32", "darwin")
_SOURCE = REPOSITORY / "src"
_PACKAGE = "mograder"


LIGHT = frozenset({Needs.NOTHING})
"""What the commands of the student's side need."""

ANYWHERE = LIGHT | {Needs.SERVER_PACKAGES}
"""What the commands of both sides need."""


def entries(needs: Collection[Needs] = LIGHT) -> tuple[str, ...]:
    """Return the modules that the commands with such needs are loaded from, the root's first."""
    return tuple(dict.fromkeys(["mograder.cli.main", "mograder.__main__", *_targets(root, needs)]))


@cache
def closure(platform: str, needs: frozenset[Needs] = LIGHT) -> Mapping[str, str]:
    """Return the modules of ours that the commands import, each with a module that imports it.

    ``platform`` is a value of ``sys.platform``.
    """
    found = dict.fromkeys(entries(needs), "the command line")
    waiting = list(found)
    while waiting:
        importer = waiting.pop()
        new = [each for each in _ours(importer, platform) if each not in found]
        found |= dict.fromkeys(new, importer)
        waiting += new
    return found


@cache
def imports(module: str, platform: str) -> frozenset[str]:
    """Return the names that a module imports on a platform, ours and those of others."""
    path = path_of(module)
    if path is None:
        return frozenset()
    visitor = _Imports(module, platform, is_package=path.name == "__init__.py")
    visitor.visit(tree_of(path))
    return frozenset(visitor.found)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def path_of(module: str) -> Path | None:
    """Return the file of a module of ours; None if there is none of this name."""
    if module.partition(".")[0] != _PACKAGE:
        return None
    place = _SOURCE.joinpath(*module.split("."))
    return next(
        (each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file()), None
    )


def chain(module: str, found: Mapping[str, str]) -> str:
    """Return how a module is reached: it and its importers, up to a command."""
    steps = [module]
    while steps[-1] in found:
        steps.append(found[steps[-1]])
    return " <- ".join(steps)


def _targets(group: LazyGroup | click.Command, needs: Collection[Needs]) -> Iterator[str]:
    if not isinstance(group, LazyGroup):
        return
    for lazy in group.table.values():
        if lazy.needs in needs:
            yield lazy.target.partition(":")[0]
            yield from _targets(lazy.load(), needs)


def _ours(importer: str, platform: str) -> set[str]:
    """Return the modules of ours that a module imports, and the packages that they are in."""
    named = {
        each for module in imports(importer, platform) for each in (module, *_packages(module))
    }
    return {each for each in named if path_of(each) is not None}


def _packages(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


class _Imports(ast.NodeVisitor):
    """Collects the imports of one module that a platform reaches."""

    def __init__(self, module: str, platform: str, *, is_package: bool) -> None:
        self.found: set[str] = set()
        self._package = module if is_package else module.rpartition(".")[0]
        self._platform = platform

    def visit_Import(self, node: ast.Import) -> None:
        self.found.update(each.name for each in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            above = self._package.split(".")[: len(self._package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])])
        self.found.add(base)
        self.found.update(f"{base}.{each.name}" for each in node.names)

    def visit_If(self, node: ast.If) -> None:
        holds = self._holds(node.test)
        for child in node.body if holds is not False else ():
            self.visit(child)
        for child in node.orelse if holds is not True else ():
            self.visit(child)

    def generic_visit(self, node: ast.AST) -> None:
        """Visit statements only: no expression imports anything."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
                self.visit(child)

    def _holds(self, test: ast.expr) -> bool | None:
        """Return whether a condition holds on the platform; None if that is open."""
        if ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return False
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            holds = self._holds(test.operand)
            return None if holds is None else not holds
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return self._compares(test)
        return None

    def _compares(self, test: ast.Compare) -> bool | None:
        known = {"sys.platform": self._platform, "SYSTEM": system_of(self._platform)}
        value, other = known.get(ast.unparse(test.left)), test.comparators[0]
        if value is None or not isinstance(other, ast.Constant):
            return None
        if isinstance(test.ops[0], ast.Eq):
            return value == other.value
        return value != other.value if isinstance(test.ops[0], ast.NotEq) else None


def files(platform: str) -> list[str]:
    """Return the files of both sides, relative to the repository, sorted."""
    found = (path_of(module) for module in closure(platform, ANYWHERE))
    return sorted(str(path.relative_to(REPOSITORY)) for path in found if path is not None)


def check(platform: str) -> int:
    """Run mypy over both sides as if on a platform; return its exit status."""
    command = [sys.executable, "-m", "mypy", "--platform", platform]
    # A cache of its own: mypy keeps one platform's results at a time.
    command += ["--cache-dir", f".mypy_cache/{platform}", *files(platform)]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def main(arguments: list[str]) -> int:
    """Print the modules, or check their types."""
    if "--mypy" in arguments:
        return max([check(platform) for platform in PLATFORMS])
    for platform in PLATFORMS:
        for module in sorted(closure(platform, ANYWHERE)):
            print(f"{system_of(platform)}: {module}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
