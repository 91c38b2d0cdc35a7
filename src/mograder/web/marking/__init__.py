"""Pages of marking: the hub and ``mograder grader`` both mount the routes of ``routes``."""
