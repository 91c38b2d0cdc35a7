"""Learning platforms by LTI 1.3: marks that are sent, and members of the course that are read."""
