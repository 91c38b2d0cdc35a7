"""Files and SQL: the only package that writes people's work and the program's own state."""
