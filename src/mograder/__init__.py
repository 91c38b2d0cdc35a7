"""mograder: teach with marimo notebooks."""
