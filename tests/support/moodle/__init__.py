"""A Moodle that answers from recordings of a real one."""
