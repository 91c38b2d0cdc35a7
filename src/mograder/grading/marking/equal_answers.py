"""Answers to a question that are the same, so that they can be marked once.

Answers are the same if their syntax is: code may differ in layout, comments, docstrings and the
names that it gives itself, texts in white space and case. Texts with nearly the same words are
near. Numbers are words: answers with different numbers are never together.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from mograder.core.errors import MograderError
from mograder.grading.marking.graded_work import WorkFiles
from mograder.grading.marking.question_sources import QuestionSources
from mograder.grading.marking.shown_work import Works, WorkToShow
from mograder.grading.marking.similar_pairs import words_of
from mograder.notebook.cells import tree_of

_SHINGLE = 3
"""Words of a shingle."""

_NEAR = 0.8
"""Share of the shingles of two texts that both have (Jaccard), from which on they are near."""

_FEWEST_WORDS = 12
"""Shorter texts are never near others, only the same."""

_LONGEST = 20_000
"""Characters of an answer from which on it is in no group: long ones are not equal by chance."""

_OWN = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_NAME_FIELDS: Mapping[type[ast.AST], tuple[str, ...]] = {
    ast.Name: ("id",),
    ast.arg: ("arg",),
    ast.FunctionDef: ("name",),
    ast.AsyncFunctionDef: ("name",),
    ast.ClassDef: ("name",),
    ast.ExceptHandler: ("name",),
    ast.alias: ("asname",),
    ast.MatchAs: ("name",),
    ast.MatchStar: ("name",),
    ast.MatchMapping: ("rest",),
}


@dataclass(frozen=True, slots=True)
class AnswerGroup:
    """Students with the same answer, or near ones; ``students`` are in alphabetical order."""

    students: tuple[str, ...]
    same: bool


async def answer_groups(
    works: Works,
    files: WorkFiles,
    students: Iterable[str],
    sources: QuestionSources,
    question: str,
) -> tuple[AnswerGroup, ...]:
    """Return the groups; students whose submission cannot be read now are in none."""
    answers: dict[str, list[str]] = {}
    for student in students:
        try:
            text = await asyncio.to_thread(files.graded_first, student)
            work = await works.show(WorkToShow(text, "submission.py", sources))
        except (MograderError, OSError):
            continue  # one text must not keep the groups of the others from the markers
        codes = [cell.code for cell in work.of(question) if cell.own]
        if sum(map(len, codes)) <= _LONGEST:
            answers[student] = codes
    return await asyncio.to_thread(group_answers, answers, sources.kept)


def group_answers(
    answers: Mapping[str, Sequence[str]], kept: Set[str] = frozenset()
) -> tuple[AnswerGroup, ...]:
    """Return the groups of two or more students, the largest first.

    ``answers`` are the codes of each student's cells. ``kept`` are names that the question gives or
    asks for, so that they count. An answer without code is in no group.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for student in sorted(answers):
        if any(code.strip() for code in answers[student]):
            alike[answer_key(answers[student], kept)].append(student)
    groups = []
    for members in _near_together(list(alike.values()), answers):
        students = tuple(sorted(student for each in members for student in each))
        if len(students) > 1:
            groups.append(AnswerGroup(students, same=len(members) == 1))
    return tuple(sorted(groups, key=lambda group: (-len(group.students), group.students)))


def answer_key(codes: Sequence[str], kept: Set[str] = frozenset()) -> str:
    """Return a text that is the same for answers that are the same.

    Of a cell without code its comments count: they are the answer.
    """
    digest = hashlib.sha256()
    names = _Names(kept)
    for code in codes:
        tree = tree_of(code, to_change=True)
        written = None if tree is None or _is_blank(tree) else names.normalised(tree)
        digest.update((written or " ".join(code.split())).encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()


def _is_blank(tree: ast.Module) -> bool:
    """Return whether a cell does nothing: it has comments, ``pass`` and ``...`` at most."""
    return all(
        isinstance(each, ast.Pass)
        or (isinstance(each, ast.Expr) and getattr(each.value, "value", None) is ...)
        for each in tree.body
    )


class _Names(ast.NodeTransformer):
    """Replaces the names that an answer binds by their order of appearance, one to one."""

    def __init__(self, kept: Set[str]) -> None:
        self._kept = kept
        self._bound: dict[str, str] = {}
        self._own: set[str] = set()

    def normalised(self, tree: ast.Module) -> str | None:
        """Return a cell's code without layout, comments, docstrings and its own names.

        It is None for code that is nested too deeply, or has an integer too long to be written.
        """
        self._own |= {each.name for each in ast.walk(tree) if isinstance(each, _OWN)}
        for name in _bindings(tree):
            if name not in self._kept:
                # A name that no answer can have itself.
                self._bound.setdefault(name, f"{len(self._bound)}")
        if all(map(_is_text, tree.body)):
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    node.value = " ".join(node.value.split()).casefold()
        try:
            return ast.dump(self.visit(tree))
        except (RecursionError, ValueError):
            return None

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Rename what a node binds or uses, and leave out docstrings.

        The arguments of a library's functions have the library's names.
        """
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in self._own:
            for each in node.keywords:
                each.arg = self._bound.get(each.arg or "", each.arg)
        for field, value in ast.iter_fields(node):
            if isinstance(value, str) and field in _NAME_FIELDS.get(type(node), ()):
                setattr(node, field, self._bound.get(value, value))
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            node.names = [self._bound.get(name, name) for name in node.names]
        if (
            isinstance(node, _OWN)
            and len(node.body) > 1
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body.pop(0)
        return super().generic_visit(node)


def _bindings(tree: ast.Module) -> Iterator[str]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        waiting.extend(reversed(list(ast.iter_child_nodes(node))))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            continue
        names = (getattr(node, field) for field in _NAME_FIELDS.get(type(node), ()))
        yield from (name for name in names if name is not None)


def _near_together(
    classes: Sequence[Sequence[str]], answers: Mapping[str, Sequence[str]]
) -> Iterator[list[Sequence[str]]]:
    """Yield classes of same answers, each with those that are near its first one."""
    groups: list[tuple[Set[int], Set[str], list[Sequence[str]]]] = []
    holders: dict[int, list[int]] = defaultdict(list)
    for members in classes:
        words = _words(answers[members[0]])
        spans = range(len(words) - _SHINGLE + 1)
        shingles = {hash(tuple(words[at : at + _SHINGLE])) for at in spans}
        numbers = {word for word in words if any(map(str.isdigit, word))}
        if len(shingles) + _SHINGLE - 1 < _FEWEST_WORDS:
            yield [members]
            continue
        shared = Counter(index for shingle in shingles for index in holders[shingle])
        near = [
            index
            for index, count in shared.items()
            if count / (len(shingles) + len(groups[index][0]) - count) >= _NEAR
            and numbers == groups[index][1]
        ]
        if near:
            groups[min(near)][2].append(members)
            continue
        for shingle in shingles:
            holders[shingle].append(len(groups))
        groups.append((shingles, numbers, [members]))
    yield from (together for _, _, together in groups)


def _words(codes: Iterable[str]) -> list[str]:
    """Return the words of an answer that is text; none for an answer with other code."""
    words: list[str] = []
    for code in codes:
        tree = tree_of(code)
        if tree is None or not all(map(_is_text, tree.body)):
            return []
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words += words_of(node.value)
    return words


def _is_text(statement: ast.stmt) -> bool:
    """Return whether a statement only writes text: a string, named or not, or its Markdown."""
    if not isinstance(statement, (ast.Expr, ast.Assign)):
        return False
    value = statement.value
    if isinstance(value, ast.Call):
        shows = isinstance(value.func, ast.Attribute) and value.func.attr == "md"
        if not shows or value.keywords or len(value.args) != 1:
            return False
        value = value.args[0]
        if isinstance(value, ast.Name):
            return True
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
