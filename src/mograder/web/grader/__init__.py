"""``mograder grader``: the pages of marking for a course on one's own machine, or by a proxy."""
