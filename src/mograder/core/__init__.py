"""Names, errors, settings, clock, log: what every other room stands on."""
