"""The two cells that let students submit from the notebook itself (compatibility-0.3.16.md 7)."""

from __future__ import annotations

import json
import re

from mograder.notebook.cells import LineEdit, replace_lines, split_lines

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
        label=_literal(f"Submit {assignment}"),
        url=_literal(url),
        assignment=_literal(assignment),
    )
    new = tuple(made.split("\n")[:-1])
    place = guards[-1] if guards else len(lines) + 1
    return replace_lines(lines, [LineEdit(place, place - 1, new if guards else ("", "", *new))])


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
