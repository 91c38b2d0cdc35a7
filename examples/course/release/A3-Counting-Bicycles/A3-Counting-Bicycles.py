# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "matplotlib",
#     "mograder",
#     "numpy",
#     "pandas",
# ]
# mograder-assignment = "A3-Counting-Bicycles"
# mograder-hidden-tests = true
# mograder-cell-hashes = "d8ca7e31,16284bf2,b5ebc719,b4b6063f,11bd9446,6201eeb5,98f4cfae,12ab8087,313cf13e,f5ab4397,21b1bd2d,0cb4a922,65d7ce65,f5ab4397,37983509,a4201707,88138001,45ce656e,b5f5459d"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # Assignment 3: How many bicycles tomorrow?

    A counter in the road of a bridge notices every bicycle that crosses. You will put its
    numbers in order, find the pattern of the week in them, and write a forecast that learns
    from day to day.

    Some of the tests of this assignment are *hidden*: they run when your work is marked,
    with the numbers of another bridge. So write code that works for any counter.
    """)
    return


@app.cell(hide_code=True)
def _():
    import math

    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np
    import pandas as pd

    from mograder.runtime import Grader, hint, word_count

    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 10, "Q3": 15, "Analysis": 15}
    grader = Grader(_marks)
    check = grader.check

    def unanswered(function, *arguments):
        """Whether a function still returns its placeholder; an error is an answer, too."""
        try:
            answer = function(*arguments)
        except Exception:
            return False
        return answer is None or answer is ...

    return check, grader, hint, math, mo, np, pd, plt, unanswered, word_count


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The numbers

    The file `bicycles.csv` has a row for each of 70 days: the `date`, the `count` of
    bicycles, and the `rain` of that day in millimetres.
    """)
    return


@app.cell
def _(mo, pd):
    bicycles = pd.read_csv(mo.notebook_dir() / "bicycles.csv", parse_dates=["date"])
    bicycles
    return (bicycles,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 1: put them in order (10 marks)

    On some days the counter was out of order, and their `count` is missing (`NaN`). Make a
    data frame `days` of all the *other* days, in the same order, with one more column
    `weekday`: `0` for Monday, `1` for Tuesday, up to `6` for Sunday.
    """)
    return


@app.cell
def _(bicycles):
    days = ...
    # YOUR CODE HERE
    pass
    return (days,)


@app.cell(hide_code=True)
def _(check, days, np, pd):
    check(
        "Q1: Days and weekdays",
        []
        if days is ...
        else [
            (isinstance(days, pd.DataFrame), "`days` should be a data frame"),
            (
                lambda: {"date", "count", "rain", "weekday"} <= set(days.columns),
                "it should have the columns `date`, `count`, `rain` and `weekday`",
            ),
            (
                lambda: len(days) == 66 and days["count"].notna().all(),
                "it should have the days on which the counter worked, and no others",
            ),
            (
                lambda: np.bincount(days["weekday"]).tolist() == [10, 9, 10, 10, 9, 8, 10],
                "some weekdays are wrong: is Monday `0`?",
                2,
            ),
        ],
    )
    return


@app.cell(hide_code=True)
def _(hint):
    hint(
        "`dropna` leaves rows out; its argument `subset` says in which columns to look.",
        '`frame["date"].dt.day_of_week` is the weekday of each date, and '
        "`frame.assign(name=values)` is the frame with one more column.",
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 2: the pattern of the week (10 marks)

    Write a function `weekly_pattern(days)` that takes a data frame with (at least) the
    columns `weekday` and `count`, and returns a Series: the mean `count` of each weekday
    that occurs, with the weekdays as its index, in ascending order.
    """)
    return


@app.function
def weekly_pattern(days):
    pattern = ...
    # YOUR CODE HERE
    pass
    return pattern


@app.cell(hide_code=True)
def _(check, pd, unanswered):
    _days = pd.DataFrame({"weekday": [0, 1, 0], "count": [10.0, 7.0, 20.0]})
    check(
        "Q2: Pattern of the week",
        []
        if unanswered(weekly_pattern, _days)
        else [
            (
                lambda: isinstance(weekly_pattern(_days), pd.Series),
                "the pattern should be a Series",
            ),
            (
                lambda: weekly_pattern(_days).to_dict() == {0: 15.0, 1: 7.0},
                "10 and 20 bicycles on two Mondays are 15 on a Monday; 7 on one Tuesday are 7",
                2,
            ),
        ],
    )
    return


@app.cell(hide_code=True)
def _(check, pd):
    # HIDDEN TESTS
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 3: a forecast that learns (15 marks)

    *Exponential smoothing* keeps a level $\ell$, its forecast for the next day, and moves
    it towards each new value $x$ by a share $w$ of the difference:

    $$ \ell \leftarrow \ell + w \, (x - \ell) $$

    The first value becomes the level as it is. Complete the class `Smoother`:
    `update(value)` takes a new value, and `predict()` returns the level.
    """)
    return


@app.class_definition
class Smoother:
    def __init__(self, weight):
        self.weight = weight
        self.level = None

    def update(self, value):
        # YOUR CODE HERE
        pass

    def predict(self):
        forecast = ...
        # YOUR CODE HERE
        pass
        return forecast


@app.function(hide_code=True)
def forecast_after(smoother, values):
    """Return the forecast of a smoother that has seen these values, one after the other."""
    for value in values:
        smoother.update(value)
    return smoother.predict()


@app.cell(hide_code=True)
def _(check, math, unanswered):
    check(
        "Q3: Smoother",
        []
        if unanswered(lambda: forecast_after(Smoother(0.5), [10.0]))
        else [
            (
                lambda: forecast_after(Smoother(0.5), [10.0]) == 10,
                "after one value the forecast is that value",
            ),
            (
                lambda: forecast_after(Smoother(0.5), [10.0, 20.0]) == 15,
                "with a weight of one half, 10 and then 20 should give 15",
            ),
            (
                lambda: math.isclose(forecast_after(Smoother(0.1), [5.0, 15.0, 6.0]), 6.0),
                "with a weight of 0.1, 5 and 15 and 6 should give 6",
                2,
            ),
        ],
    )
    return


@app.cell(hide_code=True)
def _(check, math):
    # HIDDEN TESTS
    return


@app.cell(hide_code=True)
def _(days, mo, pd, plt, unanswered):
    mo.stop(
        not isinstance(days, pd.DataFrame)
        or unanswered(lambda: forecast_after(Smoother(0.5), [10.0])),
        mo.md("*The picture appears here once Questions 1 and 3 are answered.*"),
    )
    _smoother, _forecasts = Smoother(0.2), [None]
    for _count in days["count"]:
        _forecasts.append(forecast_after(_smoother, [_count]))
    _figure, _axes = plt.subplots(figsize=(7, 3.5))
    _axes.plot(days["date"], days["count"], ".", label="counted")
    _axes.plot(days["date"], _forecasts[:-1], label="forecast of the day before")
    _axes.set(ylabel="bicycles", ylim=(0, None))
    _axes.tick_params(axis="x", rotation=30)
    _axes.legend()
    _figure
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Written analysis (15 marks)

    In 60 to 150 words: on which days is the forecast in the picture far off, and why? Say
    how you would use the pattern of the week and the rain to make a better one.
    Double-click the text below to write your answer.
    """)
    return


@app.cell
def written_analysis(mo):
    mo.md(r"""
    *Write your answer here.*
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    notebook_file = mo.watch.file(__file__)
    return (notebook_file,)


@app.cell(hide_code=True)
def _(notebook_file, word_count):
    word_count(notebook_file, target=(60, 150))
    return


@app.cell(hide_code=True)
def _(grader):
    grader.scores()
    return


if __name__ == "__main__":
    app.run()
