"""Measures mograder against a plain marimo, a direct connection, a bare Python: ``make bench``.

A result is a ratio of two things measured in the same run, taking turns, because machines are
noisy and differ. One module per row, or per few rows that share a set-up; ``bench.stage`` has the
real hub, ``bench.plain`` the plain marimo, ``bench.tab`` the student, ``bench.report`` the table
and the JSON. docs/explanation/performance.md tells how to read it.
"""
