"""What a marker is shown of an answer, and in which order."""
