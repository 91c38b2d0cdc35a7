"""Live marimo sessions: starting, queueing, culling, and the history of their ends."""
