"""The people of the course: the list of users, and their pages."""
