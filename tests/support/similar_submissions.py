"""A class of students who solve one assignment on their own, and some who copy; all by a seed."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Mapping

HEAD = "import marimo\n\n__generated_with = '0.25.2'\napp = marimo.App()\n"
END = '\n\nif __name__ == "__main__":\n    app.run()\n'
GIVEN = "import math\nimport numpy as np\nreadings = [3, 1, 4, 1, 5, 9, 2, 6]"
SHORT = "def area(r):\n    return math.pi * r**2"

_NAMES = [
    "total",
    "count",
    "value",
    "item",
    "result",
    "seen",
    "data",
    "kept",
    "found",
    "answer",
    "part",
    "left",
    "right",
    "top",
]
_WORDS = [
    "the",
    "loop",
    "visits",
    "every",
    "reading",
    "once",
    "and",
    "compares",
    "it",
    "with",
    "the",
    "largest",
    "so",
    "far",
    "because",
    "sorting",
    "would",
    "take",
    "longer",
    "for",
    "long",
    "lists",
    "although",
    "the",
    "result",
    "is",
    "equal",
    "we",
    "see",
    "that",
    "most",
    "of",
    "the",
    "time",
    "is",
    "spent",
    "in",
    "memory",
    "and",
    "not",
    "in",
    "arithmetic",
    "which",
    "explains",
    "why",
    "vectors",
    "help",
    "here",
    "when",
    "numbers",
    "grow",
]


def notebook(*cells: str) -> str:
    parts = []
    for code in cells:
        lines = "\n".join(f"    {line}" if line else "" for line in code.splitlines())
        parts.append(f"\n\n@app.cell\ndef _():\n{lines}\n    return")
    return HEAD + "".join(parts) + END


RELEASE = notebook(GIVEN, "# YOUR CODE HERE", 'response_text = """Type your answer here."""')


def honest(seed: int) -> str:
    """Return the notebook of one student who works alone."""
    random_ = random.Random(seed)
    return notebook(GIVEN, SHORT, *_functions(random_), _essay(random_))


def copied(text: str, seed: int) -> str:
    """Return a copy with other names, functions in another order, and other comments."""
    random_ = random.Random(seed)
    cells = re.findall(r"@app\.cell\ndef _\(\):\n(.*?)\n    return", text, re.DOTALL)
    codes = [re.sub(r"^    ", "", cell, flags=re.MULTILINE) for cell in cells]
    first, *others = codes
    random_.shuffle(others)
    return notebook(first, *(_disguised(code, random_) for code in others))


def a_class(size: int, copies: int) -> tuple[Mapping[str, str], frozenset[tuple[str, str]]]:
    """Return the notebooks by student, and the pairs of copies among them."""
    students = {f"s{number:03}": honest(number) for number in range(size - copies)}
    planted = set()
    for number in range(copies):
        source, student = f"s{number * 7:03}", f"x{number:03}"
        students[student] = copied(students[source], 1000 + number)
        planted.add((source, student))
    return students, frozenset(planted)


def _disguised(code: str, random_: random.Random) -> str:
    tree = ast.parse(code)
    bound = {
        node.arg if isinstance(node, ast.arg) else node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.arg)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    } - {"response_text"}
    new = {name: f"{random_.choice(_NAMES)}_{index}" for index, name in enumerate(sorted(bound))}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.arg = new.get(node.arg, node.arg)
        elif isinstance(node, ast.Name):
            node.id = new.get(node.id, node.id)
    lines = ast.unparse(tree).splitlines()
    if not code.startswith("response_text"):
        lines.insert(random_.randrange(len(lines) + 1), f"# {random_.choice(_WORDS)}")
    return "\n".join(lines)


def _functions(random_: random.Random) -> Iterator[str]:
    """Yield three functions, each written in one of many ways."""
    names = random_.sample(_NAMES, 6)
    for task in ("largest", "clean", "histogram"):
        yield f"def {task}(values):\n" + "\n".join(f"    {line}" for line in _body(random_, names))


def _body(random_: random.Random, names: list[str]) -> Iterator[str]:
    one, other, third, *_ = random_.sample(names, 4)
    yield f"{one} = {random_.choice(['[]', '0', '{}', 'None', 'list(values)', 'set()'])}"
    for _ in range(random_.randrange(3, 7)):
        yield from _step(random_, one, other, third)
    yield f"return {random_.choice([one, f'len({one})', f'sorted({one})', f'{one} or None'])}"


def _step(random_: random.Random, one: str, other: str, third: str) -> Iterator[str]:
    number = random_.randrange(100)
    call = random_.choice(["abs", "max", "min", "round", "str", "math.sqrt", "np.mean", "sum"])
    operator = random_.choice(["<", ">", "==", "!=", "in", "not in", "<=", "is not"])
    sign = random_.choice(["+", "-", "*", "//", "%", "**"])
    steps = (
        [
            f"for {other} in values:",
            f"    if {other} {operator} {one}:",
            f"        {one} = {other}",
        ],
        [f"{third} = [{call}({other} {sign} {number}) for {other} in values if {other}]"],
        [f"while {one}:", f"    {one} = {call}({one}) {sign} {number}", "    break"],
        [f"if not values or {call}(values) {operator} {number}:", f"    return {call}({number})"],
        [f"for {other}, {third} in enumerate(values):", f"    {one} = {one} {sign} {third}"],
        [f"{one} = dict(zip(values, range({number}))).get({call}({number}), {one})"],
        ["try:", f"    {one} = {one} {sign} {call}(values)", "except TypeError:", "    pass"],
        [f"{third} = lambda {other}: {other} {sign} {number}", f"{one} = {third}({one})"],
    )
    yield from random_.choice(steps)


def _essay(random_: random.Random) -> str:
    words = [random_.choice(_WORDS) for _ in range(random_.randrange(40, 80))]
    return f'response_text = """{" ".join(words)}."""'
