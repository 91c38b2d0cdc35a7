"""Rules of the code that no other linter checks: size, nesting, docstrings, stray words.

`make lint` runs this, `make test` does not. An exception is listed below with its reason, and an
exception that is no longer needed fails too, so that the lists only hold what is true.
"""

from __future__ import annotations

import ast
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

REPOSITORY = Path(__file__).parent.parent
MODULE_LINES = 800
FUNCTION_LINES = 50
TEMPLATE_COLUMNS = 160
NESTING = 3

LONG_FUNCTIONS: dict[str, str] = {}
"""Functions over 50 lines: "path:qualified.name" → reason."""

DEEP_FUNCTIONS: dict[str, str] = {}
"""Functions nested deeper than three blocks: "path:qualified.name" → reason."""

LAZY_IMPORTS: dict[str, str] = {
    "src/mograder/cli/": "the command line loads a command's group when it is asked for",
    "src/mograder/web/hub/app.py": "hubs without other systems do not load their libraries",
    "src/mograder/hub/startup.py": "hubs without nodes do not import them",
    "src/mograder/sandbox/inside/serve.py": "runs as the environment's python, imports marimo last",
}
"""Modules with imports inside functions: path prefix → reason."""

_INSIDE = REPOSITORY / "src/mograder/sandbox/inside"
STAND_ALONE = (
    *(f"src/mograder/{name}.py" for name in ("judging", "marks", "remote", "runtime")),
    *(f"src/mograder/sandbox/inside/{path.name}" for path in sorted(_INSIDE.glob("*.py"))),
)
"""Files that run as a notebook's own python, where mograder is not installed."""

COMPANIONS = ("mograder.judging", "mograder.marks", "mograder.remote")
"""Modules that ``runtime`` may import: the slim wheel contains these and the runtime only."""

_MEASURED = ("src", "tests", "bench", "scripts")
_READ = (*_MEASURED, "docs", "examples", "deploy", ".ci")
_TOP_FILES = ("*.md", "*.toml", "*.yml", "*.yaml", "Makefile", ".importlinter", ".ci/*")
_SUFFIXES = {
    *(".py", ".md", ".toml", ".sh", ".yml", ".yaml", ".html", ".css", ".js", ".conf", ".j2"),
    "",
}
_PROGRAMS = {".sh", ".html", ".css", ".js", ".conf", ".j2", ""}
_PROGRAM_PLACES = ("src/", "scripts/", "deploy/", ".ci/")
_BLOCKS = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.Match,
)
_STRAY = {
    "an unfinished thought": re.compile(r"\b(?:TODO|FIXME|HACK)\b"),
    "a path of somebody's own machine": re.compile(r"(?<![\w.])/(?:root|work|home/\w+/git)/\w"),
}
"""Patterns that no file may contain; this file is not searched."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a module, with its measures."""

    key: str
    lines: int
    nesting: int


def _python_files() -> list[Path]:
    return sorted(
        path
        for top in _MEASURED
        for path in (REPOSITORY / top).rglob("*.py")
        if "__pycache__" not in path.parts and REPOSITORY / "tests" / "data" not in path.parents
    )


def _text_files() -> list[Path]:
    deep = (path for top in _READ for path in (REPOSITORY / top).rglob("*"))
    top = (path for pattern in _TOP_FILES for path in REPOSITORY.glob(pattern))
    return sorted(
        path
        for path in {*deep, *top}
        if path.is_file() and path.suffix in _SUFFIXES and not _left_out(path)
    )


def _left_out(path: Path) -> bool:
    if path == Path(__file__):
        return True
    hidden = {"__pycache__", ".venv", "results", ".mograder", "__marimo__"}
    return not hidden.isdisjoint(path.relative_to(REPOSITORY).parts)


def _name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def _parse(path: Path) -> ast.Module:
    # In CPython 3.11 a collection while parsing that logs a traceback, which is parsed too, makes
    # ast.parse raise SystemError.
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    finally:
        gc.enable()


def _nesting(node: ast.AST, depth: int = 0) -> int:
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        deeper = depth + isinstance(child, _BLOCKS) - _continues_a_chain(node, child)
        deepest = max(deepest, _nesting(child, deeper))
    return deepest


def _continues_a_chain(parent: ast.AST, child: ast.AST) -> bool:
    """Whether the child is the ``elif`` of its parent, which reads at the parent's depth."""
    return isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.orelse == [child]


def _functions(tree: ast.AST, path: str, owner: str = "") -> Iterator[Function]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            qualified = f"{owner}{node.name}"
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(f"{path}:{qualified}", lines, _nesting(node))
            yield from _functions(node, path, f"{qualified}.")
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, path, f"{owner}{node.name}.")
        else:
            yield from _functions(node, path, owner)


@cache
def _all_functions() -> tuple[Function, ...]:
    return tuple(f for path in _python_files() for f in _functions(_parse(path), _name(path)))


def _judge(measured: dict[str, int], bound: int, exceptions: dict[str, str], what: str) -> None:
    over = {key: value for key, value in measured.items() if value > bound}
    unlisted = {key: value for key, value in over.items() if key not in exceptions}
    needless = set(exceptions) - set(over)
    assert not unlisted, f"{what} over {bound}: {unlisted}"
    assert not needless, f"exceptions that are no longer needed: {sorted(needless)}"
    assert all(exceptions.values()), "an exception needs a reason"


def test_no_module_is_longer_than_a_person_reads_at_once() -> None:
    lengths = {
        _name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in _python_files()
    }
    _judge(lengths, MODULE_LINES, {}, "lines of a module")


def test_no_other_program_page_or_style_is_longer_than_a_module() -> None:
    """Shell scripts, pages' scripts and styles, templates, configurations of web servers."""
    lengths = {
        _name(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in _text_files()
        if path.suffix in _PROGRAMS and _name(path).startswith(_PROGRAM_PLACES)
    }
    assert "scripts/deploy-hub-aws.sh" in lengths
    _judge(lengths, MODULE_LINES, {}, "lines")


def test_no_line_of_a_template_is_wider_than_a_window() -> None:
    wide = {
        f"{_name(path)}:{number}"
        for path in _text_files()
        if path.suffix in {".html", ".j2"} and _name(path).startswith("src/")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > TEMPLATE_COLUMNS
    }
    assert wide == set()


def test_no_package_has_two_public_classes_of_one_name() -> None:
    found = [
        (_name(path.parent), node.name)
        for path in _python_files()
        if _name(path).startswith("src/")
        for node in _parse(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert sorted({each for each in found if found.count(each) > 1}) == []


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {function.key: function.lines for function in _all_functions()}
    _judge(lengths, FUNCTION_LINES, LONG_FUNCTIONS, "lines of a function")


def test_no_function_nests_deeper_than_three_blocks() -> None:
    depths = {function.key: function.nesting for function in _all_functions()}
    _judge(depths, NESTING, DEEP_FUNCTIONS, "blocks inside each other")


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        _name(path)
        for path in _python_files()
        if not _name(path).startswith("tests/") and not ast.get_docstring(_parse(path))
    ]
    assert not silent, f"modules without a docstring: {silent}"


def test_imports_stand_at_the_top_of_a_file() -> None:
    """Only the command line loads lazily; hidden imports hide cycles."""
    hidden = [
        f"{_name(path)}:{node.lineno}"
        for path in _python_files()
        if _name(path).startswith("src/") and not _name(path).startswith(tuple(LAZY_IMPORTS))
        for function in ast.walk(_parse(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not hidden, f"imports inside functions: {hidden}"


@pytest.mark.parametrize("name", STAND_ALONE)
def test_what_runs_beside_student_code_stands_alone(name: str) -> None:
    imported = [
        module
        for node in ast.walk(_parse(REPOSITORY / name))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in _imported(node)
    ]
    allowed = COMPANIONS if name.endswith("/runtime.py") else ()
    ours = [module for module in imported if module.startswith((".", "mograder"))]
    assert not [module for module in ours if module not in allowed]


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or "")]
    return [alias.name for alias in node.names]


@pytest.mark.parametrize("what", sorted(_STRAY))
def test_no_file_carries(what: str) -> None:
    found = [
        f"{_name(path)}:{number}: {line.strip()}"
        for path in _text_files()
        for number, line in enumerate(_lines(path), start=1)
        if _STRAY[what].search(line)
    ]
    assert not found, f"{what}: {found}"


SUITES = ("unit", "contract", "security", "e2e", "vm", "deploy", "machines")


def test_what_suites_bench_and_scripts_share_is_in_support() -> None:
    """No suite imports another one, and nothing outside the tests imports a suite."""
    wrong = [
        f"{_name(path)} imports {module}"
        for path in _python_files()
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in _imported(node)
        if not _may_import(_name(path), module)
    ]
    assert not wrong, "\n".join(wrong)


def _may_import(path: str, module: str) -> bool:
    if module != "tests" and not module.startswith("tests."):
        return True
    if path.startswith("src/"):
        return False
    suite = module.split(".")[1:2]
    return not suite or suite[0] not in SUITES or path.startswith(f"tests/{suite[0]}/")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
