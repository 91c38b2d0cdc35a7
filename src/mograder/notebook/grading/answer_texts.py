"""The texts of a notebook's answers, for checks that read them by ``inspect.getsource``.

What a worker says of its functions is its own claim. So the judge gets the text from the submitted
file itself, which the process that starts it has parsed.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Mapping
from itertools import chain

from mograder.notebook.cells import CellKind, NotebookText, parse_cells, split_lines, statements_of
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.scopes import bound_names

_READERS = ("getsource", "getsourcelines")
_MOST_BYTES = 40_000
"""Of the texts of one notebook together, as JSON, which the judge gets through a pipe."""


def answers_read(plan: GradingPlan) -> frozenset[str]:
    """Return the answers whose text a check may read: all or none."""
    parts = chain(plan.template, plan.judged)
    reads = any(reader in part.code for part in parts for reader in _READERS)
    return frozenset(answer.name for answer in plan.answers) if reads else frozenset()


def answer_texts(notebook: NotebookText, names: Collection[str]) -> Mapping[str, str]:
    """Return the text of the statement that binds each of the names last, as far as there is one.

    Names that a notebook defines after too much text are left out.
    """
    found: dict[str, str] = {}
    if not names:
        return found
    for cell in notebook.cells:
        code = "" if cell.kind is CellKind.UNPARSABLE else cell.code
        for node in statements_of(code):
            for name in bound_names([node]) & set(names):
                found[name] = _text(cell.code, node)
    left = _MOST_BYTES
    for name, text in tuple(found.items()):
        left -= len(json.dumps(text))
        if left < 0:
            del found[name]
    return found


def texts_of(text: str, filename: str, plan: GradingPlan) -> Mapping[str, str]:
    """Return the texts of a notebook's answers that the checks of a plan may read.

    Raises:
        InvalidInput: The notebook cannot be parsed.
    """
    names = answers_read(plan)
    return answer_texts(parse_cells(text, filename), names) if names else {}


def _text(code: str, node: ast.stmt) -> str:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min((each.lineno for each in decorators), default=node.lineno)
    return "".join(split_lines(code)[first - 1 : node.end_lineno])
