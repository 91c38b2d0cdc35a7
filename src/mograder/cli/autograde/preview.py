"""The table of ``mograder autograde --preview``: the marks that would change."""

from __future__ import annotations

from collections.abc import Iterator

from mograder.core.csv_table import number_text
from mograder.grading.batch.mark_changes import ComparedRuns, MarkChange

_NONE = "-"


def preview_lines(assignment: str, compared: ComparedRuns) -> Iterator[str]:
    """Yield the lines for people."""
    wide = max((len(each.student) for each in compared.changes), default=0)
    for change in compared.changes:
        yield f"  {change.student:<{wide}}  {change.question}: {_told(change)}"
    for student in compared.without_result:
        yield f"  {student}: no result, so nothing would change"
    same = compared.judged - compared.gain - compared.lose
    yield (
        f"{assignment}: {compared.judged} judged; {compared.gain} gain marks, "
        f"{compared.lose} lose marks, {same} keep theirs."
    )
    yield "Preview — nothing was recorded. Without --preview it is."


def preview_json(assignment: str, compared: ComparedRuns) -> dict[str, object]:
    """Return the same for programs."""
    return {
        "assignment": assignment,
        "judged": compared.judged,
        "without_result": list(compared.without_result),
        "changes": [
            {
                "student": each.student,
                "question": each.question,
                "before": each.before,
                "after": each.after,
                "difference": each.difference,
                "counts_instead": each.marker,
            }
            for each in compared.changes
        ],
    }


def _told(change: MarkChange) -> str:
    points = f"{number_text(change.before) or _NONE} -> {number_text(change.after) or _NONE}"
    if change.marker:
        return f"{points}, but the mark by {change.marker} counts: look at it again"
    sign = "+" if change.difference > 0 else ""
    return f"{points} ({sign}{number_text(change.difference)})"
