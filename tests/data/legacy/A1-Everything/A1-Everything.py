# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "mograder>=0.3.16",
# ]
# ///

import marimo

__generated_with = "0.23.9"
app = marimo.App()


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # Everything that a notebook for 0.3.16 uses

    Conditions are written as plain values, marks stand in a cell of their own, and one
    question has a hidden test.
    """)
    return


@app.cell
def _():
    import math

    import marimo as mo

    from mograder.runtime import (
        Grader,
        check as plain_check,
        count_response_words,
        fetch,
        hint,
        status,
        submit,
        word_count,
    )

    return (
        Grader,
        count_response_words,
        fetch,
        hint,
        math,
        mo,
        plain_check,
        status,
        submit,
        word_count,
    )


@app.cell(hide_code=True)
def _(Grader):
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 15, "Q3": 5, "Analysis": 20}
    grader = Grader(_marks)
    check = grader.check
    return check, grader


@app.cell
def _():
    # The mean of the values
    values = [2, 4, 6]
    ### BEGIN SOLUTION
    mean = sum(values) / len(values)
    ### END SOLUTION
    return mean, values


@app.cell(hide_code=True)
def _(check, mean, values):
    check(
        "Q1: The mean",
        [
            (isinstance(mean, float), "`mean` should be a number"),
            (mean == sum(values) / len(values), "the mean of 2, 4 and 6 is **4**"),
        ]
        if mean is not ...
        else [],
    )
    return


@app.cell(hide_code=True)
def _(hint):
    hint("The mean is $\\frac{1}{n} \\sum x_i$.")
    return


@app.cell
def _(math):
    def area(radius):
        ### BEGIN SOLUTION
        if radius < 0:
            raise ValueError("no circle")
        return math.pi * radius**2
        ### END SOLUTION
    return (area,)


@app.cell(hide_code=True)
def _(area, check, math):
    def _raises():
        try:
            area(-1)
        except ValueError:
            return True
        return False

    _first = area(1)
    if _first is None:
        _result = check("Q2: The area", [])
    else:
        _result = check(
            "Q2: The area",
            [
                (math.isclose(_first, math.pi), "the circle of radius 1 has the area $\\pi$"),
                (math.isclose(area(2), 4 * math.pi), "the area grows with the square", 2),
                (_raises(), "a negative radius should raise a `ValueError`", 0.5),
                ### BEGIN HIDDEN TESTS
                (area(0) == 0, "the circle of radius 0 has no area", 1.5),
                ### END HIDDEN TESTS
            ],
        )
    _result
    return


@app.cell(hide_code=True)
def _(hint):
    hint("`math.pi` helps.", "Use `raise`.")
    return


@app.cell
def _():
    ### BEGIN SOLUTION
    word = "marimo"
    ### END SOLUTION
    return (word,)


@app.cell(hide_code=True)
def _(check, word):
    check("Q3: A word", [(word == "marimo", "the word is not the one")] if word is not ... else [])
    return


@app.cell(hide_code=True)
def _(plain_check, word):
    plain_check("Without marks", [(len(str(word)) > 2, "use a longer word")])
    return


@app.cell
def written_analysis(mo):
    response_text = "*Write your answer here.*"
    ### BEGIN SOLUTION
    response_text = r"""
    The mean is the sum over the count, $\bar x = \frac{1}{n} \sum x_i$, which is four here.
    """
    ### END SOLUTION
    mo.md(response_text)
    return


@app.cell(hide_code=True)
def _(count_response_words, mo, word_count):
    from pathlib import Path

    _count = count_response_words(Path(__file__).read_text())
    mo.vstack(
        [
            word_count(__file__, target=(10, 50)),
            word_count(mo.watch.file(__file__), cell="written_analysis", target=(10, 50)),
            mo.md(f"The answer has {_count} words."),
        ]
    )
    return


@app.cell(hide_code=True)
def _(grader):
    # MOGRADER_SCORES_CELL
    grader.scores()
    return


@app.cell(hide_code=True)
def _(mo):
    button = mo.ui.run_button(label="Hand in")
    button
    return (button,)


@app.cell(hide_code=True)
def _(button, fetch, status, submit):
    if button.value:
        fetch("https://mograder.example.org", "A1-Everything")
        submit("https://mograder.example.org", "A1-Everything", __file__, "alice")
        status("https://mograder.example.org", "A1-Everything", "alice")
    return


if __name__ == "__main__":
    app.run()
