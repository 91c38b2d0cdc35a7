"""Check an upload, prepare its environment, replace a release."""
