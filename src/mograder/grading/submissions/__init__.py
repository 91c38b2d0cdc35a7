"""Judge the submissions of an assignment, one or all: contract, checks, questions, results."""
