"""Similar submissions and equal answers: texts only, nothing of a student is run; pure."""
