"""Running all cells of a notebook and reading the results."""
