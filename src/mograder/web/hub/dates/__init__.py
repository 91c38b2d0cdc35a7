"""When items open, are due and close."""
