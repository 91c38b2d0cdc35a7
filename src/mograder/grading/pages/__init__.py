"""Inert HTML pages of notebooks, results and feedback. It imports no other part of grading."""
