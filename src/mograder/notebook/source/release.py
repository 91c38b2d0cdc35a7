"""The conversion of an author's source into a release, and advice on mistakes in the source.

A release has no solutions and no hidden tests. All rules are 0.3.16's (compatibility-0.3.16.md 7),
so that a course's old sources give the same notebooks as before; so are the two cells by which
students submit from the notebook itself. Pure and deterministic. Advice is on mistakes that authors
may overlook in a source whose markers are all correct.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import (
    Cell,
    CellKind,
    LineEdit,
    NotebookText,
    indent_of,
    parse_cells,
    plain_text,
    replace_lines,
    split_lines,
    statements_of,
    strays,
    tree_of,
)
from mograder.notebook.findings import Finding, refuse
from mograder.notebook.header_edit import check_header, has_block, read_key, set_keys
from mograder.notebook.points import (
    MARKS,
    TO_DO,
    TextCall,
    asks_for_answer,
    cell_hashes,
    checks_in,
    is_answer_name,
    is_editable,
    is_marks_cell,
    marks_of,
    marks_statement,
    numbers,
    text_call,
)
from mograder.notebook.references import app_call
from mograder.notebook.scopes import bound_between, own_nodes, sentinels
from mograder.notebook.source.solution_markers import Block, BlockKind, find_blocks

HIDDEN = "# HIDDEN TESTS"
_HIDDEN_KEY = "mograder-hidden-tests"
_PLACEHOLDER = re.compile(r"(?P<name>_?response_text\w*) = (?P<literal>.+)")
_SHOWN = re.compile(r"mo\.md\((?P<name>_?response_text\w*)\)")
_AWKWARD = re.compile(r'"""|["\\]\Z|[^\n\t -\x7e\xa0-\ud7ff\ue000-\U0010ffff]')
"""Text that raw triple quotes cannot hold, and characters that editors do not show."""

_WHOLE = (
    "Let no block be all that an `if`, a loop or a function holds, and let each begin and end "
    "with whole statements."
)
_NAME_IT = (
    "Name the cell `written_analysis`, or `written_analysis_…` if there are several; "
    "answers in other cells count as changes."
)
_LEFT = "Change it, or put it into a block as well."
_SHORTEST = 8
"""Characters of a line that is compared: brackets, ``else:`` and ``pass`` are shorter."""

SUBMIT = "# === MOGRADER: SUBMIT ==="
_GUARD = re.compile(r"""if __name__ == ["']__main__["']:""")

_CELLS = """\
@app.cell(hide_code=True)
def _():
    {mark}
    import os as _os

    import marimo as _mo

    # On the hub and the dashboard students hand in with a button of the page.
    mograder_submit_form = (
        None
        if _os.environ.get("MOGRADER_DASHBOARD") == "1"
        else _mo.ui.text(label="Your token", kind="password").form(submit_button_label={label})
    )
    mograder_submit_form
    return (mograder_submit_form,)


@app.cell(hide_code=True)
def _(mograder_submit_form):
    {mark}
    import marimo as _mo

    from mograder.runtime import submit as _submit

    def _handed_in(token):
        # A server that asks for no token is content with the name before the colon.
        _user, _colon, _ = token.strip().partition(":")
        try:
            _answer = _submit({url}, {assignment}, __file__, _user, token if _colon else "")
        except Exception as _error:
            return _mo.callout(f"Not submitted: {{_error}}", kind="danger")
        return _mo.callout(f"Submitted: {{_answer}}", kind="success")

    _token = mograder_submit_form.value if mograder_submit_form is not None else None
    _handed_in(_token) if _token else None
    return


"""

_MARK = "\ufeff"
_WRITE_MARKS = 'Write each with its number: `_marks = {"Q1": 10}`.'


@dataclass(frozen=True, slots=True)
class ReleaseText:
    """A released notebook; ``advice`` holds findings that do not prevent the release."""

    text: str
    solution_blocks: int
    advice: tuple[Finding, ...] = ()


def make_release(text: str, *, filename: str, assignment: str) -> ReleaseText | None:
    """Return the release of a source; None if it has no solution block.

    Raises:
        InvalidInput: Markers are wrong, the remaining text is not a notebook, or a solution is
            still in it; the message has one line ``file:line: message`` for each mistake.
    """
    blocks = find_blocks(text, filename)
    solutions = [block for block in blocks if block.kind is BlockKind.SOLUTION]
    if not solutions:
        return None
    check_header(text, filename)
    source = parse_cells(text, filename)
    lost = [*_lost_names(source, blocks, filename), *_left_over(source, blocks, filename)]
    call = app_call(text)
    for option in call.keywords if call is not None else ():
        match option.value:
            case ast.Constant(value=str(value)) if '"' in value:  # marimo does not escape it
                message = f'marimo cannot save this notebook: `{option.arg}` has a `"` in it.'
                place = option.value.lineno
                lost.append(Finding(filename, place, message, "Write `'` in its place."))
    refuse(lost)
    stripped = _with_texts(_strip(source, filename, blocks))
    keys: dict[str, str | bool] = {"mograder-assignment": assignment}
    hidden = any(block.kind is BlockKind.HIDDEN for block in blocks)
    if hidden or read_key(text, _HIDDEN_KEY):  # a source that was made from a release
        keys[_HIDDEN_KEY] = hidden
    cells = parse_cells(stripped, filename).cells
    keys["mograder-cell-hashes"] = ",".join(cell_hashes(cells))
    released = without_mark(set_keys(stripped, keys))
    advice = {*_advise(source, filename), *_unnamed_answers(source, filename)}
    advice.update(_open_by_a_text(source, cells, filename))
    return ReleaseText(released, len(solutions), tuple(sorted(advice)))


def with_hidden_tests(text: str, filename: str, cells: Collection[int]) -> str:
    """Return what is released of a source, but with the hidden tests of these cells, by index.

    It is for grading only. The header stays the source's.

    Raises: as :func:`make_release`.
    """
    source = parse_cells(text, filename)
    shown = [(cell.first, cell.last) for cell in source.cells if cell.index in cells]
    blocks, marks = [], []
    for block in find_blocks(text, filename):
        inside = any(first <= block.begin <= last for first, last in shown)
        if block.kind is BlockKind.HIDDEN and inside:
            marks += [block.begin, block.end]
        else:
            blocks.append(block)
    stripped = _with_texts(_strip(source, filename, blocks, marks))
    return without_mark(stripped)


def with_submit_cells(text: str, *, url: str, assignment: str) -> str:
    """Return the notebook with a form that sends it to an assignment server.

    The form is hidden if ``MOGRADER_DASHBOARD`` is 1. A notebook with these cells is returned
    unchanged.
    """
    lines = split_lines(text)
    if any(line.strip() == SUBMIT for line in lines):
        return text
    guards = [number for number, line in enumerate(lines, 1) if _GUARD.match(line)]
    made = _CELLS.format(
        mark=SUBMIT,
        label=json.dumps(f"Submit {assignment}", ensure_ascii=False),
        url=json.dumps(url, ensure_ascii=False),
        assignment=json.dumps(assignment, ensure_ascii=False),
    )
    new = tuple(made.split("\n")[:-1])
    place = guards[-1] if guards else len(lines) + 1
    return replace_lines(lines, [LineEdit(place, place - 1, new if guards else ("", "", *new))])


def without_mark(text: str) -> str:
    """Return a text without a byte order mark, since marimo cannot open a file with one."""
    return text.removeprefix(_MARK)


def _strip(
    source: NotebookText, filename: str, blocks: Sequence[Block], marks: Sequence[int] = ()
) -> NotebookText:
    """Return a source without the content of blocks, and without the lines ``marks``."""
    names = _answers(source, blocks)
    edits = [LineEdit(line, line) for line in marks]
    for block in blocks:
        indent = indent_of(source.lines[block.begin - 1])
        new = [HIDDEN]
        if block.kind is BlockKind.SOLUTION:
            bound = names.get((block.begin, block.end), ())
            new = [*(f"{name} = ..." for name in bound), TO_DO, "pass"]
        edits.append(LineEdit(block.begin, block.end, tuple(f"{indent}{line}" for line in new)))
    edits += _without_types(source, blocks)
    breaking: list[Finding] = []
    try:
        return parse_cells(replace_lines(source.lines, edits), filename)
    except InvalidInput as error:
        for edit in edits:
            if tree_of(plain_text(replace_lines(source.lines, [edit]))) is None:
                message = "without this block the notebook is no Python any more."
                breaking.append(Finding(filename, edit.first, message, _WHOLE))
        refuse(breaking)
        raise InvalidInput(
            f"{filename}:{edits[0].first}: without its blocks this is not a notebook any more.",
            hint=_WHOLE,
        ) from error


def _answers(
    source: NotebookText, blocks: Sequence[Block]
) -> Mapping[tuple[int, int], tuple[str, ...]]:
    """Return the names that stay bound in the place of each solution."""
    tree = tree_of(plain_text(source.text)) or ast.Module(body=[], type_ignores=[])
    solutions = [(b.begin, b.end) for b in blocks if b.kind is BlockKind.SOLUTION]
    return sentinels(tree, solutions)


def _without_types(source: NotebookText, blocks: Sequence[Block]) -> Iterator[LineEdit]:
    """Yield the edits that take the types of solutions' names from the parameters of cells.

    marimo writes a name's type there, which may tell the answer: ``x: Literal[42]``.
    """
    solutions = [(b.begin, b.end) for b in blocks if b.kind is BlockKind.SOLUTION]
    cells = [
        node
        for node in statements_of(plain_text(source.text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (cell := source.cell_at(node.lineno)) is not None
        and cell.kind is CellKind.CELL
    ]
    hidden, shown = set[str](), set[str]()
    for node in (each for cell in cells for each in own_nodes(cell)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            inside = any(begin < node.lineno < end for begin, end in solutions)
            (hidden if inside else shown).add(node.target.id)
    lines: dict[int, str] = {}
    for node in cells:
        for arg in reversed(node.args.args):  # columns behind a changed one are others
            named = arg.annotation is not None and arg.arg in hidden - shown
            if named and arg.lineno == arg.end_lineno:
                old = lines.get(arg.lineno, source.lines[arg.lineno - 1].rstrip("\r\n")).encode()
                new = old[: arg.col_offset] + arg.arg.encode() + old[arg.end_col_offset :]
                lines[arg.lineno] = new.decode()
    yield from (LineEdit(number, number, (line,)) for number, line in lines.items())


def _with_texts(notebook: NotebookText) -> str:
    """Return the text with the lines of each written answer replaced by Markdown.

    Markdown that marimo's saves would spoil is made raw.
    """
    edits: list[LineEdit] = []
    for cell in notebook.cells:
        edits += (*_written_answer(cell, notebook.lines), *_raw_text(cell, notebook.lines))
    return replace_lines(notebook.lines, edits)


def _can_be_raw(call: TextCall) -> bool:
    return '""' not in call.text and _AWKWARD.search(f"{call.text}\n") is None


def _raw_text(cell: Cell, lines: Sequence[str]) -> Iterator[LineEdit]:
    call = text_call(cell.code)
    if call is None or not call.is_spoiled or not _can_be_raw(call):
        return
    if cell.body_first > cell.body_last:
        return
    indent = indent_of(lines[cell.body_first - 1])
    code = cell.code.strip().replace(call.written, f'mo.md(r"""\n{call.text}\n""")', 1)
    body = tuple(f"{indent}{line}" if line else "" for line in code.split("\n"))
    yield LineEdit(cell.body_first, cell.body_last, body)


def _written_answer(cell: Cell, lines: Sequence[str]) -> Iterator[LineEdit]:
    last = 0
    for first in range(cell.body_first, cell.body_last - 2):
        placeholder = _placeholder(lines[first - 1 : first + 3])
        if placeholder is None or first <= last:
            continue
        last = first + 3
        indent = indent_of(lines[first - 1])
        content = [f"{indent}{line}" if line.strip() else "" for line in placeholder.split("\n")]
        yield LineEdit(first, last, (f'{indent}mo.md(r"""', *content, f'{indent}""")'))
    # The names of written answers leave the cell's return.
    body = (line.strip() for line in lines[cell.body_first - 1 : cell.body_last])
    answers = {found["name"] for found in map(_SHOWN.fullmatch, body) if found}
    names = [name for name in cell.returns if name not in answers]
    if last and len(names) < len(cell.returns):
        indent = indent_of(lines[cell.return_first - 1])
        value = f"({names[0]},)" if len(names) == 1 else ", ".join(names)
        yield LineEdit(cell.return_first, cell.return_last, (f"{indent}return {value}".rstrip(),))


def _placeholder(lines: Sequence[str]) -> str | None:
    """Return the placeholder text if these are the four lines of a written answer, else None."""
    stripped = [line.strip() for line in lines]
    found = _PLACEHOLDER.fullmatch(stripped[0])
    if found is None or stripped[1:] != [TO_DO, "pass", f"mo.md({found['name']})"]:
        return None
    match statements_of(found["literal"]):
        case [ast.Expr(value=ast.Constant(value=str(value)))]:
            return None if _AWKWARD.search(value) else value
    return None


def _unnamed_answers(source: NotebookText, filename: str) -> Iterator[Finding]:
    """Yield findings for written answers that students may not edit due to the cell's name."""
    for cell in source.cells:
        lines = [line.strip() for line in source.lines[cell.first - 1 : cell.last]]
        if any(map(_SHOWN.fullmatch, lines)) and not is_answer_name(cell.name):
            message = "this written answer's cell has no name that says so."
            yield Finding(filename, cell.first, message, _NAME_IT)


def _open_by_a_text(
    source: NotebookText, released: Sequence[Cell], filename: str
) -> Iterator[Finding]:
    """Yield findings for cells that students may change only because a text mentions `TO_DO`."""
    for cell, made in zip(source.cells, released, strict=True):
        if is_editable(made) and not asks_for_answer(made):
            numbers = range(cell.first, cell.last + 1)
            line = next((n for n in numbers if TO_DO in source.lines[n - 1]), cell.first)
            message = f"students may change this cell, because `{TO_DO}` stands in a text of it."
            yield Finding(filename, line, message, "Write it without `#`.")


def _left_over(source: NotebookText, blocks: Sequence[Block], filename: str) -> Iterator[Finding]:
    """Yield the lines of solutions that are outside of all blocks, in the order of the file.

    A line that is both inside and outside of a block gives the answer away, but a common line such
    as ``fig, ax = plt.subplots()`` does not. So a line is reported only if it assigns an answer, or
    if it is repeated together with the next line, commented out or not. Hidden tests may repeat
    visible lines.
    """
    solutions = (block for block in blocks if block.kind is BlockKind.SOLUTION)
    solved = (line.strip() for b in solutions for line in source.lines[b.begin : b.end - 1])
    secrets = {line for line in solved if line and not line.startswith("#")}
    lines = [line.strip().lstrip("#").strip() for line in source.lines]
    inside = {n for block in blocks for n in range(block.begin, block.end + 1)}
    answers = {name for names in _answers(source, blocks).values() for name in names}
    telling = {line for line in secrets if len(line) >= _SHORTEST}
    pairs = {(lines[n - 1], lines[n]) for b in blocks for n in range(b.begin + 1, b.end - 1)}
    for number, line in enumerate(lines, start=1):
        if number in inside or line not in secrets:
            continue
        following = lines[number] if number < len(lines) else ""
        together = line in telling and following in telling and (line, following) in pairs
        if together or _gives_answer(line, answers):
            message = f"this line of a solution stands outside of its block: {line[:80]!r}."
            yield Finding(filename, number, message, _LEFT)


def _gives_answer(line: str, answers: Collection[str]) -> bool:
    """Whether a line assigns an answer a value other than an initial one such as 0 or []."""
    statement = next(iter(statements_of(line)), None)
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    names = {node.id for t in targets for node in ast.walk(t) if isinstance(node, ast.Name)}
    match statement.value:
        case ast.Constant(value=value):
            begins = value in (0, 1, "", None, ...) or isinstance(value, bool)
        case ast.List() | ast.Dict() | ast.Tuple() as several:
            begins = not list(ast.iter_child_nodes(several))[1:]
        case _:
            begins = False
    return not names.isdisjoint(answers) and not begins


def _advise(source: NotebookText, filename: str) -> Iterator[Finding]:
    """Yield findings on text that marimo cannot open or drops, repeated labels, missing marks."""
    if source.text.startswith(_MARK):
        message = "the file begins with a byte order mark, which marimo cannot open."
        hint = "The release has none; save the source as UTF-8 without a byte order mark."
        yield Finding(filename, 1, message, hint)
    if not has_block(source.text):
        message = "there is no script block: nothing says which packages the notebook needs."
        hint = 'Begin the file with `# /// script`, `# dependencies = ["marimo"]` and `# ///`.'
        yield Finding(filename, 1, message, hint)
    yield from strays(source, filename)
    for cell in source.cells:
        call = text_call(cell.code)
        if call is not None and call.is_spoiled and not _can_be_raw(call):
            message = "marimo changes this text when it saves the notebook."
            hint = 'Write it as `mo.md(r"""…""")`, with no two `"` side by side.'
            yield Finding(filename, cell.code_first, message, hint)
    yield from _about_marks(source, filename)
    marks = marks_of(source)
    seen: dict[str, Cell] = {}
    for check in checks_in(source):
        if check.label in seen and seen[check.label] is not check.cell:
            message = f"the label {check.label!r} is given to a check above as well."
            hint = "Grading counts the worst of them; give each a label of its own."
            yield Finding(filename, check.line, message, hint)
        seen[check.label] = check.cell
        if marks is not None and check.key not in marks:
            message = f"{check.key!r} has no marks."
            hint = "Add it to `_marks`, or begin the label with one of its questions."
            yield Finding(filename, check.line, message, hint)


def _lost_names(source: NotebookText, blocks: Sequence[Block], filename: str) -> Iterator[Finding]:
    """Yield findings for names that a cell returns but only its hidden tests bind."""
    tree = tree_of(plain_text(source.text))
    hidden = [(b.begin, b.end) for b in blocks if b.kind is BlockKind.HIDDEN]
    for block in hidden if tree is not None else ():
        cell = source.cell_at(block[0])
        if tree is None or cell is None:
            continue
        for name in bound_between(tree, block, hidden):
            if name in cell.returns:
                message = f"only the hidden tests bind {name!r}, which the cell returns."
                hint = f"Call it `_{name}`, or bind it before the block."
                yield Finding(filename, block[0], message, hint)


def _about_marks(source: NotebookText, filename: str) -> Iterator[Finding]:
    """Yield findings on marks that are not read: without marker, repeated, or not literal."""
    known = False
    for cell in source.cells:
        place = marks_statement(cell)
        if not is_marks_cell(cell):
            if place is not None:
                message = "nobody reads these marks."
                yield Finding(filename, place[0], message, f"Put the line `{MARKS}` above them.")
            continue
        if known:
            message = "the marks are given in a cell above as well."
            yield Finding(filename, cell.code_first, message, "Keep one of them.")
        known = True
        if place is None or not isinstance(place[1], ast.Dict) or not place[1].keys:
            message = "the marks are not written down."
            line = cell.code_first if place is None else place[0]
            yield Finding(filename, line, message, _WRITE_MARKS)
        else:
            yield from _about_entries(cell, place[1], filename)
        for node in statements_of(cell.code):
            if _changes_marks(node):
                message = "these marks are not counted."
                line = cell.line_of(node.lineno)
                yield Finding(filename, line, message, "Write all marks into `_marks = {…}`.")


def _changes_marks(node: ast.stmt) -> bool:
    """Whether a statement changes the table of marks that was bound above."""
    match node:
        case (
            ast.Assign(targets=[ast.Subscript(value=ast.Name(id="_marks"))])
            | ast.AugAssign(
                target=ast.Name(id="_marks") | ast.Subscript(value=ast.Name(id="_marks"))
            )
            | ast.Expr(ast.Call(ast.Attribute(value=ast.Name(id="_marks"), attr="update")))
        ):
            return True
    return False


def _about_entries(cell: Cell, marks: ast.Dict, filename: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for key, value in zip(marks.keys, marks.values, strict=True):
        line = cell.line_of(value.lineno)
        found = numbers(ast.Dict([key], [value]))
        if not found:
            message = f"these marks are no number: {ast.unparse(value)[:40]}."
            yield Finding(filename, line, message, _WRITE_MARKS)
        for each in found.values():
            if round(each, 1) != each:
                message = f"marks have one decimal: {each:g} counts as {round(each, 1):g}."
                yield Finding(filename, line, message, "Use tenths, or multiply all marks.")
        for name in found.keys() & seen:
            yield Finding(filename, line, f"{name!r} has marks already.", "Keep one of them.")
        seen |= found.keys()
