"""Commands of `mograder node`."""
