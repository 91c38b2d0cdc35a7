"""A validation report as a page of its own: no script, nothing from elsewhere, both themes.

All text is a student's or comes from their code, so every word is escaped, and what would change
how the page reads (control characters, turned directions) is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from mograder.grading.report import CellError, CheckStatus, ValidatedCheck, ValidationReport
from mograder.grading.report_style import STYLE
from mograder.grading.report_text import WORDS, headline, marks_of_check, place_of

_MOST_SEGMENTS = 40
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CODE = re.compile(r"(`[^`\n]+`)")
_STRONG = re.compile(r"\*\*([^*\n]+)\*\*")
_KINDS = {
    CheckStatus.SUCCESS: "good",
    CheckStatus.PARTIAL: "half",
    CheckStatus.DANGER: "bad",
    CheckStatus.WARN: "wait",
    CheckStatus.NOT_RUN: "none",
}
_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>"""
_FOOT = """\
<footer>
<p>A copy of the notebook was run, as it had been saved; the file itself was not changed. This is
help, not a mark: marks are given when the work is graded.</p>
</footer>
</main>
</body>
</html>"""


_ELEMENTS = frozenset(
    (
        *("html", "head", "meta", "title", "style", "body", "main", "section", "footer", "div"),
        *("h1", "h2", "h3", "p", "span", "ul", "li", "i", "code", "pre", "strong"),
    )
)
_OPENINGS = re.compile(rb"<(!doctype html>|/?[a-z0-9]*)")


def render_html(report: ValidationReport) -> str:
    """Return the page."""
    return "\n".join(_page(report)) + "\n"


def has_our_elements_only(page: bytes) -> bool:
    """Whether a page that is read as UTF-8 holds no element that :func:`render_html` never writes.

    Who may have written it is not to choose what a browser loads; a report of 0.3.16's, which is
    nothing without its scripts, is none of these either.
    """
    names = (found[1].removeprefix(b"/").decode() for found in _OPENINGS.finditer(page))
    return all(name in _ELEMENTS or name == "!doctype html>" for name in names)


def _page(report: ValidationReport) -> Iterator[str]:
    name, verdict = _text(report.filename), "passes" if report.ok else "does not pass yet"
    kind = "good" if report.ok else "bad"
    yield _HEAD.format(title=f"{name} {verdict}", style=STYLE)
    yield f"<h1><span>{name}</span> {verdict}</h1>"
    yield f'<div class="summary {kind}">\n<p>{_text(headline(report))}</p>{_bar(report)}\n</div>'
    yield from _changes(report)
    if report.cell_errors:
        yield '<section>\n<h2>Cells with an error</h2>\n<ul class="rows">'
        yield from map(_error, report.cell_errors)
        yield "</ul>\n</section>"
    if report.checks:
        yield '<section>\n<h2>Checks</h2>\n<ul class="rows">'
        yield from map(_check, report.checks)
        yield "</ul>\n</section>"
    yield _FOOT


def _bar(report: ValidationReport) -> str:
    """One stripe for each check: what the list below tells in words."""
    if not 1 < len(report.checks) <= _MOST_SEGMENTS:
        return ""
    stripes = "".join(f'<i class="{_KINDS[each.status]}"></i>' for each in report.checks)
    return f'\n<div class="bar" aria-hidden="true">{stripes}</div>'


def _changes(report: ValidationReport) -> Iterator[str]:
    if report.integrity.warnings:
        yield '<section>\n<h2>What was changed</h2>\n<div class="note">'
        yield "<p>This is not as it was handed out, so what was handed out was run.</p>\n<ul>"
        yield from (f"<li>{_text(str(each))}</li>" for each in report.integrity.warnings)
        yield "</ul>\n</div>\n</section>"


def _check(check: ValidatedCheck) -> str:
    marks = marks_of_check(check)
    told = [
        f'<span class="pill {_KINDS[check.status]}">{WORDS[check.status]}</span>',
        f"<h3>{_inline(check.label)}</h3>",
        f'<p class="marks">{marks} marks</p>' if marks else "",
        f'<p class="place">{place}</p>' if (place := _place(check)) else "",
        '<p class="place">More tests come when it is graded.</p>' if check.hidden else "",
        _why(check),
    ]
    return f"<li>{''.join(told)}</li>"


def _place(check: ValidatedCheck) -> str:
    if check.line is None and check.status is CheckStatus.NOT_RUN:
        return ""
    return _named(check.cell, check.line)


def _named(cell: str, line: int | None) -> str:
    """Where something stands, with the cell's name if its author gave it one."""
    place = place_of(line).capitalize()
    return place if cell in ("", "_") else f"{place}, cell <code>{_text(cell)}</code>"


def _why(check: ValidatedCheck) -> str:
    if check.status is CheckStatus.WARN and not check.messages:
        return "" if check.waits else '<p class="place">It waits for an answer.</p>'
    reasons = "".join(f"<li>{_inline(message)}</li>" for message in check.messages)
    return f'<ul class="why">{reasons}</ul>' if reasons else ""


def _error(error: CellError) -> str:
    told = [
        '<span class="pill bad">ERROR</span>',
        f"<h3>{_text(error.error_type)}</h3>",
        f'<p class="said">{_text(error.message)}</p>' if error.message.strip() else "",
        f'<p class="place">{_named(error.cell, error.line)}</p>',
        f"<pre><code>{_text(error.code)}</code></pre>" if error.code else "",
        _printed(error.output),
    ]
    return f"<li>{''.join(told)}</li>"


def _printed(output: str) -> str:
    if not output.strip():
        return ""
    return f'<p class="place">What the cell printed</p><pre>{_text(output.rstrip())}</pre>'


def _inline(text: str) -> str:
    """What an author wrote for a check's box: code and stress of its markdown are shown as such."""
    parts = _CODE.split(text)
    return "".join(
        f"<code>{_text(part[1:-1])}</code>" if index % 2 else _STRONG.sub(_stress, _text(part))
        for index, part in enumerate(parts)
    )


def _stress(found: re.Match[str]) -> str:
    return f"<strong>{found[1]}</strong>"


def _text(text: str) -> str:
    """A stranger's words, which stay words."""
    return escape(_UNSEEN.sub("\ufffd", _COLOURS.sub("", text)))
