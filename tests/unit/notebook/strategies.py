"""Random notebooks, and random texts that look like some: for properties that always hold."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from tests.unit.notebook.corpus import names, source

CORPUS = [source(name) for name in names()]
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
INDENTS = st.sampled_from(["    ", "\t", "  "])
NAMES = st.text(string.ascii_lowercase, min_size=2, max_size=5).map(lambda text: f"v_{text}")
REMARKS = st.text(
    st.characters(exclude_characters="\n\r\x00\x0c", exclude_categories=["Cs"]), max_size=12
).map(lambda text: f"# {text}".rstrip())
VALUES = st.one_of(
    st.integers(0, 10**6).map(str),
    st.text(max_size=8).map(repr).filter(str.isprintable),
    st.sampled_from(["[1, 2]", "{}", "lambda: None", "(yield_ := 3)", "[i for i in range(3)]"]),
)


def _prose(remark: str) -> str:
    """Characters of a string."""
    return remark.replace('"', "'").replace("\\", "/")


@st.composite
def statements(draw: st.DrawFn) -> list[str]:
    """Some lines of code at no indent."""
    kind = draw(st.sampled_from(["assign", "remark", "if", "def", "string", "empty"]))
    name, value = draw(NAMES), draw(VALUES)
    match kind:
        case "assign":
            return [f"{name} = {value}"]
        case "remark":
            return [draw(REMARKS)]
        case "if":
            return [f"if {value}:", f" {name} = 1", "else:", f" {name} = {value}"]
        case "def":
            return [f"def {name}(a, *b, c=1):", f" {draw(REMARKS)}", f" return {value}"]
        case "string":
            return [f'{name} = """', _prose(draw(REMARKS)), "  kept", '"""']
    return [""]


@st.composite
def bodies(draw: st.DrawFn, *, marked: bool) -> list[str]:
    """The lines of a cell; with marks in it when it is a source's."""
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        lines += draw(statements())
    if marked:
        lines += ["### BEGIN SOLUTION", f"{draw(NAMES)} = {draw(VALUES)}", "### END SOLUTION"]
    if marked and draw(st.booleans()):
        lines += ["### BEGIN HIDDEN TESTS", f"check({draw(VALUES)}, [])", "### END HIDDEN TESTS"]
    for _ in range(draw(st.integers(0, 2))):
        lines += draw(statements())
    return lines


@st.composite
def cells(draw: st.DrawFn, *, marked: bool) -> str:
    """One cell of any kind, with LF."""
    kind = draw(st.sampled_from(["cell", "async", "function", "class", "unparsable", "markdown"]))
    indent, name = draw(INDENTS), draw(NAMES)
    if kind == "unparsable":
        return 'app._unparsable_cell(\n    r"""\n    x = = 1\n    """,\n    name="_"\n)\n'
    if kind == "markdown":
        text = _prose(draw(REMARKS))
        lines = [
            "@app.cell(hide_code=True)",
            "def _(mo):",
            '    mo.md(r"""',
            f"    {text}",
            '    """)',
        ]
        return "\n".join([*lines, "    return", ""])
    if kind == "class":
        return f"@app.class_definition\nclass C{name}:\n{indent}size: int = 3\n"
    body = "".join(
        f"{indent}{line}\n" if line.strip() else "\n" for line in draw(bodies(marked=marked))
    )
    if kind == "function":
        return f"@app.function\ndef {name}(a):\n{body}{indent}return a\n"
    sort = "async def" if kind == "async" else "def"
    returned = draw(st.sampled_from(["return", f"return ({name},)", f"return {name}, v_x"]))
    return f"@app.cell\n{sort} {draw(st.just('_') | NAMES)}():\n{body}{indent}{returned}\n"


@st.composite
def notebooks(draw: st.DrawFn, *, marked: bool = False) -> str:
    """A notebook that marimo may well open, in any of the forms that a file can have."""
    parts = []
    if draw(st.booleans()):
        keys = draw(st.lists(REMARKS.map(lambda text: f"# {text}"), max_size=2))
        tables = draw(st.sampled_from([[], ["#", "# [tool.uv]", "# index-url = 'x'"]]))
        lines = ["# /// script", *keys, '# dependencies = ["marimo"]', *tables, "# ///", "", ""]
        parts.append("\n".join(lines))
    parts.append('import marimo\n\n__generated_with = "0.25.2"\napp = marimo.App()\n\n\n')
    if draw(st.booleans()):
        parts.append("with app.setup:\n    import math\n    # at the end\n\n\n")
    made = draw(st.lists(cells(marked=marked), min_size=1, max_size=4))
    parts.append("\n\n".join(made))
    parts.append(draw(st.sampled_from(["", '\n\nif __name__ == "__main__":\n    app.run()\n'])))
    text = "".join(parts).replace("\n", draw(LINE_ENDS))
    text = text if draw(st.booleans()) else text.rstrip("\r\n")
    return draw(st.sampled_from(["", "\ufeff"])) + text


FRAGMENTS = st.sampled_from(
    [
        *("### BEGIN SOLUTION", "### END SOLUTION", "### BEGIN HIDDEN TESTS", "# YOUR CODE HERE"),
        *(
            "@app.cell",
            "def _():",
            "    return",
            "    return (x,)",
            "import marimo",
            "x = 1",
            "pass",
        ),
        *("app = marimo.App()", "with app.setup:", "@app.function", "class C:", "# /// script"),
        *("# ///", '"""', "    ", "\t", "\\", "(", ")", "\x0c", "\ufeff", "\0", "\ud800", "\u2028"),
        *("check('Q1', [", "_marks = {'Q1': 3}", "# === MOGRADER: MARKS ===", "__import__('os')"),
        *(
            "app._unparsable_cell(r'''",
            "'''",
            "eval(x)",
            "# mograder-cell-hashes = 'a,b'",
            "f'{x}'",
        ),
        *("response_text = 'a'", "mo.md(response_text)", "async def f(x, *, y: int = 3):", "%%"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(FRAGMENTS | st.text(max_size=10), max_size=25).flatmap(
        lambda lines: LINE_ENDS.map(lambda end: end.join(lines))
    ),
)
"""Anything: also what is no Python, and what is nearly a notebook."""


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A notebook with a piece cut out, put in or put in twice."""
    text = draw(notebooks(marked=draw(st.booleans())) | st.sampled_from(CORPUS))
    begin = draw(st.integers(0, len(text)))
    end = draw(st.integers(begin, min(len(text), begin + 60)))
    piece = draw(st.sampled_from(["", text[begin:end] * 2]) | FRAGMENTS)
    return text[:begin] + piece + text[end:]


PIECES = (
    """\
def _():
    from mograder.runtime import Grader
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 1}
    check = Grader(_marks).check
    return (check,)
""",
    'def _(mo):\n    mo.md(r"""\n    # Title\n    """)\n    return\n',
    "def _():\n    # YOUR CODE HERE\n    x = ...\n    return (x,)\n",
    'def _(check, x):\n    check("Q1: a", [(x == 1, "one")])\n    return\n',
    'def _(check, x):\n    _y = x\n    check("Q1: b", [(_y == 1, "one")])\n    return\n',
    'def _(check, x):\n    check("Q2", [])\n    check("Q3", [])\n    return\n',
)
"""Cells of a small assignment: marks, text, answer and checks."""
CHANGES = st.sampled_from(
    [
        *(
            ("Q1", "Q2"),
            ("Q2", "Q1: a"),
            ("==", "!="),
            ("check(", "check("),
        ),
        *(("# === MOGRADER: MARKS ===", "# YOUR CODE HERE"), ("# YOUR CODE HERE", "y = 1")),
        *(("x = ...", 'check("Q1: a", [])'), ("from mograder.", "from other."), ("_():", "f():")),
    ]
)


def assembled(pieces: list[str]) -> str:
    """A notebook of these cells."""
    body = "\n\n".join(f"@app.cell\n{piece}" for piece in pieces)
    return f"import marimo\n\napp = marimo.App()\n\n\n{body}"


@st.composite
def tampered(draw: st.DrawFn) -> str:
    """The small assignment with cells changed, moved, taken out and doubled."""
    pieces = []
    for index in draw(st.lists(st.integers(0, len(PIECES) - 1), max_size=9)):
        old, new = draw(CHANGES)
        changed = draw(st.booleans())
        pieces.append(PIECES[index].replace(old, new) if changed else PIECES[index])
    return assembled(pieces).replace("\n", draw(LINE_ENDS))
