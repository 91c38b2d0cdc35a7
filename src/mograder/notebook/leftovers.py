"""Solutions that an author left standing outside of their blocks.

What is written twice, once inside a block and once outside, would give the answer away. But
``fig, ax = plt.subplots()`` gives nothing away, however often it stands there. So a line counts
when it gives an answer its value, or when it comes with the line next to it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from mograder.notebook.cells import parse_python, plain_text, split_lines
from mograder.notebook.findings import Finding
from mograder.notebook.markers import Block, BlockKind
from mograder.notebook.scopes import sentinels

_HINT = "Change it, or put it into a block as well."
_SHORTEST = 8
"""Characters of a line that says something: brackets, ``else:`` and ``pass`` do not."""


def left_over(
    text: str, blocks: Sequence[Block], secrets: Sequence[str], filename: str
) -> Iterator[Finding]:
    """Find the lines outside of all blocks that are a solution's, in the order of the file."""
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
    """Whether the line gives one of the answers a value that is not just a beginning."""
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
