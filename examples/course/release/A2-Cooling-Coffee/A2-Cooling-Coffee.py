# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "matplotlib",
#     "mograder",
#     "numpy",
# ]
# mograder-assignment = "A2-Cooling-Coffee"
# mograder-hidden-tests = true
# mograder-cell-hashes = "a27a9181,a360e589,3cb59350,738dcb30,482f9920,38d5923c,2f009aaf,bb8295be,2b865132,1c3e4b7a,a7416846,62e1557c,11cd97ab,695114a1,de452bbb,4272ef99,f5ab4397,b5f5459d"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # Assignment 2: When can I drink my coffee?

    Somebody put a thermometer into a cup of fresh coffee and wrote down the temperature
    every three minutes for an hour. You will fit a model to these measurements and use it
    to answer the question in the title.

    Some of the tests of this assignment are *hidden*: they run when your work is marked,
    with a cup that you have not seen. So write functions that work for any cup.
    """)
    return


@app.cell(hide_code=True)
def _():
    import math

    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np

    from mograder.runtime import Grader, hint

    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 10, "Q3": 15, "Q4": 15}
    grader = Grader(_marks)
    check = grader.check

    def unanswered(function, *arguments):
        """Whether a function still returns its placeholder; an error is an answer, too."""
        try:
            answer = function(*arguments)
        except Exception:
            return False
        return answer is None or answer is ...

    return check, grader, hint, math, mo, np, plt, unanswered


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The measurements

    The file `coffee.csv` lies beside this notebook. Its first line names the columns.
    """)
    return


@app.cell
def _(mo, np):
    minutes, celsius = np.loadtxt(
        mo.notebook_dir() / "coffee.csv", delimiter=",", skiprows=1, unpack=True
    )
    room = 21.5  # temperature of the room, in °C
    return celsius, minutes, room


@app.cell(hide_code=True)
def _(celsius, minutes, plt, room):
    _figure, _axes = plt.subplots(figsize=(6, 3.5))
    _axes.plot(minutes, celsius, "o", label="coffee")
    _axes.axhline(room, color="gray", linestyle="--", label="room")
    _axes.set(xlabel="time (minutes)", ylabel="temperature (°C)", ylim=(0, 90))
    _axes.legend()
    _figure
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 1: Newton's law of cooling (10 marks)

    The warmer the coffee is than the room, the faster it cools. With the rate $k$ this
    gives an exponential,

    $$ T(t) = T_\text{room} + (T_0 - T_\text{room}) \, e^{-k t} $$

    where $T_0$ is the temperature at the start. Write a function
    `temperature(t, k, start, room)` that returns $T(t)$. It should also work when `t` is
    an array.
    """)
    return


@app.cell
def _(np):
    def temperature(t, k, start, room):
        celsius_at_t = ...
        # YOUR CODE HERE
        pass
        return celsius_at_t

    return (temperature,)


@app.cell(hide_code=True)
def _(check, np, temperature, unanswered):
    _two_times = np.array([0.0, 10.0])
    check(
        "Q1: Newton's law of cooling",
        []
        if unanswered(temperature, 0.0, 0.05, 80.0, 20.0)
        else [
            (
                lambda: np.isclose(temperature(0.0, 0.05, 80.0, 20.0), 80),
                "at $t = 0$ the coffee has its starting temperature",
            ),
            (
                lambda: np.isclose(temperature(1e6, 0.05, 80.0, 20.0), 20),
                "after a very long time the coffee has the temperature of the room",
            ),
            (
                lambda: np.allclose(temperature(_two_times, 0.1, 80.0, 20.0), [80, 42.072766]),
                "it should work for an array of times: try `temperature(minutes, 0.1, 80, 20)`",
                2,
            ),
        ],
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 2: how far off is a guess? (10 marks)

    For any rate $k$ the model makes a prediction for each measurement. Write a function
    `misfit(k, t, measured, room)` that returns the *mean square* difference between the
    measured temperatures and the model. Start the model at the first measured temperature.
    """)
    return


@app.cell
def _(temperature):
    def misfit(k, t, measured, room):
        mean_square = ...
        # YOUR CODE HERE
        pass
        return mean_square

    return (misfit,)


@app.cell(hide_code=True)
def _(celsius, check, minutes, misfit, np, room, unanswered):
    _perfect = np.array([80.0, 50.0, 35.0])
    check(
        "Q2: Misfit",
        []
        if unanswered(misfit, 0.05, minutes, celsius, room)
        else [
            (
                lambda: abs(misfit(np.log(2), np.arange(3), _perfect, 20.0)) < 1e-9,
                "measurements that follow the model exactly should have no misfit",
            ),
            (
                lambda: (
                    misfit(0.05, minutes, celsius, room) > misfit(0.042, minutes, celsius, room)
                ),
                "$k = 0.05$ should fit our coffee worse than $k = 0.042$",
            ),
            (
                lambda: abs(misfit(0.0, minutes, celsius, room) - 1815.301) < 0.01,
                "the misfit for $k = 0$ is not right: is it the mean of the squares?",
            ),
            # HIDDEN TESTS
        ],
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 3: the best rate (15 marks)

    Try every rate in `rates` and pick the one with the smallest misfit for our coffee.
    Call it `best_rate`.
    """)
    return


@app.cell
def _(np):
    rates = np.linspace(0.01, 0.1, 181)
    return (rates,)


@app.cell
def _(celsius, minutes, misfit, np, rates, room):
    best_rate = ...
    # YOUR CODE HERE
    pass
    return (best_rate,)


@app.cell(hide_code=True)
def _(best_rate, celsius, check, minutes, misfit, np, rates, room):
    check(
        "Q3: The best rate",
        []
        if best_rate is ...
        else [
            (lambda: np.ndim(best_rate) == 0, "`best_rate` should be one number"),
            (lambda: np.isclose(rates, best_rate).any(), "it should be one of the `rates`"),
            (
                lambda: (
                    misfit(best_rate, minutes, celsius, room)
                    <= min(misfit(k, minutes, celsius, room) for k in rates)
                ),
                "another rate has a smaller misfit",
                2,
            ),
        ],
    )
    return


@app.cell(hide_code=True)
def _(hint):
    hint(
        "Collect the misfits in a list or an array, in the order of `rates`.",
        "`np.argmin` tells *where* the smallest element is.",
    )
    return


@app.cell(hide_code=True)
def _(best_rate, celsius, minutes, mo, np, plt, room, temperature):
    mo.stop(
        not isinstance(best_rate, float),
        mo.md("*The fit appears here once Question 3 has a best rate.*"),
    )
    _t = np.linspace(0, 60, 200)
    _figure, _axes = plt.subplots(figsize=(6, 3.5))
    _axes.plot(minutes, celsius, "o", label="coffee")
    _axes.plot(_t, temperature(_t, best_rate, celsius[0], room), label=f"k = {best_rate:.4f}")
    _axes.set(xlabel="time (minutes)", ylabel="temperature (°C)", ylim=(0, 90))
    _axes.legend()
    _figure
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 4: when can I drink it? (15 marks)

    Coffee burns the tongue above 60 °C. Write a function
    `waiting_time(target, k, start, room)` that returns after how many minutes the coffee
    has cooled to `target`, by solving Newton's law for $t$. Coffee that is cool enough
    already takes `0` minutes. Any other target that is not above the temperature of the
    room is never reached: return `math.inf` for it.
    """)
    return


@app.cell
def _(math):
    def waiting_time(target, k, start, room):
        wait = ...
        # YOUR CODE HERE
        pass
        return wait

    return (waiting_time,)


@app.cell(hide_code=True)
def _(check, math, unanswered, waiting_time):
    check(
        "Q4: Waiting time",
        []
        if unanswered(waiting_time, 60.0, 0.042, 84.0, 21.5)
        else [
            (
                lambda: math.isclose(waiting_time(50.0, math.log(2), 80.0, 20.0), 1.0),
                "at a rate of $\\log 2$ the difference to the room halves in one minute",
                2,
            ),
            (
                lambda: waiting_time(60.0, 0.042, 55.0, 20.0) == 0 == waiting_time(20, 1, 20, 20),
                "55 °C is cool enough already, and for 20 °C, coffee at 20 °C",
            ),
        ],
    )
    return


@app.cell(hide_code=True)
def _(check, math, waiting_time):
    # HIDDEN TESTS
    return


@app.cell(hide_code=True)
def _(grader):
    grader.scores()
    return


if __name__ == "__main__":
    app.run()
