"""Work on its way to and from another server, over whatever transport reaches it.

Three packages: ``student``, ``assignment_server`` and ``moodle`` (both for instructors). What they
share is here: finding an assignment by name, reading CSV files and archives, and the directory of
collected submissions.
"""
