"""Judge one submission against its assignment: plan, contract, checks and questions."""
