# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "mograder"]
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App()


@app.cell(hide_code=True)
def _():
    import datetime
    import time

    import marimo as mo

    from mograder.runtime import Grader

    # === MOGRADER: MARKS ===
    _marks = {
        "Mutant": 2, "Junk": 2, "Empty": 2, "Date": 2, "Speed": 2, "Given": 2, "Repeated": 2, "Sound": 2,
    }
    grader = Grader(_marks)
    check = grader.check
    return check, datetime, grader, mo, time


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # Checks with faults, one of each kind

    A loan of 1000 at 3 % for 12 years grows to 1425.76, as the bank says.
    """)
    return


@app.function
def fare(age):
    ### BEGIN SOLUTION
    price = 4
    if age < 18:
        price = 2
    ### END SOLUTION
    return price


@app.cell
def _(check):
    check(
        "Mutant: Fare",
        []
        if fare(1) is ...
        else [(lambda: fare(5) == 2, "a child"), (lambda: fare(40) == 4, "an adult")],
    )
    return


@app.cell
def _():
    ### BEGIN SOLUTION
    evens = [2, 4, 6]
    ### END SOLUTION
    return (evens,)


@app.cell
def _(check, evens):
    check(
        "Junk: Even numbers",
        [] if evens is ... else [(lambda: all(n % 2 == 0 for n in evens), "even numbers only")],
    )
    return


@app.cell
def _():
    ### BEGIN SOLUTION
    colour = "red"
    ### END SOLUTION
    return (colour,)


@app.cell
def _(check, colour):
    check("Empty: Colour", [(colour != "blue", "not blue")])
    return


@app.function
def is_past(year, today):
    ### BEGIN SOLUTION
    past = year < today.year
    ### END SOLUTION
    return past


@app.cell
def _(check, datetime):
    _today = datetime.date.today()
    check(
        "Date: Past years",
        []
        if is_past(1, _today) is ...
        else [
            (lambda: is_past(1999, _today), "1999 is over"),
            (lambda: not is_past(2999, _today), "2999 is to come"),
        ],
    )
    return


@app.function
def total(numbers):
    ### BEGIN SOLUTION
    result = sum(numbers)
    ### END SOLUTION
    return result


@app.cell
def _(check, time):
    _began = time.perf_counter()
    _right = total([1, 2, 4]) == 7
    _took = time.perf_counter() - _began
    check(
        "Speed: Total",
        [] if total([1]) is ... else [(_right, "the total"), (_took < 30, "it is quick")],
    )
    return


@app.function
def grown(amount, percent, years):
    ### BEGIN SOLUTION
    after = amount * (1 + percent / 100) ** years
    ### END SOLUTION
    return after


@app.cell
def _(check):
    check(
        "Given: Loan",
        []
        if grown(1, 1, 1) is ...
        else [
            (lambda: grown(200, 50, 1) == 300, "half as much again"),
            (lambda: abs(grown(100, 10, 2) - 121) < 0.01, "two years"),
        ],
    )
    ### BEGIN HIDDEN TESTS
    check("Given: Another loan", [(lambda: round(grown(1000, 3, 12), 2) == 1425.76, "12 years")])
    ### END HIDDEN TESTS
    return


@app.cell
def _(check):
    ### BEGIN HIDDEN TESTS
    check("Repeated: Loan", [(lambda: grown(200, 50, 1) == 300, "as above")])
    ### END HIDDEN TESTS
    return


@app.function
def doubled(number):
    ### BEGIN SOLUTION
    twice = 2 * number
    ### END SOLUTION
    return twice


@app.cell
def _(check):
    check(
        "Sound: Doubled",
        []
        if doubled(1) is ...
        else [
            (lambda: doubled(3) == 6, "3 twice"),
            (lambda: doubled(-2) == -4, "also a negative number"),
        ],
    )
    return


@app.cell(hide_code=True)
def _(grader):
    grader.scores()
    return


if __name__ == "__main__":
    app.run()
