"""A validation report as a page of its own: no script, nothing from elsewhere, both themes.

All text is a student's or comes from their code, so every word is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from mograder.grading.report import CellError, ValidatedCheck, ValidationReport
from mograder.grading.report_text import WORDS, headline, marks_of_check, place_of

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid; }
td, li, p { overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 1.2rem; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid; white-space: pre-wrap; }
.summary { border-left: .4rem solid; padding-left: .8rem; }
.ok { border-color: #2e8b57; } .failed { border-color: #d9363e; }
"""


def render_html(report: ValidationReport) -> str:
    """Return the page."""
    return "\n".join(_page(report)) + "\n"


def _page(report: ValidationReport) -> Iterator[str]:
    name = escape(report.filename)
    verdict = "passes" if report.ok else "does not pass yet"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{name}: {verdict}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{name} {verdict}</h1>"
    kind = "ok" if report.ok else "failed"
    yield f'<p class="summary {kind}">{escape(headline(report))}</p>'
    if report.integrity.warnings:
        yield "<h2>What was changed</h2>\n<ul>"
        yield from (f"<li>{escape(str(each))}</li>" for each in report.integrity.warnings)
        yield "</ul>"
    if report.checks:
        yield "<h2>Checks</h2>\n<table>\n<thead><tr>"
        yield "".join(
            f'<th scope="col">{title}</th>' for title in ("Check", "Result", "Marks", "Why")
        )
        yield "</tr></thead>\n<tbody>"
        yield from map(_check, report.checks)
        yield "</tbody>\n</table>"
    if report.cell_errors:
        yield "<h2>Cells with an error</h2>"
        yield from map(_error, report.cell_errors)
    yield "</main>\n</body>\n</html>"


def _check(check: ValidatedCheck) -> str:
    why = "".join(f"<li>{escape(message)}</li>" for message in check.messages)
    marks = marks_of_check(check)
    return (
        f'<tr><th scope="row">{escape(check.label)}</th><td>{WORDS[check.status]}</td>'
        f"<td>{marks or '<span>none</span>'}</td><td>{f'<ul>{why}</ul>' if why else ''}</td></tr>"
    )


def _error(error: CellError) -> str:
    name = "" if error.cell in ("", "_") else f" <code>{escape(error.cell)}</code>"
    output = f"<pre>{escape(error.output)}</pre>" if error.output.strip() else ""
    return (
        f"<h3>Cell{name}, {place_of(error.line)}</h3>"
        f"<p><strong>{escape(error.error_type)}</strong>: {escape(error.message)}</p>{output}"
    )
