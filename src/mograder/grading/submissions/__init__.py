"""Judge the submissions of an assignment, one or all: plan, contract, checks and questions."""
