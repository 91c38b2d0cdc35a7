"""A Moodle course, seen from our commands: a typed client that catches what Moodle does silently.

``client.py`` has one method for each web-service function in use, ``transport.py`` what a student
does, ``grading.py`` the teacher's marks sent and read back, ``login.py`` the ways to a token.
"""
