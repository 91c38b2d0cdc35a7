"""What has happened: the audit log, and recent problems."""
