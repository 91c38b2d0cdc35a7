"""Measures mograder against a plain marimo, a direct connection, a bare Python: ``make bench``.

A result is a ratio of two things measured in the same run, taking turns, because machines are
noisy and differ. One module per row, or per few rows that share a set-up; ``bench.stage`` starts
the real hub, ``bench.plain_marimo`` the plain marimo, ``bench.tab`` is a student's browser tab, and
``bench.report`` writes the table and the history. docs/explanation/performance.md explains both.
"""
