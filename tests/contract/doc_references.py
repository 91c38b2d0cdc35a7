"""Find references to the documentation in comments and docstrings, and those that lead nowhere."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NUMBER = r"\d+(?:\.\d+)*"
_PAGE = re.compile(
    r"(?<![\w.-])(?P<page>[A-Za-z][\w-]*(?:[.-]\d[\d.]*\d)?\.md)\b(?!\()"
    r'(?:,? (?P<titles>"[^"]+"(?:(?:,| and) "[^"]+")*)'
    rf"|,? (?P<numbers>{_NUMBER}(?:(?:,| and|-) ?{_NUMBER})*)(?![\w.]*\w))?"
)
_DECISION = re.compile(rf"\b[Dd]ecisions? (?P<numbers>{_NUMBER}(?:(?:,| and) {_NUMBER})*)")
_PROMISE = re.compile(r"\bB(?P<number>\d{1,3})\b")
_ABSENT = (
    re.compile(r"\b[Ii]ssue #?\d+"),
    re.compile(r"\b(?:[Tt]he|of an?|[Tt]his) (?:[\w']+ ){0,3}issue\b"),
    re.compile(r"(?:^|\()[Ii]ssue\b[^)]{0,30}"),
    re.compile(r'\b[Dd]one[ -]when["`]* \d'),
    re.compile(r"\b[Ss]eed \d{3}\b|\b[Tt]he seeds?'s\b"),
    re.compile(r"\b(?:[Mm]oodle|[Ff]loors|[Hh]ouse|deployment's) review\b"),
)
"""Ways to name an issue, a requirement or a review that is not in the repository."""
_FOREIGN = re.compile(r"\b[\w-]+/[\w-]+ issue \d+")
"""An issue of another repository."""
_NOT_PAGES = ("mo.md",)
"""marimo's function for Markdown."""
_COMMENT_LINE = re.compile(r"^\s*(?:#|//|\*|;)+ ?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Documentation:
    """Valid targets of references: headings by page, numbers of decisions and promises."""

    pages: dict[str, frozenset[str]]
    decisions: frozenset[int]
    promises: frozenset[int]

    @classmethod
    def of(cls, repository: Path) -> Documentation:
        """Read the Markdown files of ``docs`` and those at the top of the repository."""
        docs = repository / "docs"
        pages: dict[str, frozenset[str]] = {}
        for path in (*repository.glob("*.md"), *docs.rglob("*.md")):
            headings = _headings(path.read_text("utf-8"))
            pages[path.name] = pages.get(path.name, frozenset()) | headings
        promises = (docs / "reference" / "promises.md").read_text("utf-8")
        return cls(
            pages,
            frozenset(int(path.name[:4]) for path in docs.glob("decisions/[0-9]*.md")),
            frozenset(int(number) for number in re.findall(r"^- B(\d+):", promises, re.MULTILINE)),
        )

    def nowhere(self, text: str) -> Iterator[str]:
        """Yield the references of a text, free of line breaks, that lead nowhere."""
        for found in _PAGE.finditer(text):
            page = found["page"]
            if page in _NOT_PAGES:
                continue
            if page not in self.pages:
                yield page
                continue
            sections = re.findall('"([^"]+)"', found["titles"] or "")
            sections += re.findall(_NUMBER, found["numbers"] or "")
            yield from (f"{page} {each}" for each in sections if each not in self.pages[page])
        for found in _DECISION.finditer(text):
            numbers = (int(each) for each in found["numbers"].replace(" and", ",").split(","))
            yield from (f"decision {each}" for each in numbers if each not in self.decisions)
        for found in _PROMISE.finditer(text):
            if int(found["number"]) not in self.promises:
                yield found[0]
        ours = _FOREIGN.sub("", text)
        for pattern in _ABSENT:
            yield from (found[0] for found in pattern.finditer(ours))


def prose(path: Path) -> Iterator[str]:
    """Yield a file's comments and docstrings without line breaks; all of a file that is no Python.

    Comments on consecutive lines are one text, since a reference may be wrapped.
    """
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        yield _joined(_COMMENT_LINE.sub("", text))
        return
    block: list[str] = []
    last, line_begins = 0, True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield _joined(" ".join(block))
                block.clear()
            block.append(token.string.lstrip("#: "))
            last = token.start[0]
        elif token.type == tokenize.STRING and line_begins:
            yield _joined(token.string.strip("rR\"'"))
        if token.type not in _INVISIBLE:
            line_begins = token.type == tokenize.NEWLINE
    yield _joined(" ".join(block))


_INVISIBLE = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _headings(page: str) -> frozenset[str]:
    """Return a page's headings without marks, and the numbers that some begin with."""
    prose_only = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,6} (.+?)\s*$", prose_only, re.MULTILINE)
    plain = {heading.replace("`", "") for heading in headings}
    numbers = (re.match(_NUMBER, heading) for heading in plain)
    return frozenset(plain | {number[0] for number in numbers if number})
