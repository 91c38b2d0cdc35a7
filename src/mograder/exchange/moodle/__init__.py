"""An instructor's side of a Moodle course, on top of the client in ``clients/moodle``.

``participants.py`` lists the participants, ``identities.py`` finds their local usernames.
``collect.py`` fetches submissions, and ``submitted_work.py`` places them, those of a zip too;
``grade_upload.py`` sends marks and feedback, with ``protection.py``, and reports the results;
``export.py`` fills the files for a site without web services.
"""
