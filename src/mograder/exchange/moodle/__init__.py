"""An instructor's side of a Moodle course, on top of the client in ``clients/moodle``.

``participants.py`` asks who takes part, ``identities.py`` says who that is here. ``collect.py`` and
``submissions_zip.py`` fetch what was handed in; ``grades.py`` sends marks and feedback, with
``teams.py``, ``scale.py`` and ``protection.py``, and ``summary.py`` tells what came of it;
``export.py`` fills the files for a site without web services.
"""
