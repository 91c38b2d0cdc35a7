"""Disk and SQL: the only rooms that write what people made or the program knows."""
