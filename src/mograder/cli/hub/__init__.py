"""Commands of `mograder hub`."""
