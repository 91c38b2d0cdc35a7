"""What several commands share: settings, options, output, progress."""
