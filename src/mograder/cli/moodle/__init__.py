"""Commands of `mograder moodle`."""
