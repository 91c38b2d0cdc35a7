"""A student's released marks."""
