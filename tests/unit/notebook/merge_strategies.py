"""Random releases, what an author changes in them next, and what students make of their copies."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from mograder.notebook.cells import parse_cells
from mograder.notebook.header_edit import set_keys
from mograder.notebook.points import cell_hashes

FRAME = """\
# /// script
# dependencies = ["marimo", "mograder"{more}]
# mograder-assignment = "A1"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App()


{cells}

if __name__ == "__main__":
    app.run()
"""
NUMBERS = st.integers(0, 99)
WORDS = st.sampled_from(["dart", "coffee", "bicycle", "wheel", "cup", "sum", "mean", "slope"])
OWN_LINES = st.sampled_from(
    [
        "# a thought",
        "_private = 1",
        "print('so far')",
        "own_a = 1",
        "own_b = own_a + 1",
        "import math",
        "import statistics",
        "g_1 = 5",
        "text = '''",
        "mo",
        "g_2",
        "x = (",
    ]
)


@dataclass(frozen=True)
class Made:
    """A cell that is still to be written."""

    code: tuple[str, ...]
    name: str = "_"
    form: str = "cell"

    @property
    def text(self) -> str:
        """The cell as marimo writes it."""
        body = "\n".join(f"    {line}" if line else "" for line in self.code)
        if self.form == "function":
            return "@app.function\n" + "\n".join(self.code)
        if self.form == "setup":
            return f"with app.setup:\n{body}"
        if self.form == "unparsable":
            code = body.replace("\\", "").replace('"""', "")
            return f'app._unparsable_cell(\n    r"""\n{code}\n    """,\n    name="{self.name}"\n)'
        return f"@app.cell\ndef {self.name}():\n{body}\n    return"


def written(cells: list[Made], *, more: str = "", hashes: bool = True) -> str:
    """A notebook of these cells; with the hashes of a release in its header."""
    setups = [each for each in cells if each.form == "setup"][:1]
    rest = [each for each in cells if each.form != "setup"]
    body = "\n\n\n".join(each.text for each in [*setups, *rest])
    text = FRAME.format(cells=body + "\n", more=more)
    if not hashes:
        return text
    found = ",".join(cell_hashes(parse_cells(text, "x.py").cells))
    return set_keys(text, {"mograder-cell-hashes": found})


def marks(keys: list[int], imports: tuple[str, ...] = ()) -> Made:
    """The cell of the marks and imports."""
    stated = ", ".join(f'"Q{key}": 10' for key in keys)
    lines = (
        *("import marimo as mo", *imports, "from mograder.runtime import Grader"),
        *("# === MOGRADER: MARKS ===", f"_marks = {{{stated}}}", "grader = Grader(_marks)"),
        "check = grader.check",
    )
    return Made(lines)


@st.composite
def questions(draw: st.DrawFn, key: int) -> list[Made]:
    """The cells of one question: text, what is given, an answer and a check."""
    word, number = draw(WORDS), draw(NUMBERS)
    text = Made(('mo.md(r"""', f"## Question {key}: the {word}", f"Find {number}.", '""")'))
    given = Made((f"g_{key} = {number}", f"h_{key} = g_{key} * 2"))
    form = draw(st.sampled_from(["variable", "bare", "function"]))
    if form == "variable":
        answer = Made((f"a_{key} = ...", "# YOUR CODE HERE", "pass"))
        tested = f"a_{key} == {number}"
    elif form == "bare":
        answer = Made(("# YOUR CODE HERE", "pass"))
        tested = f"{number} > 0"
    else:
        head = f"def a_{key}(n):"
        answer = Made((head, "    # YOUR CODE HERE", "    pass"), f"a_{key}", "function")
        tested = f"a_{key}(g_{key}) == {number}"
    check = Made((f'check("Q{key}: the {word}", [({tested}, "not yet")])',))
    cells = [text, given, answer, check]
    if draw(st.booleans()):
        cells.append(Made(('mo.md(r"""', "*Write here.*", '""")'), f"written_analysis_{key}"))
    return [each for each in cells if each is not given or draw(st.booleans())]


@st.composite
def releases(draw: st.DrawFn) -> list[Made]:
    """The cells of a release."""
    keys = list(range(1, draw(st.integers(1, 4)) + 1))
    setup = [Made(("import string",), form="setup")] if draw(st.booleans()) else []
    return [*setup, marks(keys), *(each for key in keys for each in draw(questions(key)))]


@st.composite
def corrected(draw: st.DrawFn, cells: list[Made]) -> list[Made]:
    """What the author makes of a release."""
    out = list(cells)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(out) - 1))
        match draw(
            st.sampled_from(["change", "change", "number", "add", "remove", "move", "import"])
        ):
            case "change":
                word = draw(WORDS)
                code = tuple(line.replace("Find", f"Find {word}") for line in out[at].code)
                code = tuple(line.replace("not yet", f"no {word}") for line in code)
                out[at] = replace(out[at], code=code)
            case "number":
                more = draw(st.sampled_from([" + 1", " * 1", "  # corrected"]))
                code = tuple(
                    line + more if line.startswith(("g_", "h_")) else line for line in out[at].code
                )
                out[at] = replace(out[at], code=code)
            case "add":
                out[at + 1 : at + 1] = draw(questions(draw(st.integers(5, 9))))
            case "remove" if len(out) > 2:
                del out[at]
            case "move":
                out.insert(draw(st.integers(0, len(out))), out.pop(at))
            case "import":
                fresh = draw(st.sampled_from(["import math", "import statistics as st"]))
                keys = sorted(draw(st.sets(st.integers(1, 9), max_size=4)))
                out = [marks(keys, (fresh,)) if is_marks(each) else each for each in out]
    return sound(out)


def sound(cells: list[Made]) -> list[Made]:
    """The cells without those that another one excludes, as an author would have them.

    Answers are handed out alike, but have names of their own or none.
    """
    out: dict[tuple[str, ...], Made] = {}
    for index, each in enumerate(cells):
        answer = each.name if each.name != "_" else f"answer {index}"
        code = (answer,) if "Write here" in each.code[1:2] or is_bare(each) else each.code
        out.setdefault(defined(each) or code, each)
    return list(out.values())


def is_bare(made: Made) -> bool:
    """Whether it is an open answer without anything that tells its question."""
    return made.code[0] == "# YOUR CODE HERE"


def defined(made: Made) -> tuple[str, ...]:
    """The first variable of a cell that defines some."""
    if is_marks(made):
        return ("marks",)
    if made.form == "function":
        return (made.name,)
    return (made.code[0].split(" = ")[0],) if " = " in made.code[0] else ()


def is_marks(made: Made) -> bool:
    """Whether it is the cell of the marks."""
    return any("MOGRADER: MARKS" in line for line in made.code)


@st.composite
def edited(draw: st.DrawFn, cells: list[Made], *, honest: bool = False) -> list[Made]:
    """What a student makes of a release; an honest one answers, and adds cells of own names."""
    out = list(cells)
    ways = ["answer", "answer", "answer", "note"]
    if not honest:
        ways += ["line", "line", "cut", "break", "rename", "delete", "copy", "move", "own"]
    for number in range(draw(st.integers(0, 7))):
        at = draw(st.integers(0, len(out) - 1))
        way = draw(st.sampled_from(ways))
        match way:
            case "note":
                name = f"note_{number}_{draw(NUMBERS)}"
                out.insert(at + 1, Made((f"{name} = {draw(NUMBERS)}", f"print({name})")))
            case "delete" if len(out) > 1:
                del out[at]
            case "copy":
                out.insert(draw(st.integers(0, len(out))), out[at])
            case "move":
                out.insert(draw(st.integers(0, len(out))), out.pop(at))
            case "own":
                lines = draw(st.lists(OWN_LINES, min_size=1, max_size=3))
                out.insert(at + 1, Made(tuple(lines)))
            case _:
                out[at] = draw(changed(out[at], way))
    return out


@st.composite
def changed(draw: st.DrawFn, made: Made, way: str) -> Made:
    """One cell as a student changed it."""
    place = draw(st.integers(0, len(made.code) - 1))
    match way:
        case "answer" if "YOUR CODE HERE" in "".join(made.code):
            return answered(made, draw(NUMBERS))
        case "answer" if made.name.startswith("written_analysis"):
            return replace(made, code=(made.code[0], f"I think {draw(WORDS)}.", '""")'))
        case "line":
            return replace(made, code=(*made.code[:place], draw(OWN_LINES), *made.code[place:]))
        case "cut" if len(made.code) > 1:
            return replace(made, code=(*made.code[:place], *made.code[place + 1 :]))
        case "break" if made.form == "cell":
            return replace(made, form="unparsable", code=(*made.code, "x = ("))
        case "rename" if made.form == "cell":
            return replace(made, name=draw(WORDS))
    return made


def answered(made: Made, number: int) -> Made:
    """A cell with an answer instead of its placeholders."""
    indent = "    " if made.form == "function" else ""
    kept = [line for line in made.code if line.strip() not in ("# YOUR CODE HERE", "pass")]
    kept = [line for line in kept if not line.endswith(" = ...")]
    if is_bare(made):
        return replace(made, code=(*kept, f"print({number}, 'is mine')"))
    last = (
        f"{indent}return {number}" if made.form == "function" else f"{made.code[0][:3]} = {number}"
    )
    return replace(made, code=(*kept, last))


TOPICS = {
    "plants": "Describe how plants turn light into sugar, and name the gas that they give off.",
    "bridges": "A bridge of steel grows in summer. Compute by how much, for each degree.",
    "median": "Explain when the median of a list is closer to most of its values than the mean.",
    "orbits": "Draw the path of a comet around the sun, and mark where it is fastest.",
    "rivers": "Estimate the water that a river carries to the sea within one year.",
}


@dataclass(frozen=True)
class Question:
    """A question of one topic; its open answer is like those of other questions."""

    topic: str
    form: str
    checked: bool

    def cells(self, number: int, remark: str = "") -> list[Made]:
        """The cells of the question at this place, with something added to its text."""
        text = f"{TOPICS[self.topic]} {remark}".rstrip()
        asked = Made(('mo.md(r"""', f"## Question {number}", text, '""")'))
        check = Made((f'check("{self.topic}: done", [(True, "not yet")])',))
        return [asked, self.answer(), *([check] if self.checked else [])]

    def answer(self, text: str = "") -> Made:
        """The answer's cell, open without ``text``."""
        if self.form == "written":
            code = ('mo.md(r"""', text or "*Write your answer here.*", '""")')
            return Made(code, f"written_analysis_{self.topic}")
        return Made((f"print('{text}')",) if text else ("# YOUR CODE HERE", "pass"))

    def answered(self) -> list[Made]:
        """The answer of a student, with a further cell below it."""
        mine = f"mine on {self.topic}"
        return [self.answer(mine), Made((f"{self.topic} = 'also {mine}'",))]


@st.composite
def asked(draw: st.DrawFn) -> list[Question]:
    """Some questions of different topics."""
    topics = draw(st.lists(st.sampled_from(sorted(TOPICS)), min_size=1, unique=True))
    forms = st.sampled_from(["written", "code"])
    return [Question(topic, draw(forms), draw(st.booleans())) for topic in topics]


def made_of(questions: list[Question], answers: dict[str, list[Made]], remark: str) -> list[Made]:
    """The cells of a notebook, with some questions' cells instead of their open answers."""
    out = [marks(list(range(1, len(questions) + 1)))]
    for number, each in enumerate(questions, start=1):
        text, answer, *check = each.cells(number, remark)
        out += [text, *answers.get(each.topic, [answer]), *check]
    return out
