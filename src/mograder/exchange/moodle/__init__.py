"""An instructor's side of a Moodle course, on top of the client in ``clients/moodle``.

``participants.py`` lists the participants, ``identities.py`` finds their local usernames.
``collect.py`` and ``submissions_zip.py`` fetch submissions; ``grades.py`` sends marks and feedback,
with ``teams.py``, ``scale.py`` and ``protection.py``, and ``summary.py`` reports the results;
``export.py`` fills the files for a site without web services.
"""
