"""Operating a hub: checks, backups, pruning and the configuration of a web server in front."""
