"""The servers: the hub, the assignment server, the student's dashboard, and what they share."""
