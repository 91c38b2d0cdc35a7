"""Commands of `mograder https`."""
