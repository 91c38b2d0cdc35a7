"""Configurations of the web server in front of a hub."""
