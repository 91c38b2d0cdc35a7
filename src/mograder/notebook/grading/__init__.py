"""Which code of a source decides about marks, and which code is a student's."""
