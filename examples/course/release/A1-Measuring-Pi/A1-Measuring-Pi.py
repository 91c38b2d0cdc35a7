# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "matplotlib",
#     "mograder",
#     "numpy",
# ]
# mograder-assignment = "A1-Measuring-Pi"
# mograder-cell-hashes = "63247c45,0dce6ca9,971394c8,ba30030a,3afecbb9,f2679981,63b44528,151664e7,c3e03a29,e102b26f,22974695,e0c104e6,85525531,da0443eb,273f0ad3,88138001,45ce656e,b5f5459d"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # Assignment 1: Measuring $\pi$ by throwing darts

    Throw darts at a square, blindly. Some land inside the quarter circle, some outside,
    and the *share* that lands inside tells you how large the quarter circle is. That is
    enough to measure $\pi$, and the same trick works for areas that nobody can calculate.

    **How this notebook works**

    - Write your code where it says **YOUR CODE HERE**; replace the `...` and the `pass`.
    - Under each task a box tells how you are doing: amber waits for your code, red and
      blue say what is still missing, green is done.
    - Try as often as you like. Your work is saved by itself.
    """)
    return


@app.cell(hide_code=True)
def _():
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np

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

    return check, grader, hint, mo, np, plt, unanswered, word_count


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The idea

    ![A unit square with a quarter circle and a few random points](public/quarter-circle.svg)

    A point $(x, y)$ with $0 \le x, y < 1$ lies in the quarter circle when
    $x^2 + y^2 \le 1$. The square has area $1$ and the quarter circle has area
    $\pi / 4$, so of $n$ random points about $n \, \pi / 4$ fall inside:

    $$ \pi \approx 4 \, \frac{\text{points inside}}{n} $$

    Here are 2000 points to practise with, one per row. Everybody gets the same ones,
    because the random number generator starts from the same *seed*.
    """)
    return


@app.cell
def _(np):
    points = np.random.default_rng(seed=314).random((2000, 2))
    points[:3]
    return (points,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 1: which points are inside? (10 marks)

    Make an array `inside` that holds, for each row of `points`, `True` when the point lies
    in the quarter circle and `False` when it does not.
    """)
    return


@app.cell
def _(points):
    inside = ...
    # YOUR CODE HERE
    pass
    return (inside,)


@app.cell(hide_code=True)
def _(check, inside, np, points):
    check(
        "Q1: Points inside",
        []
        if inside is ...
        else [
            (isinstance(inside, np.ndarray), "`inside` should be a NumPy array"),
            (lambda: inside.shape == (len(points),), "there should be one value per point"),
            (lambda: inside.dtype == bool, "the values should be `True` or `False`"),
            (lambda: np.sum(inside) == 1566, "some points are on the wrong side", 2),
        ],
    )
    return


@app.cell(hide_code=True)
def _(hint):
    hint(
        "`points[:, 0]` holds all the $x$, and `points[:, 1]` all the $y$.",
        "Comparing an array with a number compares every element: "
        "`np.array([1, 5]) <= 3` is `[True, False]`. You need no loop.",
    )
    return


@app.cell(hide_code=True)
def _(inside, mo, np, plt, points):
    mo.stop(
        getattr(inside, "shape", None) != (len(points),),
        mo.md("*The picture appears here once Question 1 gives one value per point.*"),
    )
    _in = np.asarray(inside, dtype=bool)
    _figure, _axes = plt.subplots(figsize=(4.5, 4.5))
    _axes.scatter(*points[_in].T, s=6, color="tab:blue", label="inside")
    _axes.scatter(*points[~_in].T, s=6, color="tab:orange", marker="x", label="outside")
    _axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="x", ylabel="y")
    _axes.set_title(f"{_in.sum()} of {len(points)} points are inside")
    _axes.legend(loc="lower left")
    _figure
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 2: an estimate of $\pi$ (10 marks)

    Write a function `estimate_pi(points)` that takes *any* array of points in the unit
    square, one per row, and returns the estimate of $\pi$ that they give.
    """)
    return


@app.function
def estimate_pi(points):
    estimate = ...
    # YOUR CODE HERE
    pass
    return estimate


@app.cell(hide_code=True)
def _(check, np, points, unanswered):
    _corner = np.array([[0.9, 0.9]])
    _half = np.array([[0.0, 1.0], [0.9, 0.9]])
    check(
        "Q2: Estimating pi",
        []
        if unanswered(estimate_pi, points)
        else [
            (lambda: estimate_pi(_corner) == 0, "no point inside should give 0"),
            (lambda: estimate_pi(_half) == 2, "half of the points inside should give 2"),
            (
                lambda: abs(estimate_pi(points) - 3.132) < 1e-9,
                "the estimate from our 2000 points is not right yet",
                2,
            ),
        ],
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 3: how good is it? (15 marks)

    With more points the estimate gets better, but how fast? For each number of points in
    `sizes` below, repeat the experiment `repeats` times with fresh points from the
    generator `rng`, and take the *root mean square error* of the estimates,

    $$ \sqrt{\frac{1}{R} \sum_{r=1}^{R} (\pi_r - \pi)^2} $$

    where $\pi_r$ is the $r$-th of the $R$ estimates. Collect the errors in an array
    `errors`, one for each size.
    """)
    return


@app.cell
def _(np):
    sizes = np.array([10, 30, 100, 300, 1000, 3000, 10_000])
    repeats = 200
    return repeats, sizes


@app.cell
def _(np, repeats, sizes):
    rng = np.random.default_rng(seed=2718)
    errors = ...
    # YOUR CODE HERE
    pass
    return (errors,)


@app.cell(hide_code=True)
def _(check, errors, np, sizes):
    check(
        "Q3: Error and number of points",
        []
        if errors is ...
        else [
            (lambda: np.shape(errors) == sizes.shape, "there should be one error per size"),
            (lambda: np.asarray(errors) > 0, "an error is a positive number"),
            (
                lambda: 0.3 < errors[0] < 0.8,
                "the error for 10 points is far off: is it the root of a mean of squares?",
            ),
            (lambda: errors[-1] < errors[0] / 10, "the error should fall as points are added"),
            (
                lambda: abs(np.polyfit(np.log(sizes), np.log(errors), 1)[0] + 0.5) < 0.05,
                "the error should fall like $1 / \\sqrt{n}$",
                2,
            ),
        ],
    )
    return


@app.cell(hide_code=True)
def _(errors, mo, np, plt, sizes):
    mo.stop(
        getattr(errors, "shape", None) != sizes.shape,
        mo.md("*The plot appears here once Question 3 gives one error per size.*"),
    )
    _figure, _axes = plt.subplots(figsize=(6, 4))
    _axes.loglog(sizes, errors, "o-", label="measured")
    _axes.loglog(sizes, 1.64 / np.sqrt(sizes), "--", color="gray", label=r"$1.64 / \sqrt{n}$")
    _axes.set(xlabel="number of points n", ylabel="root mean square error")
    _axes.grid(alpha=0.3)
    _axes.legend()
    _figure
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Written analysis (15 marks)

    In 60 to 150 words: how many points would you need for *one more* correct digit of
    $\pi$, and why? Would you measure $\pi$ in this way, and what is the method good for?
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
