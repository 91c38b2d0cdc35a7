"""Helpers shared by several commands: settings, options, output, progress."""
