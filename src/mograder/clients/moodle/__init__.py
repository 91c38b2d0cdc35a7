"""A typed client for a Moodle course that detects Moodle's silent failures.

``client.py`` has one method for each web-service function in use, ``transport.py`` the students'
operations, ``grading.py`` sends and reads back marks, ``login.py`` gets tokens.
"""
