"""The student's own dashboard: the hub's pages for one person, over a transport, on loopback."""
