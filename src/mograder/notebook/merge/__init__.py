"""A new release merged into a student's copy, cell by cell."""
