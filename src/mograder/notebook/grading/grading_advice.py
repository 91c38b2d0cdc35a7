"""Conditions of checks that junk passes, or that cannot be judged apart from the answer.

Found in the code of a plan's checks, without running it. Values are followed from the names of
answers through the assignments, loops and comprehensions of one cell; what else reaches a condition
is told by a run.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from mograder.notebook.findings import Finding
from mograder.notebook.grading.grading_plan import GradingPlan, Part, Role
from mograder.notebook.parsing import parse_python
from mograder.notebook.points import calls_in
from mograder.notebook.scopes import closure, names_read, names_stored

_COMPREHENSIONS = (ast.ListComp, ast.GeneratorExp, ast.SetComp)
_OPPOSITES = {ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Lt: ast.GtE, ast.LtE: ast.Gt}
_COMPARE_VALUES = "Compare values that it gives for arguments of yours."
_PARSERS = {
    "sympify": _COMPARE_VALUES,
    "parse_expr": _COMPARE_VALUES,
    "eval": "Compare the value itself, or `ast.literal_eval` of the text.",
    "exec": "Let the answer be a function, and call it.",
    "open": "Let the answer be the content, not the name of a file.",
    "read_pickle": "Let the answer be the data, not a file.",
}
"""Functions that run a text, or open a file of any name, and what to do instead."""
_METHODS = {"query", "eval"}
_LOADERS = {"yaml", "pickle", "dill", "marshal", "joblib", "torch", "cloudpickle"}
_FILES = {"loadtxt", "genfromtxt", "fromfile", "imread", "read_text", "read_bytes"}
_FILES |= {f"{verb}_{form}" for verb in ("read", "scan") for form in ("csv", "parquet", "json")}
_FILES |= {"read_excel", "read_table", "read_feather", "read_hdf", "read_ipc", "read_database_uri"}
_CONTENTS = {"StringIO", "BytesIO", "split", "splitlines", "encode", "dumps", "to_csv"}
"""Functions whose results are contents of a file and not its name."""
_QUERIES = {"execute", "executemany", "executescript", "sql"}
_QUERIES |= {"read_sql", "read_sql_query", "read_database"}
_READ_ONLY = ("query_only", "mode=ro", "read_only", "SQLContext")
_SHAPES = {"shape", "size", "ndim"}
_SIZES = {"len", "shape", "size", "ndim"}


def review_conditions(
    plan: GradingPlan, filename: str
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Return the conditions of a plan's checks that must be changed, and those that should be.

    Checks that run beside the answers count, too.
    """
    imported = {answer.name for answer in plan.answers if answer.imported}
    users: dict[str, set[str]] = defaultdict(set)
    for cell in plan.cells:
        for name in cell.uses:
            users[name].update(set(cell.defines) - imported)
    students = (set(cell.defines) for cell in plan.cells if cell.role is Role.STUDENT)
    # The names that students' cells define, and those of cells that depend on them.
    by_answers = closure(set[str]().union(*students) - imported, lambda n: users.get(n, ()))
    errors: set[Finding] = set()
    advice: set[Finding] = set()
    every = [*((part, True) for part in plan.checks), *((part, False) for part in plan.beside)]
    for part, judged in every:
        review = _Review(part, plan, by_answers, filename, judged=judged)
        errors.update(review.errors())
        advice.update(review.advice())
    return tuple(sorted(errors)), tuple(sorted(advice - errors))


class _Review:
    def __init__(
        self,
        part: Part,
        plan: GradingPlan,
        by_answers: frozenset[str],
        filename: str,
        *,
        judged: bool,
    ) -> None:
        self._part = part
        self._parts = (part, *plan.template, *plan.judged)
        self._filename = filename
        self._judged = judged
        self._tree = parse_python(part.code)
        self._nodes = list(ast.walk(self._tree))
        self._names = _followed(self._nodes, by_answers.intersection(part.uses))
        keys = {label.key for label in part.check.labels} if part.check is not None else set()
        self._has_marks = plan.marks is None or None in keys or not keys.isdisjoint(plan.marks)

    def errors(self) -> Iterator[Finding]:
        """Yield findings on conditions that run answers as code, or that hold for NaN."""
        if self._judged:
            yield from self._parsers()
        if self._has_marks:
            yield from self._negated()

    def advice(self) -> Iterator[Finding]:
        """Yield findings on weak conditions, and on those that rest on the notebook's word."""
        if not self._has_marks:
            yield from self._negated()
        if self._judged:
            yield from self._labels()
            yield from self._queries()
            yield from self._claims()
            yield from self._identities()
        yield from self._broadcasts()
        yield from self._empties()
        yield from self._counts()

    def _calls(self) -> Iterator[tuple[ast.Call, str, ast.expr | None]]:
        """Yield each call, with the function's name, and the object whose attribute that is."""
        for node in self._nodes:
            match node:
                case ast.Call(func=ast.Name(id=name)):
                    yield node, name, None
                case ast.Call(func=ast.Attribute(value=owner, attr=name)):
                    yield node, name, owner

    def _holds(self, node: ast.AST | None) -> bool:
        """Whether an expression reads a name that comes from an answer."""
        return node is not None and any(
            isinstance(each, ast.Name) and each.id in self._names for each in ast.walk(node)
        )

    def _is_answer(self, node: ast.AST | None) -> bool:
        return isinstance(node, ast.Name) and node.id in self._names

    def _finding(self, node: ast.expr, message: str, hint: str) -> Finding:
        return Finding(self._filename, self._part.line + node.lineno - 1, message, hint)

    def _labels(self) -> Iterator[Finding]:
        check = self._part.check
        for label in check.labels if check is not None else ():
            if label.label is None:
                message = "the label of this check is known only when it runs."
                hint = "Write it as text, so that a check that does not run is noticed."
                yield Finding(self._filename, label.line, message, hint)
        if not self._part.answers:
            message = "this check uses no answer, so all students get the same marks for it."
            yield Finding(
                self._filename, self._part.line, message, "Use a name that students define."
            )

    def _parsers(self) -> Iterator[Finding]:
        for call, name, owner in self._calls():
            loads = name in ("load", "loads", "load_all") and isinstance(owner, ast.Name)
            dangerous = loads and isinstance(owner, ast.Name) and owner.id in _LOADERS
            method = name in _METHODS and owner is not None
            if self._opens(call, name, owner):
                message = f"{_shown(call)} opens a file that the answer names."
                yield self._finding(call, message, _PARSERS["open"])
                continue
            given = (*call.args, *(each.value for each in call.keywords))
            if not (name in _PARSERS or dangerous or method) or not any(map(self._holds, given)):
                continue
            hint = _PARSERS.get(name, "Use `yaml.safe_load`, or let the answer be the data.")
            if method:
                hint = "Compare the rows that the answer selects."
            message = f"{_shown(call)} runs the answer's text as code, or opens a file it names."
            yield self._finding(call, message, hint)

    def _opens(self, call: ast.Call, name: str, owner: ast.expr | None) -> bool:
        """Whether a call opens a file by a name from an answer, and not what the answer holds."""
        loads = name == "load" and isinstance(owner, ast.Name) and owner.id in ("np", "numpy")
        if not (name in _FILES or loads):
            return False
        given = owner if name in ("read_text", "read_bytes") else (*call.args, None)[0]
        inside = [] if given is None else [*ast.walk(given)]
        called = {each.attr for each in inside if isinstance(each, ast.Attribute)}
        called |= {each.id for each in inside if isinstance(each, ast.Name)}
        return self._holds(given) and called.isdisjoint(_CONTENTS)

    def _queries(self) -> Iterator[Finding]:
        """Yield findings for SQL of an answer, which may change or find what it is compared with.

        Nothing is told where the plan's code says that a connection only reads.
        """
        if any(each in part.code for part in self._parts for each in _READ_ONLY):
            return
        for call, name, _ in self._calls():
            if name in _QUERIES and any(map(self._holds, call.args[:1])):
                message = f"{_shown(call)} runs SQL of the answer, which can change the tables."
                hint = (
                    "Let its connection only read (`PRAGMA query_only = 1`, `read_only=True`, "
                    "`pl.SQLContext`), and ask for the truth before it, in another connection."
                )
                yield self._finding(call, message, hint)

    def _claims(self) -> Iterator[Finding]:
        for node in self._nodes:
            match node:
                case (
                    ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kind])
                    | ast.Compare(left=ast.Call(func=ast.Name(id="type")), comparators=[kind])
                ) if self._holds(kind):
                    message = f"{_shown(node)} rests on what the notebook says about itself; "
                    hint = "Compare what its objects do."
                    yield self._finding(node, f"{message}it is marked 'claimed'.", hint)
        for call, name, owner in self._calls():
            if name in ("score", "equals") and self._is_answer(owner) and call.args:
                better = "`model.predict(X)`" if name == "score" else "`truth.equals(answer)`"
                message = f"the truth is passed to the answer: {_shown(call)}."
                yield self._finding(call, message, f"Compare {better} instead.")

    def _identities(self) -> Iterator[Finding]:
        """Yield findings for the identity of answers, each of which is carried by itself."""
        local = names_stored(self._tree)
        for node in self._nodes:
            match node:
                case (
                    ast.Compare(left=left, ops=[ast.Is() | ast.IsNot()], comparators=[right])
                    | ast.Call(
                        func=ast.Attribute(attr="shares_memory" | "may_share_memory"),
                        args=[left, right],
                    )
                    | ast.Compare(
                        left=ast.Call(func=ast.Name(id="id"), args=[left]),
                        comparators=[ast.Call(func=ast.Name(id="id"), args=[right])],
                    )
                ):
                    both = left, right
                case _:
                    continue
            names = {_root(each) for each in both}
            known = len(names) == 2 and "" not in names and names.isdisjoint(local)
            if known and not names.isdisjoint(self._part.answers):
                message = f"{_shown(node)} holds the same for a copy and for no copy: "
                hint = "Let the answer be a function, and look at its result and argument."
                yield self._finding(node, f"{message}each answer is carried by itself.", hint)

    def _negated(self) -> Iterator[Finding]:
        """Yield findings for ``not x > 1``, which holds for NaN; not in branches of ``if``."""
        for node in _conditions(self._tree):
            match node:
                case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                    compared = _any_of(operand)
                case _:
                    continue
            if compared is None or not self._holds(compared):
                continue
            better = ast.Compare(
                compared.left, [_OPPOSITES[type(compared.ops[0])]()], compared.comparators
            )
            text = ast.unparse(better)
            if compared is not node.operand:
                text = f"np.all({text})"
            message = f"the condition {_shown(node)} holds for NaN."
            yield self._finding(node, message, f"Write {text[:80]!r}.")

    def _broadcasts(self) -> Iterator[Finding]:
        sized = self._sized()
        for call, name, _ in self._calls():
            answers = [each for each in call.args[:2] if self._is_answer(each)]
            number = any(_is_number(each) for each in call.args[:2])
            if name != "allclose" or not answers or number:
                continue
            if not any(ast.unparse(each) in sized for each in answers):
                message = f"{_shown(call)} holds for a single number."
                yield self._finding(call, message, "Compare the shapes as well.")

    def _empties(self) -> Iterator[Finding]:
        sized = self._sized()
        for call, name, owner in self._calls():
            inner = call.args[0] if name == "all" and len(call.args) == 1 else None
            if owner is not None or not isinstance(inner, _COMPREHENSIONS):
                continue
            sources = [each for loop in inner.generators for each in self._items(loop.iter)]
            if sources and not any(ast.unparse(each) in sized for each in sources):
                message = f"{_shown(call)} holds for an empty list."
                yield self._finding(call, message, "Compare the lengths as well.")

    def _items(self, node: ast.expr) -> Iterator[ast.expr]:
        """Yield what a loop takes from an answer: a name, or arguments of zip and enumerate."""
        match node:
            case ast.Call(func=ast.Name(id="zip" | "enumerate"), args=args, keywords=keywords):
                if not any(each.arg == "strict" for each in keywords):
                    yield from (each for each in args if self._holds(each))
            case ast.Name() if self._is_answer(node):
                yield node

    def _sized(self) -> frozenset[str]:
        """Return the expressions whose length or shape the check looks at, as text."""
        found = set()
        for node in self._nodes:
            match node:
                case ast.Attribute(value=value, attr=name) if name in _SHAPES:
                    found.add(ast.unparse(value))
        for call, name, _ in self._calls():
            if name in _SIZES and call.args:
                found.add(ast.unparse(call.args[0]))
        return frozenset(found)

    def _counts(self) -> Iterator[Finding]:
        """Yield findings for lists of conditions with as many entries as an answer has."""
        lists: dict[str, list[ast.expr]] = defaultdict(list)
        for names, value in (step for node in self._nodes for step in _steps(node)):
            for name in names:
                lists[name].append(value)
        known = self._part.check.labels if self._part.check is not None else ()
        for call in calls_in(self._nodes):
            line, given = self._part.line + call.node.lineno - 1, call.conditions
            same = [each for each in known if each.label == call.label]
            own = any(call.label is not None or each.line == line for each in same)
            named = lists.get(given.id, []) if isinstance(given, ast.Name) else []
            if own and given is not None and any(map(self._grows, (given, *named))):
                message = "the number of conditions depends on the answer; marks are counted out "
                hint = "Write one condition for all of them, and compare the lengths as well."
                more = "of as many as your solution has."
                yield self._finding(given, f"{message}{more}", hint)

    def _grows(self, node: ast.expr) -> bool:
        match node:
            case ast.ListComp() | ast.GeneratorExp():
                return any(self._holds(loop.iter) for loop in node.generators)
            case ast.List(elts=entries) | ast.Tuple(elts=entries):
                starred = (each.value for each in entries if isinstance(each, ast.Starred))
                return any(map(self._holds, starred))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._grows(left) or self._grows(right)
            case ast.IfExp(body=body, orelse=other):
                return self._grows(body) or self._grows(other)
            case ast.Call(func=ast.Name(id="list" | "tuple"), args=[inner]):
                return self._grows(inner)
        return False


def _followed(nodes: list[ast.AST], names: frozenset[str]) -> frozenset[str]:
    """Return names with those that are bound to values made from them."""
    made: dict[str, set[str]] = defaultdict(set)
    for targets, value in (step for node in nodes for step in _steps(node)):
        for name in names_read(value):
            made[name] |= targets
    return closure(names, lambda name: made.get(name, ()))


def _steps(node: ast.AST) -> Iterator[tuple[frozenset[str], ast.expr]]:
    """Yield the names that a node binds, and the value that it binds them to."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield names_stored(*targets), value
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield names_stored(target), value
        case ast.AugAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            yield names_stored(target), value
        case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
            yield names_stored(target), value


def _conditions(tree: ast.AST) -> Iterator[ast.UnaryOp]:
    """Yield negations, but those that only decide which code runs: ``if``, ``mo.stop``."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.UnaryOp):
            yield node
        match node:
            case ast.If(body=body, orelse=other) | ast.While(body=body, orelse=other):
                waiting += (*body, *other)
            case ast.IfExp(body=body, orelse=other):
                waiting += (body, other)
            case ast.Call(func=ast.Attribute(attr="stop"), args=[_, *rest]):
                waiting += rest
            case _:
                waiting += ast.iter_child_nodes(node)


def _any_of(node: ast.expr) -> ast.Compare | None:
    """Return the one ordering of two values in ``a > b``, ``any(a > b)``, ``(a > b).any()``."""
    match node:
        case ast.Compare(ops=[ast.Gt() | ast.GtE() | ast.Lt() | ast.LtE()]):
            return node
        case ast.Call(func=ast.Attribute(attr="any") | ast.Name(id="any"), args=[inner]):
            return _any_of(inner)
        case ast.Call(func=ast.Attribute(value=inner, attr="any"), args=[]):
            return _any_of(inner)
    return None


def _root(node: ast.expr) -> str:
    """Return the name that an expression of attributes and subscripts begins with, or ""."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float | complex)


def _shown(node: ast.AST) -> str:
    text = ast.unparse(node)
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
