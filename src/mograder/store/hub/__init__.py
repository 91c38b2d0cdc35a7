"""The hub's own state, which survives its restart: sessions, hubs, nodes, jobs, the board."""
