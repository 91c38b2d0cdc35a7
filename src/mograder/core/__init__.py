"""Names, errors, settings, clock and log: modules that all other packages may import."""
