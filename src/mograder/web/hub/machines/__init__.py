"""The machines that run sessions, of hubs with nodes."""
