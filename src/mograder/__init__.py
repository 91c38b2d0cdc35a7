"""mograder: teach with marimo notebooks."""

__version__ = "1.0.0.dev0"
