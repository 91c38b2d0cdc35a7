"""The supervisor's clients: the hub's connection, a supervisor for one command, the self-test."""
