"""Answers of one cell that are built to stop a program that reads them."""

from __future__ import annotations

HOSTILE = [
    "essay = " + "+".join(['"x"'] * 400),
    "essay = " + "+".join(['"x"'] * 700),
    "essay = " + "+".join(['"x"'] * 3000),
    "essay = " + "-" * 5000 + "1",
    "essay = " + "[" * 150 + "]" * 150,
    "essay = 0x" + "f" * 20_000,
    "essay = " + "a." * 3000 + "b",
    "essay = " + "f(" * 150 + ")" * 150,
    "def f(x):\n" + "".join(" " * n + "if x:\n" for n in range(1, 90)) + " " * 90 + "pass",
    "essay = '\\ud800'",
    "essay = (lambda: " * 150 + "0" + ")" * 150,
]
"""All of them can be parsed by marimo, or are told to be no Python."""
