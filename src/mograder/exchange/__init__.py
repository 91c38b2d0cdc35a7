"""The exchange of assignments, submissions and grades with other servers, over any transport.

Three packages: ``student``, ``assignment_server`` and ``moodle`` (both for instructors). Here is
the code that they share: finding an assignment by name, reading CSV files and archives, and the
directory of collected submissions.
"""
