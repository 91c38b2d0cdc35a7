"""No text makes the parsers fail in another way than the documented one: ``InvalidInput``."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import parse_cells
from mograder.notebook.integrity.integrity import check_integrity, find_tampering
from mograder.notebook.integrity.screening import screen_source, screen_submission
from mograder.notebook.source.lectures import to_lecture
from mograder.notebook.source.release import make_release
from mograder.notebook.syntax import check_notebook
from tests.unit.notebook.corpus import names, source

FRAME = "import marimo\n\napp = marimo.App()\n\n\n{}\n\nif __name__ == '__main__':\n    app.run()\n"
BITS = (
    *("@app.cell\n", "@app.function\n", "@app.cell(", "class A: pass\n", "async ", "lambda: "),
    *("app._unparsable_cell(", "with app.setup:\n", "def _():\n", "    return\n", "\\\n", "\t"),
    *("(", ")", "'''", "=", "\0", "\ufeff", "\ud800", "if __name__ == '__main__':\n"),
)
SEED = 20_261_121


def look(text: str, release: str) -> None:
    """Run all parsers on a text."""
    questions: tuple[Callable[[], object], ...] = (
        lambda: check_notebook(text, "A1.py"),
        lambda: parse_cells(text, "A1.py"),
        lambda: screen_submission(text, "A1.py", release=release),
        lambda: screen_source(text, "A1.py"),
        lambda: find_tampering(text, release, "A1.py"),
        lambda: check_integrity(text, release, "A1.py"),
        lambda: make_release(text, filename="A1.py", assignment="A1"),
        lambda: to_lecture(text, filename="A1.py", mode_of=lambda _: "run"),
    )
    for question in questions:
        try:
            question()
        except InvalidInput as error:
            assert error.message  # noqa: PT017  # any of ours will do, if it says something


@pytest.mark.parametrize(
    "cell",
    [
        "@app.cell\nclass A: pass",
        "@app.cell\nclass A:\n    x = 1",
        "@app.class_definition\ndef f(): pass",
        "@app.function\nclass A: pass",
        "@app.cell\nx = 1",
        "app._unparsable_cell()",
        "app._unparsable_cell(1)",
        "@app.cell(hide_code=)\ndef _(): return",
        "with app.setup: pass\nwith app.setup: pass",
    ],
)
def test_a_cell_that_marimo_does_not_expect_is_refused_with_its_file(cell: str) -> None:
    text = FRAME.format(cell)
    look(text, FRAME.format("@app.cell\ndef _():\n    1\n    return"))
    if "class A" in cell and "@app.cell" in cell:
        with pytest.raises(InvalidInput, match=r"^A1\.py:1: @app\.cell cannot be used on classes"):
            check_notebook(text, "A1.py")


def test_some_mutations_of_the_corpus() -> None:
    for text, release in mutations(60):
        look(text, release)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_many_mutations_of_the_corpus() -> None:
    for text, release in mutations(12_000):
        look(text, release)


def mutations(count: int) -> Iterator[tuple[str, str]]:
    """Notebooks with lines and characters out of place, and what each was; always the same ones."""
    chance = random.Random(SEED)  # no secret
    corpus = [source(name) for name in names()]
    for _ in range(count):
        whole = chance.choice(corpus)
        lines = whole.splitlines(keepends=True) or ["\n"]
        for _ in range(chance.randint(1, 4)):
            mutate(lines, chance, chance.choice(corpus))
        yield "".join(lines), whole


def mutate(lines: list[str], chance: random.Random, other: str) -> None:
    """Change one place of a text."""
    at = chance.randrange(len(lines))
    match chance.randint(0, 5):
        case 0 if len(lines) > 1:
            del lines[at]
        case 1:
            lines.insert(at, chance.choice(BITS))
        case 2:
            lines.insert(at, chance.choice(other.splitlines(keepends=True) or ["\n"]))
        case 3:
            column = chance.randint(0, len(lines[at]))
            lines[at] = lines[at][:column] + chance.choice(BITS) + lines[at][column:]
        case 4:
            lines[at] = lines[at].lstrip()
        case _:
            to = chance.randrange(len(lines))
            lines[at], lines[to] = lines[to], lines[at]
