"""Results as students see them: pages of feedback, releases of marks, and requests."""
