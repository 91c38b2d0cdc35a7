"""The notebook of ``mograder hub check --session``, whose environment is always needed.

A module of its own: ``hub check`` of the light install imports it, but not pruning, since that
imports the database.
"""

from __future__ import annotations

TRIAL_NOTEBOOK = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo"]
# mograder-type = "demo"
# ///
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo
    mo.md("It works.")
    return


if __name__ == "__main__":
    app.run()
"""
