"""The exchange of assignments, submissions and grades with other servers, over any transport.

The packages ``student`` and ``moodle`` and the modules ``assignment_server``, ``lti_scores`` and
``lti_roster`` are of one side or one kind of server each; all but ``student`` are for instructors.
Here is the code that they share: finding an assignment by name, reading files of marks and
archives, and the directory of collected submissions.
"""
