# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "matplotlib",
#     "mograder",
#     "numpy",
# ]
# mograder-type = "lecture"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # Lecture 1: Random numbers that answer questions

    A computer can throw a coin a million times while you read this sentence. Today we use
    that to answer questions by *experiment* instead of by calculation, and we find out how
    far such an answer can be trusted.

    Everything on this page is alive: move a slider, and the plots follow. Nobody else sees
    what you do.
    """)
    return


@app.cell(hide_code=True)
def _():
    import marimo as mo
    import matplotlib.pyplot as plt
    import numpy as np

    from mograder.runtime import hint

    return hint, mo, np, plt


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## A drunkard's walk

    Someone steps to the left or to the right, each time at random. Where will they be
    after $n$ steps? One walk tells nothing. Many walks show a pattern.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    walkers = mo.ui.slider(1, 200, value=20, label="walkers", show_value=True)
    steps = mo.ui.slider(10, 1000, step=10, value=200, label="steps", show_value=True)
    seed = mo.ui.number(0, 9999, value=1, label="seed")
    mo.hstack([walkers, steps, seed], justify="start", gap=2)
    return seed, steps, walkers


@app.cell
def _(np, seed, steps, walkers):
    _rng = np.random.default_rng(seed.value)
    _moves = _rng.choice([-1, 1], size=(walkers.value, steps.value))
    walks = np.cumsum(_moves, axis=1)
    return (walks,)


@app.cell(hide_code=True)
def _(np, plt, steps, walks):
    _time = np.arange(1, steps.value + 1)
    _figure, _axes = plt.subplots(figsize=(7, 4))
    _axes.plot(_time, walks.T, linewidth=0.8, alpha=0.5)
    _axes.plot(_time, np.sqrt(_time), "k--", label=r"$\pm\sqrt{n}$")
    _axes.plot(_time, -np.sqrt(_time), "k--")
    _axes.set(xlabel="step n", ylabel="position", title=f"{len(walks)} random walks")
    _axes.legend(loc="upper left")
    _figure
    return


@app.cell(hide_code=True)
def _(mo, np, steps, walks):
    _typical = np.sqrt(np.mean(walks[:, -1] ** 2))
    mo.md(
        f"After **{steps.value}** steps the walkers are typically **{_typical:.1f}** away from "
        f"the start; the square root of {steps.value} is {np.sqrt(steps.value):.1f}."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    The steps to the left and to the right *almost* cancel. What remains grows like
    $\sqrt{n}$: four times as many steps lead only twice as far.

    ## Why averages become reliable

    Take the position after $n$ steps and divide it by $n$: that is the average of $n$
    random numbers. The walk reaches about $\sqrt{n}$, so the average misses its true value
    by about

    $$ \frac{\sqrt{n}}{n} = \frac{1}{\sqrt{n}} $$

    This is the price of every answer that is found by random experiments: **one more
    correct digit costs a hundred times the work.**
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    throws = mo.ui.slider(1, 5, step=0.5, value=2, label="throws: 10 to the power of")
    throws
    return (throws,)


@app.cell(hide_code=True)
def _(np, plt, seed, throws):
    _n = int(10**throws.value)
    _heads = np.random.default_rng(seed.value).integers(0, 2, size=_n)
    _count = np.arange(1, _n + 1)
    _figure, _axes = plt.subplots(figsize=(7, 3.5))
    _axes.semilogx(_count, np.cumsum(_heads) / _count, label="share of heads")
    _axes.fill_between(
        _count,
        0.5 - 1 / np.sqrt(_count),
        0.5 + 1 / np.sqrt(_count),
        alpha=0.2,
        label=r"$1/2 \pm 1/\sqrt{n}$",
    )
    _axes.set(xlabel="throws n", ylabel="share of heads", ylim=(0, 1))
    _axes.legend()
    _figure
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Think about it

    A poll asks 1000 people a yes-or-no question. How far off will the result typically be,
    in percentage points? How many people would make it ten times better?
    """)
    return


@app.cell(hide_code=True)
def _(hint):
    hint(
        r"The error is about $1 / \sqrt{n}$ at most. What is $\sqrt{1000}$?",
        "About 3 percentage points; and ten times better needs 100 times as many people.",
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Now you

    In [Assignment 1: Measuring Pi](../../../../edit/A1-Measuring-Pi/) you throw darts
    at a square and see the $1 / \sqrt{n}$ with your own numbers. In
    [Assignment 2: Cooling Coffee](../../../../edit/A2-Cooling-Coffee/) the randomness
    comes from a thermometer.
    """)
    return


if __name__ == "__main__":
    app.run()
