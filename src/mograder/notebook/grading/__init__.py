"""Which code of a source decides about marks, and whether its checks tell right from wrong."""
