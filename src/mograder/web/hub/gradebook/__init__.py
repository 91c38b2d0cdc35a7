"""The gradebook in the browser: students by items, a student's page, and files of both."""
