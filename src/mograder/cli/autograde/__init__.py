"""``mograder autograde``: mark submissions."""
