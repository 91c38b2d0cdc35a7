"""What authors write: markers, a source's release or lecture, and advice on mistakes."""
