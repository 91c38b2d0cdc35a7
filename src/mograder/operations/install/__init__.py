"""Making a service of the hub on a Debian or Ubuntu machine, and taking it away again (B1-B8)."""
