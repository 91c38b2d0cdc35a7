"""The division of a source into the student's code and the teacher's; it makes the plan of grading.

Names and dependencies are marimo's own, by its static analysis. Pure; nothing is run.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mograder.notebook.cells import CellKind, parse_cells
from mograder.notebook.findings import Finding
from mograder.notebook.grading.cell_roles import (
    CellCode,
    CellRole,
    FoundSoFar,
    encodable,
    read_codes,
    roles_of,
)
from mograder.notebook.grading.grading_advice import review_conditions
from mograder.notebook.grading.grading_plan import (
    Answer,
    GradingPlan,
    Part,
    PlannedCell,
    Role,
    keys_when_run,
    source_sha256,
)
from mograder.notebook.points import is_editable, marks_of
from mograder.notebook.scopes import (
    CellGraph,
    GraphCell,
    bound_names,
    closure,
    graph_errors,
    graph_of,
)
from mograder.notebook.source.solution_markers import find_blocks


@dataclass(frozen=True, slots=True)
class PlannedSource:
    """The plan of a source, the mistakes that prevent grading by it, and advice."""

    plan: GradingPlan
    errors: tuple[Finding, ...]
    advice: tuple[Finding, ...]


def plan_source(text: str, filename: str, *, unprotected: Collection[str] = ()) -> PlannedSource:
    """Return the plan of a source, with the findings of dividing it.

    ``unprotected`` are keys of questions whose checks run beside the answers, besides those that
    the source itself marks.

    Raises:
        InvalidInput: The text is no notebook, or its markers are wrong; the message has one line
            ``file:line: message`` for each mistake.
    """
    notebook = parse_cells(text, filename)
    codes = read_codes(notebook, find_blocks(text, filename))
    marks = marks_of(notebook)
    told = None if marks is None else {encodable(key): value for key, value in marks.items()}
    findings = FoundSoFar(filename)
    nodes = roles_of(codes, told, findings, unprotected)
    graph = graph_of([GraphCell(n.cell.code_first, n.names.defined, n.used) for n in nodes])
    findings.errors.extend(graph_errors(graph, filename))
    _tell_names_of_checks(nodes, graph, findings)
    off = _disabled(nodes, graph, findings)
    live = [node for node in nodes if node.check and node.cell.index not in off]
    wanted = [node for node in live if not node.unprotected]
    _hide_what_needs_hidden_tests(live, nodes, graph, findings)
    answers, template, judged = _needed(nodes, graph, wanted)
    findings.advice.extend(_given_with_answers(nodes, answers, filename))
    beside = {n.cell.index: _with_uses(n.part, n, graph) for n in live if n.unprotected and n.part}
    plan = GradingPlan(
        source_sha256=source_sha256(text),
        cells=tuple(_planned_cells(nodes, graph, off)),
        answers=answers,
        template=template,
        judged=judged,
        beside=tuple(beside[index] for index in graph.order if index in beside),
        marks=told,
    )
    findings.advice.extend(_uncounted(plan, filename))
    return PlannedSource(plan, tuple(sorted(findings.errors)), tuple(sorted(findings.advice)))


def _disabled(nodes: Sequence[CellRole], graph: CellGraph, findings: FoundSoFar) -> frozenset[int]:
    """Return the cells that do not run; tell which checks are among them."""
    off: dict[int, CellRole] = {}
    for node in nodes:
        if node.cell.disabled:
            for index in (node.cell.index, *graph.below(node.cell.index)):
                off.setdefault(index, node)
    for index, cause in sorted(off.items()):
        part = nodes[index].part
        if part is not None and part.check is not None:
            line = cause.cell.code_first
            message = f"this check never runs: the cell at line {line} is disabled."
            findings.advise(part.line, message, "Enable that cell in marimo.")
    return frozenset(off)


def _tell_names_of_checks(
    nodes: Sequence[CellRole], graph: CellGraph, findings: FoundSoFar
) -> None:
    """Tell the checks whose names a student's cell needs: they do not run where that runs."""
    for node in nodes:
        below = sorted(graph.below(node.cell.index)) if node.role is Role.CHECK else []
        needs = next((each for each in below if nodes[each].role is Role.STUDENT), None)
        if needs is not None and not node.unprotected:
            line = nodes[needs].cell.code_first
            message = f"the answer at line {line} needs names of this check, which runs elsewhere."
            hint = "Define them in a given cell."
            findings.error(node.cell.code_first, message, hint)
        elif node.role is Role.CHECK and not node.unprotected:
            _advise_bound_names(node, findings)


def _advise_bound_names(node: CellRole, findings: FoundSoFar) -> None:
    """Tell the names that a check's cell offers to students, whose own cells do not get them.

    Imports they get (``answer_worker.py``), and a function that is a test is the check itself.
    """
    own = () if node.cell.kind is CellKind.FUNCTION else node.names.defined
    imports = (ast.Import, ast.ImportFrom)
    shown = [
        each
        for each in node.code.tree.body
        if not isinstance(each, imports) and not node.code.is_hidden(each)
    ]
    names = sorted(bound_names(shown).intersection(own))
    if names:
        told = ", ".join(map(repr, names))
        message = f"an answer that uses {told} of this check does not run when it is graded."
        hint = "Begin such a name with an underscore, or bind it in a given cell."
        findings.advise(node.cell.code_first, message, hint)


def _hide_what_needs_hidden_tests(
    checks: Sequence[CellRole], nodes: Sequence[CellRole], graph: CellGraph, findings: FoundSoFar
) -> None:
    """Hide the checks that use names of hidden tests' cells: those run with them, in one log.

    Tell the hidden tests that an unprotected check would lack: it runs in the student's notebook.
    """
    secret = {node.cell.index for node in checks if node.code.hidden}
    restored = {node.cell.index for node in checks if _is_restored(node)}
    for node in checks:
        part, (needed, _) = node.part, _followed(nodes, graph, [node])
        for index in sorted(needed & secret - restored) if node.unprotected else ():
            message = f"the unprotected check at line {node.cell.code_first} runs without these "
            hint = (
                "Put both into one cell without answers, whose check has a plain text as its label."
            )
            findings.error(nodes[index].code.hidden[0], f"{message}hidden tests.", hint)
        others = needed & secret - {node.cell.index}
        if part is not None and part.check is not None and others:
            labels = tuple(
                label.model_copy(update={"hidden": True, "visible": ()})
                for label in part.check.labels
            )
            facts = part.check.model_copy(update={"labels": labels, "hidden": True})
            node.part = part.model_copy(update={"check": facts})


def _is_restored(node: CellRole) -> bool:
    """Whether a cell runs beside the answers as it is in the source (``integrity.py``)."""
    facts = node.part.check if node.part is not None and node.unprotected else None
    labels = () if facts is None or is_editable(node.cell) else facts.labels
    return node.role is Role.CHECK and any(each.label is not None for each in labels)


def _planned_cells(
    nodes: Sequence[CellRole], graph: CellGraph, off: frozenset[int]
) -> Iterator[PlannedCell]:
    used = frozenset[str]().union(*(node.used for node in nodes))
    for node in nodes:
        cell = node.cell
        uses = (n for n in node.used if set(graph.definers.get(n, ())) - {cell.index})
        yield PlannedCell(
            index=cell.index,
            line=cell.code_first,
            name=cell.name,
            kind=cell.kind,
            role=node.role,
            defines=tuple(sorted(node.names.defined & used)),
            uses=tuple(sorted(uses)),
            disabled=cell.index in off,
        )


def _needed(
    nodes: Sequence[CellRole], graph: CellGraph, checks: Sequence[CellRole]
) -> tuple[tuple[Answer, ...], tuple[Part, ...], tuple[Part, ...]]:
    """Return the answers, the parts of the template, and those that run for each submission."""
    cells, names = _followed(nodes, graph, checks)
    late = {node.cell.index for node in checks}
    depends: dict[int, frozenset[str]] = {}
    template: list[Part] = []
    judged: list[Part] = []
    for index in graph.order:
        part = nodes[index].part
        if index not in cells or part is None:
            continue
        uses = {name: _sources(name, nodes[index], graph) for name in part.uses}
        direct = frozenset(name for name, places in uses.items() if places and name in names)
        parents = {place for name in uses.keys() - direct for place in uses[name]}
        depends[index] = direct.union(*(depends.get(each, ()) for each in parents))
        if depends[index] or parents & late:
            late.add(index)
        told = part.model_copy(update={"answers": tuple(sorted(depends[index]))})
        (judged if index in late else template).append(_with_uses(told, nodes[index], graph))
    answers = tuple(_answer(name, nodes, graph) for name in sorted(names))
    return answers, tuple(template), tuple(judged)


def _with_uses(part: Part, node: CellRole, graph: CellGraph) -> Part:
    uses = sorted(name for name in part.uses if _sources(name, node, graph))
    return part.model_copy(update={"uses": tuple(uses)})


def _followed(
    nodes: Sequence[CellRole], graph: CellGraph, checks: Sequence[CellRole]
) -> tuple[frozenset[int], frozenset[str]]:
    """Return the cells whose parts the checks need, and the names of answers that these use."""
    names: set[str] = set()

    def needed(index: int) -> Iterator[int]:
        part = nodes[index].part
        for name in part.uses if part is not None else ():
            sources = _sources(name, nodes[index], graph)
            if any(nodes[each].role is Role.STUDENT for each in sources):
                names.add(name)
            else:
                yield from sources

    return closure((node.cell.index for node in checks), needed), frozenset(names)


def _sources(name: str, node: CellRole, graph: CellGraph) -> tuple[int, ...]:
    """Return the cells that define a name of a part.

    The cell itself is one of them for a part that is divided from an answer.
    """
    places = graph.definers.get(name, ())
    return tuple(each for each in places if each != node.cell.index or node.role is Role.STUDENT)


def _answer(name: str, nodes: Sequence[CellRole], graph: CellGraph) -> Answer:
    cells = tuple(each for each in graph.definers[name] if nodes[each].role is Role.STUDENT)
    imports = {_import_of(name, nodes[index].code.tree.body) for index in cells}
    return Answer(name=name, cells=cells, imported=imports.pop() if len(imports) == 1 else "")


def _import_of(name: str, statements: Sequence[ast.stmt]) -> str:
    """Return the imports at the top level that bind a name, "" if anything else binds it."""
    found: list[str] = []
    for statement in statements:
        if name not in bound_names([statement]):
            continue
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            return ""
        found += (
            ast.unparse(_only(statement, alias))
            for alias in statement.names
            if (alias.asname or alias.name.split(".")[0]) == name
        )
    return "; ".join(dict.fromkeys(found))


def _only(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(statement, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(statement.module, [alias], statement.level)


def _given_with_answers(
    nodes: Sequence[CellRole], answers: Sequence[Answer], filename: str
) -> Iterator[Finding]:
    """Yield advice on names of the checks that are given in a cell that students may change."""
    for answer in answers:
        for code in (nodes[index].code for index in answer.cells):
            line = 0 if answer.imported else _given_at(answer.name, code)
            if line:
                message = f"{answer.name!r} is no answer, but students may change this cell, "
                hint = "Bind it in a given cell."
                yield Finding(filename, line, f"{message}and checks use their value.", hint)


def _given_at(name: str, code: CellCode) -> int:
    """Return the line that binds a name outside of all solution blocks, 0 if one is in a block."""
    given = 0
    for statement in code.tree.body:
        if name not in bound_names([statement]):
            continue
        first = code.line_of(statement)
        last = code.cell.line_of(statement.end_lineno or statement.lineno)
        if any(first <= block.end and block.begin <= last for block in code.solutions):
            return 0
        given = given or first
    return given if code.solutions else 0


def _uncounted(plan: GradingPlan, filename: str) -> Iterator[Finding]:
    """Yield advice on unprotected checks with computed labels that count for no question.

    An answer can report such labels itself: those of another check's question do not count.
    """
    judged = {label.key for part in plan.checks if part.check for label in part.check.labels}
    for part in plan.beside if plan.marks else ():
        own = keys_when_run(part) - judged
        for label in part.check.labels if part.check else ():
            if label.label is None and (label.key in judged or not own):
                message = "labels that are known only when this check runs count for no question."
                hint = "Begin them with the key of a question that has no other checks: `f'Q2: …'`."
                yield Finding(filename, label.line, message, hint)


@dataclass(frozen=True, slots=True)
class ReviewedGrading:
    """The mistakes that make marks unsound, advice, and the plan, None if there are mistakes."""

    plan: GradingPlan | None
    errors: tuple[Finding, ...]
    advice: tuple[Finding, ...]


def review_grading(text: str, filename: str, unprotected: Collection[str] = ()) -> ReviewedGrading:
    """Return what there is to say of the grading of a source by its checks.

    In a source without marks nothing depends on its checks, so all of it is advice.

    Raises: as :func:`plan_source`.
    """
    planned = plan_source(text, filename, unprotected=unprotected)
    plan = planned.plan
    if not (plan.checks or plan.beside or planned.errors):
        return ReviewedGrading(plan, (), ())
    wrong, weak = review_conditions(plan, filename)
    errors = tuple(sorted({*planned.errors, *wrong}))
    advice = {*planned.advice, *weak}
    if plan.marks is not None:
        return ReviewedGrading(None if errors else plan, errors, tuple(sorted(advice)))
    told = tuple(sorted({*errors, *advice}))
    return ReviewedGrading(None if planned.errors else plan, (), told)


def unknown_keys(plan: GradingPlan, keys: Collection[str], filename: str) -> Iterator[str]:
    """Yield warnings about keys that are set to be ``unprotected`` and that no check has."""
    parts = (*plan.checks, *plan.beside)
    known = {label.key for part in parts if part.check is not None for label in part.check.labels}
    for key in sorted(set(keys) - known):
        yield f"{filename}: no check belongs to {key!r}, which is set to be unprotected."
