"""Release of marks to students, and their requests to look at a mark again."""
