# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "matplotlib",
#     "mograder",
#     "numpy",
#     "pandas",
# ]
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
    ### BEGIN SOLUTION
    days = bicycles.dropna(subset=["count"])
    days = days.assign(weekday=days["date"].dt.day_of_week)
    ### END SOLUTION
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
    ### BEGIN SOLUTION
    pattern = days.groupby("weekday")["count"].mean()
    ### END SOLUTION
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
    ### BEGIN HIDDEN TESTS
    _other = pd.DataFrame({"count": [3.0, 8.0, 4.0, 5.0], "weekday": [6, 2, 2, 6], "snow": 0.5})
    check(
        "Q2: Pattern of another week",
        [
            (
                lambda: weekly_pattern(_other).tolist() == [6.0, 4.0],
                "the weekdays should be in ascending order, also for another bridge",
            ),
            (
                lambda: list(weekly_pattern(_other).index) == [2, 6],
                "only weekdays that occur should be in the index",
            ),
        ],
    )
    ### END HIDDEN TESTS
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
        ### BEGIN SOLUTION
        if self.level is None:
            self.level = value
        else:
            self.level += self.weight * (value - self.level)
        ### END SOLUTION

    def predict(self):
        ### BEGIN SOLUTION
        forecast = self.level
        ### END SOLUTION
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
    ### BEGIN HIDDEN TESTS
    _first, _second = Smoother(0.5), Smoother(0.25)
    check(
        "Q3: Two smoothers",
        [
            (
                lambda: (
                    forecast_after(_first, [0.0, 8.0]) == 4
                    and forecast_after(_second, [100.0, 20.0]) == 80
                    and _first.predict() == 4
                ),
                "two smoothers should not share their levels",
            ),
            (
                lambda: math.isclose(forecast_after(Smoother(0.3), [0.0, 10.0, 0.0, 20.0]), 7.47),
                "a level of 0 is a level, too",
            ),
        ],
    )
    ### END HIDDEN TESTS
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
    response_text = "*Write your answer here.*"
    ### BEGIN SOLUTION
    response_text = r"""
    The forecast misses on every weekend: about half as many people cross on a Sunday, which
    the level has not seen coming, and on Monday it is still too low. It also misses on days
    of heavy rain, such as 6 March, and on three working days without rain: Good Friday,
    Easter Monday and the first of May. I would divide each count by the mean of its weekday
    and smooth these ratios, so that the level only has to follow the season, and then
    multiply the forecast by the mean of the day to come. For rain I would fit a factor that
    falls with the millimetres; that needs a weather forecast. The holidays are known
    beforehand and can count as Sundays.
    """
    ### END SOLUTION
    mo.md(response_text)
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
