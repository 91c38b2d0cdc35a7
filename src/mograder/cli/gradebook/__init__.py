"""``mograder gradebook``: the marks of a course."""
