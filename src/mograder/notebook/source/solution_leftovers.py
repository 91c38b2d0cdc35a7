"""Solution lines that an author left outside of solution blocks too.

A line that is both inside and outside of a block gives the answer away, but a common line such as
``fig, ax = plt.subplots()`` does not. So a line is reported only if it assigns an answer, or if it
is repeated together with the next line.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from mograder.notebook.cells import parse_python, plain_text, split_lines
from mograder.notebook.findings import Finding
from mograder.notebook.scopes import sentinels
from mograder.notebook.source.solution_markers import Block, BlockKind

_HINT = "Change it, or put it into a block as well."
_SHORTEST = 8
"""Characters of a line that is compared: brackets, ``else:`` and ``pass`` are shorter."""


def left_over(
    text: str, blocks: Sequence[Block], secrets: Sequence[str], filename: str
) -> Iterator[Finding]:
    """Yield the lines of solutions that are outside of all blocks, in the order of the file.

    ``secrets`` holds the stripped lines of all solutions.
    """
    lines = [line.strip() for line in split_lines(text)]
    inside = {n for block in blocks for n in range(block.begin, block.end + 1)}
    answers = _answer_names(text, blocks)
    telling = {line for line in secrets if len(line) >= _SHORTEST}
    pairs = _neighbours(lines, blocks)
    for number, line in enumerate(lines, start=1):
        if number in inside or line not in secrets:
            continue
        following = lines[number] if number < len(lines) else ""
        together = line in telling and following in telling and (line, following) in pairs
        if together or _gives_answer(line, answers):
            message = f"this line of a solution stands outside of its block: {line[:80]!r}."
            yield Finding(filename, number, message, _HINT)


def _answer_names(text: str, blocks: Sequence[Block]) -> frozenset[str]:
    tree = parse_python(plain_text(text))
    solutions = [(b.begin, b.end) for b in blocks if b.kind is BlockKind.SOLUTION]
    found = {} if tree is None else sentinels(tree, solutions)
    return frozenset(name for names in found.values() for name in names)


def _neighbours(lines: Sequence[str], blocks: Sequence[Block]) -> set[tuple[str, str]]:
    return {
        (lines[n - 1], lines[n]) for block in blocks for n in range(block.begin + 1, block.end - 1)
    }


def _gives_answer(line: str, answers: frozenset[str]) -> bool:
    """Whether a line assigns an answer a value other than an initial one such as 0 or []."""
    tree = parse_python(line)
    statement = tree.body[0] if tree is not None and tree.body else None
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    names = {node.id for t in targets for node in ast.walk(t) if isinstance(node, ast.Name)}
    return bool(names & answers) and not _is_a_beginning(statement.value)


def _is_a_beginning(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return value.value in (0, 1, "", None, ...) or isinstance(value.value, bool)
    return (
        isinstance(value, ast.List | ast.Dict | ast.Tuple)
        and not list(ast.iter_child_nodes(value))[1:]
    )
