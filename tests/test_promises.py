"""Every promise is named by a test that proves it: ``B42`` in the test's own name or docstring.

The promises are listed in ``docs/reference/promises.md``. A number in a module's docstring does not
count, because it names no test; nor does a range, or a test marked ``long``, which
``make test-full`` does not run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.full  # `make lint` runs it

TESTS = Path(__file__).parent
PROMISES = TESTS.parent / "docs" / "reference" / "promises.md"
_LINE = re.compile(r"- B(\d+): \S")
_NAMED = re.compile(r"(?:\bB|(?<=_)b)(\d+)(?!\.?\d)(?!\s*[-–]\s*B?\d)(?!_to_)")


def promises() -> list[int]:
    """The numbers of the page, in its order."""
    found = (_LINE.match(line) for line in PROMISES.read_text("utf-8").splitlines())
    return [int(each[1]) for each in found if each]


def named_in(path: Path) -> Iterator[int]:
    """The numbers that the tests of one module name."""
    tree = ast.parse(path.read_text("utf-8"))
    if any(_marks_all_long(node) for node in tree.body):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        long = any("mark.long" in ast.unparse(each) for each in node.decorator_list)
        if node.name.startswith("test_") and not long:
            text = f"{node.name} {ast.get_docstring(node) or ''}"
            yield from (int(number) for number in _NAMED.findall(text))


def _marks_all_long(node: ast.stmt) -> bool:
    """Whether it is a ``pytestmark`` that makes every test of its module a long one."""
    text = ast.unparse(node)
    return text.startswith("pytestmark = ") and "mark.long" in text


def named() -> set[int]:
    """The numbers that the tests of ``make test-full`` name."""
    modules = [path for path in TESTS.rglob("test_*.py") if "vm" not in path.parts]
    return {number for path in modules for number in named_in(path)}


def test_every_promise_is_named_by_a_test() -> None:
    missing = sorted(set(promises()) - named())
    assert missing == [], f"no test names {', '.join(f'B{number}' for number in missing)}"


def test_the_list_is_complete_and_tests_name_nothing_else() -> None:
    numbers = promises()
    assert numbers == list(range(1, 159))
    assert named() <= set(numbers)


def test_ranges_and_modules_docstrings_do_not_count(tmp_path: Path) -> None:
    module = tmp_path / "test_it.py"
    module.write_text(
        '"""B1."""\n\n\ndef test_b2_b3_and_more():\n    """B4, B6-B8 and B9: so."""\n\n\n'
        'def test_b10_to_b11():\n    pass\n\n\ndef helper():\n    """B5."""\n'
    )
    assert set(named_in(module)) == {2, 3, 4, 8, 9, 11}
