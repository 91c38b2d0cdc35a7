"""Notebooks for sessions that were forked from a zygote."""

from __future__ import annotations

from tests.support.notebooks import notebook

SLIDER = notebook(
    """
    import marimo as mo
    slider = mo.ui.slider(1, 10)
    slider
    return (slider,)
    """,
    'f"chosen: {slider.value * 100}"',
    end="",
)
PLOT = """import marimo

app = marimo.App()


@app.cell
def _():
    import matplotlib.pyplot as plt
    plt.plot([1, 4, 9])
    {last}
    return
"""
