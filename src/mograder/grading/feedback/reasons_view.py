"""How a page says why a person gave a mark: saved comments with their points, and annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mograder.core.csv_table import number_text
from mograder.grading.pages.comment_markup import comment_html
from mograder.store.marking.mark_reasons import MarkReasons, Note


@dataclass(frozen=True, slots=True)
class ReasonView:
    """One reason: ``points`` with their sign, "" for none; ``html`` is safe markup.

    ``place`` says what it is about, such as lines of the notebook; "" for the answer as a whole.
    """

    html: str
    points: str = ""
    place: str = ""


def reason_views(reasons: MarkReasons, submission_sha256: str) -> tuple[ReasonView, ...]:
    """Return the reasons in words; annotations of other submissions than this are left out."""
    return tuple(_views(reasons, submission_sha256))


def _views(reasons: MarkReasons, submission_sha256: str) -> Iterator[ReasonView]:
    if reasons.from_full:
        yield ReasonView(comment_html("Points count from all marks of the question."))
    for saved in reasons.saved:
        yield ReasonView(comment_html(saved.text), _signed(saved.points))
    if reasons.adjustment:
        yield ReasonView(comment_html("Further points"), _signed(reasons.adjustment))
    if reasons.reason.strip():
        yield ReasonView(
            comment_html(reasons.reason), place="Why it is another mark than grading's"
        )
    for note in reasons.notes:
        if note.text.strip() and submission_sha256 in ("", note.submission_sha256):
            yield ReasonView(comment_html(note.text), place=_place(note))


def _signed(points: float | None) -> str:
    if points is None:
        return ""
    return f"{'−' if points < 0 else '+'}{number_text(abs(points), places=2)}"


def _place(note: Note) -> str:
    cell = f"Cell {note.cell + 1}"
    if note.first_line is None or note.last_line is None:
        return cell
    if note.first_line == note.last_line:
        return f"{cell}, line {note.first_line}"
    return f"{cell}, lines {note.first_line} to {note.last_line}"
