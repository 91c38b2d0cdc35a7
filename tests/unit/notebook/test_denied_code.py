"""The scan for denied imports and calls that are written out; honest code passes.

See compatibility-0.3.16.md 7.
"""

from __future__ import annotations

import pytest

from mograder.notebook.denied_code import DEFAULT_DENIED, scan


def found(text: str) -> list[str]:
    return [f"{finding.line}: {finding.message}" for finding in scan(text, "A1.py")]


@pytest.mark.parametrize("module", sorted(DEFAULT_DENIED.imports))
def test_a_denied_module_is_found_however_it_is_imported(module: str) -> None:
    message = f"1: denied import: {module}"
    for text in (
        f"import {module}",
        f"import {module} as harmless",
        f"import math, {module}.path",
        f"from {module} import something as harmless",
        f"from {module}.deep import *",
        f"__import__({module!r})",
        f"importlib.import_module({module!r})",
        f"def f(): import {module}",
    ):
        assert message in found(text), text


@pytest.mark.parametrize("name", sorted(DEFAULT_DENIED.calls))
def test_a_denied_builtin_is_found_however_it_is_called(name: str) -> None:
    message = f"1: denied builtin call: {name}"
    for text in (
        f"{name}(1)",
        f"f = {name}; f(1)",
        f"list(map({name}, [1]))",
        f"[f(1) for f in [{name}]]",
        f"(lambda f={name}: f(1))()",
    ):
        assert message in found(text), text


@pytest.mark.parametrize(
    "text", ["__import__('os')", "import_module('os.path')", "from importlib import x"]
)
def test_a_way_to_import_by_a_text_is_found(text: str) -> None:
    assert found(text)


@pytest.mark.parametrize(
    "text",
    [
        *("model.eval()", "df.eval('a + b')", "re.compile('a')", "path.open()", "sess.exit()"),
        *(
            "from re import compile; compile('a')",
            "getattr(model, 'eval')()",
            "import numpy as os_",
        ),
        *(
            "def f(input, open): return input + open",
            "input = 3; print(input)",
            "x.__import__x = 1",
        ),
        *("import osmnx", "from httpx import get", "from . import os_helpers", "eval_loss = 3"),
        *("print('import os')", "# import os", "globals()['x']", "getattr(x, 'y')", "d['eval']"),
        "for code in [1]: print(code)",
    ],
)
def test_honest_code_passes(text: str) -> None:
    assert found(text) == []


def test_findings_come_in_the_order_of_lines_each_once() -> None:
    text = "x = 1\nopen('f')\nimport os, sys, os\n"
    assert found(text) == [
        "2: denied builtin call: open",
        "3: denied import: os",
        "3: denied import: sys",
    ]


def test_a_text_that_is_no_python_is_a_finding_of_its_own() -> None:
    assert found("import os\nx = = 1") == ["2: cannot be checked: invalid syntax"]
    assert found("x = '\0'")[0].startswith("1: cannot be checked: ")


def test_a_cell_that_is_no_python_is_a_finding_of_its_own() -> None:
    text = "import marimo\n\napp = marimo.App()\n\napp._unparsable_cell(r'''import os; = ''')\n"
    assert found(text) == ["5: cannot be checked: this cell is no Python"]
