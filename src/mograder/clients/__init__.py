"""Clients of hubs, assignment servers and Moodle, over HTTP."""
