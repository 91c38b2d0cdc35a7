"""Making releases of sources, validating notebooks, grading submissions, and telling marks."""
